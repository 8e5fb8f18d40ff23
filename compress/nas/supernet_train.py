"""Training a supernet on text: largest, smallest and random sub-networks in every step, all taught by one teacher.

Which sub-networks a step trains is drawn from the random numbers that `compress.learn.loop.train` seeds by the step:
every process of a torchrun trains the same ones, and so does a resumed run.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from compress.learn.distill import hidden_distance
from compress.learn.finetune import freeze
from compress.learn.loop import train
from compress.learn.masked_lm import MaskedLanguageModel
from compress.learn.masking import Masking
from compress.learn.pretrain import schedule_on
from compress.learn.shards import Shards
from compress.learn.student import Workplace, tokenizer_of
from compress.learn.teacher import check_reading
from compress.nas.ordering import FACTS
from compress.nas.space import Arch, Space, space_of
from compress.nas.supernet import Net, SuperNet, encoder_of
from compress.recipe.nas import NasRecipe
from compress.recipe.nas_groups import Supernet
from compress.recipe.stage import StageContext
from compress.tasks.samples import Loss
from zoo.catalog import checkpoint_of
from zoo.checkpoints import read_config
from zoo.errors import UserError
from zoo.features import Tokenizer, load_tokenizer
from zoo.files import read_json
from zoo.layers import MASK


def run(ctx: StageContext[NasRecipe]) -> dict[str, Any]:
    """Stage `supernet`: the ordered checkpoint and blocks of text -> a supernet.

    Raises:
        UserError: the teacher does not fit, or the supernet that was given is of another space.
    """
    recipe, settings, training = ctx.recipe, ctx.recipe.supernet, ctx.recipe.training
    space = space_of(recipe.space, read_config(checkpoint_of(recipe.model)))
    if settings.checkpoint:
        folder = Path(settings.checkpoint).expanduser()
        net = SuperNet.load(folder, space)
        return _save(ctx, net, load_tokenizer(folder), {"taken_from": settings.checkpoint})
    tokenizer = tokenizer_of(recipe.model, recipe.tokenizer)
    torch.manual_seed(training.seed)
    start = MaskedLanguageModel.load(ctx.inputs["order"], settings.dropout)
    if not settings.apply:
        return _save(ctx, SuperNet.of(start, space), tokenizer, {"trained": False})
    teacher = open_teacher(recipe, ctx.inputs["order"], tokenizer)
    net = SuperNet.of(start, space)
    freeze(net, training)
    learner = Learner(net, teacher.encoder.config["hidden_size"])
    data = Shards(ctx.inputs["generate_data"])
    minutes, pad_id = settings.max_minutes or 0, tokenizer.pad_token_id
    schedule = replace(schedule_on(Workplace.of(ctx), settings, len(data)), minutes=minutes, pad_id=pad_id)
    loss = taught(settings, space, Masking(tokenizer), teacher)
    figures = train(learner, data, loss, schedule, ctx.folder, ctx.progress)
    return _save(ctx, net, tokenizer, {**figures, "trained": True, "blocks": len(data)})


def _save(ctx: StageContext[NasRecipe], net: SuperNet, tokenizer: Tokenizer, facts: dict[str, Any]) -> dict[str, Any]:
    if int(os.environ.get("RANK", "0")) == 0:  # under torchrun all processes hold the same weights
        net.save(ctx.folder)
        tokenizer.save_pretrained(str(ctx.folder))
    return {**facts, "largest": net.space.largest.key, "smallest": net.space.smallest.key, "networks": len(net.space)}


def open_teacher(recipe: NasRecipe, ordered: Path, tokenizer: Tokenizer) -> MaskedLanguageModel:
    """Whom a supernet learns from: the ordered checkpoint as it was, or another one.

    Raises:
        UserError: it cannot tell words, where that is wanted, or does not fit the tokenizer.
    """
    settings = recipe.supernet
    folder = checkpoint_of(settings.teacher) if settings.teacher else ordered
    model = MaskedLanguageModel.load(folder)
    has_head = model.has_head if settings.teacher else read_json(ordered / FACTS)["words_head"]
    if settings.teacher_weight and not has_head:
        raise UserError(
            f"{settings.teacher or recipe.model} has no head for masked words, so that it cannot teach them. Set "
            "supernet.teacher_weight to 0: hidden states and relations are learned from it all the same."
        )
    vocabulary = load_tokenizer(folder) if settings.teacher else tokenizer
    check_reading(model.encoder, vocabulary, tokenizer, recipe.generate_data.block_tokens)
    return model.eval().requires_grad_(False)


def sandwich(space: Space, random_networks: int, chance: random.Random) -> list[tuple[str, Arch]]:
    """The sub-networks of a step: the largest, the smallest and random ones, each with its name for the progress.

    Training the bounds in every step lifts all that lie between them (Yu and Huang, arXiv 1903.05134).
    """
    return [
        ("largest", space.largest),
        ("smallest", space.smallest),
        *(("random", space.sample(chance)) for _ in range(random_networks)),
    ]


class Learner(nn.Module):
    """A supernet and what turns the hidden states of any of its sub-networks into the teacher's.

    Args:
        net: for masked words.
        width: of the teacher's hidden states.
    """

    def __init__(self, net: SuperNet, width: int):
        super().__init__()
        self.net = net
        self.fit = nn.Linear(net.space.largest.hidden, width)
        nn.init.eye_(self.fit.weight)  # columns that both have mean the same where the supernet began as the teacher
        nn.init.zeros_(self.fit.bias)

    def forward(
        self, ids: Tensor, alive: Tensor, holes: Tensor | None, arch: Arch, fitted: bool = True, related: bool = True
    ) -> dict[str, Any]:
        """Runs a sub-network.

        Returns:
            What is asked for: `hidden` `[batch, tokens, width]`, as the teacher's; `relations`, the queries, keys and
            values of the last layer; `words`, logits at the holes. Nothing else: what is returned has to be learned
            from, or processes would wait for gradients that never come.
        """
        with last_attention(self.net.body(arch)) as attention:
            hidden, words = self.net(ids, alive, holes, arch=arch)
        figures: dict[str, Any] = {}
        if fitted:
            figures["hidden"] = F.linear(hidden, self.fit.weight[:, : arch.hidden], self.fit.bias)
        if related:
            figures["relations"] = list(attention)
        if words is not None:
            figures["words"] = words
        return figures


@contextmanager
def last_attention(model: Net) -> Generator[list[Any]]:
    """Within it, the queries, keys and values of a model's last layer are noted in the list that it gives."""
    block, caught = encoder_of(model).blocks[-1], []
    parts = (block.query, block.key, block.value)
    handles = [part.register_forward_hook(lambda _m, _a, out: caught.append(out)) for part in parts]
    try:
        yield caught
    finally:
        for handle in handles:
            handle.remove()


