"""Jobs as the page sees them and what becomes of their processes; the queue itself is in test_queue.py."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from compress.data import uploads
from compress.jobs import jobs, ledger, supervisor
from compress.jobs.launchers import launcher_of
from compress.jobs.ledger import Ledger, get_ledger
from compress.recipe import kind
from compress.recipe.layout import ATTEMPT
from compress.recipe.length_adaptive import LengthAdaptiveRecipe
from compress.recipe.load import load
from compress.run import run
from tests.compress.jobs import jobs_kit
from tests.compress.jobs.jobs_kit import FINISH, lives, run_it, script, until
from tests.compress.recipe_kit import load_as
from zoo import library
from zoo.errors import UserError
from zoo.settings import get_settings

HOARD = "x = b'x' * 200_000_000; import time; time.sleep(60)"
FILL = '[ -f "$1/../../filled" ] || { touch "$1/../../filled"; cat /dev/zero > "$1/big"; exit 1; }\n'


@pytest.fixture
def home(tmp_path):
    """A home without a worker: `run_it` does what one does."""
    with jobs_kit.home_of(tmp_path) as patch:
        patch.setattr(supervisor, "POLL", 0.02)
        yield tmp_path


class InThisProcess:
    """The run of a job, computed where it is asked for."""

    def __init__(self, folder):
        run.run(load(folder), folder)
        self.facts = {}

    def poll(self):
        return 0

    def memory(self):
        return 0

    def age(self):
        return None

    def stop(self, grace=0):
        pass

    leave = stop


def submit(name="mine", **more):
    return jobs.submit(load("static_int8"), name, launcher="fake", **more)


def test_what_was_submitted_is_listed_newest_first(home):
    first, second = submit("a", owner="ada"), submit("b", owner="bob")
    assert [job.id for job in jobs.jobs()] == [second.id, first.id]
    assert [job.name for job in jobs.jobs(owner="ada")] == ["a"] and len(jobs.jobs(limit=1)) == 1
    assert (first.state, first.kind, first.model, first.launcher) == ("queued", "quantize", "minilm-l6-qa", "fake")
    assert load(first.folder) == load("static_int8") and first.folder == home / "jobs" / first.id
    assert json.loads(json.dumps(first.to_dict()))["state"] == "queued"
    assert jobs.logs(first.id) == "" and jobs.progress(first.id) == [] and jobs.results(first.id) == []
    assert [stage["state"] for stage in jobs.stages(first.id)] == ["waiting"] * 3


@pytest.mark.parametrize("name", ["deadbeef", "../../x", "", "x" * 300])
def test_there_is_no_such_job(home, name):
    with pytest.raises(UserError, match="There is no job"):
        jobs.find(name)


def test_a_list_that_has_not_changed_is_not_read_again(home, monkeypatch):
    made = [submit(str(n)) for n in range(20)]
    jobs.jobs()
    monkeypatch.setattr(ledger.json, "loads", lambda _text: pytest.fail("read again"))
    assert len(jobs.jobs()) == 20
    monkeypatch.undo()
    get_settings.cache_clear()
    monkeypatch.setenv("BUDGET_ZOO_HOME", str(home))
    jobs.cancel(made[3].id)
    assert [job.state for job in jobs.jobs()].count("cancelled") == 1


def test_a_job_runs_to_its_end(home):
    script(home, 'echo hello from "$1"\n' + FINISH)
    job = run_it(submit())
    assert (job.state, job.reason, job.process) == ("done", "", None)
    assert job.started and job.ended and job.created <= job.started <= job.ended
    assert jobs.logs(job.id) == f"hello from {job.folder}"
    assert run_it(job).state == "done" and jobs.logs(job.id).count("hello") == 1


def test_a_job_that_packaged_something_can_be_published(home):
    script(home, 'mkdir -p "$1/package/b-float" "$1/package/a" "$1/package/.c.tmp"\n'
           'for e in a b-float .c.tmp; do echo "{}" > "$1/package/$e/entry.json"; done\n'
           'touch "$1/package/a/model.int8.onnx"\n' + FINISH)  # fmt: skip
    job = submit()
    with pytest.raises(UserError, match="nothing to publish"):
        jobs.mark_published(job.id, "ada/x", "c0ffee")
    assert run_it(job).state == "ready to publish"
    assert [path.name for path in jobs.results(job.id)] == ["a", "b-float"]
    done = jobs.mark_published(job.id, "ada/x", "c0ffee")
    assert (done.state, done.published) == ("published", "ada/x@c0ffee")


def test_a_result_is_registered_once_and_for_its_owner(home, monkeypatch, tiny_model, tiny_data):
    changes = [f"model={tiny_model}", f"dataset.evaluation={tiny_data.evaluation}", "evaluate.latency_rounds=1"]
    job = jobs.submit(load("static_int8", changes), owner="ada")
    registered = []
    monkeypatch.setattr(run, "register", lambda root, inner=run.register: registered.append(root) or inner(root))
    monkeypatch.setattr(jobs_kit.launchers.Local, "start", lambda self, folder: InThisProcess(folder))
    assert run_it(job).state == "ready to publish" and registered == [job.folder]
    rows = [row for row in library.listing(library.Query(owner="ada")).rows if row.origin == "local"]
    assert {Path(row.folder) for row in rows} == set(jobs.results(job.id)) and {row.owner for row in rows} == {"ada"}
    assert not [row for row in library.listing(library.Query(owner="bob")).rows if row.origin == "local"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('echo "The data set x has no questions. Take other data." >&2; exit 2', "The data set x has no questions"),
        ('echo "Told before. Do that." > "$1/failure.txt"; echo ChildFailedError: x; exit 1', "Told before. Do that."),
        ('printf "Traceback (most recent call last):\\nValueError: too small\\n"; exit 1', "an error: ValueError: too"),
        ('printf "[rank1]: torch.cuda.OddError: x\\nx.ChildFailedError: y\\n"; exit 1', "an error: OddError: x"),
        ("cat /etc/passwd > /dev/full; exit 1", "The disk is full. Free some space"),
        ('echo "RuntimeError: DefaultCPUAllocator: can\'t allocate memory: 9 bytes"; exit 1', "It ran out of memory"),
        ("kill -9 $$", "killed from outside"),
        ("kill -11 $$", "signal SIGSEGV"),
        ("exit 3", "without a result .exit status 3"),
        ("exit 0", "without a result .exit status 0"),
    ],
)
def test_a_failure_is_told_in_plain_words(home, text, reason):
    script(home, text)
    job = run_it(submit())
    assert job.state == "failed"
    assert re.search(reason, job.reason), job.reason


@pytest.mark.parametrize(
    ("setting", "value", "text", "reason"),
    [
        ("JOB_HOURS", "0.0001", "sleep 60", "ran longer than"),
        ("JOB_MEMORY_GIB", "0.05", f'{sys.executable} -c "{HOARD}"', "memory"),
        ("JOB_DISK_GIB", "0.001", 'head -c 9000000 /dev/zero > "$1/big"; sleep 60', "Its folder holds"),
        ("SPARE_DISK_GIB", "100000000", 'sleep 60', "nearly full"),
    ],
)  # fmt: skip
def test_a_job_that_takes_too_much_is_stopped(home, monkeypatch, setting, value, text, reason):
    job = submit()
    if setting == "SPARE_DISK_GIB":  # the disk fills while it runs
        monkeypatch.setattr(supervisor, "lacking_space", lambda: None)
    monkeypatch.setenv(f"BUDGET_ZOO_{setting}", value)
    get_settings.cache_clear()
    script(home, f'echo $$ > "$1/pid"\n{text}')
    job = run_it(job)
    assert job.state == "failed" and reason in job.reason and f"BUDGET_ZOO_{setting}" in job.reason
    assert not lives(int((job.folder / "pid").read_text()))


def test_a_waiting_job_is_cancelled_at_once_and_never_runs(home):
    script(home, 'touch "$1/ran"\n' + FINISH)
    job = submit()
    assert jobs.cancel(job.id).state == "cancelled"
    assert run_it(job).state == "cancelled" and not (job.folder / "ran").exists()


def test_cancelling_ends_all_processes_and_keeps_what_was_made(home):
    """Of two children one ignores the request to end, and one has a group of its own, as torchrun's have."""
    script(home, 'trap "" TERM\necho half > "$1/made"\nsleep 600 &\nsetsid sleep 600 &\n'
           'echo $! > "$1/other"\necho $$ > "$1/pid"\nwait\n')  # fmt: skip
    job = submit()
    thread = threading.Thread(target=run_it, args=(job,))
    thread.start()
    until((job.folder / "pid").is_file)
    until(lambda: (job.folder / "other").read_text().strip())
    assert jobs.find(job.id).state == "running"
    assert jobs.cancel(job.id).state == "cancelling"
    began = time.monotonic()
    thread.join(30)
    assert jobs.find(job.id).state == "cancelled" and time.monotonic() - began < 10
    assert (job.folder / "made").read_text() == "half\n"
    until(lambda: not any(lives(int((job.folder / name).read_text())) for name in ("pid", "other")), "their end")


