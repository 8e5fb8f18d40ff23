"""Visitors take turns at whatever runs a model."""

from __future__ import annotations

from types import SimpleNamespace

import gradio as gr
import pytest
from gradio.queueing import Event, EventQueue
from starlette.requests import Request

from tests.ui.page_kit import loops_closed
from ui.fair_queue import REMEMBERED, FairQueue, share_fairly
from zoo.settings import Settings


@pytest.fixture
def queue():
    with loops_closed():
        with gr.Blocks(analytics_enabled=False) as demo:
            gr.Textbox()
        demo.queue(max_size=50)
        share_fairly(demo)
        assert isinstance(demo._queue, FairQueue) and demo._queue.max_size == 50
        demo._queue.event_queue_per_concurrency_id["device"] = EventQueue("device", 1)
        yield demo._queue


def ask(queue, session, host="10.0.0.1", person=None, forwarded=""):
    """A visitor's call joins the queue, as in `Queue.push`."""
    function = SimpleNamespace(concurrency_id="device", batch=False)
    request = Request({"type": "http", "client": (host, 1), "headers": [(b"x-forwarded-for", forwarded.encode())]})
    with loops_closed():
        event = Event(session, function, request, person)  # pyright: ignore[reportArgumentType]
    queue.event_queue_per_concurrency_id["device"].queue.append(event)
    return event


def run(queue):
    """The call that runs next."""
    ((event,), batch, place) = queue.get_events()
    assert not batch and place == "device"
    return event


def test_forty_calls_of_one_hold_another_up_by_one(queue):
    greedy = [ask(queue, "greedy") for _ in range(40)]
    assert run(queue) is greedy[0]
    other = [ask(queue, "other") for _ in range(2)]
    ran = [run(queue) for _ in range(41)]
    assert ran[:4] == [other[0], greedy[1], other[1], greedy[2]]
    assert [event for event in ran if event in greedy] == greedy[1:] and queue.get_events() is None


def test_a_session_for_every_call_is_no_way_around_it(queue):
    greedy = [ask(queue, f"greedy {i}") for i in range(5)]
    assert run(queue) is greedy[0]
    other = ask(queue, "other", host="10.0.0.2")
    assert [run(queue), run(queue)] == [other, greedy[1]]


def test_who_has_signed_in_has_one_turn_from_wherever(queue):
    ann = [ask(queue, f"ann {i}", host=f"10.0.0.{i}", person="ann") for i in range(3)]
    assert run(queue) is ann[0]
    other = ask(queue, "other", host="10.0.0.0")
    assert run(queue) is other


def test_behind_a_spaces_proxy_turns_go_by_whom_it_saw(queue, monkeypatch):
    monkeypatch.setattr(Settings, "on_space", True)
    greedy = [ask(queue, f"greedy {i}", forwarded="1.2.3.4") for i in range(3)]
    assert run(queue) is greedy[0]
    other = ask(queue, "other", forwarded="5.6.7.8")
    assert [run(queue), run(queue)] == [other, greedy[1]]


def test_what_is_remembered_of_visitors_is_bounded(queue):
    for i in range(REMEMBERED):
        ask(queue, f"one of many {i}", host=f"10.0.{i // 250}.{i % 250}")
        run(queue)
    assert len(queue._served) == REMEMBERED
    last = ask(queue, "one of many 0", host="10.0.0.0")
    new = ask(queue, "new", host="10.9.9.9")
    assert {run(queue), run(queue)} == {last, new}