def taught(
    settings: Supernet, space: Space, masking: Callable[..., tuple[Tensor, Tensor]], teacher: MaskedLanguageModel
):
    """The loss of `compress.learn.loop.train` for a `Learner`: of each sub-network the mean of its parts by weight.

    The parts are the squared distance of the last hidden states, the relations of the last layer's queries, keys and
    values, the teacher's words at the holes (T^2 KL(teacher || student)) and the cross-entropy of the masked words.
    There are holes only where words are learned; hidden states and relations alone are those of the whole text.

    Args:
        settings: a `Supernet` group.
        space: of the supernet.
        masking: makes the holes.
        teacher: a frozen model, of any width.
    """
    weights = {
        "hidden": settings.hidden_weight,
        "relations": settings.relation_weight,
        "teacher": settings.teacher_weight,
        "words": settings.label_weight,
    }
    total, told_words = sum(weights.values()), bool(weights["teacher"] or weights["words"])

    def loss(model: Any, batch: dict[str, Tensor], chance: random.Random) -> Iterator[tuple[Tensor, dict[str, float]]]:
        ids, alive, holes = batch["input_ids"], batch["attention_mask"], None
        plain = ids
        if told_words:
            ids, holes = masking(batch, chance)
        goals: dict[str, Any] = {}
        teacher.to(ids.device)
        with torch.no_grad(), last_attention(teacher) as attention:
            goals["hidden"], goals["words"] = teacher(ids, alive, holes if weights["teacher"] else None)
            goals["relations"] = list(attention)
        networks = sandwich(space, settings.random_networks, chance)
        for name, arch in networks:
            out = model(ids, alive, holes, arch, bool(weights["hidden"]), bool(weights["relations"]))
            parts: dict[str, Tensor] = {}
            if weights["hidden"]:
                parts["hidden"] = hidden_distance([out["hidden"]], [goals["hidden"]], alive.bool())
            if weights["relations"]:
                parts["relations"] = relation_distance(
                    out["relations"], goals["relations"], alive.bool(), settings.relation_heads
                )
            if weights["teacher"]:
                warm = settings.temperature
                soft, own = ((each.float() / warm).log_softmax(1) for each in (goals["words"], out["words"]))
                parts["teacher"] = warm**2 * F.kl_div(own, soft, log_target=True, reduction="batchmean")
            if weights["words"]:
                parts["words"] = F.cross_entropy(out["words"].float(), plain[holes])
            value = torch.stack([weights[key] * part for key, part in parts.items()]).sum() / total
            figures = {f"{name}_{key}": part.item() for key, part in parts.items()} | {f"{name}_loss": value.item()}
            yield value / len(networks), {**figures, "loss": value.item()} if name == "largest" else figures

    return cast(Loss, loss)


def relation_distance(student: list[Tensor], teacher: list[Tensor], alive: Tensor, heads: int) -> Tensor:
    """KL(teacher || student) of relations among tokens, mean over queries, keys and values, heads and real tokens.

    As in MiniLMv2 (Wang et al., arXiv 2012.15828): vectors of all attention heads are laid side by side and cut anew
    into as many relation heads for both, so that models of different widths and heads compare.

    Args:
        student, teacher: of each of queries, keys and values `[batch, tokens, width]`.
        alive: real tokens, `[batch, tokens]`.
        heads: relation heads at most; the largest number up to it that divides both widths is taken.
    """
    widths = student[0].shape[-1], teacher[0].shape[-1]
    heads = max(n for n in range(1, heads + 1) if not any(width % n for width in widths))
    far = []
    for own, goal in zip(student, teacher, strict=True):
        mine, theirs = (_relations(each, alive, heads) for each in (own, goal.detach()))
        each = F.kl_div(mine, theirs, log_target=True, reduction="none").sum(-1).mean(1)
        far.append((each * alive).sum() / alive.sum())
    return torch.stack(far).mean()


def _relations(vectors: Tensor, alive: Tensor, heads: int) -> Tensor:
    """Logarithms of each token's relations to all real ones, `[batch, heads, tokens, tokens]`."""
    parts = vectors.float().unflatten(-1, (heads, -1)).transpose(1, 2)
    scores = parts @ parts.transpose(2, 3) * parts.shape[-1] ** -0.5
    return scores.masked_fill(~alive[:, None, None, :], MASK).log_softmax(-1)
