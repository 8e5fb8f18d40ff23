"""Events of the Compress tab's first step: a checkpoint, a task and data go into the form of a preset."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gradio as gr

from compress.data import uploads
from ui import people
from ui.compress import presets, sources
from ui.compress.filling import Filling, read
from ui.compress.mapping import shown
from ui.compress.parts import SETTINGS, ComposeParts
from ui.compress.presets import Preset
from ui.events import Inputs, Speaker, Updates, Values, explain, spoken
from ui.text import escape
from zoo.errors import UserError
from zoo.tasks import Task, find_task


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
        it, its columns as they are guessed. Without one, say what it has to hold."""
        p, path = self.parts, values[self.parts.file]
        try:
            task = self._task(values, profile)
            if path:
                people.must_start(people.who(profile))
            sheet = uploads.sheet(path, task.name) if path else None
        except Exception as error:
            return {p.uploaded: None, p.upload_note: f"✗ {escape(explain(error))}", p.table: None}
        return self._accept(values, profile, sheet.guess if sheet else {}, {}) | {p.table: shown(path, task, sheet)}

    def map(self, values: Values, columns: Mapping[str, str], names: str, profile: gr.OAuthProfile | None) -> Updates:
        """A person says which columns are what, and what labels are called: the file is read again.

        Args:
            columns: the file's names by ours, empty where it has none of that.
            names: `good=10, bad=1`.
        """
        try:
            pairs = [part.partition("=") for part in names.split(",") if part.strip()]
            labels = {ours.strip(): theirs.strip() for ours, _, theirs in pairs}
            if not all(labels) or not all(labels.values()):
                raise UserError("Write names of labels as name=what the file has: good=10, bad=1.")
        except UserError as error:
            return {self.parts.uploaded: None, self.parts.upload_note: f"✗ {escape(explain(error))}"}
        return self._accept(values, profile, columns, labels)

    def _task(self, values: Values, profile: gr.OAuthProfile | None) -> Task:
        task = values[self.parts.task]
        if task == sources.OWN:
            task = presets.find(values[self.parts.preset], profile).data["dataset"]["task"]
        return find_task(task)

    def _accept(
        self, values: Values, profile: gr.OAuthProfile | None, columns: Mapping[str, str], labels: dict[str, str]
    ) -> Updates:
        p, path = self.parts, values[self.parts.file]
        try:
            task = self._task(values, profile).name
            if not path:
                return {p.uploaded: None, p.upload_note: escape(uploads.wanted(task))}
            person = people.who(profile)
            people.must_start(person)
            upload = uploads.accept(path, "", task, bool(values[p.skip]), columns, labels, person.name)
        except Exception as error:
            return {p.uploaded: None, p.upload_note: f"✗ {escape(explain(error))}"}
        parts = {role: str(at) for role, at in upload.parts.items()}
        state = {"task": upload.task, "parts": parts, "impossible": upload.impossible, "more": upload.more}
        return {p.uploaded: state, p.upload_note: escape(" ".join(["✓", upload.told, *upload.notices]))}

    @spoken("notice")
    def take_source(self, values: Values, profile: gr.OAuthProfile | None) -> Updates:
        """Source -> settings: what was chosen goes into the form."""
        p, preset = self.parts, presets.find(values[self.parts.preset], profile)
        choice = self._choice(values, preset)
        data = sources.apply(preset.schema, read(values[p.form], preset.kind), choice)
        moved = {p.walk: gr.Walkthrough(selected=SETTINGS)}
        return self.filling.fill(preset, data) | moved | self.note("notice", None)

    @spoken("notice")
    def take_preset(self, values: Values, profile: gr.OAuthProfile | None) -> Updates:
        """Another preset: its values, and the checkpoints that it takes. What was chosen goes in at the next step."""
        p, preset = self.parts, presets.find(values[self.parts.preset], profile)
        offered = self.filling.offer(preset, values[p.task], values[p.zoo])
        return self.filling.fill(preset, preset.data) | offered | self.note("notice", None)

    @spoken("notice")
    def take_goal(self, values: Values, profile: gr.OAuthProfile | None) -> Updates:
        """What one wants: the presets for it come first, and the first of them is in the form."""
        p = self.parts
        choices = presets.offered(values[p.goal])
        choices += [(title, key) for title, key in values[p.choices] or [] if key.startswith(presets.EARLIER)]
        first = choices[0][1]
        picked = {p.preset: gr.update(choices=choices, value=first), p.costs: presets.tabulate(values[p.goal])}
        return picked | self.take_preset({**values, p.preset: first}, profile)

    @spoken("notice")
    def offer(self, values: Values, profile: gr.OAuthProfile | None) -> Updates:
        """Another task, or the tab is opened: the checkpoints that the recipe takes, what jobs have made among them."""
        p, preset = self.parts, presets.find(values[self.parts.preset], profile)
        return self.filling.offer(preset, values[p.task], values[p.zoo]) | self.note("notice", None)

    def _choice(self, values: Values, preset: Preset) -> dict[str, Any]:
        """What this step changes in a recipe."""
        p, source = self.parts, values[self.parts.source]
        name = values[p.zoo if source == sources.ZOO else p.other] or ""
        data, hub_data, task = values[p.data], values[p.hub_data] or "", values[p.task] or sources.OWN
        return sources.pick(preset.data, source, name, data, hub_data, values[p.uploaded], task)
