from __future__ import annotations

import fcntl
import hashlib
import os
from pathlib import Path

import numpy as np
import pytest

from zoo import files
from zoo.errors import UserError


def test_json_goes_there_and_back(tmp_path):
    path = tmp_path / "new" / "a.json"
    files.write_json(path, {"é": [1, np.float32(0.5), np.arange(2)], "path": Path("x")})
    assert files.read_json(path) == {"é": [1, 0.5, [0, 1]], "path": "x"}
    assert "é" in path.read_text(encoding="utf-8")


def test_a_failed_write_leaves_the_old_file_and_no_draft(tmp_path, monkeypatch):
    path = tmp_path / "a.txt"
    files.write_text(path, "old")

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(files.os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        files.write_text(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_draft_is_synced_by_a_handle_that_may_write(tmp_path, monkeypatch):
    """Windows refuses others."""
    modes = list[int]()
    monkeypatch.setattr(files.os, "fsync", lambda handle: modes.append(fcntl.fcntl(handle, fcntl.F_GETFL)))
    files.write_text(tmp_path / "a.txt", "new")
    assert [mode & os.O_ACCMODE for mode in modes] == [os.O_RDWR] and (tmp_path / "a.txt").read_text() == "new"


def test_nan_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        files.write_json(tmp_path / "a.json", {"f1": float("nan")})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("content", [None, b"{", b"\xff\xfe"])
def test_a_broken_file_is_named(tmp_path, content):
    path = tmp_path / "a.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match="a.json"):
        files.read_json(path)


def test_sha256(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert files.sha256(tmp_path / "a") == hashlib.sha256(b"abc").hexdigest()


def test_a_draft_takes_the_place_of_the_file_when_it_is_whole(tmp_path):
    path = tmp_path / "new" / "weights.bin"
    with files.atomic(path) as draft:
        draft.write_bytes(b"one")
        assert not path.exists()
    with pytest.raises(ValueError, match="half"), files.atomic(path) as draft:
        draft.write_bytes(b"tw")
        raise ValueError("half")
    assert path.read_bytes() == b"one" and list(path.parent.iterdir()) == [path]
    (path.parent / "weights.bin.tmp").write_bytes(b"of a process that was killed")
    with files.atomic(path) as draft:
        draft.write_bytes(b"three")
    assert path.read_bytes() == b"three" and list(path.parent.iterdir()) == [path]
    with files.atomic(path, shared=True) as one, files.atomic(path, shared=True) as other:
        assert one != other and one.write_bytes(b"4") and other.write_bytes(b"5")
    assert path.read_bytes() == b"4" and list(path.parent.iterdir()) == [path]
