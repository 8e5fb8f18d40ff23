"""Events of the Compress tab's last steps: the recipe is checked, named and started as a job."""

from __future__ import annotations

from typing import Any

import gradio as gr
from pydantic import BaseModel

from compress.jobs import jobs, machines
from compress.jobs.estimate import estimate
from compress.jobs.launchers import HUB, is_on_hub, launcher_of
from compress.recipe import heard
from compress.recipe.load import dump, expanded
from ui import people
from ui.compress import form, presets, sources
from ui.compress.filling import Filling, guard, read
from ui.compress.parts import RECIPE, START, ComposeParts
from ui.compress.presets import Preset
from ui.events import Speaker, Updates, Values, spoken
from ui.jobs import views
from zoo.errors import UserError


class Starting(Speaker[ComposeParts]):
    """What becomes of the form; `filling` marks what is wrong in it."""

    def __init__(self, parts: ComposeParts, filling: Filling):
        super().__init__(parts)
        self.filling = filling

    @spoken("notice")
    def check(self, values: Values, profile: gr.OAuthProfile | None) -> Updates:
        """Settings -> start: what it will take or why it cannot run, its YAML, and the command that does the same."""
        p, preset = self.parts, presets.find(values[self.parts.preset], profile)
        recipe, faults = self._recipe(values, preset)
        marks = self.filling.mark(values[p.form], faults)
        if recipe is None:
            fields = ", ".join(key.replace("_", " ").replace(".", " · ") for key in faults)
            return marks | self.note("notice", f"Some values cannot be used yet: {fields}.")
        costs, notice = "", None
        try:
            guard(preset.schema, recipe.model_dump(mode="json"))
            costs = views.describe_estimate(estimate(expanded(recipe)))
            jobs.check(recipe, people.who(profile).name)  # as submitting does
        except UserError as error:
            notice = str(error)
        return {
            **marks,
            p.estimate: costs,
            p.yaml: dump(recipe),
            p.command: _command(preset, recipe, "", "local"),
            p.name: preset.name,
            p.start: gr.update(interactive=notice is None and not people.read_only()),
            p.walk: gr.Walkthrough(selected=START),
            **self.note("notice", notice),
        }

    @spoken("notice")
    def name(self, values: Values, profile: gr.OAuthProfile | None) -> Updates:
        """Name or launcher changed: so does the command, and what the launcher lacks, or costs, is told."""
        p, preset = self.parts, presets.find(values[self.parts.preset], profile)
        recipe, _ = self._recipe(values, preset)
        if recipe is None:
            return self.nothing(p.command)
        name, launcher = (values[p.name] or "").strip(), values[p.launcher] or "local"
        updates: Updates = {
            p.machine: gr.update(visible=False),
            **self.note("price", None),
            **self.note("notice", None),
        }
        try:
            if is_on_hub(launcher):
                shown, launcher = self._machines(values[p.machine])
                updates |= shown
            else:
                launcher_of(launcher).check()
        except UserError as error:
            updates |= self.note("notice", str(error))
        return updates | {p.command: _command(preset, recipe, "" if name == preset.name else name, launcher)}

    def _machines(self, picked: str | None) -> tuple[Updates, str]:
        """The Hub's machines to pick from, the cheapest at first, and what they cost; the picked one's launcher."""
        p, there = self.parts, machines.machines()
        if not there:
            raise UserError("The Hub lends no machines at the moment. Take this machine.")
        chosen = next((each for each in there if each.name == picked), there[0])
        choices = [(f"{each.name}: {each.parts}, {each.price}", each.name) for each in there]
        box = gr.update(choices=choices, value=chosen.name, visible=True)
        return {p.machine: box, **self.note("price", chosen.told())}, f"{HUB}:{chosen.name}"

    @spoken("notice")
    def start(
        self,
        values: Values,
        profile: gr.OAuthProfile | None,
        request: gr.Request | None = None,
        oauth: gr.OAuthToken | None = None,
    ) -> Updates:
        """Start: the job is queued, and the Jobs tab shows it."""
        p, person = self.parts, people.who(profile)
        people.must_start(person)
        preset = presets.find(values[p.preset], profile)
        recipe, faults = self._recipe(values, preset)
        if recipe is None:
            raise UserError("Some values cannot be used yet: go back to the recipe. " + " ".join(faults.values()))
        guard(preset.schema, recipe.model_dump(mode="json"))
        name, launcher = (values[p.name] or "").strip() or preset.name, values[p.launcher] or "local"
        if launcher == HUB:
            launcher = f"{HUB}:{values[p.machine] or ''}"
        token = people.token_of_launcher(launcher, oauth, request)
        job = jobs.submit(recipe, name=name, owner=person.name, launcher=launcher, token=token)
        return {p.started: job.id, p.walk: gr.Walkthrough(selected=RECIPE), **self.note("notice", None)}

    def _recipe(self, values: Values, preset: Preset) -> tuple[Any, dict[str, str]]:
        """What the form holds as a recipe, or None and what is wrong with it."""
        recipe, faults = form.check(preset.schema, read(values[self.parts.form], preset.kind))
        if recipe is None:
            return None, faults
        changed = form.changed(preset.data, recipe.model_dump(mode="json"), preset.schema)
        said = {key for key, value in changed.items() if not sources.is_brought(key, value)}
        return heard.relaxed(recipe, preset.data, said), faults


def _command(preset: Preset, recipe: BaseModel, name: str, launcher: str) -> str:
    """The command line that starts the same job; titles that came with the data and wait are no part of it, since there
    they would have been said."""
    waiting = {key for key in heard.idle(recipe) if sources.is_brought(key, heard.value_of(recipe, key))}
    changes = form.changes(preset.data, recipe.model_dump(mode="json"), preset.schema)
    changes = [change for change in changes if change.partition("=")[0] not in waiting]
    return sources.command(preset.base, changes, name, launcher)
