"""What a recipe will take of time, memory and disk: from an earlier job of the same, else from its arithmetic."""

from __future__ import annotations

import time
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from compress.data.names import HELD_OUT, HELD_PART, OWN
from compress.data.squad import BUNDLED, load_squad
from compress.data.tasks import find_task
from compress.data.texts import load_texts
from compress.jobs import ledger
from compress.recipe.load import load
from zoo.catalog import MODELS
from zoo.checkpoints import normalized
from zoo.errors import UserError
from zoo.files import read_json
from zoo.lengths import Shape, macs
from zoo.settings import get_settings

GIB = 2**30
# Shares of a plain float32 matrix product's speed that forward passes in torch, in int8 and training come to, and
# what a forward and backward pass costs in forward passes. Rough: within a factor of two on the machines tried.
TORCH, INT8, TRAINING, BACKWARD = 0.5, 0.75, 0.4, 3
SIMULATED = 2  # passes that one costs in which every tensor is rounded; rougher still
# What a backward pass keeps of a rounded layer's tensors, in those of a float layer, and how many times it keeps the
# scores of all heads where those are rounded, too. Measured with a MiniLM-L6 at 128 and 384 tokens.
ROUNDED, SCORES = 3.5, 7
HEADS = 12  # of a model that is not here yet
CHARACTERS = 4.3  # of English a token
UNKNOWN_PARAMETERS = 110_000_000  # of a model that is not here yet: BERT-base's
STARTING_MINUTES = 0.4  # imports, reading, writing


