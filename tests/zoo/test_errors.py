"""What people are told of errors, wherever they come from."""

from __future__ import annotations

import errno
import sqlite3
import sys

import pytest

import compress.__main__
import zoo.__main__
from compress.jobs import jobs
from ui.events import UNEXPECTED, explain
from zoo.errors import FULL, UserError, sentence_of


def test_a_full_disk_is_told_in_a_sentence_and_what_nobody_expects_is_not():
    full = OSError(errno.ENOSPC, "No space left on device", "/x")
    assert sentence_of(full) == sentence_of(OSError(errno.EDQUOT, "Disk quota exceeded")) == FULL
    assert sentence_of(sqlite3.OperationalError("database or disk is full")) == FULL
    for said in ("I/O error: No space left on device (os error 28)", "PytorchStreamWriter failed writing file data/0"):
        assert sentence_of(RuntimeError(said)) == FULL
    assert sentence_of(UserError("Do this.")) == "Do this."
    for other in (OSError(errno.EIO, "Input/output error"), sqlite3.OperationalError("no such table"), ValueError("x")):
        assert sentence_of(other) is None and explain(other) == UNEXPECTED
    assert explain(full) == FULL


@pytest.mark.parametrize(
    ("program", "words", "place"),
    [(zoo.__main__, ["list"], (zoo.__main__, "listing")), (compress.__main__, ["jobs"], (jobs, "jobs"))],
)
def test_the_command_line_tells_it_without_a_traceback(program, words, place, monkeypatch, capsys):
    def fail(*_args: object, **_options: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(*place, fail)
    monkeypatch.setattr(sys, "argv", ["program", *words])
    with pytest.raises(SystemExit) as ended:
        program.main()
    assert ended.value.code == 2 and capsys.readouterr().err.strip().endswith(FULL)
