"""Teachers: asked at every step, or once, their logits stored in a memory-mapped file and looked up by key."""

from __future__ import annotations

import hashlib
import logging
import time
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from compress.progress import Progress
from compress.tasks.samples import Sample, collate, inputs_of
from zoo.checkpoints import labels_of, most_tokens
from zoo.errors import UserError, told
from zoo.features import Tokenizer
from zoo.files import read_json, sha256, write_json
from zoo.modeling import LengthAdaptiveModel, Output
from zoo.task_types import TASK_TYPES
from zoo.tasks import LOST
from zoo.tensors import weight_files

log = logging.getLogger(__name__)

HEADER, INDEX, VALUES, DONE = "header.json", "index.json", "logits.f32", "done.u8"
VERSION = 1
FLUSH_SECONDS = 20.0


class Teacher:
    """A model that is only asked: in inference mode, in no optimizer and no checkpoint.

    Args:
        model: the teacher.
        separator: id of the token that ends each of two texts, where the student's inputs have no segments: the
            teacher's are then made from it. None: segments are those of the batch.
    """

    def __init__(self, model: LengthAdaptiveModel, separator: int | None = None):
        self.model = model.eval().requires_grad_(False)
        self.separator = separator
        self._has_segments = model.row.segments and model.config.get("type_vocab_size", 2) > 1

    def __call__(self, batch: dict[str, Tensor]) -> Output:
        """What it makes of a batch of `compress.tasks.samples.collate`, in tensors that a loss can use."""
        inputs = inputs_of(batch)
        ids, types = inputs["input_ids"], None
        if self._has_segments:
            types = inputs["token_type_ids"] if self.separator is None else segments(ids, self.separator)
        self.model.to(ids.device)
        with torch.inference_mode():
            out = self.model(ids, inputs["attention_mask"], types)
        return Output(out.logits.clone())  # a tensor of inference mode cannot take part in a backward pass


def segments(ids: Tensor, separator: int) -> Tensor:
    """0 up to the first separator, 1 behind it: `[batch, tokens]` -> the same."""
    ends = (ids == separator).long()
    return (ends.cumsum(1) - ends).clamp_max(1)


def teacher_for(model: LengthAdaptiveModel, tokenizer: Tokenizer, data: Sequence[Sample]) -> Teacher:
    """A teacher for the windows in `data`; `tokenizer` is its own, which tells whether it learned from segments."""
    makes_segments = data[0].window.token_type_ids is None and "token_type_ids" in tokenizer.model_input_names
    return Teacher(model, tokenizer.sep_token_id if makes_segments else None)


