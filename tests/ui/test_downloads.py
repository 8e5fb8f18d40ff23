"""A slow Hub keeps waiting whoever asks it, and nobody else."""

from __future__ import annotations

import http.client
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import replace
from urllib.parse import urlsplit

import gradio as gr
import pytest
from gradio.context import LocalContext
from starlette.requests import Request

from tests.ui.desk_kit import FakeAnswerer
from tests.ui.page_kit import loops_closed
from ui import desk as desk_module
from ui import downloads, people
from ui.api import add_endpoints
from ui.desk import Desk
from ui.downloads import ALL, OWN_CALLS, OWN_DOWNLOADS, Busy, Downloads
from zoo import catalog, hub
from zoo.errors import UserError
from zoo.files import write_json

QA = "minilm-l6-qa"


@contextmanager
def event_of(host):
    """While an event of who comes from this address runs."""
    token = LocalContext.request.set(gr.Request(Request({"type": "http", "headers": [], "client": (host, 80)})))
    try:
        yield
    finally:
        LocalContext.request.reset(token)


@pytest.fixture
def line(monkeypatch):
    """A line of this test's own, which the page's desk stands in, too."""
    fresh = Downloads()
    monkeypatch.setattr(desk_module, "LINE", fresh)
    monkeypatch.setattr(hub, "admission", fresh.turn)
    return fresh


@pytest.fixture
def gate():
    """What work waits for, opened at the end at the latest."""
    event = threading.Event()
    yield event
    event.set()


def fetch(line, host, key, work, patience=0.01):
    with event_of(host):
        return line.fetch(key, str(key), work, patience)


def refusal_of(call, *args):
    with pytest.raises(Busy) as caught:
        call(*args)
    return str(caught.value)


def test_who_asks_is_known_in_an_event_alone():
    assert people.visitor() is None
    with event_of("10.0.0.7"):
        assert people.visitor() == "10.0.0.7"


def test_a_call_that_waits_too_long_is_told_so_and_the_download_goes_on(line, gate):
    made = []
    work = lambda: gate.wait(10) and made.append(1) or "here"  # noqa: E731
    assert "a/b is still on its way" in refusal_of(fetch, line, "ann", "a/b", work)
    gate.set()
    assert fetch(line, "ann", "a/b", work, 10) == "here" and len(made) <= 2
    assert line._under_way == {}


def test_calls_for_the_same_model_wait_for_one_download(line, gate):
    made = []
    with ThreadPoolExecutor(2) as pool:
        got = [
            pool.submit(fetch, line, "ann", "a/b", lambda: gate.wait(10) and made.append(1) or "here", 10)
            for _ in range(2)
        ]
        while len(line._calls._by) < 1 or line._calls._by["ann"] < 2:
            time.sleep(0.01)
        gate.set()
        assert [each.result(10) for each in got] == ["here", "here"] and made == [1]


def test_downloads_are_counted_by_visitor_and_all_together(line, gate):
    slow = lambda: gate.wait(10)  # noqa: E731
    for number in range(OWN_DOWNLOADS):
        assert "still on its way" in refusal_of(fetch, line, "greedy", number, slow)
    assert f"You have {OWN_DOWNLOADS} models on their way" in refusal_of(fetch, line, "greedy", "more", slow)
    others = [f"{i}" for i in range(ALL - OWN_DOWNLOADS)]
    for other in others:
        assert "still on its way" in refusal_of(fetch, line, other, other, slow)
    assert "Too many here wait" in refusal_of(fetch, line, "late", "late", slow)
    gate.set()
    while line._under_way:
        time.sleep(0.01)
    assert fetch(line, "greedy", "more", lambda: 7, 10) == 7 and not line._begun._by and not line._calls._by


def test_whatever_goes_wrong_in_the_thread_is_heard(line):
    def panic():
        raise BaseException("of Rust")

    with pytest.raises(BaseException, match="of Rust"):
        fetch(line, "ann", "a/b", panic, 10)
    with pytest.raises(TimeoutError, match="the socket's"):
        fetch(line, "ann", "a/b", lambda: (_ for _ in ()).throw(TimeoutError("the socket's")), 10)


def test_other_questions_to_the_hub_are_counted_in_events_alone(line):
    def ask(depth):
        with hub.hub_settings():
            return ask(depth - 1) if depth else True

    assert ask(2 * OWN_CALLS), "a job or a command may ask as often as it likes"
    with event_of("ann"):
        assert ask(2 * OWN_CALLS), "a question within a question is one"
        for _ in range(OWN_CALLS):
            line._calls.take("ann")
        assert "You wait for the Hub already" in refusal_of(ask, 0)
    with event_of("bob"):
        assert ask(0)


