"""The ways of pruning with the same short budget: each from the same fine-tuned model, on the same data, in turn."""

from __future__ import annotations

import hashlib
import json
import logging
import random
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from pydantic import ValidationError

from bench.report import Json, report
from compress.data.fingerprints import refuse_overlap
from compress.data.squad import Example, fingerprint, load_squad
from compress.data.texts import TextExample, draw, load_texts
from compress.learn.loop import Hook, Schedule, train
from compress.learn.pruning.prune import Pruner, check
from compress.learn.pruning.report import compressed_bytes, sparsity_of
from compress.progress import Progress
from compress.recipe.training_groups import PRUNING_TYPES, Prune
from compress.tasks.subjects import subject_for
from zoo import torchvision_fix
from zoo.catalog import checkpoint_of
from zoo.engines.torch import TorchEngine
from zoo.errors import UserError
from zoo.features import Tokenizer, load_tokenizer
from zoo.files import read_json, sha256, write_json
from zoo.latency import machine, running_job
from zoo.modeling import LengthAdaptiveModel
from zoo.settings import get_settings
from zoo.tasks import Task

log = logging.getLogger(__name__)

MODEL = "minilm-l6-qa"
NONE = "none"  # trained on as long as the others and not pruned


app = typer.Typer()


@dataclass(frozen=True)
class Settings:
    """What all of them share.

    Attributes:
        task: `sst2`, another task of `zoo.tasks` that classifies, or `squad`.
        steps: of every training.
        warm_steps: of the one before, which makes the model that all start from.
        sparsity, pattern: as in recipes.
        model: a checkpoint; its encoder gets the task's head if it has another.
        batch: examples a step.
        learning_rate: the highest.
        examples: to score on at most, drawn at random.
        seed: of the data's order and of a new head.
    """

    task: str = "sst2"
    steps: int = 500
    warm_steps: int = 500
    sparsity: float = 0.8
    pattern: str = "4x1"
    model: str = MODEL
    batch: int = 16
    learning_rate: float = 5e-5
    examples: int = 1000
    seed: int = 0


@dataclass(frozen=True)
class Row:
    """One way of pruning.

    Attributes:
        approach: as in recipes; `none` is the dense model, trained on as long.
        operators, model: shares of zeros of the pruned operators and of all parameters.
        metric, score: of the task, in points of 100, on `n` examples.
        steps_per_s: of training, on this machine.
        compressed_bytes: of the checkpoint in half precision, by zlib at level 6.
    """

    approach: str
    operators: float
    model: float
    metric: str
    score: float
    n: int
    steps_per_s: float
    compressed_bytes: int


@dataclass(frozen=True)
class Course:
    """A task's data, its loss and how a checkpoint is scored."""

    data: list[Any]
    loss: Any
    metric: str
    score: Callable[[Path], dict[str, float]]


def compare(settings: Settings, folder: Path | None = None, approaches: Sequence[str] | None = None) -> list[Row]:
    """Trains and scores all of them; one that is done stays done, and one that was interrupted goes on.

    `pattern_lock` needs zeros to lock: its start is pruned at once, by magnitude and in the same pattern.

    Args:
        settings: what they share.
        folder: checkpoints and rows; below the home folder by default, by a hash of settings and model.
        approaches: some of them only.

    Raises:
        UserError: no data, or settings that cannot work, before anything is trained.
    """
    torchvision_fix.mend()
    source = checkpoint_of(settings.model)
    for approach in PRUNING_TYPES:
        check(read_json(source / "config.json"), _prune(settings, approach), settings.steps)
    inputs = [asdict(settings), str(get_settings().data), sha256(source / "model.safetensors")]
    mark = hashlib.sha256(json.dumps(inputs).encode()).hexdigest()[:12]
    root = folder or get_settings().home / "bench" / "prunings" / mark
    torch.set_num_threads(get_settings().threads)
    tokenizer = load_tokenizer(source)
    course = _course(settings, tokenizer)
    with running_job():
        if not (root / "start" / "model.safetensors").is_file():
            warm = _learn(settings, course, _model(settings, source), root / "start", settings.warm_steps, tokenizer)
            log.info("the start is trained: %s", warm)
        return [_row(settings, course, root, approach, tokenizer) for approach in approaches or (NONE, *PRUNING_TYPES)]


