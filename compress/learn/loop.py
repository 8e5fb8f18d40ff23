"""The one training loop: batches bucketed by length, accelerate, checkpoints in time, exact resume, progress."""

from __future__ import annotations

import logging
import math
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from accelerate.utils import set_seed
from torch import Tensor, nn

from compress.learn.order import batches, steps_of
from compress.learn.precision import computing
from compress.memory import give_back, keep
from compress.progress import Progress
from compress.tasks.samples import SECOND, Loss, Sample, collate
from zoo.devices import CPU, compute_device
from zoo.dropping import WIDTH
from zoo.errors import told
from zoo.files import atomic, read_json, write_json
from zoo.recompute import set_recompute

log = logging.getLogger(__name__)

STATE = "state.json"  # of a checkpoint, written last: without it there is none
FUSED = ("cpu", "cuda")  # where AdamW is one operator
TIDY = 60.0  # seconds between two times that freed memory goes back, which takes half a second of paging each


@dataclass(frozen=True)
class Schedule:
    """Optimizer and schedule: AdamW, linear warm-up, linear decay to zero.

    Attributes:
        epochs: passes over the data, fractions allowed.
        batch_size: windows a step, over all processes together.
        minutes: the run is planned to end within so many minutes of computing (0: no limit); the learning rate then
            decays with time instead of steps, so that an interrupted plan still ends annealed.
        average: decay of the moving average of the weights that the run ends with (Polyak & Juditsky 1992), 0 for the
            last weights themselves.
        keep_start: share of the starting weights in the result; the line between a checkpoint and its further
            training passes through better ones than either (WiSE-FT, Wortsman et al., arXiv 2109.01903).
        word_dropout: share of the tokens that `mask_id` stands in for, drawn anew in every step; `special_ids` stay.
        pad_id: token that fills a batch's shorter rows.
        parts: a step's windows are learned from in so many parts, one after another (gradient accumulation): the same
            step as from all at once, in less memory. Each part draws what a loss draws as all at once would.
        recompute: layers are computed anew on the way back (gradient checkpointing), so that a step keeps the inputs of
            its layers alone.
        rates: what the learning rate is multiplied by for some parameters, by their names; 1 for all others. They are
            grouped by powers of two, and do not decay.
        groups: windows that come in one batch, see `batches`.
    """

    learning_rate: float = 3e-5
    epochs: float = 2
    batch_size: int = 8
    warmup_ratio: float = 0.1
    weight_decay: float = 0.01
    max_grad_norm: float = 1.0
    seed: int = 0
    precision: str = "auto"
    checkpoint_minutes: float = 3
    minutes: float = 0
    average: float = 0
    keep_start: float = 0
    word_dropout: float = 0
    mask_id: int = 0
    special_ids: tuple[int, ...] = ()
    pad_id: int = 0
    parts: int = 1
    recompute: bool = False
    rates: Mapping[str, float] = field(default_factory=dict[str, float])
    groups: Sequence[Sequence[int]] = ()

    def rate(self, done: float, total: int) -> float:
        """The learning rate of a step when `done` of the training, a share, lies behind it; `total` steps in all.

        It rises to the highest one in a straight line, and falls to none in another, as in most published recipes.
        """
        rise = (done + 1 / total) / max(self.warmup_ratio, 1 / total)
        fall = (1 - done) / max(1 - self.warmup_ratio, 1 / total)
        return self.learning_rate * min(1.0, rise, fall)


class Hook:
    """What takes part in every step of a training beside the loss: a pruner, fake quantization."""

    def before_step(self, step: int, total: int) -> None:
        """Before the forward passes of step `step`, counted from 0, of `total`."""

    def after_backward(self, step: int, total: int) -> None:
        """When the gradients are complete, before they are cut."""

    def after_step(self, step: int, total: int) -> None:
        """After the optimizer has moved the weights."""

    def finish(self) -> None:
        """After the last step, when the weights are those that the training ends with (an average, for example)."""

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain values for a checkpoint."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from `state_dict`."""


