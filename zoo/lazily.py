"""Modules of others that take long to import, and are needed by few of those who import ours."""

from __future__ import annotations

from importlib import import_module
from typing import Any


class Lazy:
    """Stands for a module, which is imported when something of it is first asked for.

    Type checkers see the module where it is imported under `TYPE_CHECKING` by the same name.

    Args:
        name: of the module, dotted.
    """

    def __init__(self, name: str):
        object.__setattr__(self, "_name", name)

    def __getattr__(self, key: str) -> Any:
        return getattr(import_module(self._name), key)

    def __setattr__(self, key: str, value: object) -> None:
        setattr(import_module(self._name), key, value)

    def __repr__(self) -> str:
        return f"Lazy({self._name!r})"
