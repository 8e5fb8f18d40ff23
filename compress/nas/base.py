"""What the stages of the recipe kind `nas` share: the supernet's folder, the space, what latency is measured with."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate.state import AcceleratorState

from compress.nas.space import Space, space_of
from compress.nas.timed import Setup
from compress.recipe.nas import NasRecipe
from compress.recipe.stage import StageContext
from zoo.checkpoints import normalized, read_config
from zoo.settings import get_settings


@dataclass(frozen=True)
class Base:
    """The network that candidates are cut out of.

    Attributes:
        folder: its checkpoint and tokenizer: tuned on the task, or only trained on text where each candidate is
            fine-tuned.
        space: the encoders to choose from.
        setup: input, threads and operators that latency is measured with.
    """

    folder: Path
    space: Space
    setup: Setup


def base_of(ctx: StageContext[NasRecipe]) -> Base:
    """What a run's stages `supernet` and `tune` have left.

    Raises:
        UserError: the recipe's space does not fit it.
    """
    recipe = ctx.recipe
    folder = ctx.inputs["supernet" if recipe.search.scoring == "finetune" else "tune"]
    config = normalized(read_config(folder))
    space = space_of(recipe.space, config)
    return Base(folder, space, setup_of(recipe, config))


def setup_of(recipe: NasRecipe, config: dict[str, Any]) -> Setup:
    """What a recipe's latencies are measured with, for sub-networks of a checkpoint with this `config.json`."""
    settings, int8 = recipe.latency_table, recipe.quantize
    return Setup(
        settings.tokens,
        settings.batch,
        settings.threads or get_settings().threads,
        config["model_type"],
        recipe.dataset.type.name,
        int8.approach,
        tuple(int8.keep_float or ()),
        int8.approach == "static" and int8.smoothing > 0,
    )


def leave_torchrun() -> None:
    """Goes on as one process: under torchrun the others have ended after the supernet's stages."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return
    for key in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        os.environ.pop(key, None)
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
    AcceleratorState._reset_state(True)  # pyright: ignore[reportPrivateUsage] - accelerate has no public way