def train(
    model: nn.Module,
    data: Sequence[Sample],
    loss: Loss,
    schedule: Schedule,
    folder: Path,
    progress: Progress,
    hooks: Sequence[Hook] = (),
) -> dict[str, float]:
    """Trains `model` in place.

    Args:
        model: what to train; parameters with `requires_grad` false stay as they are.
        data: labelled windows.
        loss: a generator; for a batch it yields one or several losses, each of which is sent backward before the next
            is computed (so that only one graph lives at a time), with figures for the progress. `batch["row"]`
            holds the places of its windows in `data`.
        schedule: how.
        folder: checkpoints live here (`checkpoint/`), one complete at any time; a run that finds one goes on from it
            with the same data order.
        progress: hears of every step.
        hooks: called in turn at every step; their state is in the checkpoints.

    Returns:
        steps, final loss and seconds.
    """
    run = Run(model, data, loss, schedule, folder, hooks)
    if run.resume():
        progress.note(f"resumed at step {run.steps} of {run.total}")
    keep()
    give_back()  # what the making of the windows left
    run.begin()
    started = saved = tidied = time.monotonic()
    while (done := run.done()) < 1:
        figures = run.step(done)
        if run.first:
            rate = run.rows / (time.monotonic() - started)
            progress.update(run.steps, run.total, **figures, examples_per_s=rate)
        if time.monotonic() - saved > 60 * schedule.checkpoint_minutes:
            run.save()
            saved = time.monotonic()
        if time.monotonic() - tidied > TIDY:
            give_back()
            tidied = time.monotonic()
    run.save()
    run.finish()
    return {"steps": run.steps, "loss": run.loss, "seconds": run.seconds()}


