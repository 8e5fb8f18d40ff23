"""A child process of `zoo.conversion`: reads pickled weights, nothing but tensors, and writes them as safetensors.

`python -m zoo.unpickle OUT PICKLE...` runs no code of the pickle (`torch.load(weights_only=True)`), within limits of
memory, processor time and what is written.
"""

from __future__ import annotations

import contextlib
import pickle
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

try:
    import resource
except ImportError:  # Windows
    resource = None

SPARE = 512 * 1024**2  # bytes beside the weights
INSIDE = ("state_dict", "model_state_dict", "model", "module")  # where trainers put the weights
REFUSED = 3  # exit status; why stands on stderr


class Refused(Exception):
    """What is read is not taken, in words."""


def limit(size: int) -> None:
    """Bounds what this process may use, given the bytes of the pickles."""
    if resource is None:
        return
    with contextlib.suppress(OSError, ValueError):
        pages = int(Path("/proc/self/statm").read_text().split()[0])  # torch itself, mapped but hardly touched
        most = pages * resource.getpagesize() + 4 * size + SPARE
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
    seconds = 60 + size // 5_000_000
    limits = ((resource.RLIMIT_CPU, seconds), (resource.RLIMIT_FSIZE, 4 * size + SPARE), (resource.RLIMIT_CORE, 0))
    for kind, value in limits:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(kind, (value, value))


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
    limit(size)
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
