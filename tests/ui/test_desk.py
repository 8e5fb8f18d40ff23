import threading
from dataclasses import replace

import pytest

from tests.ui.desk_kit import FakeAnswerer
from ui import text
from ui.desk import Desk, Recent, Watch, Wish
from zoo.answers import NoAnswer
from zoo.errors import UserError
from zoo.files import write_json
from zoo.lengths import LengthConfig
from zoo.measuring import BUDGET, FLOAT, FULL, Superseded

WISH = Wish("small", "onnxruntime", "macs", 60.0, "q", "p")
HALF = LengthConfig((0.5, 0.5))


def test_recent_forgets_what_was_not_used_for_longest():
    recent = Recent(2)
    made = []
    for key in ("a", "b", "a", "c", "a", "b"):
        recent.get(key, lambda key=key: made.append(key) or key)
    assert made == ["a", "b", "c", "b"] and "a" in recent and "c" not in recent


def test_two_threads_make_a_value_once():
    recent, made = Recent(2), []
    go = threading.Event()

    def make():
        go.wait(5)
        made.append(1)
        return object()

    got = []
    threads = [threading.Thread(target=lambda: got.append(recent.get("k", make))) for _ in range(4)]
    for thread in threads:
        thread.start()
    go.set()
    for thread in threads:
        thread.join(5)
    assert len(made) == 1 and len(set(map(id, got))) == 1