def table(rows: list[Row]) -> str:
    """The rows as a Markdown table."""
    metric, n = rows[0].metric, rows[0].n
    lines = [
        f"| approach | zeros of the pruned operators | of the model | {metric}, n = {n} | steps/s | compressed, MB |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    for row in rows:
        lines.append(
            f"| {row.approach} | {100 * row.operators:.1f} % | {100 * row.model:.1f} % | {row.score:.2f} | "
            f"{row.steps_per_s:.2f} | {row.compressed_bytes / 1e6:.1f} |"
        )
    return "\n".join(lines)


def _row(settings: Settings, course: Course, root: Path, approach: str, tokenizer: Tokenizer) -> Row:
    here = root / approach
    if (here / "row.json").is_file():
        return Row(**read_json(here / "row.json"))
    model = LengthAdaptiveModel.load(root / "start")
    if approach == "pattern_lock":
        once = Pruner(model, _prune(settings, "magnitude").model_copy(update={"start_step": 0, "end_step": 0}))
        once.before_step(0, settings.steps)
    hooks = [] if approach == NONE else [Pruner(model, _prune(settings, approach))]
    took = _learn(settings, course, model, here, settings.steps, tokenizer, hooks)
    model.save(here, torch.float16)
    zeros = hooks[0].report() if hooks else sparsity_of(model)
    scores = course.score(here)
    row = Row(
        approach,
        zeros["operators"],
        zeros["model"],
        course.metric,
        scores[course.metric],
        int(scores["n"]),
        took["steps"] / took["seconds"],
        compressed_bytes(here / "model.safetensors"),
    )
    write_json(here / "row.json", asdict(row))
    log.info("%s: %s %.2f", approach, row.metric, row.score)
    return row


def prune_of(**keys: Any) -> Any:
    """The group `prune` of a recipe with these keys.

    Raises:
        UserError: they cannot be.
    """
    try:
        return Prune.model_validate({"apply": True, **keys})
    except ValidationError as error:
        raise UserError("; ".join(fault["msg"] for fault in error.errors())) from error


def _prune(settings: Settings, approach: str) -> Any:
    return prune_of(approach=approach, target_sparsity=settings.sparsity, pattern=settings.pattern)


def _learn(
    settings: Settings,
    course: Course,
    model: LengthAdaptiveModel,
    folder: Path,
    steps: int,
    tokenizer: Tokenizer,
    hooks: Sequence[Hook] = (),
) -> dict[str, float]:
    """Trains, and leaves the checkpoint and the tokenizer in the folder."""
    per_epoch = -(-len(course.data) // settings.batch)
    plan = Schedule(
        learning_rate=settings.learning_rate,
        epochs=(steps - 0.5) / per_epoch,  # the loop rounds up
        batch_size=settings.batch,
        seed=settings.seed,
        pad_id=tokenizer.pad_token_id,
    )
    with Progress(folder / "progress.jsonl", folder.name) as progress:
        took = train(model, course.data, course.loss, plan, folder, progress, hooks)
    tokenizer.save_pretrained(str(folder))
    model.save(folder)
    return took


def _model(settings: Settings, source: Path) -> LengthAdaptiveModel:
    torch.manual_seed(settings.seed)
    return subject_for(settings.task).load_model(source)


def _course(settings: Settings, tokenizer: Tokenizer) -> Course:
    subject = subject_for(settings.task)
    train, held_out = (_questions if subject.task.type.has_articles else _texts)(settings, subject.task)

    def score(folder: Path) -> dict[str, float]:
        return subject.score(TorchEngine.open(folder, get_settings().threads), tokenizer, held_out)

    return Course(subject.samples(tokenizer, train), subject.loss(), subject.primary, score)


def _texts(settings: Settings, task: Task) -> tuple[list[TextExample], list[TextExample]]:
    place = get_settings().data
    local = place / "glue" if place and (place / "glue" / (task.config or task.name)).is_dir() else None
    count = settings.batch * max(settings.steps, settings.warm_steps)
    train = draw(load_texts(task, local, task.train_split), count, settings.seed)
    return train, draw(load_texts(task, local, task.validation_split), settings.examples, settings.seed)


def _questions(settings: Settings, _task: Task) -> tuple[list[Example], list[Example]]:
    place = get_settings().data
    local = place / "qa" if place and (place / "qa").is_dir() else None
    train = load_squad(local / "train.json" if local else "rajpurkar/squad:train")
    held_out = load_squad(local / "squad-dev-v1.1.json" if local else "rajpurkar/squad:validation")
    chance = random.Random(settings.seed)
    count = settings.batch * max(settings.steps, settings.warm_steps)
    answered = [e for e in train if e.answers]
    train = chance.sample(answered, min(count, len(answered)))
    held_out = chance.sample(held_out, min(settings.examples, len(held_out)))
    refuse_overlap(fingerprint(train), held_out)
    return train, held_out


@app.command("prunings")
def command(
    task: Annotated[str, typer.Option(help="sst2, another task of GLUE, or squad")] = "sst2",
    steps: Annotated[int, typer.Option(min=1, metavar="N", help="steps of every training")] = 500,
    warm_steps: Annotated[
        int | None, typer.Option(metavar="N", help="steps that make the start of all, by default as --steps")
    ] = None,
    sparsity: Annotated[float, typer.Option(metavar="S", help="share of zeros")] = 0.8,
    pattern: Annotated[str, typer.Option(metavar="P", help="what goes together")] = "4x1",
    model: Annotated[str, typer.Option(help="checkpoint to start from")] = MODEL,
    batch: Annotated[int, typer.Option(min=1, metavar="N", help="examples a step")] = 16,
    examples: Annotated[int, typer.Option(min=1, metavar="N", help="score on so many at most")] = 1000,
    path: Json = None,
) -> None:
    """The ways of pruning, trained with the same short budget."""
    settings = Settings(
        task=task,
        steps=steps,
        warm_steps=warm_steps or steps,
        sparsity=sparsity,
        pattern=pattern,
        model=model,
        batch=batch,
        examples=examples,
    )
    rows = compare(settings)
    figures = {"settings": asdict(settings), "rows": [asdict(row) for row in rows], "machine": machine()}
    report(table(rows), path, figures)