def test_a_retry_goes_on_with_what_was_made(home):
    script(home, 'echo step >> "$1/made"\n[ "$(wc -l < "$1/made")" -ge 2 ] || exit 1\n' + FINISH)
    job = run_it(submit())
    assert job.state == "failed"
    again = jobs.retry(job.id)
    assert (again.state, again.attempt, again.reason, again.started) == ("queued", 2, "", None)
    assert run_it(job).state == "done" and (job.folder / "made").read_text() == "step\nstep\n"
    with pytest.raises(UserError, match="is done: only a failed or cancelled"):
        jobs.retry(job.id)


def test_a_process_that_outlived_its_worker_is_adopted(home):
    script(home, 'echo start >> "$1/starts"\nwhile [ ! -f "$1/go" ]; do sleep 0.05; done\n' + FINISH)
    job = submit()
    (job.folder / ATTEMPT).write_text("first")
    handle = launcher_of("fake").start(job.folder)
    facts = {**handle.facts, "host": socket.gethostname(), "since": time.time(), "attempt": "first"}
    get_ledger().change(job.id, state="running", started=time.time(), process=facts, starts=1)
    threading.Timer(0.3, (job.folder / "go").touch).start()
    assert run_it(job).state == "done"
    assert (job.folder / "starts").read_text() == "start\n"
    assert handle.poll() is not None


