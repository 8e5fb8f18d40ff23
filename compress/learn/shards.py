"""Text to pre-train on: shards of token blocks on disk, each made by a process of its own.

Masks are not stored. Every step of a training draws its own holes when it reads (`Masking`: 15 % of the tokens, of
which 80 % are masked, 10 % replaced and 10 % left), from the training's seed, its step and the row, so
that a second pass sees other holes and a resumed one the same.
"""

from __future__ import annotations

import bisect
import hashlib
import itertools
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Protocol, overload

import numpy as np
import numpy.typing as npt

from compress.data.passages import passages, source_mark
from compress.learn.masking import HIDDEN, SHARE, SWAPPED
from compress.progress import Progress
from compress.recipe.nas import NasRecipe
from compress.recipe.stage import StageContext
from compress.tasks.samples import Sample
from zoo.catalog import checkpoint_of
from zoo.errors import UserError, told
from zoo.features import Tokenizer, Window, encoded, load_tokenizer
from zoo.files import atomic, read_json, write_json

HEADER = "header.json"
PASSAGES = 1000  # tokenized at once
MASKING = {"when": "at every reading", "share": SHARE, "masked": HIDDEN, "replaced": SWAPPED}
_tokenizer: list[Tokenizer] = []  # of a process of a pool that makes shards, set when the process starts


class Text(Protocol):
    """What a group of a recipe says of text: where it is, how much of it, and in blocks of how many tokens."""

    @property
    def text(self) -> str: ...
    @property
    def text_config(self) -> str | None: ...
    @property
    def max_passages(self) -> int | None: ...
    @property
    def block_tokens(self) -> int: ...


def run(ctx: StageContext[NasRecipe]) -> dict[str, Any]:
    """Stage `generate_data`: raw text -> shards of tokens.

    Raises:
        UserError: there is no text, or less than a block of it.
    """
    recipe, supernet, settings = ctx.recipe, ctx.recipe.supernet, ctx.recipe.generate_data
    if supernet.checkpoint or not (supernet.apply or supernet.order):
        ctx.progress.note("no text is needed: no supernet is trained or put in order")
        return {}
    source, size = checkpoint_of(recipe.tokenizer or recipe.model), round(settings.shard_megabytes * 1e6)
    shards = make_shards(ctx.folder, source, settings, ctx.progress, size, settings.workers)
    return {"blocks": len(shards), "tokens": len(shards) * settings.block_tokens, "masking": MASKING}


class Shards(Sequence[Sample]):
    """Blocks of tokens as `compress.learn.loop.train` takes them, mapped into memory and read when asked for.

    Raises:
        UserError: the folder holds none, or one is missing.
    """

    def __init__(self, folder: Path):
        header = read_json(folder / HEADER)
        with told(f"The tokens in {folder} cannot be read", f"Run the stage {folder.name} again."):
            self.block_tokens = header["block_tokens"]
            counts = header["counts"]
            missing = [i for i, count in enumerate(counts) if count and not _path(folder, i).is_file()]
            if missing:
                raise UserError(f"{_path(folder, missing[0])} is gone. Run the stage {folder.name} again.")
            self._ends = list(itertools.accumulate(counts))
            self._maps = [
                np.memmap(_path(folder, i), header["type"], "r", shape=(count, self.block_tokens)) if count else None
                for i, count in enumerate(counts)
            ]

    def __len__(self) -> int:
        return self._ends[-1]

    @overload
    def __getitem__(self, at: int) -> Sample: ...
    @overload
    def __getitem__(self, at: slice) -> list[Sample]: ...
    def __getitem__(self, at: int | slice) -> Sample | list[Sample]:
        if isinstance(at, slice):
            return [self[i] for i in range(*at.indices(len(self)))]
        place = range(len(self))[at]
        shard = bisect.bisect_right(self._ends, place)
        rows = self._maps[shard]
        assert rows is not None  # a shard without blocks ends where it begins
        ids = rows[place - (self._ends[shard] - len(rows))].tolist()
        return Sample(Window(place, ids, None, []), key=str(place))


@dataclass(frozen=True)
class Blocks:
    """Rows of so many tokens, of one type of numbers."""

    tokens: int
    kind: np.dtype[Any]

    def count(self, path: Path) -> int:
        """Blocks in a shard."""
        return path.stat().st_size // (self.tokens * self.kind.itemsize)

    def framed(self, tokens: Sequence[int], first: int, last: int) -> npt.NDArray[Any]:
        """Tokens in rows, each between a first and a last one: `[rows, self.tokens]`."""
        rows = np.array(tokens, self.kind).reshape(-1, self.tokens - 2)
        return np.pad(rows, ((0, 0), (1, 1)), constant_values=((0, 0), (first, last)))


