"""What a recipe will take of time, memory and disk: from an earlier job of the same, else from its arithmetic."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, TypedDict

import numpy as np

from compress.data.intake import Intake
from compress.data.names import HELD_OUT, HELD_PART, OWN
from compress.data.own_texts import settled
from compress.data.pairs import load_pairs
from compress.data.queries import load_queries
from compress.data.squad import BUNDLED, load_squad
from compress.data.tagged import identity, load_sentences
from compress.data.texts import labels_in, load_texts
from compress.jobs.ledger import Job, get_ledger
from compress.recipe.groups import Dataset, Learning, Questions, Reading
from compress.recipe.kind import Kind
from compress.recipe.load import load
from compress.recipe.work import Size, Uncounted
from zoo.catalog import folder_here
from zoo.checkpoints import normalized, read_config
from zoo.errors import UserError
from zoo.lengths import Shape, macs
from zoo.settings import get_settings
from zoo.tasks import EMBEDDINGS, RANKING, TEXTS, TOKENS, Task, find_task

GIB = 2**30
HEADS = 12  # of a model that is not here yet
CHARACTERS = 4.3  # of English a token
UNKNOWN_PARAMETERS = 110_000_000  # of a model that is not here yet: BERT-base's
UNKNOWN = Size(12, HEADS, 12 * 14_000)
ANY_SHAPE = Shape(12, 768, 3072)  # where only the data are looked at
STARTING_MINUTES = 0.4  # imports, reading, writing
Pairs = tuple[tuple[str, str], ...]
How = tuple[bool, Pairs, Pairs]  # see `_how`
AS_IT_IS: How = (False, (), ())


class Estimate(TypedDict):
    """What a recipe will take; `minutes` is None where it cannot be told, `basis` says what it was worked out from."""

    minutes: float | None
    memory_gib: float
    disk_gib: float
    basis: str


@dataclass(frozen=True)
class Counts:
    """A recipe's model and data in numbers; see `compress.recipe.work.Counts`."""

    shape: Shape
    dataset: Dataset | Questions
    reading: Reading | Learning

    def passes(self, part: str, limit: int | None = None) -> float:
        """Products of a forward pass over a part of the data, or over so many examples of it."""
        data, reading = self.dataset, self.reading
        if not data.type.has_articles:
            count, tokens = _texts(data, part, reading.max_length)
            return macs(self.shape, tokens) * min(limit or count, count)
        windows, tokens, questions = _windows(data, part, reading)
        return macs(self.shape, tokens) * windows * min(1.0, limit / questions if limit else 1.0)


