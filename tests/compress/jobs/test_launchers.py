"""What starts a run: the commands, their environments, their ends; torchrun and Ray for real."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from compress import children
from compress.children import environment
from compress.jobs import launchers
from compress.jobs.launcher import UNKNOWN
from compress.jobs.launchers import Local, launcher_of, run_command
from compress.recipe.load import load, save
from tests.compress.jobs.jobs_kit import ROOT, lives, until
from zoo.errors import UserError
from zoo.settings import get_settings


def started(tmp_path, text):
    """A shell script as a run, once it has told its process number."""
    command = ["sh", "-c", f'echo $$ > "$1/pid"\n{text}', "job", str(tmp_path)]
    handle = Local(lambda _folder: command).start(tmp_path)
    until(lambda: (tmp_path / "pid").is_file() and (tmp_path / "pid").read_text().strip())
    return handle


def test_a_run_is_one_process_with_its_own_group_and_no_input(tmp_path):
    handle = started(tmp_path, "cat; ps -o pgid= -p $$; pwd; exit 4")
    assert until(lambda: handle.poll()) == 4
    group, here = (tmp_path / "log.txt").read_text().split()
    assert int(group) == handle.facts["pid"] == int((tmp_path / "pid").read_text()) and Path(here) == ROOT
    assert run_command(tmp_path) == [sys.executable, "-m", "compress", "run", str(tmp_path)]


def test_memory_is_that_of_all_its_processes(tmp_path):
    hoard = "x = b'x' * 60_000_000; open('{}/ready', 'a').write('.'); import time; time.sleep(600)"
    one = f'{sys.executable} -c "{hoard.format(tmp_path)}"'
    handle = started(tmp_path, f"{one} & setsid {one} &\nwait")
    try:
        until(lambda: (tmp_path / "ready").is_file() and (tmp_path / "ready").read_text() == "..")
        assert 120_000_000 < handle.memory() < 400_000_000
    finally:
        handle.stop(1)


def test_what_a_process_leaves_behind_ends_with_it(tmp_path):
    handle = started(tmp_path, 'sleep 600 & echo $! > "$1/left"; sleep 0.5')
    until(lambda: (tmp_path / "left").is_file() and (tmp_path / "left").read_text())
    left = int((tmp_path / "left").read_text())
    assert handle.memory() and lives(left)
    assert until(lambda: handle.poll() is not None)
    until(lambda: not lives(left), "its end")


def test_only_the_very_same_process_is_adopted(tmp_path):
    launcher = Local(run_command)
    handle = started(tmp_path, "sleep 600")
    try:
        adopted = launcher.adopt(tmp_path, handle.facts)
        assert adopted and adopted.poll() is None
        assert launcher.adopt(tmp_path, {**handle.facts, "born": "another boot/1"}) is None
        adopted.stop(2)
        assert adopted.poll() == UNKNOWN and handle.poll() == -15
        assert launcher.adopt(tmp_path, handle.facts) is None
    finally:
        handle.stop(1)


def test_a_process_that_no_worker_could_note_is_found_by_its_command(tmp_path):
    """Its forks have the same command, and another folder's process another one."""
    (tmp_path / "run.sh").write_text("(sleep 600) & sleep 600")
    launcher = Local(lambda folder: ["sh", str(tmp_path / "run.sh"), str(folder)])
    handle, other = launcher.start(tmp_path), tmp_path / "other"
    other.mkdir()
    try:
        adopted = launcher.adopt(tmp_path, {"attempt": "1", "since": 1.0})
        assert adopted and adopted.facts == handle.facts and launcher.adopt(other, {"attempt": "1"}) is None
        adopted.stop(2)
        assert launcher.adopt(tmp_path, {"attempt": "1"}) is None
    finally:
        handle.stop(1)


def test_the_environment_is_an_allow_list():
    base = {"PATH": "/bin", "HF_TOKEN": "x", "SSH_AUTH_SOCK": "x", "LC_ALL": "C", "BUDGET_ZOO_DATABASE_URL": "x"}
    made = environment({"OMP_NUM_THREADS": 2}, {**base, "PYTHONPATH": "/else"})
    assert {"PATH", "LC_ALL", "OMP_NUM_THREADS"} <= made.keys() and "x" not in made.values()
    ours = {"BUDGET_ZOO_DEVICE": "cpu", "BUDGET_ZOO_TRIAL": "false"}  # what the one who started the app has said
    assert environment(base=ours).items() >= ours.items()
    assert made["PYTHONPATH"] == os.pathsep.join([str(ROOT), "/else"]) and made["HF_HUB_DISABLE_IMPLICIT_TOKEN"] == "1"


