"""The weights in a checkpoint's folder, in one file or several: one reader for all that open a model."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np
from safetensors import safe_open

from zoo.errors import UserError, told
from zoo.files import parse_json, read_json
from zoo.foreign import refuse_tensors

if TYPE_CHECKING:
    from torch import Tensor

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
INTEGERS = "model.inc.safetensors"  # those that neural-compressor made
SIMULATED = "aimet.safetensors"  # of an entry that AIMET simulated
MAX_HEADER, MAX_TENSORS, MAX_AXES = 8 * 1024**2, 50_000, 8  # bytes, names, and sizes of a shape
BITS = {
    **dict.fromkeys(("F4", "I4", "U4"), 4),
    **dict.fromkeys(("F6_E2M3", "F6_E3M2"), 6),
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E4M3", "F8_E5M2", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ"), 8),
    **dict.fromkeys(("U16", "I16", "F16", "BF16"), 16),
    **dict.fromkeys(("U32", "I32", "F32"), 32),
    **dict.fromkeys(("U64", "I64", "F64", "C64"), 64),
}  # of a number, by its type
FLOATS = {"F16": np.dtype("<f2"), "F32": np.dtype("<f4"), "F64": np.dtype("<f8")}
PIECE = 2**22  # numbers that are looked at together
# What torch.compile, DataParallel, FSDP and activation checkpointing put into the names of the weights they wrap.
WRAPPERS = {"_orig_mod", "module", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}


def plain(name: str) -> str:
    """A weight's name without the wrappers around its model, such as `module.` or a trainer's own `model.`."""
    parts = [part for part in name.split(".") if part not in WRAPPERS]
    while len(parts) > 1 and parts[0] == "model":
        parts = parts[1:]
    return ".".join(parts)


def has_tensors(folder: Path) -> bool:
    """Whether a folder has float weights in safetensors."""
    return (folder / SINGLE).is_file() or (folder / INDEX).is_file()


def parts_of(index: object, where: str) -> list[str]:
    """Names of the files that an index of weights in several files lists.

    Raises:
        UserError: it is no such index, or it names a file elsewhere.
    """
    places = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(places, dict) or not places or not all(isinstance(name, str) for name in places.values()):
        raise UserError(f"{where} does not say which file holds which weight (weight_map). Restore the file.")
    names = sorted(set(places.values()))
    for name in names:
        if Path(name).name != name or "\\" in name or not name.endswith(".safetensors"):
            raise UserError(
                f"{where} names “{name[:80]}”, which is no safetensors file beside it, so the model is refused."
            )
    return names


def weight_files(folder: Path) -> list[Path]:
    """The files that hold a folder's float weights; others that lie beside them are not the model's.

    Raises:
        UserError: there are none, or a part of them is missing.
    """
    if (folder / SINGLE).is_file():
        return [folder / SINGLE]
    if not (folder / INDEX).is_file():
        raise UserError(
            f"{folder} has no {SINGLE}. Save the checkpoint with safetensors, or convert it: "
            "`python -m zoo convert FOLDER`."
        )
    files = [folder / name for name in parts_of(read_json(folder / INDEX), str(folder / INDEX))]
    for path in files:
        if not path.is_file():
            raise UserError(f"{folder} lacks {path.name}, a part of the weights. Download or save it again.")
    return files


@dataclass(frozen=True)
class Stored:
    """A weight in a file: where it is, its name there, its type, its shape, and where its bytes begin."""

    file: Path
    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int


@dataclass(frozen=True)
class Tensors:
    """The weights of a folder, by their names without wrappers; only headers are read before `load`."""

    folder: Path
    stored: dict[str, Stored]

    @classmethod
    def of(cls, folder: Path) -> Tensors:
        """The weights of a folder.

        Raises:
            UserError: there are none in safetensors, a file is broken, two weights have one name, or some are no
                floats.
        """
        stored = dict[str, Stored]()
        for path in weight_files(folder):
            for one in header(path):
                name = plain(one.name)
                if name in stored:
                    raise UserError(
                        f"{folder} holds {name} twice, as {stored[name].name} and as {one.name}. Save the model again, "
                        "without what it is wrapped in."
                    )
                stored[name] = one
        refuse_tensors({name: one.dtype for name, one in stored.items()}, str(folder))
        return cls(folder, stored)

    @property
    def dtypes(self) -> list[str]:
        """Types of the numbers, each once."""
        return sorted({one.dtype for one in self.stored.values()})

    @property
    def parameters(self) -> int:
        return sum(prod(one.shape) for one in self.stored.values())

    @property
    def bytes(self) -> int:
        """Size of the files."""
        return sum(path.stat().st_size for path in {one.file for one in self.stored.values()})

    def load(self, names: Iterable[str] | None = None) -> dict[str, Tensor]:
        """Weights in float32.

        Args:
            names: without wrappers; those that are not there are left out. None for all.

        Raises:
            UserError: some value is no finite number.
        """
        keys = [name for name in (self.stored if names is None else names) if name in self.stored]
        tensors: dict[str, Tensor] = {}
        for path in {self.stored[name].file: None for name in keys}:
            with told(f"{path} cannot be read"), safe_open(str(path), "pt") as file:
                for name in keys:
                    if self.stored[name].file == path:
                        value = file.get_tensor(self.stored[name].name).float()
                        if not bool(value.isfinite().all()):
                            raise UserError(
                                f"{self.stored[name].name} in {path} holds values that are no finite numbers: the "
                                "training or the conversion to half precision went wrong. Take another checkpoint."
                            )
                        tensors[name] = value
        return tensors


def header(path: Path) -> list[Stored]:
    """What a file holds, by its header alone, which is read within bounds: libraries take what it says for granted.

    Raises:
        UserError: it is no safetensors file, or its header is none that a model needs.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8).ljust(8, b"\0"))
            if not 2 <= length <= min(MAX_HEADER, size - 8):
                raise UserError(f"its header should have {length:,} bytes")
            stated = parse_json(file.read(length), "its header")
        if not isinstance(stated, dict) or len(stated) > MAX_TENSORS:
            raise UserError("its header lists no tensors, or too many")
        tensors = {name: one for name, one in stated.items() if name != "__metadata__"}
        headers = {name: _stored(path, name, one, 8 + length) for name, one in tensors.items()}
        _check_places([tensors[name]["data_offsets"] for name in headers], size - 8 - length)
        return list(headers.values())
    except (OSError, UserError) as error:
        raise UserError(
            f"{path} is no safetensors file, or it is cut short ({error}). Download or save it again."
        ) from error


