"""Text for masked language modelling: passages to blocks of tokens on disk, and blocks to inputs with holes."""

from __future__ import annotations

import hashlib
import itertools
import os
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np
import torch
from torch import Tensor

from compress.data import BUNDLED
from compress.training import Sample, steps_of
from zoo import catalog
from zoo.errors import UserError
from zoo.features import Window
from zoo.files import read_json, sha256, write_json

HEADER, BLOCKS = "header.json", "blocks.bin"
PASSAGES = 1000  # tokenized at once
SHARE = 0.15  # of the tokens are to be told
HIDDEN, SWAPPED = 0.8, 0.1  # of those are masked, and are other tokens; the rest stand as they are


def run(ctx: Any) -> dict[str, Any]:
    """Stage `text`: the recipe's text in blocks of tokens.

    Raises:
        UserError: there is no text, or what later stages need does not fit; before anything is trained.
    """
    from compress.methods.distill import open_teacher, tokenizer_of
    from compress.methods.finetune import checkpoint_of
    from compress.methods.pretrain import open_teacher as open_dense
    from compress.methods.prune import check

    recipe = ctx.recipe
    tokenizer = tokenizer_of(recipe)
    settings, config = recipe.pretrain, read_json(checkpoint_of(recipe.model) / "config.json")
    check(config, recipe.prune, settings.steps)
    open_dense(recipe, tokenizer)
    if recipe.distill.apply:
        open_teacher(recipe, tokenizer)
    _check_second(recipe, tokenizer)
    blocks = make_blocks(
        ctx.folder,
        tokenizer,
        settings.block_tokens,
        settings.text,
        settings.text_config,
        settings.max_passages,
        ctx.progress,
    )
    if settings.steps is None:
        check(config, recipe.prune, steps_of(len(blocks), settings.epochs, settings.batch_size))
    return {"blocks": len(blocks), "tokens": len(blocks) * settings.block_tokens}


def _check_second(recipe: Any, tokenizer: Any) -> None:
    """Tells now which step of the second fine-tuning is not reached; data are read only where one is named."""
    from compress.methods.aware import check
    from compress.methods.finetune import training_samples

    settings = recipe.aware
    if settings.apply and (settings.start_step or settings.freeze_step is not None):
        samples = len(training_samples(recipe, tokenizer, settings))
        check(settings, steps_of(samples, settings.epochs, settings.batch_size))


class Blocks(Sequence[Sample]):
    """Blocks of tokens as `compress.training.train` takes them, read from disk when they are asked for.

    Raises:
        UserError: the folder holds none.
    """

    def __init__(self, folder: Path):
        header = read_json(folder / HEADER)
        self._tokens = np.memmap(folder / BLOCKS, header["type"], "r", shape=(header["count"], header["length"]))

    def __len__(self) -> int:
        return len(self._tokens)

    @overload
    def __getitem__(self, at: int) -> Sample: ...
    @overload
    def __getitem__(self, at: slice) -> list[Sample]: ...
    def __getitem__(self, at: int | slice) -> Sample | list[Sample]:
        if isinstance(at, slice):
            return [self[i] for i in range(*at.indices(len(self)))]
        return Sample(Window(at, self._tokens[at].tolist(), None, []), key=str(at))


def make_blocks(
    folder: Path,
    tokenizer: Any,
    length: int,
    source: str,
    config: str | None = None,
    max_passages: int | None = None,
    progress: Any = None,
) -> Blocks:
    """Tokenizes passages and cuts what they make, one behind the other, into blocks of `length` tokens.

    Every block begins and ends with the tokenizer's special tokens; inside, passages are parted by the one that ends
    texts. What does not fill a block at the end is left out. Blocks that the folder holds already are taken.

    Args:
        folder: for the blocks.
        tokenizer: of the model.
        length: tokens of a block.
        source: a text file or a folder of them, one passage a line; a Hub id, `:split` behind it if not `train`; or
            `examples` for the bundled passages.
        config: of a Hub data set with several.
        max_passages: take so many from the start.
        progress: is told how many passages were read.

    Raises:
        UserError: there is no text, or less than a block of it.
    """
    mark = {
        "source": source_mark(source, config),
        "max_passages": max_passages,
        "tokenizer": hashlib.sha256(tokenizer.backend_tokenizer.to_str().encode()).hexdigest(),
    }
    if (folder / HEADER).is_file():
        header = read_json(folder / HEADER)
        if header["mark"] == mark and header["length"] == length:
            return Blocks(folder)
    kind = np.dtype(np.uint16 if len(tokenizer) <= 2**16 else np.int32)
    first, last, inside = tokenizer.cls_token_id, tokenizer.sep_token_id, length - 2
    folder.mkdir(parents=True, exist_ok=True)
    draft = folder / f"{BLOCKS}.tmp"
    lines = itertools.islice(passages(source, config), max_passages)
    read = count = 0
    carried: list[int] = []
    with draft.open("wb") as file:
        while texts := list(itertools.islice(lines, PASSAGES)):
            made = tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"]  # type: ignore[call-arg]
            for ids in made:
                carried += [*ids, last]
            whole = len(carried) // inside
            file.write(framed(carried[: whole * inside], inside, kind, first, last).tobytes())
            carried = carried[whole * inside :]
            read, count = read + len(texts), count + whole
            if progress:
                progress.update(read, max_passages or read + PASSAGES, blocks=count)
    if not count:
        raise UserError(
            f"{source} holds {len(carried)} tokens of text, less than one block of {length}. Give more text, one "
            "passage a line, or set pretrain.block_tokens lower."
        )
    if progress:
        progress.update(read, read, blocks=count)
    os.replace(draft, folder / BLOCKS)
    write_json(folder / HEADER, {"mark": mark, "length": length, "count": count, "type": kind.str})
    return Blocks(folder)


def framed(tokens: Sequence[int], inside: int, kind: np.dtype, first: int, last: int) -> np.ndarray:
    """Tokens in rows of `inside`, each between a first and a last one: `[rows, inside + 2]`."""
    rows = np.array(tokens, kind).reshape(-1, inside)
    return np.pad(rows, ((0, 0), (1, 1)), constant_values=((0, 0), (first, last)))


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
