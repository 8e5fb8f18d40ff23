"""Events of the Compress tab: from a source and a preset to a checked recipe and a job."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gradio as gr

from ui import form, jobviews, people, sources
from ui.handlers import Speaker, Updates, explain, spoken
from ui.text import escape
from zoo.errors import UserError
from zoo.settings import get_settings

if TYPE_CHECKING:
    from pydantic import BaseModel

    from ui.compress import ComposeParts

EARLIER = "job:"  # begins the name of a base that is an earlier job's recipe
SOURCE, RECIPE, CHECK, START = 1, 2, 3, 4  # the steps of the walkthrough


def kinds() -> dict[str, type[BaseModel]]:
    """Every kind of recipe, and its model."""
    from compress.recipe import KINDS

    return dict(KINDS)


def about(preset: str) -> str:
    """What a shipped recipe says of itself, in its first lines."""
    from compress.recipe import RECIPES

    lines = (RECIPES / f"{preset}.yaml").read_text(encoding="utf-8").splitlines()
    said = []
    for line in lines:
        if not line.startswith("#"):
            break
        said.append(line.lstrip("# "))
    return said[0] if said else ""


class Composing(Speaker):
    """The form is the truth: the Source step writes into it, and everything after reads it.

    `values` are always the components of all kinds' forms, one after the other, in the order of `kinds()`.
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

    def upload(self, path: str | None, profile: gr.OAuthProfile | None) -> Updates:
        """A file was given (gradio has checked that it was uploaded): read it through and keep it."""
        p = self.parts
        if not path:
            return {p.uploaded: None, p.upload_note: ""}
        try:
            people.must_start(people.who(profile))
            from compress import uploads

            found = uploads.accept(path)
        except Exception as error:
            return {p.uploaded: None, p.upload_note: f"✗ {escape(explain(error))}"}
        sizes = f"{found.questions:,} questions about {found.passages:,} passages"
        without = f", {found.impossible:,} of them without an answer" if found.impossible else ""
        text = f"✓ {sizes}{without}: split by passage into parts to learn from, to choose by and to report on."
        kept = {"parts": {role: str(at) for role, at in found.parts.items()}, "impossible": found.impossible}
        return {p.uploaded: kept, p.upload_note: " ".join([text, *map(escape, found.notices)])}

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
        profile: gr.OAuthProfile | None,
        *values: Any,
    ) -> Updates:
        """Source -> recipe: what was picked goes into the form."""
        base = self._base(preset, profile)
        picked, kind = _picked(base, source, zoo, other, data, hub_data, uploaded), base["kind"]
        now = sources.apply(kinds()[kind], form.collect(kinds()[kind], self._own(kind, values)), picked)
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
        profile: gr.OAuthProfile | None,
    ) -> Updates:
        """Another preset: its values, with the source that was picked."""
        base = self._base(preset, profile)
        picked = _picked(base, source, zoo, other, data, hub_data, uploaded)
        now = sources.apply(kinds()[base["kind"]], base, picked)
        return self._fill(preset, now) | self.note("notice", None)

    @spoken("notice")
    def look(self, preset: str, faulty: list | None, *values: Any) -> Updates:
        """A field was left: say what is wrong there, and nothing where nothing is."""
        kind = self._kind(preset)
        data = form.collect(kinds()[kind], self._own(kind, values))
        _, faults = form.check(kinds()[kind], data)
        return self._mark(kind, faults, faulty) | self.note("notice", None)

    @spoken("notice")
    def check(self, preset: str, faulty: list | None, profile: gr.OAuthProfile | None, *values: Any) -> Updates:
        """Recipe -> check: what it will take, its YAML, and the command that does the same."""
        from compress import jobs
        from compress.recipe import dump, expanded

        p, base = self.parts, self._base(preset, profile)
        kind = base["kind"]
        model = kinds()[kind]
        data = form.collect(model, self._own(kind, values))
        recipe, faults = form.check(model, data)
        marked = self._mark(kind, faults, faulty)
        if faults:
            named = ", ".join(key.replace("_", " ").replace(".", " · ") for key in faults)
            return marked | self.note("notice", f"Some values cannot be used yet: {named}.")
        try:
            self._guard(recipe)
            expanded(recipe)
            estimate, told = jobviews.describe_estimate(jobs.estimate(recipe)), jobs.missing_backend(recipe)
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
        profile: gr.OAuthProfile | None,
        *values: Any,
    ) -> Updates:
        """Start: the job is queued, and the Jobs tab shows it."""
        from compress import jobs

        person = people.who(profile)
        people.must_start(person)
        kind = self._base(preset, profile)["kind"]
        recipe, faults = form.check(kinds()[kind], form.collect(kinds()[kind], self._own(kind, values)))
        if faults:
            raise UserError("Some values cannot be used yet: go back to the recipe. " + " ".join(faults.values()))
        self._guard(recipe)
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
            **self._step(RECIPE),
            **self.note("notice", None),
        }

    @spoken("notice")
    def name_it(
        self,
        preset: str,
        name: str | None,
        launcher: str | None,
        profile: gr.OAuthProfile | None,
        *values: Any,
    ) -> Updates:
        """Name or launcher changed: so does the command, and what the launcher lacks is told."""
        from compress.launchers import launcher_of

        base = self._base(preset, profile)
        model = kinds()[base["kind"]]
        recipe, _ = form.check(model, form.collect(model, self._own(base["kind"], values)))
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
        from compress.recipe import load, shipped

        if preset.startswith(EARLIER):
            job = people.job_of(people.who(profile), preset.removeprefix(EARLIER))
            return load(job.folder / "recipe.yaml").model_dump(mode="json")
        if preset not in shipped():
            raise UserError(f"There is no recipe {preset[:60]}. Pick one of {', '.join(shipped())}.")
        return load(preset).model_dump(mode="json")

    def _kind(self, preset: str) -> str:
        """Which form is shown, from what the page last filled in."""
        from compress import jobs
        from compress.recipe import load, shipped

        if preset in shipped():
            return load(preset).kind
        return jobs.find(preset.removeprefix(EARLIER)).kind

    def _own(self, kind: str, values: tuple[Any, ...]) -> list[Any]:
        """The values of one kind's form."""
        at = 0
        for name, model in kinds().items():
            count = len(form.fields(model))
            if name == kind:
                return list(values[at : at + count])
            at += count
        raise UserError(f"There is no recipe of the kind {kind[:40]}.")

    def _fill(self, preset: str, data: dict[str, Any]) -> Updates:
        """The form of this kind, with these values and no complaints."""
        p, kind = self.parts, data["kind"]
        updates: Updates = {p.columns[name]: gr.update(visible=name == kind) for name in p.columns}
        model = kinds()[kind]
        for field, component, value in zip(form.fields(model), p.forms[kind], form.spread(model, data), strict=True):
            updates[component] = gr.update(value=value, info=field.info, elem_classes=["field"])
        said = about(preset) if not preset.startswith(EARLIER) else "The recipe of an earlier job."
        return updates | {p.about: escape(said), p.faulty: []}

    def _mark(self, kind: str, faults: dict[str, str], before: list | None) -> Updates:
        """Faults beside their fields; what is mended loses its mark."""
        p = self.parts
        updates: Updates = {p.faulty: sorted(faults)}
        for field, component in zip(form.fields(kinds()[kind]), p.forms[kind], strict=True):
            if field.key in faults:
                info, marks = f"✗ {faults[field.key]} — {field.info}", ["field", "fault"]
                updates[component] = gr.update(info=info, elem_classes=marks)
                updates[p.groups[kind][field.group]] = gr.Accordion(open=True)
            elif field.key in (before or ()):
                updates[component] = gr.update(info=field.info, elem_classes=["field"])
        known = {field.key for field in form.fields(kinds()[kind])}
        loose = [f"{key}: {text}" for key, text in faults.items() if key not in known]
        return updates | self.note("faults", " ".join(loose))

    def _step(self, number: int) -> Updates:
        return {self.parts.walk: gr.Walkthrough(selected=number)}

    @staticmethod
    def _guard(recipe: Any) -> None:
        if get_settings().on_space:
            from compress import uploads

            sources.refuse_paths(recipe.model_dump(mode="json"), str(uploads.folder()))


def _picked(
    base: dict[str, Any],
    source: str,
    zoo: str | None,
    other: str | None,
    data: str,
    hub_data: str | None,
    uploaded: dict | None,
) -> dict[str, Any]:
    """What the first step's fields change in a recipe."""
    name = (zoo if source == sources.ZOO else other) or ""
    return sources.pick(base, source, name, data, hub_data or "", uploaded)
