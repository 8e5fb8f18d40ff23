"""The tabs beside Explore, built once and driven without a browser."""

import json
import re
import threading
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest

from compress.data import uploads
from compress.jobs import jobs
from compress.recipe import load as recipe
from tests.ui.page_kit import PRESET, Driver, contents, profile_of, selected, visitor, words
from ui import page, people
from ui.compress import filling
from ui.compress.fields import fields
from ui.compress.parts import SETTINGS, START
from ui.compress.presets import EARLIER
from ui.jobs.publish import describe_published
from zoo import publishing
from zoo.errors import UserError
from zoo.files import write_json

SOURCES = {"preset": PRESET, "source": "own", "data": "own", "task": "own", "launcher": "local"}
ORDER = {"job": "b", "entry": "x-int8", "namespace": "ann", "name": "x", "private": True}


@pytest.fixture
def compose(built):
    """The tab Compress as it opens, its form filled with the preset."""
    tab = built.compress
    driver = Driver(built.demo, tab.parts, {**SOURCES, "form": contents()})
    return SimpleNamespace(
        p=tab.parts, send=driver.send, choose=tab.choosing, fill=tab.filling, start=tab.starting, driver=driver
    )


@pytest.fixture
def watch(built):
    tab = built.jobs
    return SimpleNamespace(p=tab.parts, h=tab.watching, send=Driver(built.demo, tab.parts).send)


@pytest.fixture
def send_out(built):
    """The panel that publishes what job b made."""
    tab = built.jobs
    driver = Driver(built.demo, tab.publish, ORDER, job=tab.parts.job)
    return SimpleNamespace(p=tab.publish, h=tab.publishing, send=driver.send)


@pytest.fixture
def queue(monkeypatch, make_job, tmp_path):
    """A queue of two jobs, and what was done to it."""
    known = {
        "a": make_job(id="a", owner="ann", folder=tmp_path / "a"),
        "b": make_job(id="b", owner="bob", state="ready to publish", folder=tmp_path / "b"),
    }
    done = []

    def find(job_id):
        if job_id not in known:
            raise UserError(f"There is no job {job_id}.")
        return known[job_id]

    def listed(owner=None, limit=None):
        return [job for job in known.values() if owner in (None, job.owner)]

    def submit(made, name="", owner="", launcher="local", token=None):
        done.append(("submit", made, name, owner, launcher))
        known["c"] = make_job(id="c", name=name, owner=owner, state="queued")
        return known["c"]

    monkeypatch.setattr(jobs, "find", find)
    monkeypatch.setattr(jobs, "jobs", listed)
    monkeypatch.setattr(jobs, "submit", submit)
    monkeypatch.setattr(jobs, "illness", str)
    monkeypatch.setattr(jobs, "cancel", lambda job_id, token=None: done.append(("cancel", job_id)))
    monkeypatch.setattr(jobs, "retry", lambda job_id, token=None: done.append(("retry", job_id)))
    monkeypatch.setattr(jobs, "logs", lambda job_id, lines=200: "line one\nline two")
    line = {"stage": "s", "step": 1, "total": 2, "loss": 1.0, "time": 5}
    stage = {"name": "s", "state": "running", "seconds": None, "result": None}
    monkeypatch.setattr(jobs, "progress", lambda job_id: [line, {**line, "step": 2}])
    monkeypatch.setattr(jobs, "stages", lambda job_id: [stage])
    monkeypatch.setattr(jobs, "results", lambda job_id: [Path("/r/x-int8"), Path("/r/x")] if job_id == "b" else [])
    estimate = {"minutes": 2, "memory_gib": 1.0, "disk_gib": 0.2, "basis": "told"}
    monkeypatch.setattr("ui.compress.starting.estimate", lambda made: estimate)
    monkeypatch.setattr(jobs, "mark_published", lambda *args: done.append(("published", *args)))
    return SimpleNamespace(known=known, done=done)


@pytest.fixture
def on_space(monkeypatch, tmp_path):
    settings = SimpleNamespace(on_space=True, preset="full", home=tmp_path)
    for module in (people, uploads, filling):
        monkeypatch.setattr(module, "get_settings", lambda: settings)


