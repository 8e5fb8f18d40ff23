"""A module that is imported when it is first asked."""

from __future__ import annotations

import sys

import pytest

from zoo.lazily import Lazy


def test_a_module_is_imported_with_the_first_question(tmp_path, monkeypatch):
    (tmp_path / "slow_module.py").write_text("VALUE = 3\n")
    monkeypatch.syspath_prepend(tmp_path)
    slow = Lazy("slow_module")
    assert "slow_module" not in sys.modules and repr(slow) == "Lazy('slow_module')"
    try:
        assert slow.VALUE == 3
        slow.VALUE = 4
        assert sys.modules["slow_module"].VALUE == 4, "what is set is set there"
        with pytest.raises(AttributeError, match="other"):
            _ = slow.other
    finally:
        sys.modules.pop("slow_module", None)
