"""Events of the Compress tab: from a source and a preset to a checked recipe and a job."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import gradio as gr
from pydantic import BaseModel

from compress.data import uploads
from compress.jobs import jobs
from compress.jobs.launchers import launcher_of
from compress.recipe.kind import missing
from compress.recipe.load import dump, expanded, load, shipped
from ui import people
from ui.compress import form, sources
from ui.compress.parts import about, kinds
from ui.events import Speaker, Updates, explain, spoken
from ui.jobs import views as jobviews
from ui.text import escape
from zoo.errors import UserError
from zoo.settings import get_settings

if TYPE_CHECKING:
    from ui.compress.parts import ComposeParts

EARLIER = "job:"  # begins the name of a base that is an earlier job's recipe
SOURCE, RECIPE, CHECK, START = 1, 2, 3, 4  # the steps of the walkthrough


class Composing(Speaker):
    """The form is the truth: the Source step writes into it, and everything after reads it.

    `held` is always what the browser says that the form holds: `{"kind": …, "stamp": …, "values": {key: raw}}`.
    """

    parts: ComposeParts

    @spoken("notice")
    def open(self) -> Updates:
        """The page opens: the first preset's values."""
        p = self.parts
        updates = self._fill(p.preset.value or "", self._base(p.preset.value or "", None))
        off = people.read_only()
        told = "Jobs are off on this page: look around, and run your own copy to start recipes." if off else None
        return updates | {p.start: gr.update(interactive=not off)} | self.note("off", told)

    def show_source(self, source: str, data: str) -> Updates:
        """Only the boxes that the choice needs."""
        p = self.parts
        return {
            p.zoo: gr.update(visible=source == sources.ZOO),
            p.other: gr.update(
                visible=source in (sources.HUB, sources.FOLDER),
                label="Hub id (owner/name)" if source == sources.HUB else "Folder with safetensors and config.json",
            ),
            p.hub_data: gr.update(visible=data == sources.HUB),
            p.file_box: gr.update(visible=data == sources.FILE),
        }

    def upload(self, path: str | None, task: str, preset: str, profile: gr.OAuthProfile | None) -> Updates:
        """A file was given (gradio has checked that it was uploaded), or is for another task: read it through and keep
        it. Without one, say what it has to hold."""
        p = self.parts
        try:
            if task == sources.OWN:
                task = self._base(preset, profile)["dataset"]["task"]
            if not path:
                return {p.uploaded: None, p.upload_note: escape(uploads.wanted(task))}
            people.must_start(people.who(profile))
            found = uploads.accept(path, task=task)
        except Exception as error:
            return {p.uploaded: None, p.upload_note: f"✗ {escape(explain(error))}"}
        parts = {role: str(at) for role, at in found.parts.items()}
        kept = {"task": found.task, "parts": parts, "impossible": found.impossible}
        return {p.uploaded: kept, p.upload_note: escape(" ".join(["✓", found.told, *found.notices]))}

    @spoken("notice")
    def take_source(
        self,
        preset: str,
        source: str,
        zoo: str | None,
        other: str | None,
        data: str,
        hub_data: str | None,
        uploaded: dict | None,
        task: str | None,
        held: Any,
        profile: gr.OAuthProfile | None,
    ) -> Updates:
        """Source -> recipe: what was picked goes into the form."""
        base = self._base(preset, profile)
        picked = _picked(base, source, zoo, other, data, hub_data, uploaded, task)
        now = sources.apply(kinds()[base["kind"]], _read(held, base["kind"]), picked)
        return self._fill(preset, now) | self._step(RECIPE) | self.note("notice", None)

    @spoken("notice")
    def take_preset(
        self,
        preset: str,
        source: str,
        zoo: str | None,
        other: str | None,
        data: str,
        hub_data: str | None,
        uploaded: dict | None,
        task: str | None,
        profile: gr.OAuthProfile | None,
    ) -> Updates:
        """Another preset: its values, with the source that was picked."""
        base = self._base(preset, profile)
        picked = _picked(base, source, zoo, other, data, hub_data, uploaded, task)
        now = sources.apply(kinds()[base["kind"]], base, picked)
        return self._fill(preset, now) | self.note("notice", None)

    @spoken("notice")
    def look(self, held: Any) -> Updates:
        """A field was changed: say what is wrong there, and nothing where nothing is."""
        kind = str(held.get("kind")) if isinstance(held, dict) else ""
        if kind not in kinds():
            return self.nothing(self.parts.notice)
        _, faults = form.check(kinds()[kind], _read(held, kind))
        return self._mark(held, faults) | self.note("notice", None)

    @spoken("notice")
    def check(self, preset: str, held: Any, profile: gr.OAuthProfile | None) -> Updates:
        """Recipe -> check: what it will take, its YAML, and the command that does the same."""
        p, base = self.parts, self._base(preset, profile)
        recipe, faults = form.check(kinds()[base["kind"]], _read(held, base["kind"]))
        marked = self._mark(held, faults)
        if faults:
            named = ", ".join(key.replace("_", " ").replace(".", " · ") for key in faults)
            return marked | self.note("notice", f"Some values cannot be used yet: {named}.")
        try:
            _guard(type(recipe), recipe.model_dump(mode="json"))
            expanded(recipe)
            estimate, told = jobviews.describe_estimate(jobs.estimate(recipe)), missing(recipe)
        except UserError as error:
            estimate, told = "", str(error)
        return {
            **marked,
            p.estimate: estimate,
            p.yaml: dump(recipe),
            p.command: self._command(preset, base, recipe, "", "local"),
            p.name: self._name(preset, profile),
            **self._step(CHECK),
            **self.note("notice", told),
        }

    @spoken("notice")
    def start(
        self,
        preset: str,
        name: str | None,
        launcher: str | None,
        held: Any,
        profile: gr.OAuthProfile | None,
    ) -> Updates:
        """Start: the job is queued, and the Jobs tab shows it."""
        person = people.who(profile)
        people.must_start(person)
        kind = self._base(preset, profile)["kind"]
        recipe, faults = form.check(kinds()[kind], _read(held, kind))
        if faults:
            raise UserError("Some values cannot be used yet: go back to the recipe. " + " ".join(faults.values()))
        _guard(type(recipe), recipe.model_dump(mode="json"))
        called = (name or "").strip() or self._name(preset, profile)
        job = jobs.submit(recipe, name=called, owner=person.name, launcher=launcher or "local")
        p = self.parts
        return {p.started: job.id, **self._step(SOURCE), **self.note("notice", None)}

    @spoken("notice")
    def again(self, job_id: str | None, choices: list | None, profile: gr.OAuthProfile | None) -> Updates:
        """The form filled with an earlier job's recipe."""
        job = people.job_of(people.who(profile), job_id)
        preset, p = f"{EARLIER}{job.id}", self.parts
        choices = [pair for pair in choices or p.preset.choices or [] if pair[1] != preset]
        choices = [*choices, (f"{job.name} (job {job.id})", preset)]
        return {
            **self._fill(preset, self._base(preset, profile)),
            p.preset: gr.update(choices=choices, value=preset),
            p.choices: choices,
            p.source: sources.OWN,
            p.data: sources.OWN,
            p.task: sources.OWN,
            **self._step(RECIPE),
            **self.note("notice", None),
        }

    @spoken("notice")
    def name_it(
        self,
        preset: str,
        name: str | None,
        launcher: str | None,
        held: Any,
        profile: gr.OAuthProfile | None,
    ) -> Updates:
        """Name or launcher changed: so does the command, and what the launcher lacks is told."""
        base = self._base(preset, profile)
        recipe, _ = form.check(kinds()[base["kind"]], _read(held, base["kind"]))
        if recipe is None:
            return self.nothing(self.parts.command)
        called = (name or "").strip()
        called = "" if called == self._name(preset, profile) else called
        line = {self.parts.command: self._command(preset, base, recipe, called, launcher or "local")}
        try:
            launcher_of(launcher or "local").check()
        except UserError as error:
            return line | self.note("notice", str(error))
        return line | self.note("notice", None)

    @staticmethod
    def _command(preset: str, base: dict[str, Any], recipe: Any, name: str, launcher: str) -> str:
        changes = form.changes(base, recipe.model_dump(mode="json"), kinds()[base["kind"]])
        return sources.command(preset.removeprefix(EARLIER), changes, name, launcher)

    @staticmethod
    def _name(preset: str, profile: gr.OAuthProfile | None) -> str:
        """What a job of this preset is called unless the person says otherwise, as on the command line."""
        if preset.startswith(EARLIER):
            return people.job_of(people.who(profile), preset.removeprefix(EARLIER)).name
        return preset

    def _base(self, preset: str, profile: gr.OAuthProfile | None) -> dict[str, Any]:
        """A preset's data. A name from the page only ever reaches shipped recipes and the person's own jobs."""
        if preset.startswith(EARLIER):
            job = people.job_of(people.who(profile), preset.removeprefix(EARLIER))
            return load(job.folder / "recipe.yaml").model_dump(mode="json")
        if preset not in shipped():
            raise UserError(f"There is no recipe {preset[:60]}. Pick one of {', '.join(shipped())}.")
        return load(preset).model_dump(mode="json")

    def _fill(self, preset: str, data: dict[str, Any]) -> Updates:
        """The form of this kind, with these values and no complaints."""
        p, kind = self.parts, data["kind"]
        model = kinds()[kind]
        held = {"kind": kind, "stamp": time.time_ns() // 1000, "values": form.spread(model, data), "faults": {}}
        said = about(preset) if not preset.startswith(EARLIER) else "The recipe of an earlier job."
        shown = gr.update(value=held, groups=form.outline(kind, model))
        return {p.form: shown, p.about: escape(said)} | self.note("faults", None)

    def _mark(self, held: Any, faults: dict[str, str]) -> Updates:
        """Faults beside their fields; what is mended loses its mark."""
        if not isinstance(held, dict):
            return self.note("faults", " ".join(faults.values()))
        known = held.get("values") or {}
        loose = [f"{key}: {text}" for key, text in faults.items() if key not in known]
        return {self.parts.form: gr.update(value={**held, "faults": faults})} | self.note("faults", " ".join(loose))

    def _step(self, number: int) -> Updates:
        return {self.parts.walk: gr.Walkthrough(selected=number)}


def _read(held: Any, kind: str) -> dict[str, Any]:
    """What the form holds as data of a recipe of this kind.

    Raises:
        UserError: it holds nothing yet, or another kind's, or on a Space a path.
    """
    values = held.get("values") if isinstance(held, dict) and held.get("kind") == kind else None
    if not isinstance(values, dict):
        raise UserError("The form is still being filled. Try again in a moment.")
    data = form.collect(kinds()[kind], values)
    _guard(kinds()[kind], data)  # before it is checked, which may look at files that it names
    return data


def _guard(model: type[BaseModel], data: dict[str, Any]) -> None:
    """On a Space a recipe names no folder of the host; raises UserError where it does."""
    if get_settings().on_space:
        sources.refuse_paths(model, data, str(uploads.folder()))


def _picked(
    base: dict[str, Any],
    source: str,
    zoo: str | None,
    other: str | None,
    data: str,
    hub_data: str | None,
    uploaded: dict | None,
    task: str | None,
) -> dict[str, Any]:
    """What the first step's fields change in a recipe."""
    name = (zoo if source == sources.ZOO else other) or ""
    return sources.pick(base, source, name, data, hub_data or "", uploaded, task or sources.OWN)
