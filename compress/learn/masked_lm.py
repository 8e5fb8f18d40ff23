"""Text for masked language modelling: passages from where they are, and inputs with holes."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from compress.data.squad import BUNDLED
from compress.learn.loop import steps_of
from zoo import catalog
from zoo.errors import UserError
from zoo.files import read_json, sha256

SHARE = 0.15  # of the tokens are to be told
HIDDEN, SWAPPED = 0.8, 0.1  # of those are masked, and are other tokens; the rest stand as they are


def run(ctx: Any) -> dict[str, Any]:
    """Stage `text`: the recipe's text in blocks of tokens.

    Raises:
        UserError: there is no text, or what later stages need does not fit; before anything is trained.
    """
    from compress.learn.distill import open_teacher, tokenizer_of
    from compress.learn.finetune import checkpoint_of
    from compress.learn.pretrain import open_teacher as open_dense
    from compress.learn.pruning.prune import check
    from compress.learn.shards import read_text

    recipe = ctx.recipe
    tokenizer = tokenizer_of(recipe)
    settings, config = recipe.pretrain, read_json(checkpoint_of(recipe.model) / "config.json")
    check(config, recipe.prune, settings.steps)
    open_dense(recipe, tokenizer)
    if recipe.distill.apply:
        open_teacher(recipe, tokenizer)
    _check_second(recipe, tokenizer)
    blocks = read_text(ctx, settings)
    if settings.steps is None:
        check(config, recipe.prune, steps_of(len(blocks), settings.epochs, settings.batch_size))
    return {"blocks": len(blocks), "tokens": len(blocks) * settings.block_tokens}


def _check_second(recipe: Any, tokenizer: Any) -> None:
    """Tells now which step of the second fine-tuning is not reached; data are read only where one is named."""
    from compress.learn.aware import check
    from compress.learn.finetune import training_samples

    settings = recipe.aware
    if settings.apply and (settings.start_step or settings.freeze_step is not None):
        samples = len(training_samples(recipe, tokenizer, settings))
        check(settings, steps_of(samples, settings.epochs, settings.batch_size))


def passages(source: str, config: str | None = None) -> Iterator[str]:
    """The lines of text files, by name of the file, the `text` column of a Hub data set, or the bundled passages.

    Blank ones are left out.

    Raises:
        UserError: not found, not readable as text, or empty.
    """
    path = Path(source).expanduser()
    if source == BUNDLED:
        found = iter(dict.fromkeys(example["context"] for example in catalog.examples()))
    else:
        found = _from_files(path) if _is_local(path) else _from_hub(source, config)
    some = False
    for text in found:
        if text := text.strip():
            some = True
            yield text
    if not some:
        raise UserError(f"{source} holds no text: put .txt files there, one passage a line.")


def _is_local(path: Path) -> bool:
    return path.exists() or path.suffix == ".txt" or path.is_absolute()


def _files(path: Path) -> list[Path]:
    if not path.exists():
        raise UserError(f"There is no text at {path}. Give a .txt file, a folder of them, or a Hub id.")
    files = sorted(path.glob("*.txt")) if path.is_dir() else [path]
    if not files:
        raise UserError(f"{path} holds no .txt files. Put text there, one passage a line.")
    return files


def _from_files(path: Path) -> Iterator[str]:
    for file in _files(path):
        try:
            with file.open(encoding="utf-8") as lines:
                yield from lines
        except UnicodeDecodeError as error:
            raise UserError(f"{file} is not UTF-8 text ({error}). Save it as UTF-8.") from error
        except OSError as error:
            raise UserError(f"{file} cannot be read: {error.strerror or error}.") from error


def _from_hub(source: str, config: str | None) -> Iterator[str]:
    from zoo.safety import check_repo_id

    name, _, split = source.partition(":")
    name, split = check_repo_id(name), split or "train"
    try:
        import datasets

        for row in datasets.load_dataset(name, config, split=split, streaming=True):
            yield row["text"]  # type: ignore[index]
    except KeyError as error:
        raise UserError(f"The data set {name} has no column “text”. Take another one, or a folder of text.") from error
    except Exception as error:  # the library raises dozens of kinds, for no network, no such name, no such split
        raise UserError(
            f"The text {name} ({config or 'default'}, split {split}) could not be read: "
            f"{(str(error) or repr(error)).splitlines()[0]}. Check the name, text_config and the network, or "
            "give a folder of .txt files."
        ) from error


def source_mark(source: str, config: str | None) -> Any:
    """What tells one source of text from another: the files' names and hashes, or the name of what is elsewhere."""
    path = Path(source).expanduser()
    if source == BUNDLED or not _is_local(path):
        return [source, config]
    return [[file.name, sha256(file)] for file in _files(path)]


class Masking:
    """Makes holes in texts, of which a model has to tell what stood there.

    Of all but the special tokens 15 % are to be told; of those 80 % are masked, 10 % are replaced by any other token
    and 10 % are left.

    Args:
        tokenizer: of the model.
    """

    def __init__(self, tokenizer: Any):
        self.mask = tokenizer.mask_token_id
        if self.mask is None:
            raise UserError("The tokenizer has no mask token: take a checkpoint that was made for masked texts.")
        special = set(tokenizer.all_special_ids)
        self.ordinary = torch.tensor([token for token in range(len(tokenizer)) if token not in special])
        self._is_special = torch.zeros(len(tokenizer), dtype=torch.bool)
        self._is_special[torch.tensor(sorted(special))] = True

    def __call__(self, batch: dict[str, Tensor], chance: random.Random) -> tuple[Tensor, Tensor]:
        """The holes that `chance`, which a training seeds by its step, and the first of the rows decide on.

        Returns:
            int64 ids with holes, and where they are, bool, both `[batch, tokens]`; there is one at least.
        """
        ids = batch["input_ids"].cpu()
        draw = torch.Generator().manual_seed(chance.getrandbits(62) ^ int(batch["row"][0]))
        possible = batch["attention_mask"].cpu().bool() & ~self._is_special[ids]
        order = torch.rand(ids.shape, generator=draw).masked_fill(~possible, 2.0)
        holes = order < SHARE
        if not holes.any():
            holes = order == order.min()
        fate = torch.rand(ids.shape, generator=draw)
        others = self.ordinary[torch.randint(len(self.ordinary), ids.shape, generator=draw)]
        filled = torch.where(fate < HIDDEN, self.mask, torch.where(fate < HIDDEN + SWAPPED, others, ids))
        device = batch["input_ids"].device
        return torch.where(holes, filled, ids).to(device), holes.to(device)