def estimate(recipe: Kind) -> Estimate:
    """What a recipe will take on this machine, as busy as it is now."""
    config = _config(recipe.model)
    shape = Shape.from_config(config) if config else None
    parameters = _parameters(shape, config) if shape and config else UNKNOWN_PARAMETERS
    size = _size(shape, config) if shape and config else UNKNOWN
    memory, disk = round(_memory(recipe, parameters, size), 1), round(_disk(recipe, parameters), 1)

    def answer(basis: str, minutes: float | None = None) -> Estimate:
        return {"minutes": minutes, "memory_gib": memory, "disk_gib": disk, "basis": basis}

    if job := _same(recipe):
        minutes = round(((job.ended or 0) - (job.started or 0)) / 60, 1)
        return answer(f"job {job.id} of the same recipe took so long on this machine", minutes)
    if shape is None:
        return answer("the model's size is not known before it is downloaded: memory as for BERT-base")
    try:
        work = recipe.work(Counts(shape, recipe.dataset, recipe.reading))
    except UserError as error:
        return answer(f"the data cannot be counted: {error}")
    except Uncounted:
        return answer("the data are not known before they are downloaded")
    speed = _speed(int(time.monotonic() // 600))
    minutes = STARTING_MINUTES + sum(min(cost / speed / 60, cap or float("inf")) for cost, cap in work)
    basis = f"its arithmetic at {speed / 1e9:.0f} billion products a second, measured just now; rough"
    return answer(basis, round(minutes, 1))


def in_words(estimate: Estimate) -> str:
    """An estimate in a line: time, memory and disk."""
    minutes = estimate["minutes"]
    took = "a time that is not known before" if minutes is None else f"about {duration(60 * minutes)}"
    return f"{took}, {estimate['memory_gib']:.1f} GiB of memory and {estimate['disk_gib']:.1f} GiB of disk"


def duration(seconds: float | None) -> str:
    """For example `45 s`, `12 min` or `3 h 05 min`."""
    if seconds is None:
        return ""
    seconds = max(0, round(seconds))
    if seconds < 90:
        return f"{seconds} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"


def check_data(recipe: Kind) -> None:
    """Reads what the recipe learns from and reports on, as far as that is on this machine, as its stages will.

    Raises:
        UserError: the data are not what the recipe's task takes; the message says what is wrong with them.
    """
    with suppress(Uncounted):  # what is elsewhere is told about when it comes
        recipe.work(Counts(ANY_SHAPE, recipe.dataset, recipe.reading))


def _windows(data: Dataset | Questions, part: str, reading: Reading | Learning) -> tuple[float, int, int]:
    """Windows, tokens of one and questions of a data set that is on this machine; raises Uncounted for another."""
    source = getattr(data, part)
    titles = data.titles if part == "train" else getattr(data, f"{part}_titles")
    path = Path(source.replace("${BUDGET_ZOO_DATA}", str(_data()))).expanduser()
    if source != BUNDLED and not path.is_file():
        raise Uncounted(source)
    stamp = 0 if source == BUNDLED else path.stat().st_mtime_ns
    asked = (source if source == BUNDLED else str(path), stamp, tuple(titles or ()))
    return _counted(*asked, reading.max_length, reading.stride, _how(data))


@lru_cache(maxsize=16)
def _counted(
    source: str, stamp: int, titles: tuple[str, ...], length: int, stride: int, how: How
) -> tuple[float, int, int]:
    examples = load_squad(source, titles=titles or None, intake=_intake(how))
    windows = tokens = 0.0
    for example in examples:
        whole = (len(example.question) + len(example.context)) / CHARACTERS + 3
        count = 1 if whole <= length else 1 + (whole - length) / max(1, length - stride - len(example.question) / 4)
        windows += count
        tokens += min(whole, length) * count
    return windows, max(2, round(tokens / windows)), len(examples)


def _texts(data: Dataset | Questions, part: str, length: int) -> tuple[int, int]:
    """Texts of a data set that is on this machine, and tokens of one; raises Uncounted for another."""
    source, share = getattr(data, part), 1
    if source == HELD_OUT:
        source, share, part = data.train, HELD_PART, "train"
    path = Path(source.replace("${BUDGET_ZOO_DATA}", str(_data()))).expanduser()
    if source == OWN or not path.exists():
        raise Uncounted(source)
    count, tokens = _counted_texts(data.task, str(path), part, length, _how(data))
    return max(1, count // share), tokens


@lru_cache(maxsize=16)
def _counted_texts(task: str, source: str, part: str, length: int, how: How = AS_IT_IS) -> tuple[int, int]:
    row = find_task(task)
    if row.noun not in SIZES:
        raise Uncounted(source)
    sizes = SIZES[row.noun](row, source, row.split(part), _intake(how))
    tokens = sum(min(length, size / CHARACTERS + 3) for size in sizes)
    return len(sizes), max(2, round(tokens / len(sizes)))


def _how(data: Dataset | Questions) -> How:
    """How a recipe's data are read: whether wrong lines are left out, and what columns and labels are called."""
    return data.skip, tuple(sorted(data.columns.items())), tuple(sorted(data.label_values.items()))


def _intake(how: How) -> Intake:
    skip, columns, values = how
    return Intake(skip=skip, columns=dict(columns), values=dict(values))


def _sizes_of_texts(task: Task, source: str, split: str, intake: Intake) -> list[int]:
    if task.is_open:
        task = settled(task, intake.columns)
        task = task.with_labels(labels_in(task, source, split, intake), task.columns)
    return [len(e.first) + len(e.second or "") for e in load_texts(task, source, split, intake)]


def _sizes_of_sentences(task: Task, source: str, split: str, intake: Intake) -> list[int]:
    return [len(identity(e)) for e in load_sentences(task, source, split, intake)]


def _sizes_of_pairs(task: Task, source: str, split: str, intake: Intake) -> list[int]:
    texts = load_pairs(task, source, split, intake)
    return [len(text) for e in texts for text in (e.first, e.second) if text]


def _sizes_of_searches(_task: Task, source: str, split: str, intake: Intake) -> list[int]:
    queries = load_queries(source, split, intake)
    return [len(text) for text in {text for e in queries for text in (e.query, *e.passages)}]


def _sizes_of_queries(_task: Task, source: str, split: str, intake: Intake) -> list[int]:
    queries = load_queries(source, split, intake)
    return [len(e.query) + len(passage) for e in queries for passage in e.passages]


SIZES = {
    TEXTS.noun: _sizes_of_texts,
    TOKENS.noun: _sizes_of_sentences,
    EMBEDDINGS.noun: _sizes_of_pairs,
    find_task("search").noun: _sizes_of_searches,
    RANKING.noun: _sizes_of_queries,
}  # characters of each window, by what the examples of a task are called


@lru_cache(maxsize=1)
def _speed(_now: int) -> float:
    """Products a second of a float32 matrix product on this machine, measured for a twentieth of a second."""
    a = np.ones((512, 512), np.float32)
    np.matmul(a, a)
    count, began = 0, time.perf_counter()
    while time.perf_counter() - began < 0.05:
        np.matmul(a, a)
        count += 1
    return count * 512**3 / (time.perf_counter() - began)


def _config(model: str) -> dict[str, Any] | None:
    """`config.json` of a model that is on this machine."""
    folder = folder_here(model.replace("${BUDGET_ZOO_DATA}", str(_data())))
    return read_config(folder) if folder else None


def _data() -> Path | str:
    return get_settings().data or "${BUDGET_ZOO_DATA}"


def _parameters(shape: Shape, config: dict[str, Any]) -> int:
    words = config.get("vocab_size", 30_522) + config.get("max_position_embeddings", 512)
    return words * shape.hidden + shape.layers * (4 * shape.hidden**2 + 2 * shape.hidden * shape.intermediate)


def _size(shape: Shape, config: dict[str, Any]) -> Size:
    heads = normalized(config).get("num_attention_heads", HEADS)
    return Size(shape.layers, heads, shape.layers * (10 * shape.hidden + 2 * shape.intermediate))


def _memory(recipe: Kind, parameters: int, size: Size) -> float:
    """GiB: the program, then weights, gradients and AdamW's two moments, then what the backward pass keeps."""
    if not recipe.trains:
        return 0.9 + 4 * 3 * parameters / GIB
    return 1.2 + 4 * (4 * parameters + recipe.kept(size)) / GIB


def disk_gib(recipe: Kind) -> float:
    """GiB that the recipe will write: checkpoints with their optimizer, the stages' outcomes, the packaged entries."""
    config = _config(recipe.model)
    return _disk(recipe, _parameters(Shape.from_config(config), config) if config else UNKNOWN_PARAMETERS)


def _disk(recipe: Kind, parameters: int) -> float:
    copies = 20 if recipe.trains else 3
    return 0.05 + 4 * copies * parameters / GIB


def _same(recipe: Kind) -> Job | None:
    """The newest job that ran the same recipe to its end in one go; its name and title do not matter."""

    def settings(one: Kind) -> dict[str, Any]:
        return one.model_dump(exclude={"package"})

    ended = ("done", "ready to publish", "published")
    alike = [
        job
        for job in get_ledger().jobs()
        if job.state in ended
        and (job.kind, job.model) == (recipe.kind, recipe.model)
        and job.attempt == job.starts == 1
    ]
    for job in alike[:20]:
        try:
            if settings(load(job.folder)) == settings(recipe):
                return job
        except UserError:
            continue  # of another version of this program
    return None
