"""The one training loop: batches bucketed by length, accelerate, checkpoints in time, exact resume, progress."""

from __future__ import annotations

import logging
import math
import os
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from accelerate.utils import set_seed
from torch import Tensor

from compress.memory import give_back
from compress.tasks.samples import Loss, Sample, collate
from zoo.files import read_json, write_json
from zoo.latency import multiplies_bf16
from zoo.modeling import LengthAdaptiveModel

log = logging.getLogger(__name__)

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


def batches(lengths: Sequence[int], size: int, seed: int, epoch: int) -> list[list[int]]:
    """Indices of one epoch in batches of like length, in random order; the same for the same seed and epoch.

    Shuffled, cut into pools of 50 batches, sorted by length within a pool: padding falls from half of the tokens to a
    few percent and every batch is still a random draw of its length.
    """
    chance = random.Random(f"{seed}/{epoch}")
    order = list(range(len(lengths)))
    chance.shuffle(order)
    made = []
    for at in range(0, len(order), 50 * size):
        pool = sorted(order[at : at + 50 * size], key=lambda i: lengths[i])
        made += [pool[i : i + size] for i in range(0, len(pool), size)]
    chance.shuffle(made)
    return made


def best_precision(wish: str = "auto") -> str:
    """ "bf16" where the CPU multiplies it in hardware, else "fp32"; a wish other than "auto" is granted."""
    if wish != "auto":
        return wish
    native = torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return "bf16" if native and multiplies_bf16() else "fp32"


def computing(wish: str, device: str) -> torch.autocast:
    """In which a model computes as `best_precision` says, on "cpu" or "cuda"."""
    return torch.autocast(device, torch.bfloat16, enabled=best_precision(wish) == "bf16")


def steps_of(samples: int, epochs: float, batch_size: int) -> int:
    """Steps that `train` plans for."""
    return max(1, math.ceil(math.ceil(samples / batch_size) * epochs))


