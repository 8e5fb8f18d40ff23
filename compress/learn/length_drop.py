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

from compress.learn.distill import distillation
from compress.learn.finetune import learn
from compress.tasks.dropping import dropping, ratios, sampled, smallest, surviving_layers
from compress.tasks.losses import attention_hinge, distance, of_answer, of_label
from compress.tasks.subjects import subject_of, training_samples
from zoo.features import load_tokenizer
from zoo.modeling import Output


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


def run(ctx: Any) -> dict[str, Any]:
    """Stage `length_drop`: a fine-tuned checkpoint -> one that serves every length configuration.

    A teacher, if the recipe has one, is heard in every pass: of the full length beside the labels, of the others beside
    the student's own full length.
    """
    settings, subject = ctx.recipe.length_drop, subject_of(ctx.recipe)
    source, asks = ctx.inputs["finetune"], subject.task.is_questions
    tokenizer = load_tokenizer(source)
    model = subject.load_model(source, settings.dropout, **dropping(settings))
    loss = sandwich(settings, model.drop_layers, model.shape.layers, of_answer if asks else of_label, asks)
    data = training_samples(ctx.recipe, tokenizer, settings)
    if ctx.recipe.distill.apply:
        loss = distillation(ctx, loss, model, tokenizer, data, settings.num_sandwich + 2)
    return learn(ctx, model, tokenizer, data, settings, loss)
