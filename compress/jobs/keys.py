"""Tokens of the Hub for jobs that run there: in the memory of this process alone, never on a disk."""

from __future__ import annotations

import threading

from zoo.tokens import hide_tokens, standard_token

_held: dict[str, str] = {}  # by the job's id
_refused: set[str] = set()
_lock = threading.Lock()


def hold(job_id: str, token: str) -> None:
    """Keeps the token of the person whose job it is, until this process ends or the Hub refuses it."""
    hide_tokens()
    with _lock:
        _held[job_id] = token
        _refused.discard(token)


def token_of(job_id: str) -> str | None:
    """The token to look after a job with: what was handed over, else this machine's; on a Space the first alone."""
    with _lock:
        held = _held.get(job_id)
    token = held or standard_token()
    return None if token in _refused else token


def refuse(job_id: str) -> None:
    """The Hub does not know the token of this job any more."""
    token = token_of(job_id)
    with _lock:
        _held.pop(job_id, None)
        if token:
            _refused.add(token)


def forget(job_id: str) -> None:
    """The job has ended."""
    with _lock:
        _held.pop(job_id, None)
