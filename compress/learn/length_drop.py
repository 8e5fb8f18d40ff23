"""LengthDrop: one training that makes a model serve every length configuration.

The method is that of the Length-Adaptive Transformer (Kim and Cho, arXiv 2010.07003): sandwich rule and in-place
distillation. Two choices are ours. The divergence is KL(teacher || student), as in the paper's text: it makes the
student cover every answer that the full-length pass finds likely, while the published code minimises the reverse,
which lets it settle on one of them. And attention can be guided (`significance_weight`): which tokens are kept is
decided by a top-k through which no gradient flows, and left alone MiniLM keeps the answer little more often than
chance would, though with the answer kept it loses nothing. So a hinge loss asks, where tokens are dropped, that the
answer's ends receive a share of the attention that is sure to keep them.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from compress.learn.loop import span_loss
from zoo.modeling import LengthAdaptiveModel, Output


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
    """KL(teacher || student), mean over the batch and, of logits `[batch, tokens, 2]`, over start and end.

    A classifier's logits are `[batch, labels]`; of a score, `[batch, 1]`, it is the squared difference.
    """
    if student.ndim == 2 and student.shape[1] == 1:
        return F.mse_loss(student.float(), teacher.detach().float())
    target = teacher.detach().float().log_softmax(1)
    return F.kl_div(student.float().log_softmax(1), target, log_target=True, reduction="none").sum(1).mean()


def attention_hinge(
    significance: Sequence[tuple[int, Tensor, Tensor]], start: Tensor, end: Tensor, goal: Tensor
) -> Tensor:
    """How far the answer's first and last token are from being sure to be kept, mean over tokens and layers.

    Of all attention at most n tokens receive a share of 1/n or more: one that receives it is among the n kept.

    Args:
        significance: `Output.significance`.
        start, end: answer's token positions, `[batch]`.
        goal: tokens that go on after each layer, `[batch, layers]`.
    """
    total = torch.zeros((), device=start.device)
    for layer, share, where in significance:
        answer = (where == start[:, None]) | (where == end[:, None])
        short = -(share.float() * goal[:, layer, None]).clamp_min(1e-6).log()
        total = total + (short.clamp_min(0) * answer).sum() / answer.sum().clamp_min(1)
    return total / max(1, len(significance))


def of_answer(logits: Tensor, batch: dict[str, Tensor]) -> Tensor:
    """The task's loss for questions, from logits and batch."""
    return span_loss(logits, batch["start"], batch["end"])


def sandwich(
    settings: Any,
    drop_layers: Sequence[int],
    layers: int,
    task_loss: Callable[[Tensor, dict[str, Tensor]], Tensor] = of_answer,
    guided: bool = True,
):
    """The loss of `compress.learn.loop.train` for LengthDrop.

    Args:
        settings: `num_sandwich`, `length_drop_ratio_bound`, `layer_dropout_prob`, `significance_weight`.
        drop_layers: layers at which tokens may be dropped.
        layers: of the model.
        task_loss: of the full-length pass.
        guided: whether there is an answer in the input that attention can be guided to.
    """
    bounds = ratios(settings.length_drop_ratio_bound, drop_layers, layers)
    passes, weight = settings.num_sandwich + 2, settings.significance_weight if guided else 0.0

    def guidance(out: Output, batch: dict[str, Tensor], count: Tensor, told: dict[str, float], name: str) -> Tensor:
        if not weight or not out.significance:
            return torch.zeros(())
        far = attention_hinge(out.significance, batch["start"], batch["end"], smallest(count, bounds))
        told[name] = far.item()
        return weight * far

    def loss(model: Any, batch: dict[str, Tensor], chance: random.Random) -> Iterator[tuple[Tensor, dict[str, float]]]:
        inputs = {key: batch[key] for key in ("input_ids", "attention_mask", "token_type_ids")}
        count = batch["attention_mask"].sum(1)
        alive = surviving_layers(layers, settings.layer_dropout_prob, chance)
        out = model(**inputs, layers=alive, scored=weight > 0)
        task = task_loss(out.logits, batch)
        teacher, told = out.logits.detach(), {"loss": task.item()}
        yield (task + guidance(out, batch, count, told, "hinge_full")) / passes, told
        del out
        for turn in range(settings.num_sandwich + 1):
            name = "sampled" if turn else "smallest"
            lengths = sampled(count, bounds, chance) if turn else smallest(count, bounds)
            alive = surviving_layers(layers, settings.layer_dropout_prob, chance)
            out = model(**inputs, lengths=lengths, layers=alive)
            far = distance(out.logits, teacher)
            told = {f"kl_{name}": far.item()}
            yield (far + guidance(out, batch, count, told, f"hinge_{name}")) / passes, told
            del out

    return loss


def bounds_of(settings: Any, model: LengthAdaptiveModel) -> list[float]:
    """The largest share that each layer of `model` may drop, by a `length_drop` group."""
    return ratios(settings.length_drop_ratio_bound, model.drop_layers, model.shape.layers)


def dropping(settings: Any) -> dict[str, Any]:
    """What a `length_drop` group sets in a checkpoint's configuration."""
    return {} if settings.drop_layers is None else {"length_drop_layers": list(settings.drop_layers)}


def run(ctx: Any) -> dict[str, Any]:
    """Stage `length_drop`: a fine-tuned checkpoint -> one that serves every length configuration.

    A teacher, if the recipe has one, is heard in every pass: of the full length beside the labels, of the others beside
    the student's own full length.
    """
    from compress.learn.distill import distillation
    from compress.learn.finetune import learn, training_samples
    from compress.tasks.subject import subject_of
    from compress.tasks.texts import of_label
    from zoo.features import load_tokenizer

    settings, subject = ctx.recipe.length_drop, subject_of(ctx.recipe)
    source, asks = ctx.inputs["finetune"], subject.task.is_questions
    tokenizer = load_tokenizer(source)
    model = subject.load_model(source, settings.dropout, **dropping(settings))
    loss = sandwich(settings, model.drop_layers, model.shape.layers, of_answer if asks else of_label, asks)
    data = training_samples(ctx.recipe, tokenizer, settings)
    if ctx.recipe.distill.apply:
        loss = distillation(ctx, loss, model, tokenizer, data, settings.num_sandwich + 2)
    return learn(ctx, model, tokenizer, data, settings, loss)
