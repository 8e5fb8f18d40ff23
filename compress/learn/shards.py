"""Text to pre-train on: shards of token blocks on disk, each made by a process of its own.

Masks are not stored. Every step of a training draws its own holes when it reads (`Masking`: 15 % of the tokens, of
which 80 % are masked, 10 % replaced and 10 % left), from the training's seed, its step and the row, so
that a second pass sees other holes and a resumed one the same.
"""

from __future__ import annotations

import bisect
import hashlib
import itertools
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from multiprocessing import get_context
from pathlib import Path
from typing import Any, overload

import numpy as np

from compress.data.passages import passages, source_mark
from compress.learn.masking import HIDDEN, SHARE, SWAPPED
from compress.tasks.samples import Sample
from zoo.catalog import checkpoint_of
from zoo.errors import UserError
from zoo.features import Window, load_tokenizer
from zoo.files import read_json, write_json

HEADER = "header.json"
PASSAGES = 1000  # tokenized at once
MASKING = {"when": "at every reading", "share": SHARE, "masked": HIDDEN, "replaced": SWAPPED}
_own: list[Any] = []  # the tokenizer of a process that makes shards


def run(ctx: Any) -> dict[str, Any]:
    """Stage `generate_data`: raw text -> shards of tokens.

    Raises:
        UserError: there is no text, or less than a block of it.
    """
    supernet, settings = ctx.recipe.supernet, ctx.recipe.generate_data
    if supernet.checkpoint or not (supernet.apply or supernet.order):
        ctx.progress.note("no text is needed: no supernet is trained or put in order")
        return {}
    size = round(settings.shard_megabytes * 1e6)
    made = read_text(ctx, settings, shard_characters=size, workers=settings.workers)
    return {"blocks": len(made), "tokens": len(made) * settings.block_tokens, "masking": MASKING}


def read_text(ctx: Any, settings: Any, **more: Any) -> Shards:
    """The text that a group of a recipe names, as `make_shards` leaves it in the stage's folder."""
    return make_shards(
        ctx.folder,
        checkpoint_of(ctx.recipe.tokenizer or ctx.recipe.model),
        settings.block_tokens,
        settings.text,
        settings.text_config,
        settings.max_passages,
        progress=ctx.progress,
        **more,
    )


class Shards(Sequence[Sample]):
    """Blocks of tokens as `compress.learn.loop.train` takes them, mapped into memory and read when asked for.

    Raises:
        UserError: the folder holds none, or one is missing.
    """

    def __init__(self, folder: Path):
        header = read_json(folder / HEADER)
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


