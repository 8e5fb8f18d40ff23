"""The weights in a checkpoint's folder, in one file or several: one reader for all that open a model."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open

from zoo.errors import UserError
from zoo.files import read_json
from zoo.foreign import refuse_tensors

if TYPE_CHECKING:
    from torch import Tensor

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
INTEGERS = "model.inc.safetensors"  # those that neural-compressor made
SIMULATED = "aimet.safetensors"  # of an entry that AIMET simulated
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
    """A weight in a file: where it is, its name there, its type and its shape."""

    file: Path
    name: str
    dtype: str
    shape: tuple[int, ...]


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
            for one in _header(path):
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
            with safe_open(str(path), "pt") as file:
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


def _header(path: Path) -> list[Stored]:
    try:
        with safe_open(str(path), "np") as file:
            slices: dict[str, Any] = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
            return [Stored(path, k, part.get_dtype(), tuple(part.get_shape())) for k, part in slices.items()]
    except (OSError, SafetensorError) as error:
        raise UserError(
            f"{path} is no safetensors file, or it is cut short ({error}). Download or save it again."
        ) from error