class TeacherLogits:
    """A teacher's logits on training samples, stored: of every real token, or of every class.

    They are kept in float32. On 48 windows of the bundled questions float16 moved logits by up to 0.004 and, for a
    student close to its teacher, the loss of a batch by up to 0.4 %; the file is small as it is (8 bytes a token), and
    this way a stored teacher is the live one.

    Args:
        folder: what `make` wrote.
        data: the samples, in any order; all of them have to be stored.
        mark: what the logits should have been made from, see `mark_of`; None takes what is there.

    Raises:
        UserError: nothing complete is stored, or it was made from something else.
    """

    def __init__(self, folder: Path, data: Sequence[Sample], mark: dict[str, Any] | None = None):
        if not (folder / HEADER).is_file():
            raise UserError(f"{folder} holds no logits of a teacher. Run the stage that stores them first.")
        header, index = read_json(folder / HEADER), read_json(folder / INDEX)
        stale = differing(header, mark)
        if stale:
            raise UserError(f"The teacher's logits in {folder} were made with another {stale}. Store them anew.")
        with told(f"The teacher's logits in {folder} cannot be read", "Run the stage that stores them again."):
            if not _done(folder, len(index["keys"])).all():
                raise UserError(
                    f"The teacher's logits in {folder} are not complete. Run the stage that stores them again."
                )
            self.task, self.width = header["task"], header["width"]
            self._tokens = index["tokens"]
            self._starts = _starts(self._tokens)
            self._values = np.memmap(folder / VALUES, np.float32, "r", shape=(self._starts[-1], self.width))
        places = {key: place for place, key in enumerate(index["keys"])}
        self._places = []
        for sample in data:
            place = places.get(sample.key)
            if place is None or index["checks"][place] != _check(sample):
                raise UserError(
                    f"The teacher was not asked about {sample.key!r} as it is read now. Store its logits anew."
                )
            self._places.append(place)

    def lookup(self, rows: Iterable[int] | Tensor, width: int = 0) -> Tensor:
        """Logits of the samples at `rows` of `data`.

        Args:
            rows: places of samples.
            width: tokens of the batch that they are in, if that is wider than the longest of them.

        Returns:
            float32 `[batch, tokens, 2]`, padded with `zoo.tasks.LOST` to the width of the batch, or `[batch, labels]`;
            of pairs that are read apart twice as many, the second texts below the first ones.
        """
        places = [self._places[int(row)] for row in rows]
        counts = [self._tokens[place] for place in places]
        per_token = TASK_TYPES[self.task].per_token
        width = max([*counts, width if per_token else 0])
        logits = np.full((len(places), width, self.width), LOST, np.float32)
        for row, (place, count) in enumerate(zip(places, counts, strict=True)):
            logits[row, :count] = self._values[self._starts[place] : self._starts[place] + count]
        if per_token:
            return torch.from_numpy(logits)
        return torch.from_numpy(logits.transpose(1, 0, 2).reshape(-1, self.width))  # second texts below first ones

    @classmethod
    def make(
        cls,
        folder: Path,
        teacher: Teacher,
        data: Sequence[Sample],
        mark: dict[str, Any],
        progress: Progress,
        pad_id: int = 0,
        batch_size: int = 32,
    ) -> TeacherLogits:
        """Asks the teacher about every sample once; what an interrupted call has stored is not asked again.

        Args:
            folder: for the files; stored logits of another teacher or other samples there are replaced.
            teacher: whom to ask.
            data: samples with keys.
            mark: what the logits depend on, see `mark_of`.
            progress: `compress.progress.Progress`.
            pad_id: of the tokenizer.
            batch_size: samples at a time, of like length.

        Raises:
            UserError: two different samples have one key.
        """
        data = _distinct(data)
        head = teacher.model.head
        width = teacher.model.last.out_features if head.layers else teacher.model.shape.hidden
        tokens = [len(sample.window.input_ids) if head.per_token else len(sample.windows) for sample in data]
        keys, checks = [sample.key for sample in data], [_check(sample) for sample in data]
        index = {"keys": keys, "tokens": tokens, "checks": checks}
        header = {"version": VERSION, "task": head.name, "width": width, "mark": mark}
        starts, total = _starts(tokens), sum(tokens)
        if not _fits(folder, header, index, progress):
            for name, kind, count in ((VALUES, np.float32, total * width), (DONE, np.uint8, len(data))):
                (folder / name).unlink(missing_ok=True)
                np.memmap(folder / name, kind, "w+", shape=(count,)).flush()
            write_json(folder / INDEX, index)
            write_json(folder / HEADER, header)  # last: what it stands beside is whole
        values = np.memmap(folder / VALUES, np.float32, "r+", shape=(total, width))
        done = _done(folder, len(data), "r+")
        rest = [row for row in range(len(data)) if not done[row]]
        rest.sort(key=lambda row: -len(data[row].window.input_ids))  # the longest first: what fits, fits from now on
        answered = len(data) - len(rest)
        progress.update(answered, len(data))
        device = next(teacher.model.parameters()).device
        fresh: list[int] = []
        flushed = started = time.monotonic()
        for at in range(0, len(rest), batch_size):
            rows = rest[at : at + batch_size]
            batch = {key: value.to(device) for key, value in collate([data[row] for row in rows], pad_id).items()}
            logits = teacher(batch).logits.float().cpu().numpy()
            if not head.per_token:  # of each sample the rows of its windows
                logits = logits.reshape(-1, len(rows), width).transpose(1, 0, 2)
            for row, answer in zip(rows, logits, strict=True):
                count = tokens[row]
                values[starts[row] : starts[row] + count] = answer[:count]
            fresh += rows
            now = time.monotonic()
            if now - flushed > FLUSH_SECONDS or at + batch_size >= len(rest):
                values.flush()  # before they are said to be there
                done[fresh] = 1
                done.flush()
                fresh, flushed = [], now
            answered += len(rows)
            rate = (at + len(rows)) / max(now - started, 1e-9)
            progress.update(answered, len(data), examples_per_s=rate)
        return cls(folder, data, mark)


def mark_of(checkpoint: Path, tokenizer: Tokenizer, max_length: int, stride: int) -> dict[str, Any]:
    """What stored logits depend on, by name: the teacher's weights and how texts become windows."""
    return {
        "teacher": [sha256(path) for path in (checkpoint / "config.json", *weight_files(checkpoint))],
        "tokenizer": hashlib.sha256(tokenizer.backend_tokenizer.to_str().encode()).hexdigest(),
        "max_length": max_length,
        "stride": stride,
    }


