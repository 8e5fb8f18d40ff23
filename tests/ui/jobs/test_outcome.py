"""What a finished job has changed, and the ways that lead on from it."""

from __future__ import annotations

import html
import shutil
from types import SimpleNamespace

import pytest

from compress.jobs import jobs
from tests.ui.page_kit import Driver, profile_of, words
from ui import people
from ui.checkpoints import unstamped
from ui.jobs.outcome import Outcome
from zoo import library
from zoo.catalog import MODELS
from zoo.files import read_json, write_json
from zoo.settings import get_settings

QA = "minilm-l6-qa"
REPORT = [{"name": "evaluate", "result": {"float_f1": 83.0, "int8_f1": 82.7, "n": 10_570}}]


@pytest.fixture
def result(tmp_path, monkeypatch):
    """A job's int8 result, its latency measured as one is, in a home of its own."""
    monkeypatch.setenv("BUDGET_ZOO_HOME", str(tmp_path / "home"))
    get_settings.cache_clear()
    folder = tmp_path / "home" / "jobs" / "b" / "package" / "mine-int8"
    shutil.copytree(MODELS / f"{QA}-length-adaptive-int8", folder)
    write_json(folder / "entry.json", {**read_json(folder / "entry.json"), "name": "mine-int8", "title": "Mine"})
    front = read_json(folder / "front.json")
    front["measured_on"] |= {"float_p50_ms": 100.0, "latency_tokens": 384, "disturbed": False}
    front["full"]["p50_ms"] = 40.0
    for point in (*front["points"], *front.get("dominated", [])):
        point["p50_ms"] = 39.9
    write_json(folder / "front.json", front)
    yield folder
    get_settings.cache_clear()


def rows(outcome):
    lines = html.unescape(outcome.tabulate()).splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| ")]
    return {row[0]: row[1:] for row in cells}, lines[-1]


def test_before_and_after_stand_beside_each_other(result):
    outcome = Outcome.of(QA, [result], REPORT)
    assert outcome is not None and outcome.name == QA
    table, stamp = rows(outcome)
    assert table["size"] == ["45.2 MB", "23.6 MB", "1.9× as small"]
    assert table["speed"] == ["100.0 ms", "40.0 ms", "2.5× as fast"]
    assert table["F1"] == ["83.0", "82.7", "−0.3, n = 10,570"]
    assert "384 tokens" in stamp and "undisturbed" in stamp


def test_what_was_not_measured_is_said_and_few_examples_are_marked(result):
    entry, front = read_json(result / "entry.json"), read_json(result / "front.json")
    write_json(result / "entry.json", {**entry, "metrics": {**entry["metrics"], "n": 40}})
    del front["measured_on"]["float_p50_ms"]
    write_json(result / "front.json", front)
    outcome = Outcome.of("owner/elsewhere", [result], [])
    assert outcome is not None and outcome.before is None
    table, _ = rows(outcome)
    assert table["size"][0].endswith("in fp32") and table["speed"][0] == "not measured"
    assert table["F1"] == ["not measured", "82.7", "n = 40, few"]
    assert Outcome.of(QA, [], REPORT) is None


@pytest.fixture
def finished(built, result, make_job, monkeypatch):
    """The tab Jobs over the job b of ann's that has made it."""
    library.register(result, "ann")
    job = make_job(id="b", owner="ann", model=QA, state="ready to publish", folder=result.parents[1])
    monkeypatch.setattr(jobs, "find", lambda job_id: job)
    monkeypatch.setattr(jobs, "results", lambda job_id: [result])
    monkeypatch.setattr(jobs, "stages", lambda job_id: REPORT)
    tab = built.jobs
    return SimpleNamespace(p=tab.parts, h=tab.watching, send=Driver(built.demo, tab.parts, {"job": "b"}).send)


def test_a_finished_job_leads_on(finished):
    p, h, send = finished.p, finished.h, finished.send
    looked = send(h.refresh, None)
    assert looked[p.outcome]["visible"] and "as fast" in looked[p.changed] and looked[p.compare]["interactive"]
    assert unstamped(send(h.to_explore, None)[p.wanted]) == ["mine-int8"]
    assert unstamped(send(h.to_compare, None)[p.compared]) == [QA, "mine-int8"]


def test_it_leads_nobody_elses_visitor_anywhere(finished, monkeypatch):
    monkeypatch.setattr(people, "get_settings", lambda: SimpleNamespace(on_space=True))
    for handler in (finished.h.to_explore, finished.h.to_compare):
        assert "no job b of yours" in words(finished.send(handler, profile_of("bob")), finished.p.notice)


def test_without_a_result_there_is_nothing_to_lead_to(finished, monkeypatch):
    monkeypatch.setattr(jobs, "results", lambda job_id: [])
    assert not finished.send(finished.h.refresh, None)[finished.p.outcome]["visible"]
    assert "has made nothing" in words(finished.send(finished.h.to_explore, None), finished.p.notice)
