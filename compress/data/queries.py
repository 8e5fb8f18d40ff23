"""Queries with passages, some of which are relevant: rows of JSON, triples, or questions in SQuAD's format."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from numbers import Real
from pathlib import Path
from typing import Any, NamedTuple

from compress.data import hub_sets, squad
from compress.data.cells import is_number, listed, prose, share
from compress.data.examples import Example, QueryExample
from compress.data.intake import Intake
from compress.data.places import Place, Spot
from compress.data.sheets import Held, Role
from compress.data.squad import BUNDLED, load_squad
from compress.data.tables import Columns, Row, is_table, read_rows, read_text, suffix_of, text_of
from zoo.errors import UserError

NEEDED = (
    "A row holds `query`, `passages` (a list) and `relevant` (their numbers in the list, from 0), or `labels` (for "
    "each passage 0, or how relevant it is); or `query`, `passage` and `label`, 0 where it is not relevant; or "
    "`query`, `positive` and `negative`. Questions in SQuAD's format are queries, too."
)
OTHERS = {
    "query": ("question", "anchor", "sentence1"),
    "passage": ("text", "document", "sentence2"),
    "label": ("score", "relevance", "gold_label"),
    "positive": ("pos", "positives"),
    "negative": ("neg", "negatives"),
    "relevant": ("is_selected", "labels"),
    "passages": (),
    "gains": (),
}
FLAGS = OTHERS["relevant"]  # of a list that says of each passage whether, or how far, it is relevant
COLUMNS = Columns(("query",), OTHERS, NEEDED)
FORMS = ("passages", "passage", "positive")  # columns of which a row has one
OF_SQUAD = ("qas", "paragraphs", "context")
GROUP = "\0"
IDS_OF_ROWS = "Every row has an id of its own: rows with the same query were put together."
MAX_DIGITS = 9  # of the number of a passage


def load_queries(source: str, split: str, intake: Intake) -> list[QueryExample]:
    """Reads queries; rows of one query are put together.

    Args:
        source: a table (see `NEEDED`) or a file in SQuAD's format, a Hub data set, or `examples` for the bundled
            questions.
        split: of a Hub data set whose name does not say one.
        intake: hears what was mended and left out.

    Returns:
        Queries in the order of the source. Those of questions have the passages of their article.

    Raises:
        UserError: not found, a row that is wrong, or no query with a relevant passage.
    """
    intake.name = intake.name or source
    path = Path(source).expanduser()
    is_file = path.is_file() or is_table(path) or path.is_absolute()
    if source == BUNDLED:
        examples = of_questions(load_squad(source, split, intake=intake))
    elif is_file:
        return from_file(path, intake)
    else:
        of_hub = hub_sets.Source.parse(source)
        rows = list(hub_sets.open_set(of_hub, of_hub.split or split).rows)
        if rows and "context" in rows[0].value:
            examples = of_questions(load_squad(source, split, intake=intake))
        else:
            examples = list(from_rows(COLUMNS.rename(rows, intake), intake))
    return _checked(examples, source, intake)


def from_file(path: Path, intake: Intake, suffix: str = "") -> list[QueryExample]:
    """The queries of a file; `suffix` says what it is where its own name does not.

    Raises:
        UserError: as `load_queries`.
    """
    suffix = suffix or suffix_of(path)
    if _is_squad(path, suffix):
        examples = of_questions(list(squad.from_file(path, intake, suffix)))
    else:
        examples = list(from_rows(read_rows(read_text(path, intake), suffix, COLUMNS, intake), intake))
    return _checked(examples, intake.name or str(path), intake)


def roles(held: Held) -> Sequence[Role]:
    """What a row holds, as it is guessed from a file's columns; nothing where these are of questions."""
    if any(key in held for key in OF_SQUAD):
        return ()
    query = Role("query", OTHERS["query"], prose)
    if any(key.lower() in ("positive", *OTHERS["positive"]) for key in held):
        return query, Role("positive", OTHERS["positive"]), Role("negative", OTHERS["negative"], optional=True)
    return (
        query,
        Role("passages", ("passage", *OTHERS["passage"]), _hold_passages),
        Role("relevant", (*OTHERS["relevant"], "label", *OTHERS["label"]), _say_which, optional=True),
    )


def _hold_passages(values: Sequence[Any]) -> float:
    """Lists of texts, else a text."""
    lists = [listed(value) for value in values]
    return max(
        share([bool(one) and all(isinstance(text, str) for text in one or ()) for one in lists]), prose(values) / 2
    )


def _say_which(values: Sequence[Any]) -> float:
    """Lists of numbers, else numbers."""
    lists = [listed(value) for value in values]
    of_numbers = [one is not None and all(map(is_number, one)) for one in lists]
    return max(share(of_numbers), share([is_number(value) for value in values]) / 2)


