"""A folder that cannot hold the queue is told before a job is lost in it."""

from __future__ import annotations

import errno
import os
from contextlib import nullcontext

import pytest

from compress.jobs import jobs, queue, storage
from compress.recipe.load import load
from tests.compress.jobs import jobs_kit
from zoo.errors import UserError
from zoo.settings import get_settings


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setattr(storage, "_fit", set())
    with jobs_kit.home_of(tmp_path):
        yield tmp_path


def fails(number):
    def call(*_args, **_options):
        raise OSError(number, os.strerror(number))

    return call


def locks_for_nobody(monkeypatch):
    monkeypatch.setattr(storage, "FileLock", lambda *_args, **_options: nullcontext())


def no_locks(monkeypatch):
    monkeypatch.setattr("fcntl.flock", fails(errno.ENOSYS))  # as a file system without it answers filelock


@pytest.mark.parametrize(
    ("break_it", "said"),
    [
        (locks_for_nobody, "its file locks keep nobody out, so that two workers would run one job"),
        (no_locks, "it has no file locks (Function not implemented)"),
        (
            lambda patch: patch.setattr("zoo.files.os.replace", fails(errno.ENOSYS)),
            "a file there cannot take another's place (Function not implemented)",
        ),
        (
            lambda patch: patch.setattr(storage.tempfile, "TemporaryDirectory", fails(errno.EROFS)),
            "nothing can be written there (Read-only file system)",
        ),
    ],
)
def test_what_a_volume_lacks_is_said_wherever_a_job_would_begin(home, monkeypatch, break_it, said):
    with monkeypatch.context() as patch:
        break_it(patch)
        whole = f"{home} (BUDGET_ZOO_HOME) cannot hold jobs: {said}. Name a folder on a disk, or on a volume that is "
        whole += "mounted for writing."
        for begin in (
            lambda: jobs.submit(load("static_int8"), launcher="fake"),
            lambda: queue.serve(idle=0),
            jobs.keep_worker,
        ):
            with pytest.raises(UserError) as refused:
                begin()
            assert str(refused.value) == whole
        assert jobs.illness() == whole
    assert jobs.jobs() == [] and jobs.illness() == ""


def test_a_home_that_is_fit_is_tried_once_and_left_clean(home, monkeypatch):
    storage.check(get_settings().home)
    assert not list(home.glob(".probe-*")) and home in storage._fit
    locks_for_nobody(monkeypatch)
    storage.check(home)
