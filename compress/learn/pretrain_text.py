"""Stage `text` of pre-training: the recipe's text in blocks of tokens, and what can be checked before it is read."""

from __future__ import annotations

from typing import Any

from compress.learn import aware
from compress.learn.distill import open_teacher, tokenizer_of
from compress.learn.loop import steps_of
from compress.learn.pretrain import open_teacher as open_dense
from compress.learn.pruning import prune
from compress.learn.shards import read_text
from compress.tasks.subjects import training_samples
from zoo.catalog import checkpoint_of
from zoo.files import read_json


def run(ctx: Any) -> dict[str, Any]:
    """Stage `text`: the recipe's text in blocks of tokens.

    Raises:
        UserError: there is no text, or what later stages need does not fit; before anything is trained.
    """
    recipe = ctx.recipe
    tokenizer = tokenizer_of(recipe)
    settings, config = recipe.pretrain, read_json(checkpoint_of(recipe.model) / "config.json")
    prune.check(config, recipe.prune, settings.steps)
    open_dense(recipe, tokenizer)
    if recipe.distill.apply:
        open_teacher(recipe, tokenizer)
    _check_second(recipe, tokenizer)
    blocks = read_text(ctx, settings)
    if settings.steps is None:
        prune.check(config, recipe.prune, steps_of(len(blocks), settings.epochs, settings.batch_size))
    return {"blocks": len(blocks), "tokens": len(blocks) * settings.block_tokens}


def _check_second(recipe: Any, tokenizer: Any) -> None:
    """Tells now which step of the second fine-tuning is not reached; data are read only where one is named."""
    settings = recipe.aware
    if settings.apply and (settings.start_step or settings.freeze_step is not None):
        samples = len(training_samples(recipe, tokenizer, settings))
        aware.check(settings, steps_of(samples, settings.epochs, settings.batch_size))
