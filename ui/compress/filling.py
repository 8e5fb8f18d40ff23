"""Events of the Compress tab's form: its values come from a preset, and what is wrong there is told beside them.

The form is the truth: the Source step writes into it, and everything after reads it. What it holds reaches the handlers
as the browser says: `{"kind": …, "stamp": …, "values": {key: raw}, "faults": {key: sentence}}`.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import gradio as gr
from pydantic import BaseModel

from compress.data import uploads
from compress.recipe.load import KINDS
from compress.recipe.place import refuse_paths
from ui import checkpoints, people
from ui.compress import form, presets, sources
from ui.compress.parts import SETTINGS, ComposeParts
from ui.compress.presets import EARLIER, Preset
from ui.events import Speaker, Updates, Values, spoken
from ui.text import escape
from zoo.errors import UserError
from zoo.settings import get_settings


class Filling(Speaker[ComposeParts]):
    """What fills and marks the form."""

    @spoken("notice")
    def open(self) -> Updates:
        """The page opens: the first preset's values."""
        p = self.parts
        preset = presets.find(p.preset.value or "", None)
        off = people.read_only()
        notice = "Jobs are off on this page: look around, and run your own copy to start recipes." if off else None
        first = {p.start: gr.update(interactive=not off), p.costs: presets.tabulate(p.goal.value)}
        return self.fill(preset, preset.data) | self.offer(preset, None, None) | first | self.note("off", notice)

    @spoken("notice")
    def look(self, values: Values) -> Updates:
        """A field was changed: say what is wrong there, and nothing where nothing is."""
        contents = values[self.parts.form]
        kind = str(contents.get("kind")) if isinstance(contents, dict) else ""
        if kind not in KINDS:
            return self.nothing(self.parts.notice)
        _, faults = form.check(KINDS[kind], read(contents, kind))
        return self.mark(contents, faults) | self.note("notice", None)

    @spoken("notice")
    def again(self, job_id: str | None, choices: list[Any] | None, profile: gr.OAuthProfile | None) -> Updates:
        """The form filled with an earlier job's recipe, which joins the presets.

        Args:
            job_id: of the job.
            choices: the presets that are offered now, as the dropdown takes them; None for those it was made with.
            profile: whose job it is.
        """
        p, job = self.parts, people.job_of(people.who(profile), job_id)
        preset = presets.find(f"{EARLIER}{job.id}", profile)
        choices = [pair for pair in choices or p.preset.choices or [] if pair[1] != preset.key]
        choices = [*choices, (f"{job.name} (job {job.id})", preset.key)]
        return {
            **self.fill(preset, preset.data),
            **self.offer(preset, None, None),
            p.preset: gr.update(choices=choices, value=preset.key),
            p.choices: choices,
            p.source: sources.OWN,
            p.data: sources.OWN,
            p.task: sources.OWN,
            p.walk: gr.Walkthrough(selected=SETTINGS),
            **self.note("notice", None),
        }

    def fill(self, preset: Preset, data: Mapping[str, Any]) -> Updates:
        """The form of a preset's kind, with these values and no complaints."""
        p, kind, schema = self.parts, preset.kind, preset.schema
        contents = {"kind": kind, "stamp": time.time_ns() // 1000, "values": form.spread(schema, data), "faults": {}}
        update = gr.update(value=contents, groups=form.outline(kind, schema))
        return {p.form: update, p.about: escape(presets.about(preset))} | self.note("faults", None)

    def offer(self, preset: Preset, task: str | None, chosen: str | None) -> Updates:
        """The checkpoints that a preset takes for a task, to choose among; the one that is chosen stays if it is one.

        Args:
            preset: whose recipe it is.
            task: as the Source step has it.
            chosen: name of the one that is chosen now.
        """
        p, everything = self.parts, checkpoints.every()
        fitting = sources.fitting(preset.data, everything, task or sources.OWN)
        names = [name for _, name in fitting]
        first = chosen if chosen in names else names[0] if names else None
        without = len(everything) - len(fitting)
        told = f"{without} of {len(everything)} are not offered: this recipe cannot take them for this task."
        return {p.zoo: gr.update(choices=fitting, value=first, info=told if without else None)}

    def mark(self, contents: object, faults: Mapping[str, str]) -> Updates:
        """Faults beside their fields; what is mended loses its mark."""
        if not isinstance(contents, dict):
            return self.note("faults", " ".join(faults.values()))
        fields = contents.get("values") or {}
        loose = [f"{key}: {text}" for key, text in faults.items() if key not in fields]
        update = gr.update(value={**contents, "faults": faults})
        return {self.parts.form: update} | self.note("faults", " ".join(loose))


def read(contents: object, kind: str) -> dict[str, Any]:
    """What the form holds as data of a recipe of this kind.

    Raises:
        UserError: it holds nothing yet, or another kind's, or on a Space a path.
    """
    values = contents.get("values") if isinstance(contents, dict) and contents.get("kind") == kind else None
    if not isinstance(values, dict):
        raise UserError("The form is still being filled. Try again in a moment.")
    data = form.collect(KINDS[kind], values)
    guard(KINDS[kind], data)  # before it is checked, which may look at files that it names
    return data


def guard(schema: type[BaseModel], data: Mapping[str, Any]) -> None:
    """On a Space a recipe names no folder of the host; raises UserError where it does."""
    if get_settings().on_space:
        refuse_paths(schema, data, uploads.folder(people.present().name))