def rank_of(process):
    try:
        return process.environ().get("RANK")
    except psutil.Error:  # between its start and its program, or gone
        return None


def test_torchrun_ends_with_its_processes_which_have_groups_of_their_own(tiny_model, tiny_data, tmp_path, monkeypatch):
    """That they train together is in test_stages.py."""
    monkeypatch.setenv("HF_TOKEN", "hf_canaryCANARYcanary0123456789")
    changes = [f"model={tiny_model}", f"dataset.train={tiny_data.train}", f"dataset.validation={tiny_data.validation}"]
    changes += [f"dataset.evaluation={tiny_data.evaluation}", "finetune.epochs=1000", "dataset.titles=null"]
    save(load("length_adaptive_tiny", changes), tmp_path / "recipe.yaml")
    handle = launcher_of("torchrun:2").start(tmp_path)
    pid = handle.facts["pid"]
    assert isinstance(pid, int)

    def ranks():
        assert handle.poll() is None, (tmp_path / "log.txt").read_text()
        family = psutil.Process(pid).children(recursive=True)
        return {rank: one for one in family if (rank := rank_of(one)) is not None}

    try:
        found = until(lambda: len(ranks()) == 2 and ranks(), "two processes")
        assert found.keys() == {"0", "1"} and handle.memory() > 0
        assert all("HF_TOKEN" not in one.environ() for one in found.values())
        assert {os.getpgid(one.pid) for one in found.values()}.isdisjoint({pid})
    finally:
        handle.stop(3)
    until(lambda: not any(lives(one.pid) for one in found.values()), "their end")


def test_ray_that_is_not_there_says_what_to_install(monkeypatch):
    monkeypatch.setattr(children, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r'Ray is not installed. Install it: pip install "ray\[default\]'):
        launcher_of("ray").check()


class Shell:
    """Stands in for a cluster: an entrypoint in a shell of this machine, with the secrets of whoever started it."""

    def __init__(self):
        self.jobs = {}

    def submit_job(self, entrypoint, submission_id):
        secrets = {**os.environ, "HF_TOKEN": "hf_canaryOfTheCluster000"}
        self.jobs[submission_id] = subprocess.Popen(["sh", "-c", entrypoint], env=secrets, cwd="/")

    def get_job_status(self, name):
        code = self.jobs[name].poll()
        return Status("RUNNING" if code is None else "FAILED" if code else "SUCCEEDED")

    def list_jobs(self):
        return [SimpleNamespace(submission_id=name) for name in self.jobs]

    def stop_job(self, name):
        self.jobs[name].terminate()


class Status(str):
    def is_terminal(self):
        return self != "RUNNING"


def test_what_ray_is_told_to_run(tmp_path, monkeypatch):
    """The command line alone, since a cluster takes its time; see below for a real one."""
    folder, shell = tmp_path / "with blank & ampersand", Shell()
    folder.mkdir()
    monkeypatch.setattr(launchers, "_ray_jobs", lambda: shell)
    code = "import os, sys, time; print(os.getcwd(), *sorted(os.environ), flush=True); time.sleep(float(sys.argv[1]))"
    monkeypatch.setattr(launchers, "run_command", lambda _folder: [sys.executable, "-c", code, "0"])
    handle = launcher_of("ray").start(folder)
    assert until(lambda: handle.poll() is not None) and handle.poll() == 0
    here, *names = (folder / "log.txt").read_text().split()
    assert Path(here) == ROOT and "BUDGET_ZOO_HOME" in names and "RAY_ADDRESS" in names and "HF_TOKEN" not in names
    assert launcher_of("ray").adopt(folder, handle.facts) is None, "it has ended"

    monkeypatch.setattr(launchers, "run_command", lambda _folder: [sys.executable, "-c", code, "600"])
    handle = launcher_of("ray").start(tmp_path)
    adopted = launcher_of("ray").adopt(tmp_path, json.loads(json.dumps(handle.facts)))
    assert adopted and adopted.poll() is None and launcher_of("ray").adopt(tmp_path, {"ray": "another"}) is None
    adopted.stop()
    assert handle.poll() == 1


def test_a_cluster_that_has_just_started_is_waited_for(monkeypatch):
    answers = [RuntimeError("500: No available agent to submit job, please try again later.."), None]
    asked = []

    def submit_job(**wanted):
        asked.append(wanted)
        if error := answers.pop(0):
            raise error

    monkeypatch.setattr(launchers, "_ray_jobs", lambda: SimpleNamespace(submit_job=submit_job))
    monkeypatch.setattr(launchers.time, "sleep", lambda _seconds: None)
    launchers._submit("true", "a")
    assert len(asked) == 2
    answers.append(RuntimeError("500: another fault"))
    with pytest.raises(RuntimeError, match="another fault"):
        launchers._submit("true", "a")


