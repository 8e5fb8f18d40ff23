"""The one error that people are meant to read."""

from __future__ import annotations

import errno
import logging
import re
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager

log = logging.getLogger(__name__)

FULL = "The disk is full. Free some of it, or set BUDGET_ZOO_HOME to a folder on a larger one, and try again."
NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
NO_ROOM = re.compile(  # what the system, sqlite, safetensors, torch and this program say of it
    r"No space left on device|\bE?rr(?:no|or) 28\b|Disk quota exceeded|disk is full|PytorchStreamWriter failed writing"
)


class UserError(Exception):
    """Something that the user can put right. The message says what happened and what to do about it."""


class Withheld(UserError):
    """A model that the Hub does not show to nobody in particular: it is private, gated, or not there at all."""


class PickledWeights(UserError):
    """A model with its weights as pickles alone; `name` is what it was asked for by, and can be converted by."""

    def __init__(self, message: str, name: str):
        super().__init__(message)
        self.name = name


@contextmanager
def told(what: str, advice: str = "Take another model, or restore its files.") -> Generator[None]:
    """What a library raises over a foreign file comes out as a UserError, a panic of Rust among it.

    A panic is no `Exception`: unnoticed it would end the thread that serves, and whoever asked would wait for ever.

    Args:
        what: could not be done, without a full stop.
        advice: what to do.

    Raises:
        UserError: with the library's reason; one that is raised inside passes as it is.
    """
    try:
        yield
    except (UserError, KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException as error:
        log.info("%s", what, exc_info=True)
        raise UserError(f"{what}: {reason_of(error)}. {advice}") from error


def sentence_of(error: BaseException) -> str | None:
    """What to tell a person of an error, wherever it comes from; None of one that nobody expects."""
    if isinstance(error, UserError):
        return str(error)
    no_space = isinstance(error, OSError) and error.errno in NO_SPACE
    return FULL if no_space or NO_ROOM.search(str(error)) else None


@contextmanager
def ended(words: Callable[[str], str] = str) -> Generator[None]:
    """A command that fails for a reason that people are meant to read tells it without a traceback, and exits with 2.

    Args:
        words: what becomes of the sentence before it is printed.
    """
    try:
        yield
    except Exception as error:
        if (said := sentence_of(error)) is None:
            raise
        print(words(said), file=sys.stderr)
        sys.exit(2)


def reason_of(error: BaseException) -> str:
    """The first line of what an error says, or its name."""
    said = next(iter(str(error).strip().splitlines()), "")[:300].rstrip(". ")
    return f"{type(error).__name__}: {said}" if isinstance(error, KeyError | IndexError) or not said else said
