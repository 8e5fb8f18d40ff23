from __future__ import annotations

import logging

import pytest

from zoo import tokens
from zoo.settings import get_settings

SECRET = "hf_CanaryCanary0123456789"


@pytest.fixture
def factory():
    """The record factory as it was before, also after the test."""
    before = logging.getLogRecordFactory()
    logging.setLogRecordFactory(logging.LogRecord)
    yield
    logging.setLogRecordFactory(before)


def test_redact():
    assert tokens.redact(f"a {SECRET} b {SECRET}") == "a hf_… b hf_…"
    assert tokens.redact("Bearer hf_oauth_eyJhbGciOi.J9-x_y") == "Bearer hf_…"
    assert tokens.redact("plain hf_hub_download") == "plain hf_hub_download"


def test_no_record_holds_a_token(factory, caplog):
    tokens.hide_tokens()
    tokens.hide_tokens()
    log = logging.getLogger("somebody.elses")
    log.warning("header: %s", f"Bearer {SECRET}")
    log.warning(f"in the text {SECRET}")
    try:
        raise ValueError(f"refused {SECRET}")
    except ValueError:
        log.exception("failed")
    assert len(caplog.records) == 3 and SECRET not in caplog.text and "hf_…" in caplog.text
    assert "ValueError" in caplog.text


def test_broken_records_stay_the_handlers_business(factory):
    tokens.hide_tokens()
    assert logging.getLogRecordFactory()("x", logging.INFO, "f", 1, "%d", ("no number",), None).msg == "%d"


def test_the_standard_token(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", SECRET)
    assert tokens.standard_token() == SECRET
    monkeypatch.setenv("SYSTEM", "spaces")
    monkeypatch.setenv("SPACE_ID", "a/b")
    get_settings.cache_clear()
    assert tokens.standard_token() is None, "a host's token is not its visitors'"
