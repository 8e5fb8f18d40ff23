from __future__ import annotations

import pytest

from zoo import hub
from zoo.errors import UserError
from zoo.settings import get_settings


def test_listing_by_tag_and_author(local_hub):
    for repo_id, tags in (("ann/one", "[budget-zoo]"), ("ben/two", "[budget-zoo, x]"), ("ben/three", "[x]")):
        local_hub.put(repo_id, {"README.md": f"---\ntags: {tags}\n---\n".encode()})
    assert [info.id for info in hub.zoo_models()] == ["ann/one", "ben/two"]
    assert [info.id for info in hub.zoo_models("ben")] == ["ben/two"]


def test_a_hub_that_is_away_is_told_at_once(local_hub, monkeypatch, waits):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(UserError, match="cannot be reached"):
        hub.zoo_models()
    assert not local_hub.log


def test_a_conflict_without_its_usual_words_is_a_sentence(local_hub):
    """huggingface_hub looks for the address of what is there in whatever a 409 says."""
    local_hub.faults["create"] = [409]
    answer = r"answer about writer/x could not be used \(KeyError: 'url'\)"
    with pytest.raises(UserError, match=answer), hub.plainly("writer/x"):
        hub.client("hf_writer").create_repo("writer/x", exist_ok=True)


def test_another_hub_gets_no_xet(local_hub, monkeypatch):
    from huggingface_hub import constants, get_session
    from huggingface_hub.errors import HFValidationError

    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", False)
    session = get_session()
    before = session.timeout, session.event_hooks
    with hub.hub_settings(), hub.hub_settings():
        assert constants.HF_HUB_DISABLE_XET and len(session.event_hooks["response"]) == len(before[1]["response"]) + 1
    assert not constants.HF_HUB_DISABLE_XET and (session.timeout, session.event_hooks) == before, "as it was"
    with pytest.raises(UserError, match="no name of the Hub"), hub.plainly("a b"):
        raise HFValidationError("no")
    assert not constants.HF_HUB_DISABLE_XET and session.event_hooks == before[1]
    monkeypatch.delenv("HF_ENDPOINT")
    get_settings.cache_clear()
    with hub.hub_settings():
        assert hub.client().token is False and not constants.HF_HUB_DISABLE_XET
