"""SQuAD-format questions: from a file, from the Hub, or the bundled ones."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from zoo.catalog import MODELS
from zoo.errors import UserError
from zoo.files import read_json
from zoo.safety import check_repo_id

BUNDLED = "examples"  # names the questions that ship with the program


@dataclass(frozen=True)
class Example:
    """A question about a passage; `answers` are `{"text", "answer_start"}`, none where it is `impossible` to answer."""

    id: str
    question: str
    context: str
    answers: list[dict[str, Any]] = field(default_factory=list)
    title: str = ""
    impossible: bool = False


def load_squad(source: str | Path, split: str = "train", titles: Sequence[str] | None = None) -> list[Example]:
    """Reads questions and checks that every answer stands where it is said to stand.

    Args:
        source: a SQuAD-format JSON file (v1.1 or v2.0), a Hub id such as `rajpurkar/squad`, with `:split` behind it
            where another than `split` is meant, or `examples` for the bundled questions.
        split: of a Hub data set.
        titles: glob patterns; only articles whose title fits one are taken.

    Returns:
        Examples in the order of the source.

    Raises:
        UserError: not found, no network, not in SQuAD format (the message names the place), or nothing is left.
    """
    text, path = str(source), Path(source).expanduser()
    if text == BUNDLED:
        rows = _from_file(MODELS / "examples.json")
    elif path.is_file() or path.suffix == ".json" or path.is_absolute():
        rows = _from_file(path)
    else:
        name, _, stated = text.partition(":")
        rows = _from_hub(name, stated or split)
    examples = [e for e in rows if not titles or any(fnmatchcase(e.title, pattern) for pattern in titles)]
    if not examples:
        chosen = f" in articles titled {' or '.join(titles)}" if titles else ""
        raise UserError(f"{source} has no questions{chosen}. Take other data or other titles.")
    return examples


def fingerprint(examples: Iterable[Example]) -> set[str]:
    """What identifies the passages: 12 hexadecimal digits of each one's SHA-1, blanks made alike."""
    contexts = {example.context for example in examples}
    return {hashlib.sha1(" ".join(context.split()).encode()).hexdigest()[:12] for context in contexts}


def _from_file(path: Path) -> Iterator[Example]:
    data = read_json(path)
    articles = _get(data, "data", list, str(path))
    for i, article in enumerate(articles):
        at = f"{path}: data[{i}]"
        title = article.get("title") if isinstance(article, dict) else None
        for j, paragraph in enumerate(_get(article, "paragraphs", list, at)):
            here = f"{at}.paragraphs[{j}]"
            context = _get(paragraph, "context", str, here)
            for k, qa in enumerate(_get(paragraph, "qas", list, here)):
                place = f"{here}.qas[{k}]"
                answers = [
                    {"text": _get(a, "text", str, spot), "answer_start": _get(a, "answer_start", int, spot)}
                    for m, a in enumerate(_get(qa, "answers", list, place))
                    for spot in [f"{place}.answers[{m}]"]
                ]
                yield _checked(
                    str(_get(qa, "id", (str, int), place)),
                    _get(qa, "question", str, place),
                    context,
                    answers,
                    str(title or ""),
                    place,
                )


def _from_hub(name: str, split: str) -> Iterator[Example]:
    name = check_repo_id(name)
    try:
        import datasets

        rows: Any = datasets.load_dataset(name, split=split)
    except Exception as error:  # the library raises dozens of kinds, for no network, no such name, no such split
        raise UserError(
            f"The data set {name} (split {split}) could not be loaded: {(str(error) or repr(error)).splitlines()[0]}. "
            "Check the name and the network, or give a SQuAD-format .json file."
        ) from error
    for i, row in enumerate(rows):
        place = f"{name}, {split}, row {i}"
        answers = _get(row, "answers", dict, place)
        pairs = zip(_get(answers, "text", list, place), _get(answers, "answer_start", list, place), strict=True)
        texts = [{"text": text, "answer_start": start} for text, start in pairs]
        question, context = _get(row, "question", str, place), _get(row, "context", str, place)
        yield _checked(str(_get(row, "id", (str, int), place)), question, context, texts, row.get("title", ""), place)


def _checked(name: str, question: str, context: str, answers: list[dict[str, Any]], title: str, place: str) -> Example:
    for answer in answers:
        start, text = answer["answer_start"], answer["text"]
        if start < 0 or context[start : start + len(text)] != text:
            raise UserError(
                f"{place}: the answer {text[:60]!r} does not stand at character {start} of the passage. Correct it."
            )
    return Example(name, question, context, answers, title, not answers)


def _get(holder: Any, key: str, kind: type | tuple[type, ...], place: str) -> Any:
    """`holder[key]`, which must be there and of this kind."""
    value = holder.get(key) if isinstance(holder, dict) else None
    if not isinstance(value, kind) or isinstance(value, bool):
        kinds = kind if isinstance(kind, tuple) else (kind,)
        names = {dict: "object", list: "list", str: "text", int: "number"}
        raise UserError(
            f"{place} has no {' or '.join(names[k] for k in kinds)} “{key}”: it is not in SQuAD format. "
            'That is {"data": [{"title", "paragraphs": [{"context", "qas": [{"id", "question", "answers"}]}]}]}.'
        )
    return value
