"""The training loop in turn with what one would use instead: its plain form, and transformers' Trainer."""

from __future__ import annotations

import logging
import math
import multiprocessing
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Annotated, Any

import psutil
import torch
import typer
from torch import Tensor

from bench.report import Json, report
from compress.data.squad import load_squad
from compress.learn import loop
from compress.learn.loop import Run, Schedule
from compress.learn.precision import best_precision
from compress.memory import give_back, keep
from compress.tasks.losses import of_answer, span
from compress.tasks.samples import Sample, collate, inputs_of, samples
from zoo import attention, dropout, latency, modeling, torchvision_fix
from zoo.catalog import checkpoint_of
from zoo.errors import UserError
from zoo.features import Tokenizer, each_window, load_tokenizer
from zoo.modeling import LengthAdaptiveModel
from zoo.settings import get_settings

try:
    import resource
except ImportError:  # Windows
    resource = None

log = logging.getLogger(__name__)

STUDENT = "minilm-l6-qa"
BATCH, SHARE, HELD_OUT = 16, 0.1, 64  # SHARE is the dropout of hidden states; attention has none, as in our recipes
OURS, PLAIN, TRAINER = "ours", "ours, of torch's own operators", "transformers' Trainer"

app = typer.Typer()


@dataclass
class Row:
    """A training, slice after slice of it.

    Attributes:
        name: of the loop.
        seconds, cpu: that each slice took, by the clock and of computing.
        windows: learned from in each slice.
        loss: of windows held out, at the end.
        peak: bytes that its process held at most.
    """

    name: str
    seconds: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    windows: list[int] = field(default_factory=list)
    loss: float = 0.0
    peak: int = 0

    @property
    def rates(self) -> list[float]:
        """Windows a second, slice after slice."""
        return [count / spent for count, spent in zip(self.windows, self.seconds, strict=True)]

    @property
    def per_cpu_second(self) -> float:
        """Windows a second of computing: what else a core does does not count."""
        return sum(self.windows) / sum(self.cpu)