class Run:
    """A training under way: its optimizer, the batches to come, where it stands, and its checkpoint.

    The average and the schedule are our own: torch's `AveragedModel` would copy the model with what hooks have hung
    into it, averages what does not learn as well and keeps another form of checkpoint; a `LambdaLR` counts steps, and
    a plan in minutes decays with time.

    Args: those of `train`.

    Attributes:
        steps: made so far, of `total`.
        rows: windows learned from in this process's life, over all processes together.
        loss: smoothed.
        first: whether this process, of those of a `torchrun`, reports and saves.
    """

    def __init__(
        self,
        model: nn.Module,
        data: Sequence[Sample],
        loss: Loss,
        schedule: Schedule,
        folder: Path,
        hooks: Sequence[Hook] = (),
    ):
        self.accelerator = Accelerator(
            cpu=compute_device() == CPU,
            mixed_precision="no",
            kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)],  # LayerDrop leaves layers out
        )
        self.world, self.rank = self.accelerator.num_processes, self.accelerator.process_index
        self.first = self.rank == 0
        self.device = self.accelerator.device
        self.autocast = computing(schedule.precision, self.device.type)
        # What is smaller than fp16 can tell would be lost on the way back; what a checkpoint holds of it is optional.
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.autocast.fast_dtype is torch.float16)
        set_seed(schedule.seed)
        # Before anything is made beside its weights: averages, the start and the optimizer's state live where they do.
        self.model, self.data, self.schedule, self.hooks = model.to(self.device).train(), data, schedule, hooks
        if schedule.recompute:
            set_recompute(self.model)
        self.task_loss, self.checkpoint = loss, folder / "checkpoint"
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        groups = _groups(model, schedule.weight_decay, schedule.rates)
        self.scales = [group.pop("rate") for group in groups]  # not in checkpoints: those of earlier versions have none
        self.optimizer = torch.optim.AdamW(groups, lr=schedule.learning_rate, fused=self.device.type in FUSED)
        self.start = [p.detach().clone() for p in self.parameters] if schedule.keep_start else []
        self.averaged = [p.detach().clone() for p in self.parameters] if schedule.average else []
        self.lengths = [len(row.window.input_ids) for row in data]
        self.longest = max((len(window.input_ids) for row in data for window in row.windows), default=0)
        self.per_epoch = math.ceil(len(data) / schedule.batch_size)
        self.total = steps_of(len(data), schedule.epochs, schedule.batch_size)
        self.steps, self.rows, self.loss, self.spent = 0, 0, 0.0, 0.0
        self._epoch = -1
        self._order: list[list[int]] = []

    def resume(self) -> bool:
        """Goes on from the folder's checkpoint; returns whether there was one."""
        if not (self.checkpoint / STATE).is_file():
            return False
        with told(f"The checkpoint in {self.checkpoint} is broken", "Remove it: then the training begins anew."):
            self._restore(read_json(self.checkpoint / STATE))
        return True

    def _restore(self, state: dict[str, Any]) -> None:
        """Takes weights, figures and what hooks hold from the file that `state.json` names."""
        saved = torch.load(self.checkpoint / state["file"], map_location=self.device, weights_only=True)
        self.model.load_state_dict(saved["model"])
        self.optimizer.load_state_dict(saved["optimizer"])
        for mine, values in ((self.start, saved["start"]), (self.averaged, saved["averaged"])):
            for tensor, value in zip(mine, values, strict=True):
                tensor.copy_(value)
        for hook, values in zip(self.hooks, saved["hooks"], strict=True):
            hook.load_state_dict(values)
        if self.scaler.is_enabled() and saved.get("scaler"):
            self.scaler.load_state_dict(saved["scaler"])
        self.steps, self.spent, self.loss = state["step"], state["spent"], state["loss"]

    def begin(self) -> None:
        """Starts the clock, and hands the model to the processes that train it together."""
        self.wrapped = self.accelerator.prepare(self.model)
        self._begun = time.monotonic() - self.spent

    def seconds(self) -> float:
        """Seconds of computing so far, those before an interruption too."""
        return time.monotonic() - self._begun

    def done(self) -> float:
        """The share of the training that lies behind, in steps or in minutes, whichever is more."""
        by_steps, minutes = self.steps / self.total, self.schedule.minutes
        return max(by_steps, self.seconds() / (60 * minutes)) if minutes else by_steps

    def step(self, done: float) -> dict[str, float]:
        """Makes a step; returns its figures for the progress."""
        schedule, step = self.schedule, self.steps
        for group, scale in zip(self.optimizer.param_groups, self.scales, strict=True):
            group["lr"] = scale * schedule.rate(done, self.total)
        chance = random.Random(f"{schedule.seed}/{step}")  # the same on every rank and after a resume
        torch.manual_seed(chance.getrandbits(32) + self.rank)
        batch = self._batch()
        for hook in self.hooks:
            hook.before_step(step, self.total)
        figures: dict[str, float] = {}
        draws = chance.getstate()
        for part, share in split(batch, schedule.parts):
            chance.setstate(draws)
            of_part: dict[str, float] = {}
            with self.autocast:
                for value, more in self.task_loss(self.wrapped, part, chance):
                    self.accelerator.backward(self.scaler.scale(value if share == 1 else share * value))
                    of_part.update(more)
            for key, figure in of_part.items():
                figures[key] = figures.get(key, 0.0) + share * figure
        self._unscale()
        for hook in self.hooks:
            hook.after_backward(step, self.total)
        norm = nn.utils.clip_grad_norm_(self.parameters, schedule.max_grad_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        for hook in self.hooks:
            hook.after_step(step, self.total)
        for mean, now in zip(self.averaged, self.parameters, strict=False):  # young averages forget their start faster
            mean.lerp_(now.detach(), 1 - min(schedule.average, step / (10 + step)))
        self.steps += 1
        self.rows += len(batch["row"]) * self.world
        self.loss = 0.98 * self.loss + 0.02 * figures["loss"] if step else figures["loss"]
        return figures | {
            "loss": self.loss,
            "grad_norm": float(norm),
            "learning_rate": self.optimizer.param_groups[0]["lr"],
        }

    def _unscale(self) -> None:
        """Gradients as they are, for hooks and for the norm; where one is too large for fp16, the step is left out."""
        if not self.scaler.is_enabled():
            return
        self.scaler.unscale_(self.optimizer)
        for parameter in self.parameters:
            if parameter.grad is not None:
                parameter.grad.nan_to_num_(0, 0, 0)

    def _batch(self) -> dict[str, Tensor]:
        """What this process learns from in the step to come."""
        epoch, turn = divmod(self.steps, self.per_epoch)
        if epoch != self._epoch:
            self._epoch = epoch
            self._order = batches(
                self.lengths, self.schedule.batch_size, self.schedule.seed, epoch, self.schedule.groups
            )
        rows = self._order[turn][self.rank :: self.world] or self._order[turn][:1]
        read = [self.data[i] for i in rows]
        length = max(len(window.input_ids) for row in read for window in row.windows)
        length = min(math.ceil(length / WIDTH) * WIDTH, self.longest)  # there are positions for so many
        batch = {**collate(read, self.schedule.pad_id, length), "row": torch.tensor(rows)}
        batch = {key: value.to(self.device) for key, value in batch.items()}
        if self.schedule.word_dropout:
            for key in (key for key in ("input_ids", f"{SECOND}input_ids") if key in batch):
                batch[key] = hidden_words(batch[key], self.schedule)
        return batch

    def save(self) -> None:
        """Writes the checkpoint, whole or not at all, and removes the one before."""
        if not self.first:
            return
        path = self.checkpoint / f"step-{self.steps}.pt"
        state = {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "start": self.start,
            "averaged": self.averaged,
            "hooks": [hook.state_dict() for hook in self.hooks],
            **({"scaler": self.scaler.state_dict()} if self.scaler.is_enabled() else {}),
        }
        with atomic(path) as draft:
            torch.save(state, draft)
        place = {"step": self.steps, "file": path.name, "spent": self.seconds(), "loss": self.loss}
        write_json(self.checkpoint / STATE, place)
        for old in self.checkpoint.glob("step-*"):
            if old != path:
                old.unlink()

    def finish(self) -> None:
        """Leaves the model with the weights that the training ends with, ready to be asked, on the CPU."""
        with torch.no_grad():
            for mine, mean in zip(self.parameters, self.averaged, strict=False):
                mine.copy_(mean)
            for mine, before in zip(self.parameters, self.start, strict=False):
                mine.lerp_(before, self.schedule.keep_start)
        for hook in self.hooks:
            hook.finish()
        self.model.eval().to(CPU)


def split(batch: Mapping[str, Tensor], parts: int) -> Iterator[tuple[dict[str, Tensor], float]]:
    """A batch in so many parts at most, in turn, each with its share of the rows: that of its loss in the mean."""
    rows = len(batch["row"])
    size = math.ceil(rows / parts)
    for at in range(0, rows, size):
        part = {key: value[at : at + size] for key, value in batch.items()}
        yield part, len(part["row"]) / rows


def _groups(model: nn.Module, weight_decay: float, rates: Mapping[str, float]) -> list[dict[str, Any]]:
    """The optimizer's groups of what learns: matrices, which decay, all else, and by its `rate` what has one."""
    groups: dict[tuple[bool, float], list[nn.Parameter]] = {(True, 1.0): [], (False, 1.0): []}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            rate = 2.0 ** round(math.log2(rates[name])) if name in rates else 1.0
            groups.setdefault((parameter.ndim > 1 and name not in rates, rate), []).append(parameter)
    return [
        {"params": parameters, "weight_decay": weight_decay if decays else 0.0, "rate": rate}
        for (decays, rate), parameters in groups.items()
    ]


def hidden_words(ids: Tensor, schedule: Schedule) -> Tensor:
    """`ids` with the mask token in place of a random share of them: who cannot learn passages by heart has to read."""
    special = torch.tensor(schedule.special_ids, device=ids.device)
    masked = (torch.rand(ids.shape, device=ids.device) < schedule.word_dropout) & ~torch.isin(ids, special)
    return ids.masked_fill(masked, schedule.mask_id)
