"""What one test does to the environment is over when the next one begins."""

from zoo.settings import get_settings


def test_a_test_on_a_space(monkeypatch):
    monkeypatch.setenv("SYSTEM", "spaces")
    monkeypatch.setenv("SPACE_ID", "a/b")
    get_settings.cache_clear()
    assert get_settings().preset == "explorer"


def test_the_next_one_is_not_there():
    assert get_settings().preset == "full"