def test_a_failure_is_not_remembered():
    recent = Recent(2)
    with pytest.raises(ZeroDivisionError):
        recent.get("k", lambda: 1 // 0)
    assert recent.get("k", lambda: 7) == 7


def test_a_model_is_loaded_once_an_engine(desk, entry):
    for engine in ("onnxruntime", "torch", "onnxruntime"):
        desk.ask(entry, engine, "q", "two words", None)
    assert [m.engine.name for m in desk.made] == ["onnxruntime", "torch"]


def test_the_reference_is_fp32_and_computed_once_an_input(desk, entry):
    told = [desk.reference(entry, "onnxruntime", "q", "two words") for _ in range(3)]
    assert (
        all(in_float for _, in_float in told) and len(desk.made[0].asked) == 1 and desk.made[0].engine.name == "torch"
    )
    assert desk.made[0].asked[0][2] is None


def test_siblings_of_the_same_name_are_told_apart(entry, tmp_path):
    one, other = (replace(entry, name=name, folder=tmp_path / name) for name in ("one", "other"))
    siblings = {one.folder: tmp_path / "a" / "float", other.folder: tmp_path / "b" / "float"}
    for folder in siblings.values():
        write_json(folder / "config.json", {"model_type": "bert"})
    desk = Desk(lambda _: one, lambda e: replace(e, name="float", folder=siblings[e.folder]), FakeAnswerer)
    for which in (one, other):
        desk.reference(which, "onnxruntime", "q", "two words")
        sibling = replace(entry, name="float", folder=siblings[which.folder])
        model = desk.model(sibling, "torch")
        assert isinstance(model, FakeAnswerer) and model.entry.folder == siblings[which.folder]
        assert model.asked == [("q", "two words", None)]


def test_without_fp32_weights_full_length_of_the_same_stands_in(entry):
    def missing(_):
        raise UserError("no network")

    desk = Desk(lambda _: entry, missing, FakeAnswerer)
    assert desk.reference(entry, "openvino", "q", "two words")[1] is False


def test_the_sibling_is_looked_for_once_until_the_entry_is_found_anew(entry, tmp_path):
    write_json(tmp_path / "float" / "config.json", {"model_type": "bert"})
    looked = list[str]()

    def sibling(one):
        looked.append(one.name)
        return replace(one, name="float", folder=tmp_path / "float")

    desk = Desk(lambda _: entry, sibling, FakeAnswerer)
    for question in ("q", "another"):
        desk.reference(entry, "onnxruntime", question, "two words")
    assert looked == [entry.name]
    desk.entry(entry.name, fresh=True)
    desk.reference(entry, "onnxruntime", "a third", "two words")
    assert len(looked) == 2


def test_measuring_times_all_in_the_same_rounds(desk, entry):
    found = desk.measure(entry, "onnxruntime", "q", "two words", HALF)
    assert set(found.timings) == {BUDGET, FULL, FLOAT} and set(found.speedups) == {FULL, FLOAT}
    assert len({t.n for t in found.timings.values()}) == 1
    assert found.tokens == [2] and not found.disturbed and found.machine["threads"] == 1


def test_on_torch_there_is_no_third_row(desk, entry):
    assert set(desk.measure(entry, "torch", "q", "two words", HALF).timings) == {BUDGET, FULL}


def test_full_length_is_not_timed_against_itself(desk, entry):
    found = desk.measure(entry, "onnxruntime", "q", "two words", LengthConfig.full(2))
    assert found.timings[BUDGET] is found.timings[FULL] and found.speedups[FULL] == (1, 1, 1)
    shown = text.show_latency(found, "onnxruntime")
    assert "this budget is full length" in shown and "this budget (ONNX" not in shown


def test_a_stale_measurement_stops(desk, entry):
    calls = []

    def stale():
        calls.append(1)
        return len(calls) > 4

    with pytest.raises(Superseded):
        desk.measure(entry, "onnxruntime", "q", "two words", HALF, Watch(stale))
    assert len(calls) == 5


def test_only_the_last_wish_of_the_same_visitor_counts(desk):
    assert not desk.is_stale("ann", WISH)
    desk.wish("ann", WISH)
    desk.wish("bob", Wish("small", "torch", "macs", 1.0, "q", "p"))
    assert not desk.is_stale("ann", WISH)
    desk.wish("ann", Wish("small", "onnxruntime", "macs", 61.0, "q", "p"))
    assert desk.is_stale("ann", WISH)


def test_nothing_is_wanted_by_who_has_left(desk):
    desk.wish("ann", WISH)
    desk.wish("bob", WISH)
    desk.leave("ann")
    assert desk.is_stale("ann", WISH) and not desk.is_stale("bob", WISH)
    desk.wish("ann", WISH)
    assert not desk.is_stale("ann", WISH), "the page was loaded again"


def test_milliseconds_of_full_length_stay_once_measured(desk, entry):
    assert desk.full_ms(entry, "onnxruntime", "q", "two words") is None
    first = desk.full_ms(entry, "onnxruntime", "q", "two words", now=True)
    desk.measure(entry, "onnxruntime", "q", "two words", HALF)
    assert desk.full_ms(entry, "onnxruntime", "q", "two words") == first
    assert desk.full_ms(entry, "onnxruntime", "q", "other words") is None


def test_an_entry_is_found_once_and_anew_when_asked(entry):
    found = []
    desk = Desk(lambda name: found.append(name) or entry)
    desk.entry("small")
    desk.entry(" small ")
    assert found == ["small"]
    desk.entry("small", fresh=True)
    assert found == ["small", "small"]


def test_what_was_made_anew_in_a_folder_is_opened_and_asked_anew(entry):
    desk = Desk(lambda name: entry, lambda entry: None, FakeAnswerer)
    first, asked = desk.model(entry, "onnxruntime"), (entry.folder, "onnxruntime", "q", "p", HALF)
    desk.remember(asked, "an answer")  # type: ignore[arg-type]
    desk.entry("small")
    assert desk.model(entry, "onnxruntime") is first and desk.remembered(asked)
    desk.entry("small", fresh=True)
    assert desk.model(entry, "onnxruntime") is not first and desk.remembered(asked) is None


def test_a_failed_warm_up_is_only_logged(desk, caplog):
    desk.warm_up("nothing", "torch", "q", "p")
    assert "Not warmed up" in caplog.text
    caplog.clear()
    desk.warm_up("small", "torch", "crash", "p q")
    assert "boom" in caplog.text


def test_what_is_kept_of_a_visitor_stays_small_however_long_the_texts(desk, entry):
    """Thirty passages of twenty megabytes stayed in memory once."""
    long = "a" * 2_000_000
    wish = Wish("small", "onnxruntime", "macs", 60.0, "q", long)
    desk.wish("ann", wish)
    desk.reference(entry, "onnxruntime", "q", long)
    desk.full_ms(entry, "onnxruntime", "q", long, now=True)
    kept = [*desk._wishes._items.values(), *desk._replies._items, *desk._full_ms._items]
    assert len(kept) == 3 and len(repr(kept)) < 5000
    assert not desk.is_stale("ann", wish) and desk.is_stale("ann", replace(wish, passage=long + "b"))
    desk.reference(entry, "onnxruntime", "q", long + "b")
    desk.reference(entry, "onnxruntime", "q", long)
    assert [len(context) for _, context, _ in desk.made[0].asked] == [2_000_000, 2_000_001]


def test_a_warm_desk_knows_what_the_page_opens_with(desk, entry):
    desk.warm_up("small", "onnxruntime", "q", "two words")
    config = entry.front.points[1].config  # where the slider stands then
    known = desk.remembered((entry.folder, "onnxruntime", "q", "two words", config, NoAnswer(False, None)))
    assert known is not None and known.reply.words == "two" and known.full.agrees(known.reply)
    assert desk.remembered((entry.folder, "onnxruntime", "q", "other words", config, NoAnswer(False, None))) is None


def test_a_measurement_tells_which_round_it_is_at(desk, entry):
    told = []

    class Heard(Watch):
        def progress(self, done, rounds):
            super().progress(done, rounds)
            told.append((done, rounds, self.words))

    watch = Heard()
    desk.measure(entry, "onnxruntime", "q", "two words", HALF, watch)
    (rounds,) = {rounds for _, rounds, _ in told}
    assert [done for done, *_ in told][-2:] == [rounds, rounds] and told[0][0] == 1, "the warm-up, then each round"
    assert told[1][2] == f"Measuring this budget: round 2 of {rounds}…"