def _checked(examples: list[QueryExample], source: str, intake: Intake) -> list[QueryExample]:
    """Those of the queries that have a relevant passage."""
    without = sum(not e.gains for e in examples)
    if without:
        intake.note(f"{without:,} queries have no relevant passage: they were left out.")
        examples = [e for e in examples if e.gains]
    if not examples:
        raise intake.nothing(f"{source} has no query with a relevant passage. {NEEDED}")
    return examples


class Part(NamedTuple):
    """What a row says of a query: its id, or nothing, its text, some passages with their gains, and whether these are
    all that it has."""

    name: str
    query: str
    gains: dict[str, float]
    is_whole: bool


def from_rows(rows: Iterable[Row], intake: Intake) -> Iterator[QueryExample]:
    """The queries of rows; those of one query are put together, in the order in which it first came."""
    parts = list(intake.each(rows, _part))
    by_text = _are_ids_of_rows(parts)
    if by_text:
        intake.note(IDS_OF_ROWS)
    queries: dict[str, tuple[str, str, dict[str, float]]] = {}
    for name, query, gains, is_whole in parts:
        key = GROUP + query if not name or (by_text and not is_whole) else name
        _, _, all_gains = queries.setdefault(key, (name or f"q{len(queries)}", query, {}))
        for passage, gain in gains.items():
            all_gains[passage] = max(gain, all_gains.get(passage, 0.0))
    for name, query, gains in queries.values():
        yield QueryExample(name, query, tuple(gains), {i: gain for i, gain in enumerate(gains.values()) if gain})


def _are_ids_of_rows(parts: Iterable[Part]) -> bool:
    """Whether ids number the rows, a few of which make up a query: none comes twice, though queries do."""
    some = [part for part in parts if part.name and not part.is_whole]
    return len({part.query for part in some}) < len(some) == len({part.name for part in some})


def of_questions(questions: Sequence[Example]) -> list[QueryExample]:
    """Questions that have an answer as queries, among the passages of their article; without titles among all."""
    articles: dict[str, dict[str, int]] = {}
    for one in questions:
        places = articles.setdefault(one.title, {})
        places.setdefault(one.context, len(places))
    passages = {title: tuple(places) for title, places in articles.items()}
    return [
        QueryExample(
            one.id,
            one.question,
            passages[one.title],
            {articles[one.title][one.context]: 1.0},
        )
        for one in questions
        if one.answers
    ]


def in_one_corpus(examples: Sequence[QueryExample]) -> list[QueryExample]:
    """The same queries, each among all passages of all of them."""
    places: dict[str, int] = {}
    for passage in (passage for one in examples for passage in one.passages):
        places.setdefault(passage, len(places))
    corpus = tuple(places)
    return [
        replace(one, passages=corpus, gains={places[one.passages[i]]: gain for i, gain in one.gains.items()})
        for one in examples
    ]


def groups(examples: Sequence[QueryExample]) -> dict[str, str]:
    """By each query's id a name for all that share relevant passages with it, directly or by way of others."""
    first: dict[str, str] = {}

    def root(passage: str) -> str:
        way = list[str]()
        while first.setdefault(passage, passage) != passage:
            way.append(passage)
            passage = first[passage]
        first.update(dict.fromkeys(way, passage))  # so that no way is gone twice
        return passage

    for one in examples:
        names = [" ".join(one.passages[place].split()) for place in one.gains]
        for other in names[1:]:
            first[root(other)] = root(names[0])
    return {one.id: root(" ".join(one.passages[next(iter(one.gains))].split())) for one in examples}


def to_lines(examples: Iterable[QueryExample]) -> str:
    """Queries as JSON lines, as `load_queries` takes them."""
    rows = [
        {
            "id": e.id,
            "query": e.query,
            "passages": e.passages,
            "relevant": list(e.gains),
            "gains": list(e.gains.values()),
        }
        for e in examples
    ]
    return "".join(json.dumps(row) + "\n" for row in rows)


def _part(row: Row) -> Part:
    """What a row says, in whichever form."""
    value, place = row.value, row.place
    query = text_of(value, "query", place, NEEDED)
    name = value.get("id")
    name = str(name).strip() if isinstance(name, str | int) else ""
    form = next((form for form in FORMS if form in value), None)
    if form is None:
        raise UserError(f"{place}: there are no passages. {NEEDED}")
    is_whole = form != "passage" and not isinstance(_cell(value[form]), str)
    if form == "passages" and not is_whole and listed(value.get("relevant")) is None:  # one, and whether it is relevant
        form, value = "passage", {"passage": value[form], "label": value.get("relevant", value.get("label"))}
    return Part(name, query, _GAINS[form](row._replace(value=value)), is_whole)