def is_finite(stored: Stored) -> bool:
    """Whether a tensor of floats holds finite numbers alone, read in pieces and without a framework."""
    halves = stored.dtype == "BF16"  # the upper halves of F32, of which the exponent tells
    kind = np.dtype(np.uint16) if halves else FLOATS.get(stored.dtype)
    if kind is None:
        return True
    count, at = prod(stored.shape), 0
    with stored.file.open("rb") as file:
        file.seek(stored.start)
        while at < count:
            part: np.ndarray = np.fromfile(file, kind, min(PIECE, count - at))
            if not len(part) or not (np.bitwise_and(part, 0x7F80) != 0x7F80 if halves else np.isfinite(part)).all():
                return False
            at += len(part)
    return True


def _stored(path: Path, name: str, stated: object, begin: int) -> Stored:
    """A tensor as a header states it, which holds as many bytes as its shape says.

    Args:
        path: of the file.
        name: of the tensor.
        stated: its type, shape and place.
        begin: where the header ends.
    """
    facts: Mapping[str, Any] = stated if isinstance(stated, dict) else {}
    dtype, shape, place = facts.get("dtype"), facts.get("shape"), facts.get("data_offsets")
    if not isinstance(dtype, str) or dtype not in BITS:
        raise UserError(f"{name[:80]} is of the unknown type {str(dtype)[:20]!r}")
    if not _are_counts(shape, MAX_AXES) or not _are_counts(place, 2) or len(place) != 2:
        raise UserError(f"{name[:80]} has no shape, or no place in the file")
    start, end = place
    if start > end or prod(shape) * BITS[dtype] != 8 * (end - start):
        raise UserError(f"{name[:80]} of the shape {tuple(shape)} is not where the header says")
    return Stored(path, name, dtype, tuple(shape), begin + start)


def _check_places(places: list[list[int]], size: int) -> None:
    """Refuses tensors that share bytes, or leave some out, of so many behind the header."""
    at = 0
    for start, end in sorted(places):
        if start != at:
            raise UserError("its tensors overlap, or leave gaps")
        at = end
    if at != size:
        raise UserError(f"its tensors have {at:,} bytes, the file holds {size:,}")


def _are_counts(values: object, most: int) -> TypeGuard[list[int]]:
    """Whether it is a list of so many sizes or places at the most."""
    return (
        isinstance(values, list)
        and len(values) <= most
        and all(isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**48 for value in values)
    )
