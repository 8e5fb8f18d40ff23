import html
from dataclasses import replace

import pytest

from compress.jobs import ledger
from ui.jobs import views as jobviews

NOW = 1_000_000.0  # of conftest's jobs


def test_the_states_are_those_of_the_queue(make_job):
    assert set(jobviews.SIGNS) == set(ledger.STATES)
    assert {s for s in ledger.STATES if make_job(state=s).is_open} == jobviews.LIVE


def test_a_row_says_how_a_job_stands(make_job):
    row = dict(zip(jobviews.HEADERS, jobviews.tabulate([make_job()], NOW)[0], strict=True))
    assert row == {
        "state": "▶ running",
        "recipe": "static_int8",
        "model": "minilm-l6-qa",
        "stage": "length drop",
        "progress": "25 %",
        "time left": "75 s",
        "started by": "this machine",
        "when": "3 min ago",
        "job": "j1",
    }
    done = jobviews.tabulate([make_job(state="published", owner="ann", eta_s=None)], NOW)[0]
    assert done[0] == "★ published" and "100 %" in done and "ann" in done


@pytest.mark.parametrize(
    ("model", "shown"),
    [
        ("minilm-l6-qa", "minilm-l6-qa"),
        ("owner/name", "owner/name"),
        ("/home/me/runs/mine", "mine"),
        ("${BUDGET_ZOO_DATA}/checkpoints/a", "a"),
        ("./x", "x"),
    ],
)
def test_a_folder_is_shown_by_its_name(model, shown):
    assert jobviews.short(model) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(None, ""), (-1, "0 s"), (89, "89 s"), (150, "2 min"), (5399, "1 h 30 min"), (7500, "2 h 05 min")],
)
def test_times_are_for_people(seconds, shown):
    assert jobviews.duration(seconds) == shown


def test_details_tell_why_and_escape_what_people_wrote(make_job):
    failed = make_job(state="failed", reason="The disk is <full>.", name="<b>x</b>", owner="a|b", ended=NOW - 40)
    told = jobviews.describe(failed, NOW)
    assert "What went wrong" in told and "<full>" not in told and "<b>" not in told and "a|b" not in told
    assert "ran 60 s" in told
    assert "published as" in jobviews.describe(make_job(published="ann/x@abc"), NOW)


def test_a_finished_job_has_the_published_figures_of_its_recipe_beside_it(make_job):
    made = {"provenance": {"recipe": "aimet_w8a8"}, "metrics": {"metric": "SQuAD 1.1", "f1": 78.8}}
    text = html.unescape(jobviews.describe(make_job(state="ready to publish"), NOW, [{}, made, made]))
    assert text.endswith(
        "\n\nPublished for this method and task: AIMET, MiniLM-L12: F1 90.47 in full precision, 89.70 compressed."
    )
    assert "Published" not in jobviews.describe(make_job(), NOW)


def test_stages_show_what_runs_and_what_came_out(make_job):
    result = {"bytes": 1234567, "loss": 0.123456, "ok": True}
    stages = [
        {"name": "quantize", "state": "done", "seconds": 12.3, "result": result},
        {"name": "length_drop", "state": "running", "seconds": None, "result": None},
        {"name": "package", "state": "waiting", "seconds": None, "result": None},
    ]
    rows = jobviews.list_stages(stages, make_job()).splitlines()
    assert rows[2].startswith("| ✓ | quantize | 12 s | bytes 1&#44;234&#44;567 · loss 0&#46;1235 |")
    assert "▰▰▱▱▱▱▱▱▱▱ 25 %, step 3 of 12, 75 s left" in rows[3] and rows[3].startswith("| ▶ | length drop")
    assert rows[4].startswith("| ◌ | package")


@pytest.mark.parametrize(
    ("state", "able"),
    [
        ("queued", {"cancel"}),
        ("running", {"cancel"}),
        ("cancelling", set()),
        ("cancelled", {"retry"}),
        ("failed", {"retry"}),
        ("done", set()),
        ("ready to publish", {"publish"}),
        ("published", {"publish"}),
    ],
)
def test_only_what_does_something_can_be_pressed(make_job, state, able):
    found = jobviews.actions(make_job(state=state), results=1)
    assert {name for name, on in found.items() if on} == able | {"again"}
    assert not jobviews.actions(make_job(state=state), results=0)["publish"]


def test_an_estimate_is_a_table_with_its_basis():
    told = jobviews.describe_estimate({"minutes": 2.5, "memory_gib": 1.25, "disk_gib": 0.1, "basis": "a | b"})
    assert "2 min" in told and "1&#46;2 GiB" in told and "a | b" not in told
    assert "not known" in jobviews.describe_estimate({"minutes": None, "memory_gib": 1.0, "basis": ""})


def test_the_timer_rests_when_nothing_runs(make_job):
    ended = [make_job(state=s) for s in ("done", "failed", "published", "cancelled", "ready to publish")]
    assert not jobviews.is_live(ended) and not jobviews.is_live([])
    assert jobviews.is_live([*ended, replace(ended[0], state="cancelling")])