def test_a_cluster_with_tokens_is_sent_the_one_that_ray_keeps(tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    assert launchers._ray_headers() is None
    (tmp_path / "token").write_text("abc\n")
    assert launchers._ray_headers() == {"Authorization": "Bearer abc"}
    monkeypatch.setenv("RAY_AUTH_TOKEN", "def")
    assert launchers._ray_headers() == {"Authorization": "Bearer def"}
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    assert launchers._ray_headers() is None


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """A Ray cluster on this machine: the address of its head."""
    ports = []
    for _ in range(2):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            ports.append(free.getsockname()[1])
    environment_ = {**os.environ, "RAY_USAGE_STATS_ENABLED": "0", "HF_TOKEN": "hf_canaryOfTheCluster000"}
    command = [Path(sys.executable).with_name("ray"), "start", "--head", "--port", str(ports[0]), "--num-cpus", "2",
               "--dashboard-host", "127.0.0.1", "--dashboard-port", str(ports[1]), "--block",
               "--object-store-memory", "100000000", "--node-ip-address", "127.0.0.1"]  # fmt: skip
    log = (tmp_path_factory.mktemp("ray") / "log").open("ab")
    head = subprocess.Popen(command, env=environment_, stdout=log, stderr=log, start_new_session=True)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("BUDGET_ZOO_RAY_ADDRESS", f"http://127.0.0.1:{ports[1]}")
            get_settings.cache_clear()
            until(lambda: head.poll() is None and _answers(), "the cluster", 200)
            yield f"127.0.0.1:{ports[0]}"
    finally:
        get_settings.cache_clear()
        family = psutil.Process(head.pid).children(recursive=True)
        for end in ("terminate", "kill"):
            for one in [*family, head]:
                with suppress(psutil.NoSuchProcess):
                    getattr(one, end)()
            psutil.wait_procs(family, timeout=5)
        head.wait()
        log.close()


@pytest.mark.skipif(find_spec("ray") is None, reason="ray is not installed: pip install ray[default]")
class TestRay:
    """A cluster on this machine."""

    def test_a_run_on_a_cluster(self, cluster, tiny_model, tiny_data, tmp_path, monkeypatch):
        changes = [f"model={tiny_model}", f"dataset.train={tiny_data.train}", "evaluate.latency_rounds=1"]
        changes += [f"dataset.evaluation={tiny_data.evaluation}", "package.name=tiny"]
        save(load("static_int8", changes), tmp_path / "recipe.yaml")
        launcher = launcher_of("ray")
        launcher.check()
        handle = launcher.start(tmp_path)
        adopted = launcher.adopt(tmp_path, json.loads(json.dumps(handle.facts)))
        assert adopted and launcher.adopt(tmp_path, {"ray": "another"}) is None
        assert until(lambda: handle.poll() is not None, "the run", 280) and handle.poll() == 0
        assert (tmp_path / "package/tiny/entry.json").is_file()
        assert "package: entries" in (tmp_path / "log.txt").read_text()

    def test_a_run_on_a_cluster_is_stopped_and_knows_no_secret(self, cluster, tmp_path, monkeypatch):
        code = "import os, time; print(sorted(os.environ), flush=True); time.sleep(600)"
        monkeypatch.setattr(launchers, "run_command", lambda folder: [sys.executable, "-c", code])
        handle = launcher_of("ray").start(tmp_path)
        told = tmp_path / "log.txt"
        until(lambda: told.is_file() and told.read_text(), "its first words", 120)
        assert "PATH" in told.read_text() and "HF_TOKEN" not in told.read_text()
        handle.stop()
        assert handle.poll() not in (None, 0)

    def test_a_search_spread_over_a_cluster_finds_the_same(
        self, cluster, tiny_changes, finished_run, tmp_path, monkeypatch
    ):
        import shutil

        from compress.run.run import run

        monkeypatch.setenv("RAY_ADDRESS", cluster)
        copy = shutil.copytree(finished_run, tmp_path / "run")
        shutil.rmtree(copy / "search")
        run(load("length_adaptive_tiny", [*tiny_changes, "search.workers=2"]), copy, "search")
        for name in ("archive.jsonl", "front.json"):
            assert (copy / "search" / name).read_bytes() == (finished_run / "search" / name).read_bytes(), name


def _answers() -> bool:
    try:
        launcher_of("ray").check()
    except UserError:
        return False
    return True
