from __future__ import annotations

from pathlib import Path

import pytest

from zoo.errors import UserError
from zoo.settings import Settings, get_settings


@pytest.fixture(autouse=True)
def fresh():
    get_settings.cache_clear()
    yield
    get_settings.cache_clear()


def test_the_environment_sets_every_field(monkeypatch, tmp_path):
    for name, value in {"HOME": str(tmp_path), "DATA": "/d", "HOST": "::", "PORT": "80", "THREADS": "3"}.items():
        monkeypatch.setenv(f"BUDGET_ZOO_{name}", value)
    settings = get_settings()
    assert settings.model_dump() == {"home": tmp_path, "data": Path("/d"), "host": "::", "port": 80, "threads": 3}
    assert get_settings() is settings


def test_defaults_stay_on_this_machine(monkeypatch):
    for name in ("HOME", "DATA", "HOST", "PORT", "THREADS"):
        monkeypatch.delenv(f"BUDGET_ZOO_{name}", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", "/somewhere")
    settings = Settings()
    assert (settings.host, settings.port, settings.home.name) == ("127.0.0.1", 7860, "budget-zoo")
    assert settings.threads >= 1


def test_a_bad_value_is_named(monkeypatch):
    monkeypatch.setenv("BUDGET_ZOO_THREADS", "none")
    with pytest.raises(UserError, match="BUDGET_ZOO_THREADS"):
        get_settings()


@pytest.mark.parametrize(
    ("system", "space", "expected"), [("spaces", "a/b", True), ("spaces", "", False), ("", "a/b", False)]
)
def test_on_a_space(monkeypatch, system, space, expected):
    monkeypatch.setenv("SYSTEM", system)
    monkeypatch.setenv("SPACE_ID", space)
    assert Settings().on_space is expected