def make_shards(
    folder: Path,
    tokenizer_folder: Path,
    settings: Text,
    progress: Progress | None = None,
    shard_characters: int = 4_000_000,
    workers: int = 1,
) -> Shards:
    """Tokenizes passages and cuts what they make, one behind the other, into blocks of tokens.

    A shard is made from so many passages as reach `shard_characters`, whatever the number of processes: the result
    does not depend on it. What does not fill a block at the end of a shard is left out. Every block begins and ends
    with the tokenizer's special tokens; inside, passages are parted by the one that ends texts. A shard that the folder
    holds already is not made again, unless source, tokenizer or sizes are others.

    Args:
        folder: for the shards.
        tokenizer_folder: of the model's checkpoint.
        settings: the text, and the size of the blocks.
        progress: is told how many shards and blocks there are.
        shard_characters: characters of a shard at least, but for the last one.
        workers: processes.

    Raises:
        UserError: there is no text, or less than a block of it.
    """
    tokenizer, source = load_tokenizer(tokenizer_folder), settings.text
    mark = {
        "source": source_mark(source, settings.text_config),
        "max_passages": settings.max_passages,
        "tokenizer": hashlib.sha256(tokenizer.backend_tokenizer.to_str().encode()).hexdigest(),
        "block_tokens": settings.block_tokens,
        "shard_characters": shard_characters,
    }
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / HEADER).is_file() and read_json(folder / HEADER)["mark"] == mark:
        return Shards(folder)
    begun = folder / "begun.json"
    if not begun.is_file() or read_json(begun) != mark:
        (folder / HEADER).unlink(missing_ok=True)
        for old in folder.glob("shard-*"):
            old.unlink()
        write_json(begun, mark)
    blocks = Blocks(settings.block_tokens, np.dtype(np.uint16 if len(tokenizer) <= 2**16 else np.int32))
    parts = _parts(itertools.islice(passages(source, settings.text_config), settings.max_passages), shard_characters)
    shards = enumerate(parts)
    if workers == 1:
        rows = _write(folder, tokenizer, shards, blocks)
    else:
        rows = _spread(folder, tokenizer_folder, shards, blocks, workers)
    counts: dict[int, int] = {}
    read = 0
    for shard, count, size in rows:
        counts[shard], read = count, read + size
        if progress:
            total = settings.max_passages or read + size
            progress.update(read, total, blocks=sum(counts.values()), shards=len(counts))
    if not sum(counts.values()):
        raise UserError(
            f"{source} holds less text than one block of {blocks.tokens} tokens. Give more, one passage a line, or set "
            "block_tokens lower."
        )
    if progress:
        progress.update(read, read, blocks=sum(counts.values()), shards=len(counts))
    header = {"mark": mark, "block_tokens": blocks.tokens, "type": blocks.kind.str, "masking": MASKING}
    write_json(folder / HEADER, {**header, "counts": [counts[shard] for shard in sorted(counts)]})
    return Shards(folder)


Parts = Iterator[tuple[int, list[str]]]  # of every shard its number and its passages
Counts = Iterator[tuple[int, int, int]]  # of every shard its number, and how many blocks and passages it has


def _write(folder: Path, tokenizer: Tokenizer, parts: Parts, blocks: Blocks) -> Counts:
    """Makes the shards that are missing, in this process."""
    for shard, part in parts:
        path = _path(folder, shard)
        if not path.is_file():
            _make_shard(path, part, blocks, tokenizer)
        yield shard, blocks.count(path), len(part)


def _spread(folder: Path, tokenizer_folder: Path, parts: Parts, blocks: Blocks, workers: int) -> Counts:
    """Makes the shards that are missing, in processes of their own."""
    waiting: dict[Future[None], tuple[int, int]] = {}

    def finished() -> Counts:
        for job in wait(waiting, return_when=FIRST_COMPLETED).done:
            job.result()
            shard, size = waiting.pop(job)
            yield shard, blocks.count(_path(folder, shard)), size

    with ProcessPoolExecutor(workers, get_context("spawn"), _prepare, (tokenizer_folder,)) as pool:
        for shard, part in parts:
            path = _path(folder, shard)
            if path.is_file():
                yield shard, blocks.count(path), len(part)
                continue
            waiting[pool.submit(_make_shard, path, part, blocks)] = shard, len(part)
            while len(waiting) >= 2 * workers:  # no more text in memory than is about to be needed
                yield from finished()
        while waiting:
            yield from finished()


def _parts(texts: Iterator[str], size: int) -> Iterator[list[str]]:
    """Passages in lists of `size` characters at least, but for the last one."""
    part: list[str] = []
    characters = 0
    for text in texts:
        part.append(text)
        characters += len(text)
        if characters >= size:
            yield part
            part, characters = [], 0
    if part:
        yield part


def _make_shard(path: Path, texts: Sequence[str], blocks: Blocks, tokenizer: Tokenizer | None = None) -> None:
    """Writes the blocks of `texts`, all or none; no bytes where they fill none.

    Args:
        tokenizer: by default that of this process of a pool.
    """
    tokenizer, inside = tokenizer or _tokenizer[0], blocks.tokens - 2
    first, last = tokenizer.cls_token_id, tokenizer.sep_token_id
    tokens: list[int] = []
    with atomic(path) as draft, draft.open("wb") as file:
        for at in range(0, len(texts), PASSAGES):
            part = list(texts[at : at + PASSAGES])
            for ids in encoded(tokenizer, part, add_special_tokens=False, verbose=False)["input_ids"]:
                tokens += [*ids, last]
            whole = len(tokens) // inside * inside
            file.write(blocks.framed(tokens[:whole], first, last).tobytes())
            tokens = tokens[whole:]


def _prepare(tokenizer_folder: Path) -> None:
    _tokenizer[:] = [load_tokenizer(tokenizer_folder)]


def _path(folder: Path, shard: int) -> Path:
    return folder / f"shard-{shard:06d}.bin"