def test_a_process_that_died_with_its_worker_is_started_again_but_not_for_ever(home):
    script(home, 'echo start >> "$1/starts"\n' + FINISH)
    job = submit()
    dead = {"pid": 2**22 - 1, "born": 1.0, "host": socket.gethostname(), "since": time.time()}
    get_ledger().change(job.id, state="running", started=time.time(), process=dead, starts=1)
    assert run_it(job).state == "done"
    assert (job.folder / "starts").read_text() == "start\n" and jobs.find(job.id).starts == 2
    job = submit()
    get_ledger().change(job.id, state="running", started=time.time(), process=dead, starts=supervisor.MOST_STARTS)
    job = run_it(job)
    assert job.state == "failed" and "interrupted 5 times" in job.reason and not (job.folder / "starts").exists()


def test_two_that_look_after_one_job_run_it_once(home):
    script(home, 'echo start >> "$1/starts"\nsleep 0.3\n' + FINISH)
    job = submit()
    threads = [threading.Thread(target=run_it, args=(job,)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert jobs.find(job.id).state == "done" and (job.folder / "starts").read_text() == "start\n"


def test_a_folder_that_somebody_runs_by_hand_is_waited_for(home):
    from filelock import FileLock

    from compress.recipe.layout import LOCK

    script(home, FINISH)
    job = submit()
    with FileLock(job.folder / LOCK):
        thread = threading.Thread(target=run_it, args=(job,))
        thread.start()
        until(lambda: "Another process runs this folder" in jobs.find(job.id).reason)
    thread.join(30)
    assert (jobs.find(job.id).state, jobs.find(job.id).reason) == ("done", "")


def test_a_full_disk_fails_the_job_that_filled_it_and_no_other(home, monkeypatch):
    disk = home / "disk"
    disk.mkdir()
    mounted = shutil.which("mount") and os.getuid() == 0
    mount = ["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(disk)]
    if not mounted or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no small disk can be mounted here")
    try:
        monkeypatch.setattr(jobs, "disk_gib", lambda _recipe: 0)
        monkeypatch.setenv("BUDGET_ZOO_HOME", str(disk))
        get_settings.cache_clear()
        script(disk, FILL + FINISH)
        first, second = submit(), submit()
        failed = run_it(first)
        assert failed.state == "failed" and failed.reason.startswith(("The disk is full", "The disk is nearly full"))
        thread = threading.Thread(target=run_it, args=(second,))
        thread.start()
        until(lambda: jobs.find(second.id).reason.startswith("Waits. There is not enough disk space"))
        (first.folder / "big").unlink()
        thread.join(30)
        assert jobs.find(second.id).state == "done"
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


@pytest.mark.parametrize(
    ("settings", "more", "message"),
    [
        ({}, {"launcher": "rocket"}, "no launcher 'rocket'. Choose one of local, torchrun, ray"),
        ({}, {"launcher": "torchrun:0"}, "no launcher"),
        ({}, {"launcher": "torchrun:999"}, "999 processes would get in each other's way"),
        ({"BUDGET_ZOO_QUEUE_LIMIT": "1"}, {}, "The queue is full: 1 jobs"),
        ({"BUDGET_ZOO_OWNER_LIMIT": "1"}, {"owner": "ada"}, "You have 1 jobs that wait or run"),
        ({"BUDGET_ZOO_SPARE_DISK_GIB": "100000000"}, {}, "not enough disk space"),
    ],
)
def test_what_is_not_queued(home, monkeypatch, settings, more, message):
    submit("first", owner="ada")
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    get_settings.cache_clear()
    with pytest.raises(UserError, match=message):
        jobs.submit(load("static_int8"), **{"launcher": "fake", **more})
    assert len(jobs.jobs()) == 1


def test_an_engine_that_is_not_installed_is_told_before(home, monkeypatch):
    monkeypatch.setattr(kind, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="openvino is not installed. Install it: pip install openvino"):
        jobs.submit(load("static_int8", ["evaluate.engine=openvino"]), launcher="fake")


@pytest.mark.parametrize(
    ("name", "changes", "module", "message"),
    [
        ("nncf_tiny", [], "nncf", "NNCF is not installed"),
        ("aimet_w8a8", [], "aimet_torch", "aimet-torch is not installed. Install it: `pip install aimet-torch`"),
        ("static_int8", ["quantize.neural_compressor=true"], "neural_compressor", "neural-compressor is not installed"),
        ("nas_tiny", ["latency_table.modes=[onnxruntime_int8, openvino_int8]"], "openvino", "engine openvino"),
        ("length_adaptive_tiny", ["search.workers=2"], "ray", "Ray is not installed"),
    ],
)
def test_a_package_that_is_not_installed_is_told_before(home, monkeypatch, name, changes, module, message):
    monkeypatch.setenv("BUDGET_ZOO_DATA", str(home))
    get_settings.cache_clear()
    recipe = load(name, changes)
    monkeypatch.setattr(kind, "find_spec", lambda name: None if name == module else name)
    with pytest.raises(UserError, match=message):
        jobs.submit(recipe, launcher="fake")
    monkeypatch.setattr(kind, "find_spec", lambda name: name)
    assert jobs.submit(recipe, launcher="fake").state == "queued"


def test_a_job_that_cannot_be_queued_leaves_nothing(home, monkeypatch):
    def unreachable(self):
        raise UserError("The job queue's database cannot be reached.")

    monkeypatch.setattr(Ledger, "connect", unreachable)
    with pytest.raises(UserError, match="cannot be reached"):
        submit()
    assert jobs.jobs() == [] and not (home / "jobs").exists()


def test_paths_are_made_whole_since_jobs_run_elsewhere(home, monkeypatch, tiny_model, tiny_data):
    monkeypatch.chdir(tiny_model.parent)
    (home / "examples").mkdir()
    changes = [f"model={tiny_model.name}", f"dataset.train={os.path.relpath(tiny_data.train)}"]
    made = load(jobs.submit(load("static_int8", changes), launcher="fake").folder)
    assert made.model == str(tiny_model) and made.dataset.train == str(tiny_data.train)
    job = jobs.submit(load("length_adaptive_tiny", [f"search.start={tiny_model.name}"]), launcher="fake")
    made = load_as(LengthAdaptiveRecipe, job.folder)
    assert made.search.start == str(tiny_model)
    monkeypatch.chdir(home)
    assert load(submit().folder).dataset.evaluation == "examples"


def test_a_space_runs_no_folders_of_its_host(home, monkeypatch, tiny_model):
    monkeypatch.setenv("SYSTEM", "spaces")
    monkeypatch.setenv("SPACE_ID", "ada/zoo")
    for recipe in (
        load("static_int8", [f"model={tiny_model}"]),
        load("length_adaptive_tiny", [f"search.start={tiny_model}"]),
    ):
        with pytest.raises(UserError, match="path of this server"):
            jobs.submit(recipe, launcher="fake")
    assert submit().state == "queued"


def test_a_space_runs_ones_own_uploads_alone(home, monkeypatch, tiny_data):
    monkeypatch.setenv("SYSTEM", "spaces")
    monkeypatch.setenv("SPACE_ID", "ada/zoo")
    get_settings.cache_clear()
    found = uploads.accept(tiny_data.train, owner="ada")
    assert uploads.accept(tiny_data.train, owner="bob").parts["train"] != found.parts["train"]
    made = load("static_int8", [f"dataset.train={found.parts['train']}"])
    with pytest.raises(UserError, match="path of this server"):
        jobs.submit(made, owner="bob", launcher="fake")
    job = jobs.submit(made, owner="ada", launcher="fake")
    jobs.cancel(job.id)
    assert load(job.folder).dataset.train == str(found.parts["train"].resolve())


def test_no_secret_reaches_a_job(home, monkeypatch):
    job = submit()
    canary = "hf_canaryCANARYcanary0123456789"
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "AWS_SECRET_ACCESS_KEY", "BUDGET_ZOO_DATABASE_URL", "MY_KEY"):
        monkeypatch.setenv(name, canary)
    script(home, 'env > "$1/environment"\n' + FINISH)
    monkeypatch.setattr(supervisor.Limits, "of_settings", lambda: supervisor.Limits(1, 1e12, 1e12, 0))
    assert run_it(job).state == "done"
    told = (job.folder / "environment").read_text()
    assert f"BUDGET_ZOO_HOME={home}" in told and "HF_HUB_DISABLE_IMPLICIT_TOKEN=1" in told
    for path in home.rglob("*"):
        assert not path.is_file() or canary.encode() not in path.read_bytes(), path
