"""Let `transformers` be imported beside a torchvision that was built for another torch.

A CPU build of torch and the default build of torchvision do not fit: torchvision's extension looks for CUDA libraries
that are not there, its operators stay undefined, and `import torchvision` (hence many a model class of transformers,
and aimet_torch) fails with "operator torchvision::nms does not exist". Declaring the operators is enough, since
nothing here ever calls them.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from zoo.lazily import Lazy

if TYPE_CHECKING:
    import torch
else:
    torch = Lazy("torch")

log = logging.getLogger(__name__)
_libraries: list[object] = []  # torch forgets a declaration when its Library object is collected

_SIGNATURE = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"


def mend() -> bool:
    """Declare torchvision's operators where its own extension cannot; call before importing transformers.

    Returns:
        True if something was mended now; False where nothing is wrong, torchvision is absent, or it is done already.
    """
    spec = importlib.util.find_spec("torchvision")
    if spec is None or not spec.submodule_search_locations:
        return False
    if _declared() or _load_extension(Path(spec.submodule_search_locations[0])):
        return False
    library = torch.library.Library("torchvision", "FRAGMENT")
    for name in ("nms", "qnms"):
        library.define(name + _SIGNATURE)
    _libraries.append(library)
    log.debug("torchvision's operators were declared by hand: its extension does not fit this torch")
    return True


def _declared() -> bool:
    return hasattr(torch.ops.torchvision, "nms")


def _load_extension(package: Path) -> bool:
    """Load torchvision's compiled operators, as torchvision itself will do; false where they do not load."""
    for suffix in importlib.machinery.EXTENSION_SUFFIXES:
        library = package / f"_C{suffix}"
        if library.is_file():
            try:
                torch.ops.load_library(library)
            except OSError:
                return False
            return _declared()
    return False