def test_what_is_local_answers_while_the_hub_is_slow(line, gate, entry, monkeypatch):
    monkeypatch.setattr(downloads.Downloads.fetch, "__defaults__", (0.01,))
    monkeypatch.setattr(desk_module, "BRIEFLY", 0.01)
    monkeypatch.setattr(catalog, "find_kept", lambda name: replace(entry, name=f"{name} as it was"))
    gates = {"own/model": gate}
    desk = Desk(lambda name: gates[name].wait(10) and replace(entry, name=name), answerer=FakeAnswerer)
    assert desk.entry("own/model").name == "own/model as it was"
    gate.set()
    while line._under_way:
        time.sleep(0.01)
    assert desk.entry("own/model").name == "own/model", "what has come since is not forgotten"


def test_what_was_pulled_is_found_without_the_hub(line, local_hub, tiny_model, monkeypatch):
    commit = local_hub.put("own/model", {path.name: path.read_bytes() for path in tiny_model.iterdir()})
    assert Desk().entry("own/model").revision == commit
    monkeypatch.setattr(desk_module, "BRIEFLY", 0.05)
    local_hub.faults["info"] = [0.5]
    asked = local_hub.count("info")
    assert Desk().entry("own/model").revision == commit and local_hub.count("info") <= asked + 1
    assert line._under_way, "the Hub has not answered yet"
    while line._under_way:
        time.sleep(0.01)


def test_a_model_that_was_never_here_is_refused_in_a_sentence(line, gate, entry, monkeypatch, local_hub):
    monkeypatch.setattr(desk_module, "BRIEFLY", 0.01)
    desk = Desk(lambda name: gate.wait(10) and entry, answerer=FakeAnswerer)
    with pytest.raises(UserError, match="own/model is still on its way from the Hub"):
        desk.entry("own/model")


def test_the_device_does_not_wait_for_float_weights_of_the_hub(line, gate, entry, tmp_path, monkeypatch):
    """Who asks an int8 model is answered by it; fp32 stands beside once it is here."""
    monkeypatch.setattr(downloads.Downloads.fetch, "__defaults__", (0.01,))
    split, other = replace(entry, full_precision="own/float"), replace(entry, name="float", folder=tmp_path / "float")
    write_json(other.folder / "config.json", {"model_type": "bert"})
    desk = Desk(lambda name: split, lambda e: gate.wait(10) and other, FakeAnswerer)
    assert desk.reference(split, "onnxruntime", "q", "two words")[1] is False
    assert len(desk._references._items) == 0
    gate.set()
    while line._under_way:
        time.sleep(0.01)
    assert desk._reference_of(split, "onnxruntime")[0].name == "float"


def call(url, name, source):
    """What the endpoint `front` says to who comes from this address, and after how many seconds."""
    began = time.monotonic()
    connection = http.client.HTTPConnection(url.hostname, url.port, timeout=30, source_address=(source, 0))
    try:
        body, headers = json.dumps({"data": [name]}), {"Content-Type": "application/json"}
        connection.request("POST", "/gradio_api/run/front", body, headers)
        said = json.loads(connection.getresponse().read())
        return said, time.monotonic() - began
    finally:
        connection.close()


def test_forty_five_look_ups_of_a_slow_hub_hold_nobody_else_up(line, local_hub, monkeypatch):
    """They took all of gradio's forty threads, and everybody waited for the Hub."""
    local_hub.faults["info"] = [2.0] * 100
    with loops_closed():
        with gr.Blocks(analytics_enabled=False) as demo:
            add_endpoints(Desk(), QA, ("", ""), {"queue": False})
        _, address, _ = demo.launch(
            prevent_thread_lock=True, quiet=True, ssr_mode=False, _frontend=False, show_error=False
        )
        url = urlsplit(address)
        try:
            assert call(url, QA, "127.0.0.1")[0]["data"][0]["model"] == QA
            with ThreadPoolExecutor(45) as pool:
                greedy = [pool.submit(call, url, f"slow/model-{n}", "127.0.0.1") for n in range(45)]
                done, _ = wait(greedy, timeout=1.5)
                said, seconds = call(url, QA, "127.0.0.2")
                assert said["data"][0]["model"] == QA and seconds < 1
                refused = [each.result()[0]["error"] for each in done]
                assert len(refused) >= 45 - OWN_CALLS
                assert all("on their way from the Hub" in one or "You wait for the Hub" in one for one in refused)
                assert local_hub.count("info") <= OWN_DOWNLOADS
                rest = [each.result()[0]["error"] for each in greedy if each not in done]
                assert rest and all("There is no public model slow/model-" in one for one in rest)
        finally:
            demo.close()


def test_what_asks_the_hub_step_by_step_may_end_in_another_context(line):
    """Gradio runs each step of a generator, such as the one that publishes, in a context of its own."""

    def publishing():
        with line.turn():
            yield "half"

    with event_of("10.0.0.1"):
        for _ in range(OWN_CALLS + 1):  # each is counted no longer when it has ended
            steps = publishing()
            assert copy_context().run(next, steps) == "half" and list(steps) == []
