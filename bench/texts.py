"""Plain text for a sentence encoder to learn from: sentences, questions and passages of the data at hand."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from zoo.errors import UserError
from zoo.files import write_text
from zoo.settings import get_settings

app = typer.Typer()

# Sets of GLUE and their columns. QQP is left out, by whose terms no model may be published, and QNLI, whose texts are
# SQuAD's; STS-B is what encoders are measured on.
GLUE = {
    "mnli": ("premise", "hypothesis"),
    "mrpc": ("sentence1", "sentence2"),
    "rte": ("sentence1", "sentence2"),
    "cola": ("sentence",),
    "sst2": ("sentence",),
}
MEASURED = "stsb"
QUESTIONS = ("train.json", "squad_train_rest.json")
PASSAGES = ("contexts.txt", "squad_train_contexts.txt")
SHORTEST, LONGEST = 15, 500  # characters of a sentence; phrases of SST-2 are often shorter
SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z\"])")
SHARES = {"sst2": 6_000, "sentences": 30_000, "questions": 25_000, "passages": 3_000}  # of others all are taken


def texts(data: Path, seed: int = 0) -> list[str]:
    """Texts of a folder as `../shared/data` has it, each once, in random order, without those of STS-B.

    Raises:
        UserError: there is none.
    """
    chance = random.Random(seed)
    groups = {name: _of_glue(data, name) for name in GLUE}
    passages = {" ".join(line.split()) for name in PASSAGES for line in _lines(data / "text" / name)}
    groups["passages"] = passages
    groups["sentences"] = {
        sentence for passage in passages for sentence in SENTENCE_END.split(passage) if _is_sentence(sentence)
    }
    groups["questions"] = {question for name in QUESTIONS for question in _questions(data / "qa" / name)}
    measured = _of_glue(data, MEASURED)
    chosen = set[str]()
    for name, group in groups.items():
        rest = sorted(group - measured - {""})
        chosen.update(chance.sample(rest, min(len(rest), SHARES.get(name, len(rest)))))
    if not chosen:
        raise UserError(f"{data} holds no texts of GLUE, SQuAD or text/: set BUDGET_ZOO_DATA to a folder that does.")
    return chance.sample(sorted(chosen), len(chosen))


def _of_glue(data: Path, name: str) -> set[str]:
    """All training texts of a set; of STS-B those that it is measured on, too."""
    columns = GLUE.get(name, ("sentence1", "sentence2"))
    parts = ("validation*", "train*") if name == MEASURED else ("train*",)
    rows = (json.loads(line) for part in parts for path in _files(data / "glue" / name, part) for line in _lines(path))
    return {" ".join(str(row[column]).split())[:LONGEST] for row in rows for column in columns}


def _files(folder: Path, part: str) -> list[Path]:
    return sorted(folder.glob(f"{part}.jsonl"))


def _lines(path: Path) -> Iterator[str]:
    if path.is_file():
        with path.open(encoding="utf-8") as file:
            yield from (line for line in file if line.strip())


def _questions(path: Path) -> Iterator[str]:
    stated: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {"data": []}
    for article in stated["data"]:
        for paragraph in article["paragraphs"]:
            yield from (" ".join(one["question"].split()) for one in paragraph["qas"])


def _is_sentence(text: str) -> bool:
    return SHORTEST < len(text) < LONGEST


@app.command("texts")
def command(
    folder: Annotated[Path, typer.Argument(help="for lines.txt, a text a line")],
    seed: Annotated[int, typer.Option(metavar="S", help="draws the texts and their order")] = 0,
) -> None:
    """Writes texts for a sentence encoder to learn from, of BUDGET_ZOO_DATA, without those that it is measured on."""
    data = get_settings().data
    if data is None:
        raise UserError("BUDGET_ZOO_DATA is needed: set it to the folder that holds your data.")
    lines = texts(data, seed)
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "lines.txt", "\n".join(lines) + "\n")
    typer.echo(f"{len(lines):,} texts, {sum(map(len, lines)) / len(lines):.0f} characters each, in {folder}/lines.txt")
