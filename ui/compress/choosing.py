"""Events of the Compress tab's first step: a checkpoint, a task and data go into the form of a preset."""

from __future__ import annotations

from typing import Any

import gradio as gr

from compress.data import uploads
from ui import people
from ui.compress import presets, sources
from ui.compress.filling import Filling, read
from ui.compress.parts import RECIPE, ComposeParts
from ui.compress.presets import Preset
from ui.events import Inputs, Speaker, Updates, Values, explain, spoken
from ui.text import escape


class Choosing(Speaker[ComposeParts]):
    """What is chosen as source; `filling` puts it into the form."""

    def __init__(self, parts: ComposeParts, filling: Filling):
        super().__init__(parts)
        self.filling = filling

    @property
    def inputs(self) -> Inputs:
        """The components that say which preset, and what is chosen for it."""
        p = self.parts
        return {p.preset, p.source, p.zoo, p.other, p.data, p.hub_data, p.uploaded, p.task}

    def show_boxes(self, values: Values) -> Updates:
        """Only the boxes that the choice needs."""
        p = self.parts
        source, data = values[p.source], values[p.data]
        return {
            p.zoo: gr.update(visible=source == sources.ZOO),
            p.other: gr.update(
                visible=source in (sources.HUB, sources.FOLDER),
                label="Hub id (owner/name or owner/name@revision)"
                if source == sources.HUB
                else "Folder with safetensors and config.json",
            ),
            p.hub_data: gr.update(visible=data == sources.HUB),
            p.file_box: gr.update(visible=data == sources.FILE),
        }

    def upload(self, values: Values, profile: gr.OAuthProfile | None) -> Updates:
        """A file was given (gradio has checked that it was uploaded), or is for another task: read it through and keep
        it. Without one, say what it has to hold."""
        p = self.parts
        path, task = values[p.file], values[p.task]
        try:
            if task == sources.OWN:
                task = presets.find(values[p.preset], profile).data["dataset"]["task"]
            if not path:
                return {p.uploaded: None, p.upload_note: escape(uploads.wanted(task))}
            people.must_start(people.who(profile))
            upload = uploads.accept(path, task=task, skip=bool(values[p.skip]))
        except Exception as error:
            return {p.uploaded: None, p.upload_note: f"✗ {escape(explain(error))}"}
        parts = {role: str(at) for role, at in upload.parts.items()}
        state = {"task": upload.task, "parts": parts, "impossible": upload.impossible}
        return {p.uploaded: state, p.upload_note: escape(" ".join(["✓", upload.told, *upload.notices]))}

    @spoken("notice")
    def take_source(self, values: Values, profile: gr.OAuthProfile | None) -> Updates:
        """Source -> recipe: what was chosen goes into the form."""
        p, preset = self.parts, presets.find(values[self.parts.preset], profile)
        choice = self._choice(values, preset)
        data = sources.apply(preset.schema, read(values[p.form], preset.kind), choice)
        return {**self.filling.fill(preset, data), p.walk: gr.Walkthrough(selected=RECIPE), **self.note("notice", None)}

    @spoken("notice")
    def take_preset(self, values: Values, profile: gr.OAuthProfile | None) -> Updates:
        """Another preset: its values, with the source that was chosen."""
        preset = presets.find(values[self.parts.preset], profile)
        data = sources.apply(preset.schema, preset.data, self._choice(values, preset))
        return self.filling.fill(preset, data) | self.note("notice", None)

    def _choice(self, values: Values, preset: Preset) -> dict[str, Any]:
        """What this step changes in a recipe."""
        p, source = self.parts, values[self.parts.source]
        name = values[p.zoo if source == sources.ZOO else p.other] or ""
        data, hub_data, task = values[p.data], values[p.hub_data] or "", values[p.task] or sources.OWN
        return sources.pick(preset.data, source, name, data, hub_data, values[p.uploaded], task)
