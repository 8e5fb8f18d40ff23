"""The one error that people are meant to read."""

from __future__ import annotations


class UserError(Exception):
    """Something that the user can put right. The message says what happened and what to do about it."""
