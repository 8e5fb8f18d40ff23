"""A child process of `zoo.conversion`: reads pickled weights, nothing but tensors, and writes them as safetensors.

`python -m zoo.unpickle OUT PICKLE...` runs no code of the pickle (`torch.load(weights_only=True)`), within limits of
memory, processor time and what is written.
"""

from __future__ import annotations

import pickle
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from zoo.confined import SPARE, limit

INSIDE = ("state_dict", "model_state_dict", "model", "module")  # where trainers put the weights
REFUSED = 3  # exit status; why stands on stderr


class Refused(Exception):
    """What is read is not taken, in words."""


def read(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a pickled state dictionary, by name."""
    try:
        loaded: Any = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        match = re.search(r"GLOBAL ([\w.]+)", str(error))
        what = f"it asks to run {match[1]}" if match else "it holds something else than weights"
        raise Refused(f"{what}, which is never done") from error
    except (RuntimeError, EOFError, ValueError, KeyError, AttributeError, TypeError, IndexError) as error:
        raise Refused(f"it cannot be read ({type(error).__name__}): it is cut short or no file of torch") from error
    for name in INSIDE:
        if isinstance(loaded, Mapping) and not any(isinstance(v, torch.Tensor) for v in loaded.values()):
            loaded = loaded.get(name, loaded)
    if not isinstance(loaded, Mapping):
        raise Refused("it holds no weights by name")
    tensors = {str(name): value for name, value in loaded.items() if isinstance(value, torch.Tensor)}
    if not tensors:
        raise Refused("it holds no weights by name")
    return tensors


def main(out: str, *sources: str) -> None:
    """Writes the weights of all sources to `out`."""
    size = sum(Path(source).stat().st_size for source in sources)
    limit(4 * size + SPARE, 60 + size // 5_000_000, 4 * size + SPARE)
    weights: dict[str, torch.Tensor] = {}
    for source in sources:
        weights |= read(Path(source))
    claimed = sum(value.numel() * value.element_size() for value in weights.values())
    if claimed > 2 * size + SPARE:
        raise Refused(f"its weights claim {claimed / 1e9:.1f} GB, the files hold {size / 1e9:.1f}")
    # Tied weights share memory, which safetensors does not store: each gets its own.
    save_file({k: v.detach().contiguous().clone() for k, v in weights.items()}, out, metadata={"format": "pt"})


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except Refused as refusal:
        print(refusal, file=sys.stderr)
        sys.exit(REFUSED)
    except MemoryError:
        print("it wants more memory than its size explains", file=sys.stderr)
        sys.exit(REFUSED)
