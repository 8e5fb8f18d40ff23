"""Memory that a process holds: kept while it is used again at once, given back when it is not."""

from __future__ import annotations

import ctypes
from contextlib import suppress

TRIM_THRESHOLD, TOP_PAD, MMAP_THRESHOLD = -1, -2, -3  # as glibc's malloc.h numbers them
LARGE, MOST, AHEAD = 2**30, 2**31 - 1, 2**28  # bytes


def keep() -> None:
    """Has the C library keep freed memory for the next request, where it can: glibc returns large blocks at once.

    A training asks in every step for the tensors of the one before. From the system each of their pages comes empty,
    which takes longer than to fill it. `give_back` returns what is left over.
    """
    with suppress(AttributeError, OSError, TypeError):  # musl, macOS, Windows
        set_option = ctypes.CDLL(None).mallopt
        for option, value in ((MMAP_THRESHOLD, LARGE), (TRIM_THRESHOLD, MOST), (TOP_PAD, AHEAD)):
            set_option(option, value)


def give_back() -> None:
    """Returns freed memory to the system, where the C library can: glibc keeps what lies below memory in use.

    Batches are as long as their longest text, so every step leaves gaps that the next one's tensors do not fit into,
    and a training would hold several times what it works with.
    """
    with suppress(AttributeError, OSError, TypeError):  # musl, macOS, Windows
        ctypes.CDLL(None).malloc_trim(0)
