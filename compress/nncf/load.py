"""NNCF, loaded so that it says nothing to anybody: no telemetry, no progress bars, no compiler at run time."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import warnings
from collections.abc import Generator
from typing import Any

from compress.recipe.nncf import NNCF
from zoo import torchvision_fix
from zoo.errors import UserError

LOUD = ("torchao", "torch.utils._pytree", "torch.onnx")


def load_nncf() -> Any:
    """The module `nncf`.

    Its rounding runs on operators of torch. NNCF would have a C++ compiler build an extension for that at the first
    step, and give up after a minute; where there is none it takes these same operators in the end.

    Raises:
        UserError: it is not installed.
    """
    torchvision_fix.mend()
    os.environ.setdefault("NNCF_CI", "1")  # what NNCF looks at before it sends anything; it has to stand before import
    before = logging.getLoggerClass()
    try:
        import nncf
        import nncf.torch  # pyright: ignore[reportUnusedImport] - loads its backend
        from nncf.torch.quantization import extensions
        from nncf.torch.quantization.reference import torch_executor
    except ImportError as error:
        raise UserError(NNCF.advice) from error
    finally:
        logging.setLoggerClass(before)  # NNCF puts its own in place for everybody
    # Of the logger alone: NNCF's own `set_log_level` sets all its handlers, whosever they are.
    logging.getLogger("nncf").setLevel(logging.ERROR)

    class Rounding:
        Quantize_forward = staticmethod(torch_executor.forward)
        Quantize_backward = staticmethod(torch_executor.backward)

    for name in ("QuantizedFunctionsCPU", "QuantizedFunctionsCUDA"):
        space = getattr(extensions, name)
        if isinstance(space, extensions.ExtensionNamespace):
            space._loaded_namespace = Rounding  # pyright: ignore[reportPrivateUsage] - there is no other way in
    return nncf


@contextlib.contextmanager
def quiet() -> Generator[None]:
    """Keeps progress bars and remarks of NNCF, and of what it loads, away from whoever runs this."""
    loggers = [logging.getLogger(name) for name in LOUD]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
