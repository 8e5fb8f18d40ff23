"""Memory that a process holds and does not need."""

from __future__ import annotations

import ctypes
from contextlib import suppress


def give_back() -> None:
    """Returns freed memory to the system, where the C library can: glibc keeps what lies below memory in use.

    Batches are as long as their longest text, so every step leaves gaps that the next one's tensors do not fit into,
    and a training would hold several times what it works with.
    """
    with suppress(AttributeError, OSError, TypeError):  # musl, macOS, Windows
        ctypes.CDLL(None).malloc_trim(0)