def estimate(recipe: Any) -> dict[str, Any]:
    """What a recipe will take on this machine, as busy as it is now.

    Returns:
        `minutes` (None where it cannot be told), `memory_gib`, `disk_gib`, and `basis`: what this was worked out from.
    """
    config = _config(recipe.model)
    shape = Shape.from_config(config) if config else None
    parameters = _parameters(shape, config) if shape and config else UNKNOWN_PARAMETERS
    memory, disk = _memory(recipe, parameters, shape, config), _disk(recipe, parameters)
    found: dict[str, Any] = {"minutes": None, "memory_gib": round(memory, 1), "disk_gib": round(disk, 1)}
    if job := _same(recipe):
        minutes = round(((job.ended or 0) - (job.started or 0)) / 60, 1)
        return {**found, "minutes": minutes, "basis": f"job {job.id} of the same recipe took so long on this machine"}
    if shape is None:
        return {**found, "basis": "the model's size is not known before it is downloaded: memory as for BERT-base"}
    try:
        work = _work(recipe, shape)
    except UserError as error:
        return {**found, "basis": f"the data cannot be counted: {error}"}
    if work is None:
        return {**found, "basis": "the data are not known before they are downloaded"}
    speed = _speed(int(time.monotonic() // 600))
    minutes = STARTING_MINUTES + sum(min(cost / speed / 60, cap or float("inf")) for cost, cap in work)
    return {
        **found,
        "minutes": round(minutes, 1),
        "basis": f"its arithmetic at {speed / 1e9:.0f} billion products a second, measured just now; rough",
    }


def _work(recipe: Any, shape: Shape) -> list[tuple[float, float | None]] | None:
    """Products of each stage, at the speed of a matrix product, with the stage's own limit in minutes."""
    data, evaluate = recipe.dataset, recipe.evaluate

    def passes(part: str, limit: int | None = None) -> float | None:
        if data.has_texts:
            counted = _texts(data, part, recipe.reading.max_length)
            return None if counted is None else macs(shape, counted[1]) * min(limit or counted[0], counted[0])
        titles = data.titles if part == "train" else getattr(data, f"{part}_titles")
        counted = _windows(getattr(data, part), tuple(titles or ()), recipe.reading.max_length, recipe.reading.stride)
        if counted is None:
            return None
        windows, tokens, questions = counted
        return macs(shape, tokens) * windows * min(1.0, limit / questions if limit else 1.0)

    if not recipe.trains:
        settings = recipe.quantize
        calibrated = passes("train", settings.calibration_samples) if settings.approach == "static" else 0.0
        reported = passes("evaluation", evaluate.max_questions)
        if calibrated is None or reported is None:
            return None
        return [(2 * calibrated / TORCH, None), (reported * ((1 + recipe.budgets.points) / INT8 + 1 / TORCH), None)]
    learned = passes("train", data.max_train_examples)
    reported = passes("evaluation", evaluate.max_questions)
    if learned is None or reported is None:
        return None
    if recipe.kind in ("train", "prune_once"):
        distill = recipe.distill
        taught = learned * (1 if distill.store_logits else recipe.finetune.epochs) if distill.apply else 0.0
        trainings = [
            (learned * part.epochs * BACKWARD / TRAINING, part.max_minutes)
            for part in _trainings(recipe)
            if getattr(part, "apply", True)
        ]
        if recipe.kind == "prune_once":
            text = recipe.pretrain
            if text.steps is None:
                return None  # how long the text is shows only when it is read
            block = macs(shape, text.block_tokens) * text.batch_size * text.steps
            trainings.append((block * (BACKWARD + (text.teacher_weight + text.hidden_weight > 0)) / TRAINING, None))
        scored = reported * ((1 + recipe.budgets.points) / INT8 + 1 / TORCH)
        return [(taught / TORCH, None), *trainings, (scored, None)]
    if recipe.kind == "aimet_w8a8":
        first, second = recipe.finetune, recipe.aimet
        work = (first.epochs if first.apply else 0.0), (SIMULATED * second.epochs if second.learn else 0.0)
        trained = [learned * epochs * BACKWARD / TRAINING for epochs in work]
        trained[1] += learned * second.epochs / TORCH if recipe.distill.apply and second.learn else 0.0
        scored = reported * (1 / INT8 + (1 + SIMULATED) / TORCH)
        return [(trained[0], first.max_minutes), (trained[1], second.max_minutes), (scored, None)]
    if recipe.kind == "nncf":
        calibrated = passes("train", recipe.nncf.subset_size) or 0.0
        work = []
        for part, simulated in ((recipe.finetune, 1), (recipe.tune, SIMULATED)):
            if part.apply:
                work.append((learned * part.epochs * BACKWARD * simulated / TRAINING, part.max_minutes))
        scored = reported * (2 / INT8 + (1 + SIMULATED) / TORCH)
        taught = learned / TORCH if recipe.distill.apply else 0.0
        return [*work, (2 * SIMULATED * calibrated / TORCH + taught + scored, None)]
    if recipe.kind == "nas":
        searched = passes("validation", recipe.search.max_examples)
        return None if searched is None else _architecture(recipe, shape, learned, searched, reported)
    searched = passes("validation", recipe.search.max_questions)
    if searched is None:
        return None
    first, second, search = recipe.finetune, recipe.length_drop, recipe.search
    tried = search.population + search.iterations * (search.mutations + search.crossovers)
    workers = search.workers if search.objective == "macs" else 1
    return [
        (learned * first.epochs * BACKWARD / TRAINING, first.max_minutes),
        (learned * second.epochs * BACKWARD * (2 + second.num_sandwich) / TRAINING, second.max_minutes),
        (searched * tried / INT8 / workers, None),
        (reported * ((1 + search.points) / INT8 + 1 / TORCH), None),
    ]


def _architecture(
    recipe: Any, shape: Shape, learned: float, searched: float, reported: float
) -> list[tuple[float, float | None]] | None:
    """As `_work`, of an architecture search; a stage that is told in minutes alone has endless products."""
    table, search, supernet, tune = recipe.latency_table, recipe.search, recipe.supernet, recipe.tune
    work: list[tuple[float, float | None]] = []
    if supernet.apply and not supernet.checkpoint:
        if supernet.steps is None and supernet.max_minutes is None:
            return None  # how long the text is shows only when it is read
        block = macs(shape, recipe.generate_data.block_tokens) * supernet.batch_size * (supernet.steps or float("inf"))
        work.append((block * (BACKWARD * (2 + supernet.random_networks) + 1) / TRAINING, supernet.max_minutes))
    if search.scoring == "inside":
        work.append((learned * tune.epochs * BACKWARD * (2 + tune.random_networks) / TRAINING, tune.max_minutes))
    if not table.table:
        work.append((float("inf"), table.rows * len(table.modes) * (table.seconds + 0.2) / 60 / table.workers))
    one = learned * recipe.finetune.epochs * BACKWARD * search.limit_share / TRAINING
    tried = search.population + search.generations * search.children
    trained = tried * one if search.scoring == "finetune" else 0.0
    cap = recipe.finetune.max_minutes
    work.append((trained, cap and cap * tried))
    work.append((searched * tried * search.limit_share / (INT8 if search.approach == "ptq" else TORCH), None))
    return [*work, (one, cap), (reported * search.limit_share * (1 / INT8 + 1 / TORCH), None)]


def _windows(source: str, titles: tuple[str, ...], length: int, stride: int) -> tuple[float, int, int] | None:
    """Windows, tokens of one and questions of a data set that is on this machine; None for another."""
    path = Path(source.replace("${BUDGET_ZOO_DATA}", str(_data()))).expanduser()
    if source != BUNDLED and not path.is_file():
        return None
    stamp = 0 if source == BUNDLED else path.stat().st_mtime_ns
    return _counted(source if source == BUNDLED else str(path), stamp, titles, length, stride)


@lru_cache(maxsize=16)
def _counted(source: str, stamp: int, titles: tuple[str, ...], length: int, stride: int) -> tuple[float, int, int]:
    examples = load_squad(source, titles=titles or None)
    windows = tokens = 0.0
    for example in examples:
        whole = (len(example.question) + len(example.context)) / CHARACTERS + 3
        count = 1 if whole <= length else 1 + (whole - length) / max(1, length - stride - len(example.question) / 4)
        windows += count
        tokens += min(whole, length) * count
    return windows, max(2, round(tokens / windows)), len(examples)


def _texts(data: Any, part: str, length: int) -> tuple[int, int] | None:
    """Texts of a data set that is on this machine, and tokens of one; None for another."""
    source, share = getattr(data, part), 1
    if source == HELD_OUT:
        source, share, part = data.train, HELD_PART, "train"
    path = Path(source.replace("${BUDGET_ZOO_DATA}", str(_data()))).expanduser()
    if source == OWN or not path.exists():
        return None
    count, tokens = _counted_texts(data.task, str(path), part, length)
    return max(1, count // share), tokens


@lru_cache(maxsize=16)
def _counted_texts(task: str, source: str, part: str, length: int) -> tuple[int, int]:
    known = find_task(task)
    examples = load_texts(known, source, known.train_split if part == "train" else known.validation_split)
    tokens = sum(min(length, (len(e.first) + len(e.second or "")) / CHARACTERS + 3) for e in examples)
    return len(examples), max(2, round(tokens / len(examples)))


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
    path = Path(model.replace("${BUDGET_ZOO_DATA}", str(_data()))).expanduser()
    for folder in (path, MODELS / model):
        if (folder / "config.json").is_file():
            return read_json(folder / "config.json")
    return None


def _data() -> Path | str:
    return get_settings().data or "${BUDGET_ZOO_DATA}"


def _trainings(recipe: Any) -> list[Any]:
    """The groups of a recipe that say how something is trained."""
    keys = ("lock", "aware") if recipe.kind == "prune_once" else ("finetune", "tune", "length_drop", "aimet")
    return [part for key in keys if (part := getattr(recipe, key, None))]


def _parameters(shape: Shape, config: dict[str, Any]) -> int:
    words = config.get("vocab_size", 30_522) + config.get("max_position_embeddings", 512)
    return words * shape.hidden + shape.layers * (4 * shape.hidden**2 + 2 * shape.hidden * shape.intermediate)


def _memory(recipe: Any, parameters: int, shape: Shape | None, config: dict[str, Any] | None) -> float:
    """GiB: the program, then weights, gradients and AdamW's two moments, then what the backward pass keeps."""
    if not recipe.trains:
        return 0.9 + 4 * 3 * parameters / GIB
    batch = max(part.batch_size for part in _trainings(recipe))
    width = shape.layers * (10 * shape.hidden + 2 * shape.intermediate) if shape else 12 * 14_000
    kept = batch * recipe.reading.max_length * width
    if recipe.kind == "aimet_w8a8" and recipe.aimet.learn:
        part, layers = recipe.aimet, shape.layers if shape else 12
        scores = layers * normalized(config or {}).get("num_attention_heads", HEADS) * part.max_length
        rounded = ROUNDED * width + (SCORES * scores if part.scope == "full" else 0)
        kept = max(kept, part.batch_size * part.max_length * rounded)
    return 1.2 + 4 * (4 * parameters + kept) / GIB


def disk_gib(recipe: Any) -> float:
    """GiB that the recipe will write: checkpoints with their optimizer, the stages' outcomes, the packaged entries."""
    config = _config(recipe.model)
    return _disk(recipe, _parameters(Shape.from_config(config), config) if config else UNKNOWN_PARAMETERS)


def _disk(recipe: Any, parameters: int) -> float:
    copies = 20 if recipe.trains else 3
    return 0.05 + 4 * copies * parameters / GIB


def _same(recipe: Any) -> ledger.Job | None:
    """The newest job that ran the same recipe to its end in one go; its name and title do not matter."""

    def told(one: Any) -> dict[str, Any]:
        return one.model_dump(exclude={"package"})

    ended = ("done", "ready to publish", "published")
    alike = [
        job
        for job in ledger.everything()
        if job.state in ended
        and (job.kind, job.model) == (recipe.kind, recipe.model)
        and job.attempt == job.starts == 1
    ]
    for job in alike[:20]:
        try:
            if told(load(job.folder)) == told(recipe):
                return job
        except UserError:
            continue  # of another version of this program
    return None
