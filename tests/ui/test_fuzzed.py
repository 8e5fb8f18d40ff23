"""What callers of the page and of its endpoints may write: answered, or told; and how much of it is kept."""

from __future__ import annotations

import gc
import weakref
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz_kit import NASTY, tries
from tests.ui.desk_kit import FakeAnswerer
from ui.desk import KNOWN_ENTRIES, LOADED_MODELS, Desk
from zoo import catalog
from zoo.errors import UserError

NAMES = ["~nosuchuser/x", "a" * 5000, "/" + "a" * 300, "\0", "a\0b", "\ud800", "~\0", "..", "a/b@" + "c" * 300, "//"]


@tries(40)
@given(name=st.one_of(st.sampled_from(NAMES), st.text(max_size=60)))
def test_any_name_of_a_model_is_told(name):
    for find in (catalog.find, catalog.checkpoint_of):
        try:
            find(name)
        except UserError as error:
            assert len(str(error)) > 20


@tries(60)
@given(
    unit=st.one_of(st.sampled_from(["macs", "ms", "speedup", "loss"]), st.text(max_size=5)),
    value=st.one_of(st.floats(), st.integers(), st.text(max_size=5), st.sampled_from(NASTY)),
)
def test_any_budget_is_a_choice_or_told(unit, value):
    desk = Desk()
    try:
        point = desk.choose(desk.entry("minilm-l6-qa-length-adaptive-int8"), unit, value).point
    except UserError as error:
        assert len(str(error)) > 20
    else:
        assert 0 < point.macs_ratio <= 1


def test_thirty_models_one_after_another_leave_six_in_memory(tmp_path):
    entry, opened = catalog.look_at(catalog.MODELS / "minilm-l6-qa", "minilm-l6-qa"), list[weakref.ref[FakeAnswerer]]()

    def open_it(one, engine):
        made = FakeAnswerer(one, engine)
        opened.append(weakref.ref(made))
        return made

    desk = Desk(find=lambda name, **_: replace(entry, folder=tmp_path / name), answerer=open_it)
    for number in range(2 * KNOWN_ENTRIES):
        desk.ask(desk.entry(f"m{number}"), "torch", "q", "two words", None)
    gc.collect()
    assert len(opened) == 2 * KNOWN_ENTRIES
    assert sum(ref() is not None for ref in opened) == LOADED_MODELS


def test_a_client_that_leaves_in_the_middle_leaves_no_lock(tmp_path):
    """Whoever closes the page while a model is opened: the next one gets it."""
    entry = catalog.look_at(catalog.MODELS / "minilm-l6-qa", "minilm-l6-qa")
    calls = []

    def open_it(one, engine):
        calls.append(engine)
        if len(calls) == 1:
            raise GeneratorExit
        return FakeAnswerer(one, engine)

    desk = Desk(find=lambda _name, **_: entry, answerer=open_it)
    with pytest.raises(GeneratorExit):
        desk.ask(entry, "torch", "q", "two words", None)
    assert desk.ask(entry, "torch", "q", "two words", None).answers
