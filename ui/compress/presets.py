"""What a recipe begins with: a shipped one, or that of an earlier job of the person's own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr
from pydantic import BaseModel

from compress.jobs import goals
from compress.jobs.estimate import duration, in_words
from compress.recipe.load import KINDS, load, shipped
from ui import people
from ui.text import escape
from zoo.errors import UserError

EARLIER = "job:"  # begins the key of a preset that is an earlier job's recipe


@dataclass(frozen=True)
class Preset:
    """A recipe to begin with.

    Attributes:
        key: what the page calls it.
        base: what the command line calls it.
        name: of a job that is made of it, unless the person says otherwise; as on the command line.
        data: its values.
    """

    key: str
    base: str
    name: str
    data: dict[str, Any]

    @property
    def kind(self) -> str:
        """Of the recipe."""
        return self.data["kind"]

    @property
    def schema(self) -> type[BaseModel]:
        """Of this kind of recipe."""
        return KINDS[self.kind]


def offered(goal: str, first: str = "") -> list[tuple[str, str]]:
    """Presets to pick, what is shown and the key: those for a goal, `first` before them all, then the others'."""
    by_goal = goals.by_goal()
    names = sorted(by_goal.get(goal, ()), key=lambda name: name != first)
    names += [name for other, others in by_goal.items() if other != goal for name in others]
    return [(name.replace("_", " "), name) for name in names]


def find(key: str, profile: gr.OAuthProfile | None) -> Preset:
    """A preset by what the page calls it, which only ever reaches shipped recipes and the person's own jobs.

    Raises:
        UserError: there is none.
    """
    if key.startswith(EARLIER):
        job = people.job_of(people.who(profile), key.removeprefix(EARLIER))
        data = load(job.folder / "recipe.yaml").model_dump(mode="json")
        return Preset(key, job.id, job.name, data)
    if key not in shipped():
        raise UserError(f"There is no recipe {key[:60]}. Pick one of {', '.join(shipped())}.")
    return Preset(key, key, key, load(key).model_dump(mode="json"))


def about(preset: Preset) -> str:
    """What it does, what it needs, what it takes here and what it lacks, in a few sentences."""
    if preset.key.startswith(EARLIER):
        return "The recipe of an earlier job."
    name, without = preset.key, goals.lacking(preset.key)
    costs = f"Here it takes {in_words(goals.cost(name, goals.now()))}."
    parts = [goals.about(name), goals.needs(name), f"Cannot run here as it is: {without}" if without else costs]
    return " ".join(parts)


def tabulate(goal: str) -> str:
    """The presets for a goal with what each does, needs and takes here, as Markdown."""
    rows = [
        "### All presets for this",
        "",
        "| preset | what it does | what it needs | time here | memory |",
        "|:--|:--|:--|--:|--:|",
    ]
    now = goals.now()
    for name in goals.by_goal().get(goal, ()):
        without, cost = goals.lacking(name), goals.cost(name, now)
        minutes = cost["minutes"]
        took = "not here" if without else "not known" if minutes is None else duration(60 * minutes)
        asks = f"✗ {without}" if without else goals.needs(name)
        cells = (name.replace("_", " "), goals.about(name), asks, took, f"{cost['memory_gib']:.1f} GiB")
        rows.append(f"| {' | '.join(map(escape, cells))} |")
    return "\n".join(rows)