def train(
    model: LengthAdaptiveModel,
    data: Sequence[Sample],
    loss: Loss,
    schedule: Schedule,
    folder: Path,
    progress: Any,
    pad_id: int = 0,
    hooks: Sequence[Hook] = (),
    rates: Mapping[str, float] | None = None,
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
        progress: `compress.progress.Progress`.
        pad_id: of the tokenizer.
        hooks: called in turn at every step; what they hold is in the checkpoints.
        rates: what the learning rate is multiplied by for some parameters, by their names; 1 for all others. They are
            grouped by powers of two, and do not decay.

    Returns:
        steps, final loss and seconds.
    """
    accelerator = Accelerator(
        cpu=not torch.cuda.is_available(),
        mixed_precision="no",
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)],  # LayerDrop leaves layers out
    )
    world, rank = accelerator.num_processes, accelerator.process_index
    autocast = computing(schedule.precision, accelerator.device.type)
    set_seed(schedule.seed)
    model.train()
    learned = [p for p in model.parameters() if p.requires_grad]
    groups = _groups(model, schedule.weight_decay, rates or {})
    scales = [group.pop("rate") for group in groups]  # not in checkpoints: those of earlier versions have none
    optimizer = torch.optim.AdamW(groups, lr=schedule.learning_rate, fused=True)
    start = [p.detach().clone() for p in learned] if schedule.keep_start else []
    averaged = [p.detach().clone() for p in learned] if schedule.average else []
    lengths = [len(row.window.input_ids) for row in data]
    per_epoch = math.ceil(len(data) / schedule.batch_size)
    total = steps_of(len(data), schedule.epochs, schedule.batch_size)
    step, spent, running = 0, 0.0, 0.0
    checkpoint = folder / "checkpoint"
    if (checkpoint / "state.json").is_file():
        state = read_json(checkpoint / "state.json")
        saved = torch.load(checkpoint / state["file"], weights_only=True)
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        for held, values in ((start, saved["start"]), (averaged, saved["averaged"])):
            for mine, value in zip(held, values, strict=True):
                mine.copy_(value)
        for hook, held in zip(hooks, saved["hooks"], strict=True):
            hook.load_state_dict(held)
        step, spent, running = state["step"], state["spent"], state["loss"]
        progress.note(f"resumed at step {step} of {total}")
    wrapped = accelerator.prepare(model)
    begun, last_saved, seen = time.monotonic() - spent, time.monotonic(), 0
    tidied = last_saved
    order: list[list[int]] = []
    epoch = -1

    def save() -> None:
        if rank:
            return
        checkpoint.mkdir(parents=True, exist_ok=True)
        name = f"step-{step}.pt"
        state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "start": start, "averaged": averaged}
        state["hooks"] = [hook.state_dict() for hook in hooks]
        torch.save(state, checkpoint / (name + ".tmp"))
        os.replace(checkpoint / (name + ".tmp"), checkpoint / name)
        write_json(
            checkpoint / "state.json", {"step": step, "file": name, "spent": time.monotonic() - begun, "loss": running}
        )
        for old in checkpoint.glob("step-*"):
            if old.name != name:
                old.unlink()

    started = time.monotonic()
    while step < total:
        if epoch != step // per_epoch:
            epoch = step // per_epoch
            order = batches(lengths, schedule.batch_size, schedule.seed, epoch)
        done = step / total
        if schedule.minutes:
            done = max(done, (time.monotonic() - begun) / (60 * schedule.minutes))
            if done >= 1:
                break
        for group, scale in zip(optimizer.param_groups, scales, strict=True):
            group["lr"] = (
                schedule.learning_rate
                * scale
                * min(1.0, (done + 1 / total) / max(schedule.warmup_ratio, 1 / total))
                * (1 - done)
            )
        rows = order[step % per_epoch][rank::world] or order[step % per_epoch][:1]
        chance = random.Random(f"{schedule.seed}/{step}")  # the same on every rank and after a resume
        torch.manual_seed(chance.getrandbits(32) + rank)
        batch = {**collate([data[i] for i in rows], pad_id), "row": torch.tensor(rows)}
        batch = {key: value.to(accelerator.device) for key, value in batch.items()}
        if schedule.word_dropout:
            batch["input_ids"] = hidden_words(batch["input_ids"], schedule)
        for hook in hooks:
            hook.before_step(step, total)
        figures: dict[str, float] = {}
        with autocast:
            parts = loss(wrapped, batch, chance)
            pending = next(parts, None)
            while pending is not None:
                value, told = pending
                accelerator.backward(value)
                figures.update(told)
                pending = next(parts, None)
        for hook in hooks:
            hook.after_backward(step, total)
        norm = torch.nn.utils.clip_grad_norm_(learned, schedule.max_grad_norm)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        for hook in hooks:
            hook.after_step(step, total)
        if averaged:  # young averages forget their start faster
            for mean, now in zip(averaged, learned, strict=True):
                mean.lerp_(now.detach(), 1 - min(schedule.average, step / (10 + step)))
        step += 1
        seen += len(rows) * world
        running = figures["loss"] if step == 1 else 0.98 * running + 0.02 * figures["loss"]
        figures |= {"loss": running, "grad_norm": float(norm), "learning_rate": optimizer.param_groups[0]["lr"]}
        if not rank:
            progress.update(step, total, **figures, examples_per_s=seen / (time.monotonic() - started))
        if time.monotonic() - last_saved > 60 * schedule.checkpoint_minutes:
            save()
            last_saved = time.monotonic()
        if time.monotonic() - tidied > TIDY:
            give_back()
            tidied = time.monotonic()
    save()
    with torch.no_grad():
        for mine, mean in zip(learned, averaged, strict=False):
            mine.copy_(mean)
        for mine, before in zip(learned, start, strict=False):
            mine.lerp_(before, schedule.keep_start)
    for hook in hooks:
        hook.finish()
    model.eval()
    return {"steps": step, "loss": running, "seconds": time.monotonic() - begun}


def _groups(model: torch.nn.Module, weight_decay: float, rates: Mapping[str, float]) -> list[dict[str, Any]]:
    """The optimizer's groups of what learns: matrices, which decay, all else, and by its `rate` what has one."""
    made: dict[tuple[bool, float], list[torch.nn.Parameter]] = {(True, 1.0): [], (False, 1.0): []}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            rate = 2.0 ** round(math.log2(rates[name])) if name in rates else 1.0
            made.setdefault((parameter.ndim > 1 and name not in rates, rate), []).append(parameter)
    return [
        {"params": held, "weight_decay": weight_decay if decays else 0.0, "rate": rate}
        for (decays, rate), held in made.items()
    ]


def hidden_words(ids: Tensor, schedule: Schedule) -> Tensor:
    """`ids` with the mask token in place of a random share of them: who cannot learn passages by heart has to read."""
    special = torch.tensor(schedule.special_ids, device=ids.device)
    chosen = (torch.rand(ids.shape, device=ids.device) < schedule.word_dropout) & ~torch.isin(ids, special)
    return ids.masked_fill(chosen, schedule.mask_id)
