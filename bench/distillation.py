"""What storing a teacher's logits saves: the same training with stored logits and with the teacher in it, in turn."""

from __future__ import annotations

import copy
import logging
import random
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from bench.report import Json, report
from compress.data.squad import load_squad
from compress.learn.distill import distilled
from compress.learn.loop import Schedule, train
from compress.learn.order import batches
from compress.learn.teacher import VALUES, Teacher, TeacherLogits, teacher_for
from compress.progress import Progress
from compress.recipe.training_groups import Distill
from compress.tasks.losses import span
from compress.tasks.samples import Sample, collate, samples
from zoo import latency, torchvision_fix
from zoo.catalog import checkpoint_of
from zoo.features import Tokenizer, load_tokenizer, make_windows
from zoo.modeling import LengthAdaptiveModel
from zoo.settings import get_settings

log = logging.getLogger(__name__)

STUDENT = "minilm-l6-qa"
QUESTIONS = 128
BATCH = 16
SAME, LARGER = "as large as the student", "BERT-base, random weights"  # its time does not depend on its weights


app = typer.Typer()


@dataclass
class Row:
    """Examples a second of training, slice after slice, with a teacher.

    Attributes:
        teacher: which.
        stored, live: with stored logits and with the teacher in the loop, in the order in which they were measured.
        largest_difference: between a stored logit of a real token and the live one's, in batches of another order.
        bytes_stored: of the file with the logits.
        store_seconds: asking the teacher once about everything.
        windows: trained on.
        tokens: of a window, on average.
    """

    teacher: str
    windows: int
    tokens: float
    bytes_stored: int = 0
    store_seconds: float = 0.0
    largest_difference: float = 0.0
    stored: list[float] = field(default_factory=list)
    live: list[float] = field(default_factory=list)

    @property
    def gain(self) -> float:
        """How many times as many examples a second with stored logits, by the medians."""
        return statistics.median(self.stored) / statistics.median(self.live)


def compare(student: Path | None = None, rounds: int = 3, questions: int = QUESTIONS) -> list[Row]:
    """Trains copies of one checkpoint for an epoch at a time: stored, live, stored, live …, on the same batches.

    Args:
        student: a question-answering checkpoint; the bundled one by default.
        rounds: slices of each kind that count; one more of each is run before to warm up.
        questions: to train on, drawn at random from the data that the settings name, else from the bundled ones.

    Raises:
        UserError: the machine is in use by another measurement.
    """
    torchvision_fix.mend()
    folder = student or checkpoint_of(STUDENT)
    torch.set_num_threads(get_settings().threads)
    tokenizer, model = load_tokenizer(folder), LengthAdaptiveModel.load(folder)
    real = (get_settings().data or Path()) / "qa" / "train.json"
    examples = load_squad(real if get_settings().data and real.is_file() else "examples")
    chosen = random.Random(0).sample([e for e in examples if e.answers], min(questions, len(examples)))
    windows = make_windows(tokenizer, [e.question for e in chosen], [e.context for e in chosen])
    spans = [(e.answers[0]["answer_start"], e.answers[0]["answer_start"] + len(e.answers[0]["text"])) for e in chosen]
    data = samples(windows, spans, [e.id for e in chosen])
    if latency.disturbed():
        log.warning("Something else keeps this machine busy: the figures will be disturbed.")
    rows = []
    with latency.device_lock(), tempfile.TemporaryDirectory() as scratch:
        for name, teacher in ((SAME, copy.deepcopy(model)), (LARGER, LengthAdaptiveModel(_base(model.config)))):
            guide = teacher_for(teacher, tokenizer, data)
            rows.append(_measure(name, model, guide, data, Path(scratch) / str(len(rows)), rounds, tokenizer))
    return rows


def table(rows: list[Row]) -> str:
    """The rows as a Markdown table, medians of examples a second."""
    lines = ["| teacher | live, examples/s | stored, examples/s | × | largest difference | bytes | asked once in |"]
    lines.append("|---|--:|--:|--:|--:|--:|--:|")
    for row in rows:
        live, stored = statistics.median(row.live), statistics.median(row.stored)
        lines.append(
            f"| {row.teacher} | {live:.2f} | {stored:.2f} | {row.gain:.2f} | {row.largest_difference:.1e} | "
            f"{row.bytes_stored:,} | {row.store_seconds:.1f} s |"
        )
    return "\n".join(lines)


def as_json(rows: list[Row]) -> list[dict[str, Any]]:
    return [{**vars(row), "gain": row.gain} for row in rows]


def _measure(
    name: str,
    student: LengthAdaptiveModel,
    guide: Teacher,
    data: list[Sample],
    folder: Path,
    rounds: int,
    tokenizer: Tokenizer,
) -> Row:
    row = Row(name, len(data), statistics.mean(len(sample.window.input_ids) for sample in data))
    begun = time.monotonic()
    stored = TeacherLogits.make(folder / "store", guide, data, {}, Rate(), tokenizer.pad_token_id)
    row.store_seconds = time.monotonic() - begun
    row.bytes_stored = (folder / "store" / VALUES).stat().st_size
    row.largest_difference = max(_differences(stored, guide, data, tokenizer.pad_token_id))
    for turn in range(rounds + 1):
        for kind, source in (("stored", stored), ("live", guide)):
            rate = _slice(student, source, data, folder / f"{turn}-{kind}", tokenizer.pad_token_id)
            log.info("%s, %s: %.2f examples/s%s", name, kind, rate, "" if turn else " (to warm up)")
            if turn:
                getattr(row, kind).append(rate)
    return row


def _slice(
    student: LengthAdaptiveModel, guide: Teacher | TeacherLogits, data: list[Sample], folder: Path, pad_id: int
) -> float:
    """Examples a second of one epoch, as the training loop counts them; checkpoints and loading aside."""
    model, progress = copy.deepcopy(student), Rate()
    plan = Schedule(epochs=1, batch_size=BATCH, checkpoint_minutes=1e9, pad_id=pad_id)
    loss = distilled(span(), Distill(apply=True), model, guide)
    train(model, data, loss, plan, folder, progress)
    return progress.rate


def _differences(stored: TeacherLogits, guide: Teacher, data: list[Sample], pad_id: int) -> Iterator[float]:
    """The largest difference of a logit between what is stored and the live teacher, batch by shuffled batch."""
    for rows in batches([len(sample.window.input_ids) for sample in data], BATCH, seed=1, epoch=0):
        batch = collate([data[row] for row in rows], pad_id)
        yield float((stored.lookup(torch.tensor(rows)) - guide(batch).logits).abs().max())


def _base(config: dict[str, Any]) -> dict[str, Any]:
    """The sizes of BERT-base with the vocabulary of another model."""
    sizes = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12}
    return {**config, **sizes}


class Rate(Progress):
    """Keeps the last examples a second and shows nothing."""

    def __init__(self) -> None:
        super().__init__(None, "bench", bar=False, shown=False)
        self.rate = 0.0

    def update(self, step: int, total: int, **figures: Any) -> None:
        super().update(step, total, **figures)
        self.rate = figures.get("examples_per_s", self.rate)


@app.command("distillation")
def command(
    rounds: Annotated[int, typer.Option(min=1, metavar="N", help="epochs of each kind that count")] = 3,
    path: Json = None,
) -> None:
    """Training with stored and with live teachers in turn."""
    rows = compare(rounds=rounds)
    report(table(rows), path, as_json(rows))