def test_every_tab_is_there_and_only_look_ups_are_public(built):
    public = {event.api_name for event in built.demo.fns.values() if event.api_visibility == "public"}
    assert public == {"answer", "classify", "label", "embed", "rank", "measure", "front", "models", "jobs"}
    assert [tab.id for tab in built.demo.blocks.values() if isinstance(tab, gr.Tab) and tab.elem_id] == list(page.TABS)


def test_every_handler_reads_its_values_by_component(built):
    """Else a misplaced component would be a wrong value and no error; the public endpoints have parameters."""
    reading = [f for f in built.demo.fns.values() if f.fn and f.inputs and f.api_visibility != "public"]
    assert len(reading) > 40 and [f.fn for f in reading if not f.inputs_as_dict] == []


def test_only_what_runs_a_model_waits_for_the_device(built):
    names = {
        getattr(event.fn, "__qualname__", "") for event in built.demo.fns.values() if event.concurrency_id == "device"
    }
    assert {name.split(".")[0] for name in names} == {"Running", "Comparing", "add_endpoints"}


def test_a_closed_page_ends_what_runs_for_it(built):
    closing = [f for f in built.demo.fns.values() if any(kind == "unload" for _, kind in f.targets)]
    assert [f.fn.__name__ for f in closing] == ["leave"]


def test_a_link_opens_a_tab():
    assert page.open_tab(visitor(tab="jobs")).selected == "jobs"
    assert page.open_tab(visitor(tab="nothing")) == gr.skip() == page.open_tab(visitor())


def test_nobody_signs_in_off_a_space(monkeypatch, on_space):
    monkeypatch.setenv("OAUTH_CLIENT_ID", "x")
    assert page.can_sign_in() is False  # page reads the real settings: off a Space


def test_the_form_opens_with_the_offline_preset(compose):
    opened = compose.fill.open()
    p = compose.p
    assert p.preset.value == PRESET and opened[p.start]["interactive"]
    form_held = opened[p.form]["value"]
    assert form_held["kind"] == "quantize" and form_held["values"]["model"] == recipe.load(PRESET).model
    keys = [field["key"] for group in opened[p.form]["groups"] for field in group["fields"]]
    assert sorted(keys) == sorted(form_held["values"])
    json.dumps(opened[p.form])


def test_the_page_carries_no_form_before_it_is_asked_for(built, compose):
    """Else every kind of recipe would make the page slower for all who only want to ask a question."""
    assert compose.p.form.value is None and compose.p.form.props["groups"] == []
    keys = {field.key.rpartition(".")[2] for model in recipe.KINDS.values() for field in fields(model)}
    labels = [getattr(block, "label", None) for block in built.demo.blocks.values()]
    assert len(built.demo.blocks) <= 350 and "Calibration samples" not in labels and "calibration_samples" in keys


@pytest.mark.parametrize("preset", recipe.shipped())
def test_every_preset_fills_the_form_and_starts_as_it_is(compose, queue, preset):
    filled = compose.send(compose.choose.take_preset, None, preset=preset)
    about, model = filled[compose.p.form]["value"], recipe.load(preset)
    assert about["kind"] == model.kind and filled[compose.p.form]["groups"]
    # As a browser would send it: what it shows as text comes back as text.
    about = json.loads(json.dumps(about))
    about["values"] = {
        key: raw if isinstance(raw, bool) else "" if raw is None else str(raw) for key, raw in about["values"].items()
    }
    started = compose.send(compose.start.start, None, preset=preset, form=about)
    assert started[compose.p.started] == "c" and queue.done[-1][1] == model


def test_another_preset_is_another_form(compose):
    taken = [
        compose.send(compose.choose.take_preset, None, preset=preset)[compose.p.form]["value"]
        for preset in (PRESET, "length_adaptive", PRESET)
    ]
    stamps = [one["stamp"] for one in taken]
    assert stamps == sorted(set(stamps)) and stamps[-1] < 2**53, "a number that JavaScript can hold"


def test_the_source_goes_into_the_form(compose):
    p = compose.p
    taken = compose.send(compose.choose.take_source, None, source="hub", other="owner/other", data="examples")
    assert taken[p.form]["value"]["values"]["model"] == "owner/other"
    assert taken[p.form]["value"]["values"]["dataset.titles"] == "[!E-M]*"
    assert taken[p.walk].selected == SETTINGS
    asked = compose.send(compose.choose.take_source, None, source="hub", other=" ")
    assert set(asked) == {p.notice} and "which checkpoint" in words(asked, p.notice)