@dataclass(frozen=True)
class Plan:
    """What every loop does alike.

    Attributes:
        folder: the checkpoint that all start from.
        questions: that they learn from, drawn at random.
        steps: in all.
        threads: that torch computes with.
        seed: of data and dropout.
    """

    folder: Path
    questions: int
    steps: int
    threads: int
    seed: int = 0

    def data(self, tokenizer: Tokenizer) -> tuple[list[Sample], list[Sample]]:
        """Windows to learn from, enough for all steps without a second pass where there are as many, and others."""
        place = get_settings().data
        real = place / "qa" / "train.json" if place else Path()
        examples = [e for e in load_squad(real if place and real.is_file() else "examples") if e.answers]
        chosen = random.Random(self.seed).sample(examples, min(self.questions, len(examples)))
        spans = [
            (e.answers[0]["answer_start"], e.answers[0]["answer_start"] + len(e.answers[0]["text"])) for e in chosen
        ]
        windows = each_window(tokenizer, [e.question for e in chosen], [e.context for e in chosen])
        made = samples(windows, spans, [e.id for e in chosen])
        out = min(HELD_OUT, len(made) // 4)
        return made[out:], made[:out]


def compare(rounds: int = 10, steps: int = 8, student: Path | None = None, names: Sequence[str] = ()) -> list[Row]:
    """Trains one checkpoint with a new head by each loop, a slice of steps at a time, each in a process of its own.

    Args:
        rounds: slices that count; one more is run before to warm up.
        steps: of a slice.
        student: a question-answering checkpoint; the bundled one by default.
        names: which loops; all by default.

    Raises:
        UserError: the machine is in use by another measurement, or a loop failed.
    """
    torchvision_fix.mend()
    source, total = student or checkpoint_of(STUDENT), (rounds + 1) * steps
    if latency.disturbed():
        log.warning("Something else keeps this machine busy: the figures will be disturbed.")
    rows = [Row(name) for name in names or LOOPS]
    with ExitStack() as stack:
        stack.enter_context(latency.device_lock())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        _with_new_head(source, folder)
        plan = Plan(folder, total * BATCH + HELD_OUT, total, get_settings().threads)
        workers = [stack.enter_context(Worker(row.name, plan)) for row in rows]
        for turn in range(rounds + 1):
            for row, worker in zip(rows, workers, strict=True):
                windows, seconds, cpu = worker.ask(steps)
                log.info("%s: %.2f windows a second%s", row.name, windows / seconds, "" if turn else " (to warm up)")
                if turn:
                    row.windows.append(windows)
                    row.seconds.append(seconds)
                    row.cpu.append(cpu)
        for row, worker in zip(rows, workers, strict=True):
            row.loss, row.peak = worker.ask(0)
    return rows


class Worker:
    """A process that trains when it is asked to.

    Args:
        name: of the loop.
        plan: what it does.
    """

    def __init__(self, name: str, plan: Plan):
        self.name = name
        context = multiprocessing.get_context("spawn")
        self._line, other = context.Pipe()
        self._process = context.Process(target=_work, args=(name, plan, other), daemon=True)
        self._process.start()
        other.close()

    def __enter__(self) -> Worker:
        self.ask(-1)  # until it is ready, so that no other loads its data while one is timed
        return self

    def __exit__(self, *raised: object) -> None:
        self._line.close()
        self._process.join(10)
        if self._process.is_alive():
            self._process.terminate()

    def ask(self, steps: int) -> Any:
        """Windows, seconds and seconds of computing of so many steps; of none the loss in the end and peak memory.

        Raises:
            UserError: the process has ended.
        """
        try:
            self._line.send(steps)
            return self._line.recv()
        except (EOFError, OSError) as error:
            raise UserError(f"The process of {self.name} has ended: see what it wrote above.") from error


def _work(name: str, plan: Plan, line: Connection) -> None:
    """The life of a worker: it makes ready, then does what it is asked."""
    torchvision_fix.mend()
    torch.set_num_threads(plan.threads)
    tokenizer = load_tokenizer(plan.folder)
    data, others = plan.data(tokenizer)
    with suppress(EOFError):  # nobody asks any more
        LOOPS[name](plan, tokenizer, data, Asked(line, others, tokenizer.pad_token_id))


class Asked:
    """What a worker is asked, and what it answers.

    Args:
        line: to who asks.
        others: windows held out.
        pad_id: token that fills shorter rows.
    """

    def __init__(self, line: Connection, others: list[Sample], pad_id: int):
        self._line, self._others, self._pad_id = line, others, pad_id
        self._left, self._windows, self._began = 0, 0, (0.0, 0.0)

    def begin(self) -> None:
        """Before the first step."""
        self._line.recv()
        self._line.send(None)
        self._wait()

    def stepped(self, windows: int) -> bool:
        """After a step from so many windows; returns whether another one is asked for, waiting until it is."""
        self._left -= 1
        self._windows += windows
        if not self._left:
            clock, computing = self._began
            self._line.send((self._windows, time.monotonic() - clock, time.process_time() - computing))
            self._wait()
        return self._left > 0

    def _wait(self) -> None:
        self._left, self._windows = self._line.recv(), 0
        self._began = time.monotonic(), time.process_time()

    def end(self, logits: Callable[[dict[str, Tensor]], Tensor]) -> None:
        """Answers with the loss of what was held out, and the most memory that was held."""
        peak = _peak_memory()
        losses: list[float] = []
        with torch.inference_mode():
            for sample in self._others:
                batch = collate([sample], self._pad_id)
                losses.append(float(of_answer(logits(inputs_of(batch)), batch)))
        self._line.send((statistics.mean(losses), peak))


def _peak_memory() -> int:
    """The most bytes that this process has held."""
    if resource is None:
        return int(getattr(psutil.Process().memory_info(), "peak_wset", 0))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _ours(plan: Plan, tokenizer: Tokenizer, data: list[Sample], asked: Asked) -> None:
    keep()
    give_back()
    _house(plan, tokenizer, data, asked)


def _plain(plan: Plan, tokenizer: Tokenizer, data: list[Sample], asked: Asked) -> None:
    """Ours, where something seems to look on and batches are as wide as their longest window."""
    attention.traced = dropout.traced = lambda: True
    loop.WIDTH = modeling.WIDTH = 1
    _house(plan, tokenizer, data, asked)


def _house(plan: Plan, tokenizer: Tokenizer, data: list[Sample], asked: Asked) -> None:
    model = LengthAdaptiveModel.load(plan.folder, dropout=SHARE)
    schedule = Schedule(batch_size=BATCH, seed=plan.seed, pad_id=tokenizer.pad_token_id)
    run = Run(model, data, span(), schedule, plan.folder / "none")
    run.total = plan.steps
    run.begin()
    asked.begin()
    going = True
    while going:
        before = run.rows
        run.step(run.done())
        going = asked.stepped(run.rows - before)
    run.finish()
    asked.end(lambda batch: model(**batch).logits)


def _trainer(plan: Plan, tokenizer: Tokenizer, data: list[Sample], asked: Asked) -> None:
    """What the examples of transformers do: batches as they come, padded to their longest, AdamW, autocast."""
    from transformers import (
        AutoModelForQuestionAnswering,
        DataCollatorWithPadding,
        Trainer,
        TrainerCallback,
        TrainerControl,
        TrainerState,
        TrainingArguments,
    )

    class Turns(TrainerCallback):
        def on_train_begin(
            self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **more: Any
        ) -> None:
            asked.begin()

        def on_step_end(
            self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **more: Any
        ) -> None:
            control.should_training_stop = not asked.stepped(BATCH)

    made = AutoModelForQuestionAnswering.from_pretrained(
        plan.folder, hidden_dropout_prob=SHARE, attention_probs_dropout_prob=0.0
    )
    rows = [
        {
            "input_ids": list(sample.window.input_ids),
            **({} if sample.window.token_type_ids is None else {"token_type_ids": list(sample.window.token_type_ids)}),
            "start_positions": sample.start,
            "end_positions": sample.end,
        }
        for sample in data
    ]
    usual = Schedule()
    arguments = TrainingArguments(
        output_dir=str(plan.folder / "trainer"),
        use_cpu=True,
        bf16=best_precision() == "bf16",
        per_device_train_batch_size=BATCH,
        max_steps=plan.steps,
        learning_rate=usual.learning_rate,
        warmup_steps=math.ceil(usual.warmup_ratio * plan.steps),
        weight_decay=usual.weight_decay,
        max_grad_norm=usual.max_grad_norm,
        seed=plan.seed,
        report_to="none",
        save_strategy="no",
        logging_strategy="no",
        disable_tqdm=True,
        dataloader_drop_last=True,
        dataloader_pin_memory=False,
    )
    collator = DataCollatorWithPadding(tokenizer)  # type: ignore[arg-type]
    Trainer(model=made, args=arguments, train_dataset=rows, data_collator=collator, callbacks=[Turns()]).train()  # type: ignore[arg-type]
    made.eval()

    def logits(batch: dict[str, Tensor]) -> Tensor:
        out = made(**batch)
        return torch.stack([out.start_logits, out.end_logits], -1)

    asked.end(logits)


LOOPS = {OURS: _ours, PLAIN: _plain, TRAINER: _trainer}


def table(rows: Sequence[Row]) -> str:
    """The rows as a Markdown table; speed-ups are those of the medians, against the last row."""
    head = (
        "training loop",
        "windows/s: p50 (slowest tenth)",
        "×",
        "windows a CPU second",
        "×",
        "loss in the end",
        "memory",
    )
    lines = [f"| {' | '.join(head)} |"]
    lines.append("|---|--:|--:|--:|--:|--:|--:|")
    last = rows[-1]
    for row in rows:
        median, slow = statistics.median(row.rates), statistics.quantiles(row.rates, n=10, method="inclusive")[0]
        lines.append(
            f"| {row.name} | {median:.1f} ({slow:.1f}) | {median / statistics.median(last.rates):.2f} | "
            f"{row.per_cpu_second:.1f} | {row.per_cpu_second / last.per_cpu_second:.2f} | {row.loss:.3f} | "
            f"{row.peak / 1e9:.2f} GB |"
        )
    return "\n".join(lines)


def _with_new_head(source: Path, folder: Path) -> None:
    """A checkpoint with the encoder of another one and a head that has learned nothing, the same in every run."""
    model = LengthAdaptiveModel.load(source)
    chance = torch.Generator().manual_seed(0)
    with torch.no_grad():
        model.qa_outputs.weight.normal_(0.0, 0.02, generator=chance)
        model.qa_outputs.bias.zero_()
    model.save(folder)
    load_tokenizer(source).save_pretrained(str(folder))


@app.command("training")
def command(
    rounds: Annotated[int, typer.Option(min=1, metavar="N", help="slices that count")] = 10,
    steps: Annotated[int, typer.Option(min=1, metavar="N", help="steps of a slice")] = 8,
    path: Json = None,
) -> None:
    """The training loop beside its plain form and transformers' Trainer, in turn."""
    rows = compare(rounds, steps)
    report(table(rows), path, [{**vars(row), "rates": row.rates} for row in rows])