def make_shards(
    folder: Path,
    tokenizer_folder: Path,
    length: int,
    source: str,
    config: str | None = None,
    max_passages: int | None = None,
    shard_characters: int = 4_000_000,
    workers: int = 1,
    progress: Any = None,
) -> Shards:
    """Tokenizes passages and cuts what they make, one behind the other, into blocks of `length` tokens.

    A shard is made from so many passages as reach `shard_characters`, whatever the number of processes: the result
    does not depend on it. What does not fill a block at the end of a shard is left out. Every block begins and ends
    with the tokenizer's special tokens; inside, passages are parted by the one that ends texts. A shard that the folder
    holds already is not made again, unless source, tokenizer or sizes are others.

    Args:
        folder: for the shards.
        tokenizer_folder: of the model's checkpoint.
        length: tokens of a block.
        source: a text file or a folder of them, one passage a line; a Hub id, `:split` behind it if not `train`; or
            `examples` for the bundled passages.
        config: of a Hub data set with several.
        max_passages: take so many from the start.
        shard_characters: characters of a shard at least, but for the last one.
        workers: processes.
        progress: is told how many shards and blocks there are.

    Raises:
        UserError: there is no text, or less than a block of it.
    """
    tokenizer = load_tokenizer(tokenizer_folder)
    mark = {
        "source": source_mark(source, config),
        "max_passages": max_passages,
        "tokenizer": hashlib.sha256(tokenizer.backend_tokenizer.to_str().encode()).hexdigest(),
        "block_tokens": length,
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
    kind = np.dtype(np.uint16 if len(tokenizer) <= 2**16 else np.int32)
    counts: dict[int, int] = {}
    read = 0
    texts = itertools.islice(passages(source, config), max_passages)
    for shard, count, held in _made(folder, tokenizer_folder, texts, length, kind, shard_characters, workers):
        counts[shard], read = count, read + held
        if progress:
            blocks = sum(counts.values())
            progress.update(read, max_passages or read + held, blocks=blocks, shards=len(counts))
    blocks = sum(counts.values())
    if not blocks:
        raise UserError(
            f"{source} holds less text than one block of {length} tokens. Give more, one passage a line, or set "
            "block_tokens lower."
        )
    if progress:
        progress.update(read, read, blocks=blocks, shards=len(counts))
    header = {"mark": mark, "block_tokens": length, "type": kind.str, "masking": MASKING}
    write_json(folder / HEADER, {**header, "counts": [counts[shard] for shard in sorted(counts)]})
    return Shards(folder)


def _made(
    folder: Path, tokenizer_folder: Path, texts: Iterator[str], length: int, kind: np.dtype, size: int, workers: int
) -> Iterator[tuple[int, int, int]]:
    """Makes the shards that are missing; of each its number, and how many blocks and passages it has."""
    parts = enumerate(_parts(texts, size))
    row = length * kind.itemsize
    if workers == 1:
        _prepare(tokenizer_folder)
        for shard, part in parts:
            path = _path(folder, shard)
            if not path.is_file():
                _make_shard(path, part, length, kind.str)
            yield shard, path.stat().st_size // row, len(part)
        return
    with ProcessPoolExecutor(workers, get_context("spawn"), _prepare, (tokenizer_folder,)) as pool:
        waiting: dict[Future, tuple[int, int]] = {}
        for shard, part in parts:
            path = _path(folder, shard)
            if path.is_file():
                yield shard, path.stat().st_size // row, len(part)
                continue
            waiting[pool.submit(_make_shard, path, part, length, kind.str)] = shard, len(part)
            while len(waiting) >= 2 * workers:  # no more text in memory than is about to be needed
                yield from _finished(folder, waiting, row)
        while waiting:
            yield from _finished(folder, waiting, row)


def _finished(folder: Path, waiting: dict[Future, tuple[int, int]], row: int) -> Iterator[tuple[int, int, int]]:
    for job in wait(waiting, return_when=FIRST_COMPLETED).done:
        job.result()
        shard, held = waiting.pop(job)
        yield shard, _path(folder, shard).stat().st_size // row, held


def _parts(texts: Iterator[str], size: int) -> Iterator[list[str]]:
    """Passages in lists of `size` characters at least, but for the last one."""
    part: list[str] = []
    held = 0
    for text in texts:
        part.append(text)
        held += len(text)
        if held >= size:
            yield part
            part, held = [], 0
    if part:
        yield part


def _make_shard(path: Path, texts: Sequence[str], length: int, kind: str) -> None:
    """Writes the blocks of `texts`, all or none; no bytes where they fill none."""
    tokenizer, inside = _own[0], length - 2
    first, last = tokenizer.cls_token_id, tokenizer.sep_token_id
    draft = path.with_name(f"{path.name}.tmp")
    carried: list[int] = []
    with draft.open("wb") as file:
        for at in range(0, len(texts), PASSAGES):
            made = tokenizer(list(texts[at : at + PASSAGES]), add_special_tokens=False, verbose=False)["input_ids"]
            for ids in made:
                carried += [*ids, last]
            whole = len(carried) // inside * inside
            file.write(_framed(carried[:whole], inside, np.dtype(kind), first, last).tobytes())
            carried = carried[whole:]
        file.flush()
        os.fsync(file.fileno())
    os.replace(draft, path)


def _framed(tokens: Sequence[int], inside: int, kind: np.dtype, first: int, last: int) -> np.ndarray:
    """Tokens in rows of `inside`, each between a first and a last one: `[rows, inside + 2]`."""
    rows = np.array(tokens, kind).reshape(-1, inside)
    return np.pad(rows, ((0, 0), (1, 1)), constant_values=((0, 0), (first, last)))


def _prepare(tokenizer_folder: Path) -> None:
    _own[:] = [load_tokenizer(tokenizer_folder)]


def _path(folder: Path, shard: int) -> Path:
    return folder / f"shard-{shard:06d}.bin"
