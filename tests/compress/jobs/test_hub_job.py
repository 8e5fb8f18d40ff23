"""Jobs on machines of the Hub, against the local one: sent, followed, fetched, cancelled, and taken up again."""

from __future__ import annotations

import json
import subprocess
import zipfile
from pathlib import Path

import pytest
from typer.testing import CliRunner

from compress.__main__ import app
from compress.jobs import following, hub_job, jobs, keys, parcel, queue, supervisor, there
from compress.jobs.ledger import get_ledger
from compress.jobs.machines import machine, machines
from compress.jobs.workers import Workers
from compress.recipe.load import load
from tests.compress.jobs.jobs_kit import until
from zoo.errors import UserError
from zoo.files import write_json
from zoo.settings import get_settings

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")
TOKEN, T4 = "hf_writer", "hf-job:t4-small"


@pytest.fixture
def hub(local_hub, monkeypatch):
    """A Hub that lends machines, a home without a worker, and a program that is small to send."""
    monkeypatch.setenv("BUDGET_ZOO_SPARE_DISK_GIB", "0.001")
    monkeypatch.delenv("HF_TOKEN", raising=False)
    get_settings.cache_clear()
    for place, name, value in (
        (Workers, "start", lambda self: None),
        (supervisor, "POLL", 0.02),
        (supervisor, "CHECK", 0.02),
        (hub_job, "EVERY", 0.02),
        (following, "BETWEEN", 0.02),
        (keys, "standard_token", lambda: None),
        (hub_job, "pack", small),
    ):
        monkeypatch.setattr(place, name, value)
    yield local_hub
    local_hub.end_jobs()
    for thread in list(following._threads.values()):
        thread.join(30)
    for held in (following._threads, keys._held, keys._refused):
        held.clear()
    get_ledger().close()


def small(recipe, target):
    with zipfile.ZipFile(target, "w") as file:
        file.writestr("run/recipe.yaml", "kind: quantize\n")


def submit(**more):
    return jobs.submit(load("dynamic_int8"), "mine", launcher=T4, token=TOKEN, **more)


def remote(hub):
    """The job as the Hub has it, once it is there."""
    (found,) = until(lambda: list(hub.jobs.values()), "the job on the Hub")
    return found


def ended(job_id):
    return until(lambda: not jobs.find(job_id).is_open and jobs.find(job_id), "its end")


def machine_run(folder: Path) -> Path:
    """What a machine has made of the recipe."""
    write_json(folder / "result.json", {"kind": "quantize", "stages": {"quantize": {"bytes": 7}}})
    write_json(folder / "quantize" / "done.json", {"inputs": "x", "seconds": 3.5, "result": {"bytes": 7}})
    write_json(folder / "package" / "mine-int8" / "entry.json", {"name": "mine-int8"})
    (folder / "package" / "mine-int8" / "model.safetensors").write_bytes(b"weights")
    (folder / "package" / "mine-int8" / "pytorch_model.bin").write_bytes(b"a pickle")
    (folder / "quantize" / "scratch.safetensors").write_bytes(b"not asked for")
    return folder


def test_a_recipe_runs_there_and_comes_back(hub, tmp_path):
    job = submit()
    there_ = remote(hub)
    repo_id, spec = f"writer/budget-zoo-job-{job.id}", there_.spec
    assert (spec["flavor"], spec["dockerImage"], spec["timeoutSeconds"]) == ("t4-small", "python:3.11", 72 * 3600)
    assert spec["secrets"] == {"HF_TOKEN": TOKEN} and spec["labels"]["budget-zoo"] == job.id
    assert TOKEN not in json.dumps({**spec, "secrets": None}) and repo_id in spec["command"][2]
    assert hub.repo(repo_id).private and "parcel.zip" in hub.files(repo_id)

    line = {"time": 1.0, "stage": "quantize", "step": 3, "total": 12, "rate": None, "eta_s": 9.0}
    there_.say("installing", there.MARK + json.dumps(line), "@progress of no kind", "measuring")
    until(lambda: "measuring" in jobs.logs(job.id), "its log")
    seen = jobs.find(job.id)
    assert (seen.state, seen.stage, seen.step, seen.total, seen.eta_s) == ("running", "quantize", 3, 12, 9.0)
    assert jobs.progress(job.id) == [line]

    there.deliver(repo_id, machine_run(tmp_path / "run"), TOKEN)
    there_.say("done")
    there_.end()
    assert ended(job.id).state == "ready to publish"
    assert jobs.logs(job.id) == "installing\n@progress of no kind\nmeasuring\ndone"
    (entry,) = jobs.results(job.id)
    assert (entry.name, sorted(path.name for path in entry.iterdir())) == (
        "mine-int8",
        ["entry.json", "model.safetensors"],
    )
    assert not (job.folder / "quantize" / "scratch.safetensors").exists(), "only what is worth keeping"
    (row, *_) = jobs.stages(job.id)
    assert (row["name"], row["state"], row["seconds"], row["result"]) == ("quantize", "done", 3.5, {"bytes": 7})
    assert keys.token_of(job.id) is None, "nobody's token outlives the job"


