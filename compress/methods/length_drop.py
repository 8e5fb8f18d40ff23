"""LengthDrop: one training that makes a model serve every length configuration.

The method is that of the Length-Adaptive Transformer (Kim and Cho, arXiv 2010.07003): sandwich rule and in-place
distillation. Two choices are ours. The divergence is KL(teacher || student), as in the paper's text: it makes the
student cover every answer that the full-length pass finds likely, while the published code minimises the reverse,
which lets it settle on one of them. And attention can be guided (`significance_weight`): which tokens are kept is
decided by a top-k through which no gradient flows, so a small hinge loss asks that the answer's tokens receive at
least twice the average attention where tokens are dropped.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from compress.training import span_loss


def ratios(bound: float | Sequence[float], drop_layers: Sequence[int], layers: int) -> list[float]:
    """The largest share that each layer may drop: `bound` at every drop layer (or one bound for each), 0 elsewhere."""
    each = [bound] * len(drop_layers) if isinstance(bound, int | float) else list(bound)
    if len(each) != len(drop_layers):
        raise ValueError(f"{len(each)} bounds for {len(drop_layers)} drop layers")
    found = dict(zip(drop_layers, each, strict=True))
    return [found.get(i, 0.0) for i in range(layers)]


def smallest(count: Tensor, bounds: Sequence[float]) -> Tensor:
    """The lower gene: every layer drops as much as it may. `count` `[batch]` real tokens -> `[batch, layers]`."""
    return _chain(count, [1 - b for b in bounds])


def sampled(count: Tensor, bounds: Sequence[float], chance: random.Random) -> Tensor:
    """Random lengths: every layer keeps a uniform share of at least 1 - bound. `[batch]` -> `[batch, layers]`."""
    return _chain(count, [1 - b * chance.random() for b in bounds])


def _chain(count: Tensor, keep: Sequence[float]) -> Tensor:
    rows, now = [], count.float()
    for share in keep:
        now = torch.ceil(now * share - 1e-4).clamp_min(2)
        rows.append(torch.minimum(now, count))
    return torch.stack(rows, 1).long()


def surviving_layers(layers: int, probability: float, chance: random.Random) -> list[bool] | None:
    """LayerDrop: which layers run. Each is skipped with `probability`, but never all of them; None runs all."""
    if not probability:
        return None
    keep = [chance.random() >= probability for _ in range(layers)]
    if not any(keep):
        keep[chance.randrange(layers)] = True
    return keep


def distance(student: Tensor, teacher: Tensor) -> Tensor:
    """KL(teacher || student), mean over start and end and over the batch. Logits `[batch, tokens, 2]`."""
    target = teacher.detach().float().log_softmax(1)
    return F.kl_div(student.float().log_softmax(1), target, log_target=True, reduction="none").sum(1).mean()


def attention_hinge(significance: Sequence[tuple[Tensor, Tensor]], start: Tensor, end: Tensor, count: Tensor) -> Tensor:
    """How far the answer's tokens are from receiving twice the average attention, mean over tokens and layers.

    Args:
        significance: `Output.significance`: share of attention and token position, both `[batch, tokens alive]`.
        start, end: answer's token positions, `[batch]`.
        count: real tokens, `[batch]`.
    """
    total = torch.zeros((), device=start.device)
    for share, where in significance:
        answer = (where >= start[:, None]) & (where <= end[:, None])
        short = (math.log(2) - (share.float() * count[:, None]).clamp_min(1e-6).log()).clamp_min(0)
        total = total + (short * answer).sum() / answer.sum().clamp_min(1)
    return total / max(1, len(significance))


def sandwich(settings: Any, drop_layers: Sequence[int], layers: int):
    """The loss of `compress.training.train` for LengthDrop.

    Args:
        settings: `num_sandwich`, `length_drop_ratio_bound`, `layer_dropout_prob`, `significance_weight`.
        drop_layers: layers at which tokens may be dropped.
        layers: of the model.
    """
    bounds = ratios(settings.length_drop_ratio_bound, drop_layers, layers)
    passes = settings.num_sandwich + 2

    def loss(model: Any, batch: dict[str, Tensor], chance: random.Random) -> Iterator[tuple[Tensor, dict[str, float]]]:
        start, end = batch["start"], batch["end"]
        inputs = {key: batch[key] for key in ("input_ids", "attention_mask", "token_type_ids")}
        count = batch["attention_mask"].sum(1)
        alive = surviving_layers(layers, settings.layer_dropout_prob, chance)
        full = model(**inputs, layers=alive)
        task = span_loss(full.logits, start, end)
        teacher = full.logits.detach()
        yield task / passes, {"loss": task.item()}
        del full
        for turn in range(settings.num_sandwich + 1):
            lengths = smallest(count, bounds) if turn == 0 else sampled(count, bounds, chance)
            alive = surviving_layers(layers, settings.layer_dropout_prob, chance)
            out = model(**inputs, lengths=lengths, layers=alive)
            far = distance(out.logits, teacher)
            value, told = far, {"kl_smallest" if turn == 0 else "kl_sampled": far.item()}
            if settings.significance_weight and out.significance:
                hinge = attention_hinge(out.significance, start, end, count)
                value = value + settings.significance_weight * hinge
                told["hinge"] = hinge.item()
            yield value / passes, told
            del out

    return loss


def run(ctx: Any) -> dict[str, Any]:
    """Stage `length_drop`: a fine-tuned checkpoint -> one that serves every length configuration."""
    from compress.methods.finetune import learn, training_samples
    from zoo.features import load_tokenizer
    from zoo.modeling import LengthAdaptiveModel

    settings = ctx.recipe.length_drop
    source = ctx.inputs["finetune"]
    tokenizer = load_tokenizer(source)
    extra = {} if settings.drop_layers is None else {"length_drop_layers": list(settings.drop_layers)}
    model = LengthAdaptiveModel.load(source, None, settings.dropout, **extra)
    loss = sandwich(settings, model.drop_layers, model.shape.layers)
    return learn(ctx, model, tokenizer, training_samples(ctx.recipe, tokenizer, settings), settings, loss)