def differing(header: dict[str, Any], mark: dict[str, Any] | None) -> str:
    """By what a header differs from a mark, in words; empty where by nothing."""
    if header.get("version") != VERSION:
        return "version of this program"
    stored = header.get("mark", {})
    return " and another ".join(key for key, value in (mark or {}).items() if stored.get(key) != value)


def check_fit(teacher: LengthAdaptiveModel, student: LengthAdaptiveModel) -> None:
    """Refuses a teacher that does another task, or knows other classes.

    Raises:
        UserError: it says which of the two, and what to do.
    """
    if teacher.head != student.head:
        raise UserError(
            f"The teacher was made for {teacher.head.title}, the student for {student.head.title}. "
            "Set distill.teacher to a checkpoint of the same task."
        )
    if teacher.head.has_labels:
        theirs, ours = (labels_of(model.config) for model in (teacher, student))
        have_names = not any(name.startswith("LABEL_") for name in theirs + ours)
        if len(theirs) != len(ours) or (have_names and theirs != ours):
            raise UserError(
                f"The teacher tells {len(theirs)} classes apart ({', '.join(theirs)}), the student {len(ours)} "
                f"({', '.join(ours)}). Set distill.teacher to a checkpoint with the same classes in the same order."
            )


def check_reading(teacher: LengthAdaptiveModel, theirs: Tokenizer, ours: Tokenizer, max_length: int) -> None:
    """Refuses a teacher that cannot read what the student's tokenizer writes.

    Args:
        teacher: the teacher.
        theirs, ours: the teacher's tokenizer and the student's.
        max_length: tokens of a window at most.

    Raises:
        UserError: the vocabularies differ (the first difference is named), or the windows are too long.
    """
    one, other = theirs.get_vocab(), ours.get_vocab()
    if one != other:
        tokens, others = ({number: token for token, number in words.items()} for words in (one, other))
        at = next(n for n in sorted({*tokens, *others}) if tokens.get(n) != others.get(n))
        first, second = (repr(words[at]) if at in words else "missing" for words in (tokens, others))
        raise UserError(
            f"Teacher and student have different vocabularies: token {at} is {first} for the teacher and {second} "
            "for the student. Set distill.teacher to a checkpoint with the student's vocabulary."
        )
    check_positions(teacher, max_length)


def check_positions(teacher: LengthAdaptiveModel, max_length: int) -> None:
    """Refuses windows that are longer than a teacher's positions reach."""
    most = most_tokens(teacher.config)
    if most < max_length:
        raise UserError(
            f"The teacher reads {most} tokens at most, the windows have up to {max_length}. "
            "Set max_length lower, or take another teacher."
        )


def _distinct(data: Sequence[Sample]) -> list[Sample]:
    """One sample a key; the same question may stand in a data set twice, but not two questions under one name."""
    distinct: dict[str, Sample] = {}
    for sample in data:
        if not sample.key:
            raise ValueError("a sample without a key cannot be stored")
        first = distinct.setdefault(sample.key, sample)
        if _check(first) != _check(sample):
            name = sample.key.rpartition("@")[0] or sample.key
            raise UserError(
                f"Two different training examples have the id {name!r}. Give every one its own, or set "
                "distill.store_logits to false."
            )
    return list(distinct.values())


def _fits(folder: Path, header: dict[str, Any], index: dict[str, Any], progress: Progress) -> bool:
    """Whether what the folder holds is of this teacher and these samples."""
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / HEADER).is_file():
        return False
    if read_json(folder / HEADER) == header and read_json(folder / INDEX) == index:
        return True
    progress.note("logits of another teacher or of other samples were stored here: the teacher is asked anew")
    (folder / HEADER).unlink()  # first: nothing is taken for whole while it is replaced
    return False


def _check(sample: Sample) -> int:
    ids = [token for window in sample.windows for token in window.input_ids]
    return zlib.crc32(np.asarray(ids, np.int64).tobytes())


def _starts(tokens: Sequence[int]) -> list[int]:
    return np.concatenate([[0], np.cumsum(tokens)]).astype(int).tolist()


def _done(folder: Path, count: int, mode: Literal["r", "r+"] = "r") -> np.memmap[Any, np.dtype[np.uint8]]:
    return np.memmap(folder / DONE, np.uint8, mode, shape=(count,))