def test_after_a_restart_the_same_job_is_followed_on_and_its_log_is_whole(hub, tmp_path):
    job = submit()
    there_ = remote(hub)
    there_.say("one")
    until(lambda: jobs.logs(job.id) == "one")
    keys.forget(job.id)  # the process that knew the token is gone
    following._threads[job.id].join(30)
    following.follow(get_ledger(), jobs.find(job.id))
    assert (jobs.find(job.id).state, jobs.find(job.id).reason) == ("running", following.HERE)
    assert there_.stage == "RUNNING", "nobody cancels what is followed by another"

    there_.say("two")
    assert jobs.follow_on_hub("somebody else", TOKEN) == [] and jobs.follow_on_hub("", TOKEN) == [job.id]
    until(lambda: jobs.logs(job.id) == "one\ntwo", "what was said meanwhile")
    assert jobs.find(job.id).reason == ""
    there.deliver(f"writer/budget-zoo-job-{job.id}", machine_run(tmp_path / "run"), TOKEN)
    there_.end()
    assert ended(job.id).state == "ready to publish" and len(hub.jobs) == hub.count("run_job") == 1
    assert jobs.logs(job.id) == "one\ntwo"


def test_a_job_that_was_sent_is_found_there_where_nobody_wrote_its_number_down(hub, tmp_path):
    folder = get_ledger().create(load("dynamic_int8"), "x", "", T4).folder
    keys.hold(folder.name, TOKEN)
    first, again = (hub_job.OnHub("t4-small").start(folder) for _ in range(2))
    assert first.facts["hub_job"] == again.facts["hub_job"] and len(hub.jobs) == 1
    remote(hub).end("ERROR")
    third = hub_job.OnHub("t4-small").start(folder)
    assert third.facts["hub_job"] != first.facts["hub_job"], "one that has ended is not taken for a new attempt"
    for handle in (first, again, third):
        handle.leave()


def test_cancelling_cancels_it_there(hub):
    job = submit()
    there_ = remote(hub)
    until(lambda: jobs.find(job.id).state == "running")
    jobs.cancel(job.id, TOKEN)
    assert ended(job.id).state == "cancelled" and there_.stage == "CANCELED"
    assert hub.count("cancel_job") == 1


@pytest.mark.parametrize(
    ("stage", "message", "said"),
    [
        ("ERROR", "Job timeout", "It ended on the Hub without a result: Job timeout."),
        ("CANCELED", None, "It ended on the Hub without a result: somebody cancelled it there."),
        ("COMPLETED", None, "Its process ended without a result (exit status 0). See the log."),
    ],
)
def test_why_it_failed_there_is_told(hub, stage, message, said):
    job = submit()
    remote(hub).end(stage, message)
    found = ended(job.id)
    assert (found.state, found.reason) == ("failed", said)


def test_what_the_recipe_said_against_it_comes_back(hub, tmp_path):
    job = submit()
    there_ = remote(hub)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "failure.txt").write_text("There is no model of that name.")
    there.deliver(f"writer/budget-zoo-job-{job.id}", tmp_path / "run", TOKEN)
    there_.end("ERROR", "exit 2")
    assert ended(job.id).reason == "There is no model of that name."
    again = jobs.retry(job.id, TOKEN)
    second = until(lambda: [one for one in hub.jobs.values() if one is not there_], "the second attempt")
    assert (again.attempt, len(second)) == (2, 1)
    assert not [name for name in hub.files(f"writer/budget-zoo-job-{job.id}") if name.startswith("run/")]