def test_a_wrong_value_is_told_on_its_field_and_its_mark_goes_when_mended(compose):
    p, key = compose.p, "quantize.calibration_samples"
    wrong = compose.send(compose.fill.look, form=contents(quantize__calibration_samples="0"))
    assert "greater than or equal to 1" in wrong[p.form]["value"]["faults"][key]
    assert wrong[p.form]["value"]["values"][key] == "0", "what was typed stays"
    mended = compose.send(compose.fill.look, form={**contents(), "faults": wrong[p.form]["value"]["faults"]})
    assert mended[p.form]["value"]["faults"] == {}
    stopped = compose.send(compose.start.check, None, form=contents(quantize__calibration_samples=""))
    assert "calibration samples" in words(stopped, p.notice) and p.walk not in stopped


@pytest.mark.parametrize("wrong", [None, {}, [], {"kind": "train", "values": {}}, {"kind": "quantize", "values": 3}])
def test_a_form_that_is_not_filled_is_told(compose, queue, wrong):
    for handler in (compose.start.check, compose.start.start, compose.start.name):
        answer = compose.send(handler, None, form=wrong)
        assert set(answer) == {compose.p.notice} and "still being filled" in words(answer, compose.p.notice)
    assert not queue.done
    compose.send(compose.fill.look, form=wrong)


def test_checking_shows_what_it_takes_and_how_else_to_say_it(compose, queue):
    p = compose.p
    checked = compose.send(compose.start.check, None, form=contents(quantize__calibration_samples=7))
    assert checked[p.walk].selected == START and "2 min" in checked[p.estimate]
    assert "calibration_samples: 7" in checked[p.yaml]
    assert checked[p.command] == f"python -m compress submit {PRESET} --set quantize.calibration_samples=7"
    named = compose.send(compose.start.name, None, name="mine", launcher="torchrun")
    assert named[p.command] == f"python -m compress submit {PRESET} --name mine --launcher torchrun"


def test_a_backend_that_is_not_there_says_what_to_install(compose, queue, monkeypatch):
    monkeypatch.setattr("compress.recipe.kind.find_spec", lambda name: None)
    checked = compose.send(compose.start.check, None)
    assert "pip install onnxruntime" in words(checked, compose.p.notice)
    assert checked[compose.p.walk].selected == START


def test_starting_queues_exactly_this_recipe(compose, queue):
    started = compose.send(compose.start.start, None, name=" mine ", form=contents(quantize__calibration_samples=7))
    ((_, made, name, owner, launcher),) = queue.done
    assert started[compose.p.started] == "c" and (name, owner, launcher) == ("mine", "", "local")
    assert made == recipe.load(PRESET, ["quantize.calibration_samples=7"])
    refused = compose.send(compose.start.start, None, form=contents(quantize__calibration_samples=0))
    assert len(queue.done) == 1 and "cannot be used yet" in words(refused, compose.p.notice)


def test_on_a_space_a_job_belongs_to_who_signed_in(compose, queue, on_space):
    ann = profile_of("ann")
    compose.send(compose.start.start, ann)
    assert queue.done[-1][2:4] == (PRESET, "ann")
    count = len(queue.done)
    for profile, changes, said in ((None, {}, "Sign in"), (ann, {"model": "/etc"}, "path of this server")):
        refused = compose.send(compose.start.start, profile, form=contents(**changes))
        assert said in words(refused, compose.p.notice)
    # Checking a recipe may read what it names, so a path is refused before.
    path = contents(model="/etc")
    for told in (compose.send(compose.fill.look, form=path), compose.send(compose.start.check, ann, form=path)):
        assert set(told) == {compose.p.notice} and "path of this server" in words(told, compose.p.notice)
    assert len(queue.done) == count


def test_on_a_read_only_page_nothing_starts(compose, queue, monkeypatch):
    settings = SimpleNamespace(on_space=False, preset="explorer")
    monkeypatch.setattr(people, "get_settings", lambda: settings)
    opened = compose.fill.open()
    assert "Jobs are off" in words(opened, compose.p.off) and not opened[compose.p.start]["interactive"]
    assert "off on this page" in words(compose.send(compose.start.start, None), compose.p.notice)
    assert not queue.done


