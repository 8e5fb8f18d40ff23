"""The one error that people are meant to read."""

from __future__ import annotations


class UserError(Exception):
    """Something that the user can put right. The message says what happened and what to do about it."""


class PickledWeights(UserError):
    """A model with its weights as pickles alone; `name` is what it was asked for by, and can be converted by."""

    def __init__(self, message: str, name: str):
        super().__init__(message)
        self.name = name