def test_what_came_is_tried_as_a_strangers_before_it_counts_as_a_result(hub, tmp_path, monkeypatch):
    tried = []

    def refuse(folder, root=None):
        tried.append(folder.name)
        raise UserError("mine-int8 ended the process that opened it. Take another model.")

    monkeypatch.setattr(hub_job.trial, "check", refuse)
    job = submit()
    there_ = remote(hub)
    there.deliver(f"writer/budget-zoo-job-{job.id}", machine_run(tmp_path / "run"), TOKEN)
    there_.end()
    found = ended(job.id)
    assert (found.state, found.reason) == (
        "failed",
        "mine-int8 ended the process that opened it. Take another model.",
    )
    assert tried == ["mine-int8"] and jobs.results(job.id) == [] and not (job.folder / "result.json").exists()


def test_a_token_that_has_expired_stops_the_following_and_not_the_job(hub):
    job = submit()
    there_ = remote(hub)
    until(lambda: jobs.find(job.id).state == "running")
    user = hub.tokens.pop(TOKEN)
    following._threads[job.id].join(30)
    assert (jobs.find(job.id).state, there_.stage) == ("running", "RUNNING")
    hub.tokens["hf_newer"] = user
    assert jobs.follow_on_hub("", "hf_newer") == [job.id]
    there_.end("ERROR", "out of memory")
    assert "out of memory" in ended(job.id).reason


def test_a_worker_goes_on_with_other_jobs_beside_it(hub, monkeypatch):
    monkeypatch.setattr(keys, "standard_token", lambda: TOKEN)
    job = jobs.submit(load("dynamic_int8"), launcher=T4)
    assert queue.run_next(get_ledger()) is None, "it is followed, and nothing waits for it"
    assert remote(hub).owner == "writer"
    remote(hub).end("ERROR", "enough")
    assert ended(job.id).state == "failed"


def test_the_app_takes_up_what_ran_there_when_it_starts_anew(hub, monkeypatch):
    monkeypatch.setattr(jobs, "watch_over", lambda every: None)
    job = submit()
    there_ = remote(hub)
    until(lambda: jobs.find(job.id).state == "running")
    keys.forget(job.id)
    following._threads[job.id].join(30)
    monkeypatch.setattr(keys, "standard_token", lambda: TOKEN)
    jobs.keep_worker().join(30)
    there_.say("still here")
    until(lambda: jobs.logs(job.id) == "still here", "what it says")
    assert len(hub.jobs) == 1


def test_machines_and_what_they_cost(hub):
    assert [(each.name, round(each.minute, 6)) for each in machines()] == [
        ("cpu-basic", 0.000167),
        ("t4-small", 0.006667),
        ("cpu-hourly", 0.01),
    ]
    assert machine("t4-small").parts == "4 vCPU, 15 GB, 1 × T4 of 16 GB"
    assert machine("t4-small").told() == (
        "t4-small (4 vCPU, 15 GB, 1 × T4 of 16 GB) costs $0.0067 a minute ($0.40 an hour). The Hub asks it of the "
        "account that starts the job: at most $28.80, since it is stopped after 72 hours (BUDGET_ZOO_JOB_HOURS)."
    )
    with pytest.raises(UserError, match=r"no machine 'rocket'. Choose one of: hf-job:cpu-basic \(2 vCPU, 16 GB\), \$"):
        jobs.submit(load("dynamic_int8"), launcher="hf-job:rocket", token=TOKEN)
    with pytest.raises(UserError, match="Say which machine of the Hub. Choose one of: hf-job:cpu-basic"):
        jobs.submit(load("dynamic_int8"), launcher="hf-job", token=TOKEN)
    with pytest.raises(UserError, match="paid by an account: sign in"):
        jobs.submit(load("dynamic_int8"), launcher=T4)
    assert not hub.jobs


def test_the_command_line_tells_the_price_first(hub, monkeypatch):
    monkeypatch.setattr(keys, "standard_token", lambda: TOKEN)
    done = CliRunner().invoke(app, ["submit", "dynamic_int8", "--launcher", T4], catch_exceptions=False)
    job_id = done.stdout.strip()
    assert done.exit_code == 0 and jobs.find(job_id).launcher == T4 and "$0.0067 a minute" in done.stderr