def test_a_preset_from_the_page_never_becomes_a_path(compose, queue, tmp_path):
    for wrong in ("../../etc/passwd", str(tmp_path), "job:../x", "nothing"):
        refused = compose.send(compose.choose.take_preset, None, preset=wrong)
        assert set(refused) == {compose.p.notice} and "There is no" in words(refused, compose.p.notice)


def test_again_fills_the_form_with_the_jobs_own_recipe(compose, queue):
    made = recipe.load(PRESET, ["quantize.calibration_samples=9"])
    recipe.save(made, queue.known["a"].folder / "recipe.yaml")
    filled = compose.fill.again("a", None, None)
    p = compose.p
    assert filled[p.form]["value"]["values"]["quantize.calibration_samples"] == 9
    assert filled[p.preset]["value"] == f"{EARLIER}a" and filled[p.walk].selected == SETTINGS
    checked = compose.send(compose.start.check, None, preset=f"{EARLIER}a")
    assert checked[p.command] == "python -m compress submit a --set quantize.calibration_samples=60"


def test_the_jobs_are_the_same_for_every_look_and_only_changes_are_sent(watch, queue):
    p = watch.p
    first = watch.send(watch.h.refresh, None, job="a")
    assert [row[-1] for row in first[p.table]["value"]["data"]] == ["a", "b"] and first[p.timer].active
    assert "line two" in first[p.log] and first[p.curves]["value"] is not None and first[p.details]["visible"]
    again = watch.send(watch.h.refresh, None, job="a", seen=first[p.seen])
    assert p.table not in again and p.curves not in again and again[p.log] == first[p.log]
    queue.known["a"] = replace(queue.known["a"], state="done")
    rested = watch.send(watch.h.refresh, None, job="b", seen=again[p.seen])
    assert not rested[p.timer].active and rested[p.publish]["interactive"] and not rested[p.cancel]["interactive"]


def test_what_eight_bits_cost_is_shown_where_it_was_measured(watch, queue):
    p = watch.p
    without = watch.send(watch.h.refresh, None, job="b")
    assert without[p.sensitive]["visible"] is False and without[p.operators] == ""
    row = {"name": "layers.0.qkv", "kl": 0.5, "share": 1.0, "parameters": 12}
    report = {"rows": [row], "together": 0.6, "windows": 3, "approach": "static"}
    write_json(
        queue.known["b"].folder / "quantize" / "criterion.json", {"returned": [row["name"]], "sensitivity": report}
    )
    told = watch.send(watch.h.refresh, None, job="b")
    assert told[p.sensitive]["visible"] and "returned to float" in told[p.operators]
    (bar,) = told[p.sensitivity]["value"].data
    assert list(bar.y) == ["layers.0.qkv"] and bar.name == "returned to float"


def test_a_row_opens_its_job_and_a_link_too(watch, queue):
    p = watch.p
    assert watch.h.pick(selected(row=["", "b"]), None)[p.job] == "b"
    opened = watch.h.open(visitor(job="a"), None)
    assert opened[p.job] == "a" and opened[p.details]["visible"]
    gone = watch.h.open(visitor(job="x"), None)
    assert "no job x" in words(gone, p.notice) and gone[p.notice]["visible"] and not gone[p.details]["visible"]
    # A look at the tab that knows of no job yet may come back later, and does not close the one that a link opened.
    looked = watch.send(watch.h.refresh, None, job="")
    assert p.notice not in looked and p.details not in looked
    assert [row[-1] for row in looked[p.table]["value"]["data"]] == ["a", "b"]
    back = watch.h.pick(selected(row=["", "b"]), None)
    assert back[p.details]["visible"] and not back[p.notice]["visible"]


def test_on_a_space_nobody_reaches_anothers_job(watch, queue, on_space):
    ann = profile_of("ann")
    mine = watch.send(watch.h.refresh, ann, job="a")
    assert [row[-1] for row in mine[watch.p.table]["value"]["data"]] == ["a"]
    for handler in (watch.h.cancel, watch.h.retry):
        refused = watch.send(handler, ann, job="b")
        assert set(refused) == {watch.p.notice} and "no job b of yours" in words(refused, watch.p.notice)
    assert not watch.send(watch.h.refresh, ann, job="b")[watch.p.details]["visible"]
    assert not watch.send(watch.h.refresh, None, job="a")[watch.p.table]["visible"] and not queue.done
    watch.send(watch.h.cancel, ann, job="a")
    assert queue.done == [("cancel", "a")]


