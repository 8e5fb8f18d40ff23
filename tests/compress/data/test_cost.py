"""What a reader of data does grows with its file, not with the square of it, wherever the error stands."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest

from compress.data import pairs, queries, squad, tagged, texts
from compress.data.intake import Intake
from compress.data.word_lines import Lines
from zoo.errors import UserError
from zoo.tasks import find_task

FEW, TIMES = 150, 4
CONTEXT = "The cat sat on the mat."


def calls(work: Callable[[], object]) -> int:
    """How many functions are called, those written in C too; an error that people are meant to read is the end."""
    counter = count()
    sys.setprofile(lambda _frame, event, _arg: next(counter) if event in ("call", "c_call") else None)
    try:
        work()
    except UserError:
        pass
    finally:
        sys.setprofile(None)
    return next(counter)


def flat(number: int) -> str:
    rows = [{"question": f"who {i}?", "context": CONTEXT, "answer": "cat"} for i in range(number)]
    return json.dumps([*rows, {**rows[0], "answer": "dog"}])


def nested(number: int) -> str:
    """As SQuAD has it: an article with one passage, and one of another for each question."""
    qas = [{"id": str(i), "question": f"who {i}?", "answers": [{"text": "cat"}]} for i in range(number)]
    one = [{"title": "a", "paragraphs": [{"context": CONTEXT, "qas": qas}]}]
    many = [{"title": str(i), "paragraphs": [{"context": CONTEXT, "qas": [qa]}]} for i, qa in enumerate(qas)]
    wrong = {"title": "w", "paragraphs": [{"context": CONTEXT, "qas": [{"question": "w?", "answers": ["dog"]}]}]}
    return json.dumps({"data": [*one, *many, wrong]})


def wrong(number: int) -> str:
    return json.dumps({"data": [{"question": "q", "context": CONTEXT, "answer": "dog"}] * number}, indent=1)


def table(number: int) -> str:
    return "question,context,answer\n" + f'who?,"{CONTEXT}",cat\n' * number + 'who?,"The ""cat,dog\n'


def quotes(number: int) -> str:
    """A quote in every line that nothing ends."""
    return "sentence,label\n" + 'it was "good,1\n"bad,0\n' * number


def labelled(number: int) -> str:
    return "".join(json.dumps({"sentence": f"text {i}", "label": i % 2}) + "\n" for i in range(number)) + "{}\n"


def words(number: int) -> str:
    return "The O\ncat B-A\n\n" * number + "The\n"


def chain(number: int) -> str:
    """Each query shares a passage with the next, so that all are one group."""
    rows = [
        {"query": f"q{i}", "passages": [f"p{i + 1}", f"p{i}"], "relevant": [0, 1], "id": str(i)} for i in range(number)
    ]
    return "".join(json.dumps(row) + "\n" for row in rows)


READERS: dict[str, tuple[Callable[[int], str], str, Callable[[Path, Intake], object]]] = {
    "questions": (flat, ".json", lambda path, intake: list(squad.from_file(path, intake))),
    "questions in articles": (nested, ".json", lambda path, intake: list(squad.from_file(path, intake))),
    "wrong questions": (wrong, ".json", lambda path, intake: list(squad.from_file(path, intake))),
    "questions in a table": (table, ".csv", lambda path, intake: list(squad.from_file(path, intake))),
    "texts": (labelled, ".jsonl", lambda path, intake: list(texts.from_file(find_task("sst2"), path, intake))),
    "texts with quotes": (quotes, ".csv", lambda path, intake: list(texts.from_file(find_task("sst2"), path, intake))),
    "words": (words, ".conll", lambda path, intake: list(tagged.from_file(find_task("tokens"), path, intake))),
    "pairs": (
        lambda n: labelled(n).replace("sentence", "sentence1"),
        ".jsonl",
        lambda path, intake: list(pairs.from_file(find_task("embeddings"), path, intake, ".jsonl")),
    ),
    "queries": (chain, ".jsonl", lambda path, intake: queries.groups(queries.from_file(path, intake))),
}


class Piece(list[str]):
    """Words of a line, which know what is copied to put them behind others."""

    copied = 0

    def __radd__(self, before: list[str]) -> list[str]:
        Piece.copied += len(before)
        return [*before, *self]


def test_a_sentence_of_many_lines_is_put_together_without_copies(tmp_path, monkeypatch):
    monkeypatch.setattr(
        Lines, "_pair", lambda _self, line, _read, _wide: (Piece(line.cells[:1]), Piece(line.cells[1:]))
    )
    path = tmp_path / "long.conll"
    path.write_text("cat B-A\n" * FEW, encoding="utf-8")
    (one,) = tagged.from_file(find_task("tokens"), path, Intake())
    assert (one.words, one.tags, Piece.copied) == (("cat",) * FEW, ("B-A",) * FEW, 0)


@pytest.mark.parametrize("skip", [False, True])
@pytest.mark.parametrize("name", READERS)
def test_the_work_grows_with_the_file(tmp_path, name, skip):
    write, suffix, read = READERS[name]
    work = []
    for number in (FEW, TIMES * FEW):
        path = tmp_path / f"{number}{suffix}"
        path.write_text(write(number), encoding="utf-8")
        work.append(calls(lambda path=path: read(path, Intake(path.name, skip=skip, complete=True))))
    assert work[0] > FEW / 2 or not skip, "the reader has read the file"
    assert work[1] < 1.5 * TIMES * work[0]
