"""The one error that people are meant to read."""

from __future__ import annotations

import logging
from collections.abc import Generator
from contextlib import contextmanager

log = logging.getLogger(__name__)


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


def reason_of(error: BaseException) -> str:
    """The first line of what an error says, or its name."""
    said = next(iter(str(error).strip().splitlines()), "")[:300].rstrip(". ")
    return f"{type(error).__name__}: {said}" if isinstance(error, KeyError | IndexError) or not said else said
