"""Jobs on the Hub in the tab Jobs: whoever may be seen as their owner brings the token that looks after them."""

from __future__ import annotations

from types import SimpleNamespace

import gradio as gr
import pytest

from compress.jobs import jobs
from tests.ui.page_kit import Driver, profile_of, visitor, words
from ui import people

ANN, TOKEN = profile_of("ann"), gr.OAuthToken("hf_ann", "", 0)


@pytest.fixture
def watch(built, monkeypatch, make_job, tmp_path):
    """The tab on a Space, with a job of Ann's on the Hub and one here; what was asked of the queue."""
    known = {
        "far": make_job(id="far", owner="ann", launcher="hf-job:t4-small", folder=tmp_path),
        "near": make_job(id="near", owner="ann", folder=tmp_path),
    }
    asked = []
    settings = SimpleNamespace(on_space=True, preset="full", home=tmp_path)
    monkeypatch.setattr(people, "get_settings", lambda: settings)
    monkeypatch.setattr(jobs, "find", known.get)
    monkeypatch.setattr(jobs, "jobs", lambda owner=None, limit=None: list(known.values()))
    monkeypatch.setattr(jobs, "illness", str)
    for name in ("cancel", "retry"):
        monkeypatch.setattr(jobs, name, lambda job_id, token=None, name=name: asked.append((name, job_id, token)))
    monkeypatch.setattr(jobs, "follow_on_hub", lambda owner, token: asked.append(("follow", owner, token)))
    monkeypatch.setattr(built.jobs.watching, "_detail", lambda job, before: ({}, []))
    return SimpleNamespace(
        p=built.jobs.parts, h=built.jobs.watching, asked=asked, send=Driver(built.demo, built.jobs.parts).send
    )


def test_who_opens_the_page_after_a_restart_has_their_jobs_followed_again(watch):
    watch.h.open(visitor(), ANN, TOKEN)
    assert watch.asked == [("follow", "ann", "hf_ann")]
    watch.h.open(visitor(), None, None)
    assert len(watch.asked) == 1, "nobody is nobody's owner"


def test_a_job_on_the_hub_is_ended_and_retried_with_its_owners_token_and_one_here_with_none(watch):
    watch.send(watch.h.cancel, ANN, visitor(), TOKEN, job="far")
    watch.send(watch.h.retry, ANN, visitor(), TOKEN, job="far")
    watch.send(watch.h.cancel, ANN, visitor(), TOKEN, job="near")
    assert watch.asked == [("cancel", "far", "hf_ann"), ("retry", "far", "hf_ann"), ("cancel", "near", None)]
    refused = watch.send(watch.h.cancel, ANN, visitor(), None, job="far")
    assert "Sign in first" in words(refused, watch.p.notice) and len(watch.asked) == 3
