"""The library aimet-torch: imported where it is needed, kept quiet, named where it is missing."""

from __future__ import annotations

import contextlib
import io
import logging
import logging.config
import sys
import warnings
from collections.abc import Generator
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

from compress.recipe.aimet import INSTALL
from zoo import torchvision_fix
from zoo.errors import UserError

PARTS = (
    "_base.nn.modules.custom", "common.defs", "common.utils", "nn", "onnx", "quantization.base", "quantsim",
    "v2.nn.modules.custom",
)  # fmt: skip
MISSING = f"aimet-torch cannot be imported ({{error}}). {INSTALL}"


@contextlib.contextmanager
def quiet() -> Generator[None]:
    """Keeps to itself what AIMET prints, warns of and logs, and leaves the program's logging as it was.

    Meanwhile a configuration of logging concerns its own loggers alone: AIMET would close everybody's handlers, and
    absl's the stream with them.
    """
    root, configure = logging.getLogger(), logging.config.dictConfig
    level, handlers, threshold = root.level, root.handlers[:], logging.root.manager.disable
    disabled = {name: logger.disabled for name, logger in _loggers()}
    logging.disable(logging.WARNING)
    logging.config.dictConfig = lambda config: configure(
        {"version": 1, "incremental": True, "loggers": config.get("loggers", {})}
    )
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.config.dictConfig = configure
        logging.disable(threshold)
        root.handlers[:] = handlers
        root.setLevel(level)
        for name, logger in _loggers():
            logger.disabled = disabled.get(name, logger.disabled)


@contextlib.contextmanager
def torchvision_stand_in() -> Generator[None]:
    """Gives AIMET the names that it imports from torchvision where that is not installed, and takes them back after.

    AIMET only compares modules with them, and no text encoder has one. The lock leaves torchvision out: beside a CPU
    build of torch its default build breaks the import of transformers' models.
    """
    if "torchvision" in sys.modules or find_spec("torchvision"):
        yield
        return
    import_module("transformers")  # which AIMET imports: it must have asked for torchvision before
    root = ModuleType("torchvision")
    for part, names in {"datasets": (), "ops": ("RoIPool",), "transforms": ("Resize",)}.items():
        module = ModuleType(f"torchvision.{part}")
        for name in names:
            setattr(module, name, type(name, (), {}))
        setattr(root, part, module)
    modules = {root.__name__: root} | {
        module.__name__: module for module in vars(root).values() if isinstance(module, ModuleType)
    }
    sys.modules.update(modules)
    try:
        yield
    finally:
        for name in modules:
            sys.modules.pop(name)


@cache
def load() -> ModuleType:
    """The module `aimet_torch`, with all of its parts that are used here.

    Raises:
        UserError: it is not installed, or does not work beside the torch that is.
    """
    torchvision_fix.mend()
    if "aimet_torch" not in sys.modules:  # an import that failed leaves parts, which would not be bound to a new root
        for name in [name for name in sys.modules if name.startswith("aimet_torch.")]:
            del sys.modules[name]
    try:
        with quiet(), torchvision_stand_in():
            root = import_module("aimet_torch")
            for part in PARTS:
                import_module(f"aimet_torch.{part}")
    except (ImportError, RuntimeError, AttributeError, OSError) as error:  # beside an unfit torch it is not ImportError
        raise UserError(MISSING.format(error=str(error).splitlines()[0] if str(error) else repr(error))) from error
    for area in root.common.utils.AimetLogger.LogAreas:
        logging.getLogger(area.value).setLevel(logging.ERROR)
        logging.getLogger(area.value).handlers.clear()
    warnings.filterwarnings("ignore", module="aimet_torch")  # it warns of itself in every forward pass
    return root


def _loggers() -> list[tuple[str, logging.Logger]]:
    registered = list(logging.root.manager.loggerDict.items())
    return [(name, logger) for name, logger in registered if isinstance(logger, logging.Logger)]
