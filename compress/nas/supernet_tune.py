"""A supernet tuned on a task, once: afterwards every sub-network can be scored as it is."""

from __future__ import annotations

import random
from collections.abc import Iterator
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor

from compress.learn.distill import LogitsRecorder
from compress.learn.finetune import learn
from compress.learn.student import Student, Workplace
from compress.nas.space import Space, space_of
from compress.nas.supernet import SuperNet
from compress.nas.supernet_train import sandwich
from compress.recipe.nas import NasRecipe
from compress.recipe.nas_groups import Tune
from compress.recipe.stage import StageContext
from compress.tasks.losses import divergence
from compress.tasks.samples import Forward, Loss
from compress.tasks.subject import Subject
from compress.tasks.subjects import subject_of
from zoo.checkpoints import read_config
from zoo.features import load_tokenizer


def run(ctx: StageContext[NasRecipe]) -> dict[str, Any]:
    """Stage `tune`: a supernet -> the same with a head for the recipe's task, all its sub-networks tuned on it.

    Raises:
        UserError: the supernet is of another space, or nothing can be learned from the data.
    """
    recipe, settings, source = ctx.recipe, ctx.recipe.tune, ctx.inputs["supernet"]
    if recipe.search.scoring == "finetune":
        ctx.progress.note("every candidate is fine-tuned by itself: the supernet is not tuned")
        return {}
    subject, tokenizer = subject_of(recipe, settings), load_tokenizer(source)
    torch.manual_seed(recipe.training.seed)
    space = space_of(recipe.space, read_config(source))
    net = SuperNet.load(source, space, lambda folder: subject.load_model(folder, settings.dropout))
    data = subject.samples(tokenizer, subject.load("train"))
    loss = in_place(subject, settings, space)
    facts = learn(Workplace.of(ctx), Student(net, tokenizer, data), settings, loss, net.save)
    return {**facts, "networks": len(space)}


def in_place(subject: Subject[Any], settings: Tune, space: Space) -> Loss:
    """The loss of `compress.learn.loop.train` for a supernet and a task: sandwich rule and in-place distillation.

    The largest sub-network learns from the labels, the smallest and the random ones from what the largest says of the
    same batch (T^2 KL(largest || this)) and from the labels, by the settings' weights (Yu and Huang, arXiv 1903.05134).

    Args:
        subject: what is learned.
        settings: a `Tune` group.
        space: of the supernet.
    """
    total, kind, task_loss = settings.label_weight + settings.teacher_weight, subject.task.compared_as, subject.loss()

    def loss(
        model: Forward, batch: dict[str, Tensor], chance: random.Random
    ) -> Iterator[tuple[Tensor, dict[str, float]]]:
        networks = sandwich(space, settings.random_networks, chance)
        goal = torch.empty(0)
        for name, arch in networks:
            heard = LogitsRecorder(partial(model, arch=arch))
            passes = task_loss(heard, batch, chance)
            task, figures = next(passes)
            passes.close()  # type: ignore[attr-defined]
            if name == "largest":
                goal = heard.logits.detach()
                yield task / len(networks), {**figures, "largest_loss": task.item()}
                continue
            far = divergence(heard.logits, goal, kind, settings.temperature)
            value = (settings.label_weight * task + settings.teacher_weight * far) / total
            yield value / len(networks), {f"{name}_loss": task.item(), f"{name}_distance": far.item()}

    return cast(Loss, loss)