@pytest.fixture
def hub(monkeypatch):
    """What was asked of the Hub, and with which token."""
    asked: list[Any] = []
    look = publishing.Preview("ann/x", True, False, [("README.md", 10), ("m.onnx", 2000)], ["README.md"], 2010,
                              "---\nx: 1\n---\n# Card ![i](http://e.vil/x.png)", ["a | b"])  # fmt: skip
    sent = publishing.Published("ann/x", "c0ffee" * 5, "http://hub/ann/x", True, True, ["tagged v1"])

    def publish(folder, repo_id, token, private, with_layouts=False):
        yield "uploading"
        asked.append(("publish", folder, repo_id, token, private))
        return sent

    monkeypatch.setattr(publishing, "standard_token", lambda: "hf_canary")
    monkeypatch.setattr(publishing, "namespaces", lambda token: asked.append(("spaces", token)) or ["ann", "org"])
    monkeypatch.setattr(publishing, "preview", lambda *a, **k: asked.append(("preview", *a, k)) or look)
    monkeypatch.setattr(publishing, "publish", publish)
    return asked


def test_publishing_is_looked_at_first_then_done_and_told(send_out, queue, hub):
    p, h, send = send_out.p, send_out.h, send_out.send
    opened = send(h.open, visitor(), None, None)
    assert opened[p.entry]["value"] == "x-int8" and opened[p.namespace]["choices"] == ["ann", "org"]
    assert p.private.value is True and not opened[p.go]["interactive"]
    looked = send(h.preview, visitor(), None, None)
    assert "1 files to send, 2.0 kB of 2.0 kB" in looked[p.preview] and "a | b" not in looked[p.preview]
    assert looked[p.go]["interactive"] and "![" not in looked[p.card]["value"]
    _, step, last = send(h.publish, visitor(), None, None)
    assert step == {p.result: "uploading"} and "Published and verified" in last[p.result]
    assert queue.done == [("published", "b", "ann/x", "c0ffee" * 5)]
    assert hub[-1] == ("publish", Path("/r/x-int8"), "ann/x", "hf_canary", True)


def test_a_page_that_is_closed_while_publishing_leaves_nothing_half_done(send_out, queue, hub):
    steps = send_out.send(send_out.h.publish, visitor(), None, None)
    assert [next(steps)[send_out.p.result] for _ in range(2)] == ["Publishing…", "uploading"] and not queue.done
    steps.close()
    for thread in threading.enumerate():
        if thread.name == "publish":
            thread.join(timeout=10)
    assert hub[-1][0] == "publish" and queue.done == [("published", "b", "ann/x", "c0ffee" * 5)]


def test_the_token_reaches_no_component(send_out, queue, hub):
    h, send = send_out.h, send_out.send
    everything = [send(handler, visitor(), None, None) for handler in (h.open, h.preview)]
    everything += list(send(h.publish, visitor(), None, None))
    assert "hf_canary" not in json.dumps([list(updates.values()) for updates in everything], default=repr)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"entry": "../x"}, "Pick what"),
        ({"entry": "x", "namespace": None}, "where to publish"),
        ({"entry": "x", "name": "a b"}, "id|name"),
    ],
)
def test_what_cannot_be_published_is_said(send_out, queue, hub, changes, said):
    refused = send_out.send(send_out.h.preview, visitor(), None, None, **changes)
    (last,) = send_out.send(send_out.h.publish, visitor(), None, None, **changes)
    for updates in (refused, last):
        assert re.search(said, words(updates, send_out.p.notice))
    assert not [row for row in hub if row[0] in ("preview", "publish")]


def test_a_failed_check_is_said_first():
    bad = publishing.Published("a/b", "abc", "https://h/a/b", True, False, ["NOT VERIFIED: <b>"])
    assert describe_published(bad).startswith("### ✗") and "<b>" not in describe_published(bad)
