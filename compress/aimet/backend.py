"""The library aimet-torch: imported where it is needed, kept quiet, named where it is missing."""

from __future__ import annotations

import contextlib
import io
import logging
import logging.config
import warnings
from collections.abc import Iterator
from typing import Any

from zoo import torchvision_fix
from zoo.errors import UserError

MISSING = (
    "aimet-torch cannot be imported ({error}). Install it: `pip install aimet-torch`, or choose a recipe that needs no "
    "AIMET: aware_int8 learns ranges too."
)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keeps to itself what AIMET prints, warns of and logs, and leaves the program's logging as it was."""
    root = logging.getLogger()
    level, handlers, disabled = root.level, root.handlers[:], logging.root.manager.disable
    known = {name: other.disabled for name, other in _loggers()}
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
        root.handlers[:] = handlers
        root.setLevel(level)
        for name, other in _loggers():
            other.disabled = known.get(name, other.disabled)


@contextlib.contextmanager
def _no_log_of_its_own() -> Iterator[None]:
    """Has AIMET set up its own loggers alone: it would close everybody's handlers, and absl's the stream with them."""
    configure = logging.config.dictConfig
    logging.config.dictConfig = lambda config: configure(
        {"version": 1, "incremental": True, "loggers": config.get("loggers", {})}
    )
    try:
        yield
    finally:
        logging.config.dictConfig = configure


def load() -> Any:
    """The module `aimet_torch`.

    Raises:
        UserError: it is not installed, or does not work beside the torch that is.
    """
    torchvision_fix.mend()
    try:
        with quiet(), _no_log_of_its_own():
            import aimet_torch
            import aimet_torch.quantsim
            import aimet_torch.v2.nn.modules.custom  # noqa: F401
            from aimet_torch.common.utils import AimetLogger
    except (ImportError, RuntimeError, AttributeError, OSError) as error:  # beside an unfit torch it is not ImportError
        raise UserError(MISSING.format(error=str(error).splitlines()[0] if str(error) else repr(error))) from error
    for area in AimetLogger.LogAreas:
        logging.getLogger(area.value).setLevel(logging.ERROR)
        logging.getLogger(area.value).handlers.clear()
    warnings.filterwarnings("ignore", module="aimet_torch")  # it warns of itself in every forward pass
    return aimet_torch


def _loggers() -> list[tuple[str, logging.Logger]]:
    held = list(logging.root.manager.loggerDict.items())
    return [(name, found) for name, found in held if isinstance(found, logging.Logger)]