def test_an_account_that_may_not_start_jobs_is_told(hub):
    hub.faults["run_job"] = [402]
    job = submit()
    assert ended(job.id).reason == "The Hub asks writer to pay for this. Look at the plan of that account."


def test_nothing_is_sent_to_where_others_read(hub):
    folder = get_ledger().create(load("dynamic_int8"), "x", "", T4).folder
    keys.hold(folder.name, TOKEN)
    hub.create(f"writer/budget-zoo-job-{folder.name}")
    with pytest.raises(UserError, match="is public, and what a job works with is nobody else's"):
        hub_job.OnHub("t4-small").start(folder)
    assert not hub.jobs and "parcel.zip" not in hub.files(f"writer/budget-zoo-job-{folder.name}")


def test_the_machine_tells_lines_and_progress_and_keeps_the_token_to_itself(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HF_TOKEN", "hf_secretsecret")
    script = 'echo "token ${HF_TOKEN:-none}"; printf \'{"stage": "s"}\\n{"st\' > "$1/progress.jsonl"; sleep 0.1\n'
    script += 'printf \'age": "t"}\\n\' >> "$1/progress.jsonl"; exit 3'
    assert there.run(["sh", "-c", script, "sh", str(tmp_path)], tmp_path, every=0.02) == 3
    lines = capsys.readouterr().out.splitlines()
    progress = [line for line in lines if line.startswith("@progress")]
    assert progress == ['@progress {"stage": "s"}', '@progress {"stage": "t"}']
    assert [line for line in lines if line not in progress] == ["token none"]


def test_the_parcel_holds_the_program_the_recipe_and_what_it_names(tmp_path, tiny_model, tiny_data):
    changes = [f"model={tiny_model}", f"dataset.evaluation={tiny_data.evaluation}"]
    taken = parcel.pack(load("dynamic_int8", changes), tmp_path / "parcel.zip")
    assert taken == [str(tiny_model), str(tiny_data.evaluation)]
    with zipfile.ZipFile(tmp_path / "parcel.zip") as file:
        names = set(file.namelist())
        (tmp_path / "recipe.yaml").write_bytes(file.read("run/recipe.yaml"))
        assert file.read("inputs/1/evaluation.json") == tiny_data.evaluation.read_bytes()
    recipe = load(tmp_path)
    assert recipe.model == f"/tmp/budget-zoo/inputs/0/{tiny_model.name}"
    assert recipe.dataset.evaluation == "/tmp/budget-zoo/inputs/1/evaluation.json"
    assert f"inputs/0/{tiny_model.name}/model.safetensors" in names
    assert {"program/requirements.lock", "program/compress/jobs/there.py", "program/zoo/models/examples.json"} <= names
    assert not [name for name in names if "zoo/models/minilm" in name or name.endswith(".pyc") or "/tests/" in name]


def test_a_bundled_model_goes_along_under_its_name(tmp_path):
    root = tmp_path / "program"
    for name in ("minilm-l6-qa", "minilm-l6-sst2-length-adaptive-int8"):
        (root / "zoo" / "models" / name).mkdir(parents=True)
        (root / "zoo" / "models" / name / "weights").write_text(name)
    (root / "requirements.lock").write_text("torch==0\n")
    assert parcel.pack(load("dynamic_int8"), tmp_path / "parcel.zip", root) == ["minilm-l6-qa"]
    with zipfile.ZipFile(tmp_path / "parcel.zip") as file:
        assert [name for name in file.namelist() if "/models/" in name] == ["program/zoo/models/minilm-l6-qa/weights"]
        (tmp_path / "recipe.yaml").write_bytes(file.read("run/recipe.yaml"))
    assert load(tmp_path).model == "minilm-l6-qa"
    with pytest.raises(UserError, match="does not hold the whole program"):
        parcel.pack(load("dynamic_int8"), tmp_path / "parcel.zip", tmp_path / "elsewhere")


def test_what_the_machine_does_is_a_script_of_the_shell():
    script = hub_job.script("ann/budget-zoo-job-1")
    subprocess.run(["sh", "-n", "-c", script], check=True)
    assert script.endswith("exec python -m compress.jobs.there ann/budget-zoo-job-1 /tmp/budget-zoo")
