"""Which column of a person's file is what: drop-downs filled from the file, with what was guessed."""

from __future__ import annotations

from typing import Any, Protocol

import gradio as gr

from compress.data.sheets import Role, Sheet
from ui.compress.parts import ComposeParts
from ui.events import Updates, Values
from ui.widgets import markdown
from zoo.tasks import Task

Table = dict[str, Any]  # of a file: its columns (`keys`), what is asked for (`asked`), and whether `labels` have names
TITLES = {
    "second": "Second text, of pairs",
    "tokens": "Words",
    "ner_tags": "Labels of words",
    "sentence": "Sentence it is of",
    "passages": "Passages, or one passage",
    "relevant": "Relevant: their numbers, or 0 and 1",
    "positive": "Relevant passages",
    "negative": "Other passages",
    "context": "Passage",
    "sentence1": "First text",
    "sentence2": "Second text",
}  # of what a row holds, where its name does not say it


class Mapper(Protocol):
    """Hears which columns are what."""

    def map(self, values: Values, columns: dict[str, str], names: str, profile: gr.OAuthProfile | None) -> Updates: ...


def shown(path: str, task: Task, sheet: Sheet | None) -> Table | None:
    """What the drop-downs show of a file; nothing where it has no columns to tell apart."""
    if sheet is None:
        return None
    keys = [(title, key) for key, title in sheet.keys.items()]
    asked = [_asked(role, task, sheet.guess.get(role.name)) for role in sheet.roles]
    return {"path": path, "keys": keys, "asked": asked, "labels": not task.regression and task.type.has_labels}


def _asked(role: Role, task: Task, guess: str | None) -> dict[str, Any]:
    """A drop-down: its name, its title, what is guessed, and whether it can be left empty or take several columns."""
    title = TITLES.get(role.name, role.name.capitalize())
    if role.name == "label":
        several = "Labels (one column, or several of 0 and 1)"
        title = several if role.several else "How alike they are, or a score" if task.regression else "Label"
    value = [guess] if role.several and guess else guess
    return {"name": role.name, "title": title, "value": value, "optional": role.optional, "several": role.several}


def place_mapping(p: ComposeParts, mapper: Mapper) -> None:
    """Puts the drop-downs below the file's box; they are there only while a file has columns to tell apart."""
    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private", "concurrency_limit": None}
    with p.file_box:

        @gr.render(inputs={p.table}, triggers=[p.table.change], show_progress="hidden")  # pyright: ignore[reportArgumentType] - a set as everywhere
        def boxes(values: Values) -> None:
            table: Table | None = values[p.table]
            if not table:
                return
            markdown("Which column is what, as guessed. Correct it where it is wrong:", elem_classes="quiet")
            with gr.Row(elem_id="column-map"):
                columns = {one["name"]: _drop_down(one, table["keys"]) for one in table["asked"]}
                names = gr.Textbox(
                    label="Names of labels, if the file has codes",
                    placeholder="good=10, bad=1",
                    max_lines=1,
                    max_length=1000,
                    min_width=160,
                    visible=table["labels"],
                    elem_id="label-names",
                )

            def again(values: Values, profile: gr.OAuthProfile | None) -> Updates:
                chosen = {name: _said(values[box]) for name, box in columns.items()}
                return mapper.map(values, chosen, values[names] or "", profile)

            inputs = {*columns.values(), names, p.file, p.task, p.preset, p.skip}
            changed = [*(box.input for box in columns.values()), names.blur]
            gr.on(changed, again, inputs, [p.uploaded, p.upload_note], **quiet)


def _drop_down(one: dict[str, Any], keys: list[tuple[str, str]]) -> gr.Dropdown:
    return gr.Dropdown(
        [*([("none", "")] if one["optional"] else []), *keys],
        value=one["value"] or ("" if one["optional"] else None),
        multiselect=one["several"],
        label=one["title"],
        min_width=120,
        elem_id=f"column-{one['name']}",
    )


def _said(chosen: str | list[str] | None) -> str:
    return ", ".join(chosen) if isinstance(chosen, list) else chosen or ""