def _of_list(row: Row) -> dict[str, float]:
    """`passages` and `relevant`; as MS MARCO has it, a table of both."""
    value, place, source = row.value, row.place, row.theirs.get("relevant", "").lower()
    passages: Any = _cell(value["passages"])
    chosen: Any = _cell(value.get("relevant"))
    if isinstance(chosen, str) and chosen.strip().isdecimal() and len(chosen.strip()) <= MAX_DIGITS:
        chosen = int(chosen)
    if isinstance(passages, Mapping):
        if "is_selected" in passages:
            chosen, source = _cell(passages["is_selected"]), "is_selected"
        passages = _cell(passages.get("passage_text"))
    if not isinstance(passages, list) or not passages or not all(isinstance(p, str) and p.strip() for p in passages):
        raise UserError(f"{place}: “passages” is no list of texts. {NEEDED}")
    chosen = [chosen] if isinstance(chosen, int) and not isinstance(chosen, bool) else chosen
    if not isinstance(chosen, list):
        raise UserError(f"{place}: “relevant” is no list of numbers. {NEEDED}")
    flags = _flags(chosen, len(passages), source, place)
    if flags is not None:
        chosen = [number for number, flag in enumerate(flags) if flag]
    gains = _cell(value.get("gains", [flag for flag in flags or [1.0] * len(chosen) if flag]))
    if not (isinstance(gains, list) and len(gains) == len(chosen) and all(_is_gain(gain) for gain in gains)):
        raise UserError(f"{place}: “gains” is no list of numbers above 0, one for each of “relevant”.")
    found = dict.fromkeys(passages, 0.0)
    for number, gain in zip(chosen, gains, strict=True):
        if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number < len(passages):
            raise UserError(
                f"{place}: “relevant” has {str(number)[:20]}, but passages are numbered from 0 to {len(passages) - 1}."
            )
        found[passages[number]] = max(found[passages[number]], float(gain))
    return found


def _flags(values: Sequence[Any], count: int, source: str, place: Place | Spot) -> list[float] | None:
    """How far each of so many passages is relevant, where a column `source` says that of each; None where its values
    are the places of relevant ones."""
    if source not in FLAGS:
        return None
    gains = [gain for value in values if (gain := _gain(value)) is not None]
    if len(gains) == count == len(values):
        return gains
    if source == "is_selected":
        raise UserError(f"{place}: “is_selected” does not have 0 or 1 for each of {count} passages. {NEEDED}")
    return None


def _cell(value: Any) -> Any:
    """What a cell holds, as a list where it is the text of one."""
    entries = listed(value)
    return value if entries is None else entries


def _is_gain(gain: object) -> bool:
    return isinstance(gain, int | float) and not isinstance(gain, bool) and 0 < gain < float("inf")


def _gain(value: object) -> float | None:
    """How far a passage is relevant; None for what is no number from 0 on."""
    try:
        gain = float(value) if isinstance(value, str | Real) else -1.0
    except (ValueError, OverflowError):
        return None
    return gain if 0 <= gain < float("inf") else None


def _of_label(row: Row) -> dict[str, float]:
    """`passage` and `label`."""
    label = row.value.get("label", row.value.get("relevant"))
    gain = _gain(label)
    if gain is None:
        raise UserError(f"{row.place}: the label “{str(label)[:40]}” is no number from 0 on. {NEEDED}")
    return {text_of(row.value, "passage", row.place, NEEDED): gain}


def _of_triple(row: Row) -> dict[str, float]:
    """`positive` and `negative`, a text or a list of them each."""
    place, gains = row.place, dict[str, float]()
    for key, gain in (("negative", 0.0), ("positive", 1.0)):
        texts = _cell(row.value.get(key, []))
        if not isinstance(texts, str | list | tuple):
            raise UserError(f"{place}: “{key}” is neither a text nor a list of texts. {NEEDED}")
        for text in [texts] if isinstance(texts, str) else texts:
            if not isinstance(text, str) or not text.strip():
                raise UserError(f"{place}: “{key}” holds something that is no text. {NEEDED}")
            gains[text] = gain
    return gains


_GAINS = {"passages": _of_list, "passage": _of_label, "positive": _of_triple}


def _is_squad(path: Path, suffix: str) -> bool:
    """Whether a file holds questions with their passages, not queries."""
    intake = Intake(str(path), skip=True)
    rows = read_rows(read_text(path, intake), suffix, Columns((), {}, NEEDED), intake)
    first = next(iter(rows), None)
    return first is not None and isinstance(first.value, dict) and any(key in first.value for key in OF_SQUAD)
