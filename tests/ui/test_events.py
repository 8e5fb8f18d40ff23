import html
import json
from types import SimpleNamespace

import gradio as gr
import pytest

from tests.ui.page_kit import Driver, loops_closed, selected, visitor, words
from ui.events import UNEXPECTED
from ui.explore import rivals
from ui.explore import tab as explore
from ui.explore.rivals import Rival
from zoo import catalog, fastest
from zoo.errors import UserError
from zoo.measuring import Superseded
from zoo.settings import get_settings

EXAMPLES = [
    {"title": title, "question": f"q{i}", "context": "one two three four five six seven eight nine ten", "answers": []}
    for i, title in enumerate(["A", "A", "B"])
]
PASSAGE = EXAMPLES[0]["context"]
UNIT = "macs"
ON_SCREEN = {
    "model": "small",
    "engine": "onnxruntime",
    "unit": UNIT,
    "slider_unit": UNIT,
    "slider": 60.0,
    "question": "q",
    "passage": PASSAGE,
    "axis": UNIT,
    "layer": 2,
    "reading": "qa",
}


@pytest.fixture
def page(desk, entry, monkeypatch):
    monkeypatch.setattr(catalog, "bundled", lambda: [entry])
    monkeypatch.setattr(catalog, "examples", lambda: EXAMPLES)
    with loops_closed():
        with gr.Blocks() as demo:
            tab = explore.build_explore(demo, desk)
        driver = Driver(demo, tab.parts, ON_SCREEN)
        yield SimpleNamespace(
            demo=demo, p=tab.parts, select=tab.selecting, run=tab.running, desk=desk, send=driver.send, driver=driver
        )


def run(page, **changes):
    told = list(page.send(page.run.run, visitor(), **changes))
    return [updates for updates in told if set(updates) != {page.p.stamp}]  # but for how far a slow machine is


def look_up(page, **changes):
    return page.send(page.run.look_up, visitor(), None, **changes)


def click(page, index, **changes):
    return page.send(page.select.click, selected(index), **changes)


def test_what_runs_a_model_queues_for_the_device_and_only_the_endpoints_are_public(page):
    events = list(page.demo.fns.values())
    for event in events:
        works = event.fn and getattr(event.fn, "__name__", "") in (
            "run",
            "run_anew",
            "answer",
            "classify",
            "label",
            "embed",
            "rank",
            "measure",
        )
        assert (event.concurrency_id == "device" and event.concurrency_limit == 1) == bool(works), event.fn
    public = {event.api_name for event in events if event.api_visibility == "public"}
    assert public == {"answer", "classify", "label", "embed", "rank", "measure", "front"}


def test_the_slider_listens_to_mouse_keys_and_box_and_keeps_the_last_value(page):
    slider = page.p.slider._id
    heard = [e for e in page.demo.fns.values() if e.fn and {(slider, "input"), (slider, "release")} <= set(e.targets)]
    assert [e.trigger_mode for e in heard] == ["always_last"]
    after = [e for e in page.demo.fns.values() if e.trigger_after == heard[0]._id]
    assert [(e.fn.__name__, e.trigger_mode) for e in after] == [("run_anew", "always_last")]
    assert not any((slider, "change") in e.targets for e in page.demo.fns.values())


def test_the_page_opens_at_one_lost_f1_with_the_first_example(page):
    opened = page.select.opening()
    p = page.p
    assert opened[p.model]["value"] == "small" and opened[p.engine]["value"] == ON_SCREEN["engine"]
    assert opened[p.slider]["value"] == 60 and opened[p.question]["value"] == "q0"
    assert opened[p.states.pin]["index"] == 1 and opened[p.layer]["maximum"] == 2


def test_a_link_sets_engine_unit_and_budget(page):
    opened = page.select.open(visitor(model="small", budget="0.5", unit="loss", engine="torch"))
    assert opened[page.p.slider]["value"] == 0.5 and opened[page.p.unit]["value"] == "loss"
    assert opened[page.p.engine]["value"] == "torch" and opened[page.p.states.pin] is None
    assert opened[page.p.hint]["visible"] is False
    assert page.select.open(visitor(budget="50"))[page.p.slider]["value"] == 50


def test_a_link_brings_an_example_or_texts_of_ones_own(page):
    opened, p = page.select.open(visitor(example="2")), page.p
    assert (opened[p.question]["value"], opened[p.passage]["value"], opened[p.example]["value"]) == ("q2", PASSAGE, 2)
    assert page.select.open(visitor(example="77"))[p.question]["value"] == "q0"
    arrived = page.send(page.select.arrive, arrived='["Who?", "Ada."]')
    assert arrived == {p.question: "Who?", p.passage: "Ada."}
    assert set(page.send(page.select.arrive, arrived="")) == {p.question}
    assert "cut when it was copied" in words(page.send(page.select.arrive, arrived="broken"), p.hint)
    assert look_up(page, question="q1")[p.link].endswith("&example=1") and "example" not in look_up(page)[p.link]


def test_a_link_never_loads_a_foreign_checkpoint(page):
    opened = page.select.open(visitor(model="owner/other"))
    assert opened[page.p.model]["value"] == "small" and opened[page.p.other] == "owner/other"
    assert "press Load" in words(opened, page.p.hint)


def test_a_budget_beyond_the_slider_is_brought_back_and_said(page):
    opened = page.select.open(visitor(budget="1e9"))
    assert opened[page.p.slider]["value"] == 100 and "beyond" in opened[page.p.hint]["value"]


def test_without_any_checkpoint_the_page_still_opens(page):
    page.select.default = None
    opened = page.select.open(visitor())
    assert opened[page.p.hint]["visible"] and "bundled" in opened[page.p.hint]["value"]
    assert "Pick a checkpoint" in run(page, model=None)[-1][page.p.notice]["value"]


def test_a_run_answers_first_and_measures_then(page):
    look_up(page)
    loading, answered, measured = run(page)
    p = page.p
    assert "Loading" in loading[p.verdict]
    assert "### one" in answered[p.answer] and p.latency not in answered and answered[p.states.tokens] == 10
    assert "Same as fp32" in answered[p.verdict]["value"]
    assert "| p50 |" in measured[p.latency] and measured[p.states.full_ms] > 0
    assert page.desk.made[0].asked[0][2].fractions == (0.8, 0.4)


def test_the_first_answer_on_a_machine_finds_the_fastest_engine(page, monkeypatch):
    asked = []

    def find(entry, first, second, config, stale):
        asked.append((first, second, config.fractions))
        return fastest.Fastest("openvino", {"onnxruntime": 11.0, "openvino": 6.0}, {}, 10, "2026-11-29")

    monkeypatch.setattr(fastest, "find", find)
    monkeypatch.setattr(fastest, "contenders", lambda entry: ["onnxruntime", "openvino"])
    monkeypatch.setattr(fastest, "remembered", lambda entry: None)
    look_up(page)
    assert not asked and page.p.latency in run(page)[-1], "tests and whoever turns it off are not kept waiting"
    monkeypatch.setenv("BUDGET_ZOO_AUTO_ENGINE", "true")
    get_settings.cache_clear()
    *_, measured, timing, found = page.send(page.run.run, visitor())
    assert page.p.latency in measured and set(timing) == set(found) == {page.p.stamp}
    assert "Timing its engines" in timing[page.p.stamp]
    assert "OpenVINO is taken by default here: on 10 tokens OpenVINO 6.0 ms" in html.unescape(found[page.p.stamp])
    assert page.p.latency in list(page.send(page.run.run, visitor()))[-1]
    assert asked == [("q", PASSAGE, (0.8, 0.4))], "once for a checkpoint"


def test_leaving_a_number_box_as_it_was_asks_for_nothing(page):
    def anew(**changes):
        return list(page.send(page.run.run_anew, visitor(), **changes))

    look_up(page)
    assert "| p50 |" in anew()[-1][page.p.latency], "the first time it is a question"
    asked = len(page.desk.made[0].asked)
    left = look_up(page)
    assert json.loads(left[page.p.shown]).items() >= {("answer", True), ("latency", True)}, "nothing is dimmed"
    (again,) = anew()
    assert set(again) == {page.p.shown} and len(page.desk.made[0].asked) == asked
    look_up(page, slider=90.0)
    assert "| p50 |" in anew(slider=90.0)[-1][page.p.latency]
    look_up(page)
    assert "| p50 |" in run(page)[-1][page.p.latency], "who presses Ask is timed again"


def test_a_newer_wish_is_overwritten_by_nothing_older(page):
    look_up(page, slider=90.0)
    assert run(page) == [{page.p.shown: gr.skip()}], "gradio empties the outputs of what gives nothing at all"
    look_up(page)
    running = page.run.run(page.driver.values(page.run.run), visitor())
    next(running)
    look_up(page, slider=90.0)  # while the model was loading: an answer that came now would be of the earlier budget
    assert list(running) == [{page.p.shown: gr.skip()}]


@pytest.mark.parametrize("moved_in", ["ask", "reference"])
def test_a_wish_in_the_middle_of_an_answer_empties_nothing(page, monkeypatch, moved_in):
    """The model is loaded, so that the run that is stale by then has given nothing yet."""
    look_up(page)
    run(page)
    plain = getattr(page.desk, moved_in)

    def moved(*args):
        look_up(page, question="q", slider=90.0)
        return plain(*args)

    monkeypatch.setattr(page.desk, moved_in, moved)
    look_up(page, question="q")
    assert run(page, question="q") == [{page.p.shown: gr.skip()}]


def test_a_run_that_nobody_waits_for_empties_nothing(page, monkeypatch):
    def refuse(*_):
        raise Superseded

    look_up(page)
    run(page)
    monkeypatch.setattr(page.desk, "ask", refuse)
    look_up(page, question="another")
    assert run(page, question="another") == [{page.p.shown: gr.skip()}]


def test_an_answer_stands_where_it_cannot_be_measured(page, monkeypatch):
    def refuse(*_):
        raise UserError("The device is busy with another measurement for 60 s. Try again later.")

    monkeypatch.setattr(page.desk, "measure", refuse)
    look_up(page)
    *_, answered, last = run(page)
    assert "### one" in answered[page.p.answer] and page.p.answer not in last and page.p.marked not in last
    assert "busy with another measurement" in words(last, page.p.notice)
    assert (last[page.p.latency], last[page.p.spread]) == ("", None), "no figures of another input"
    assert json.loads(last[page.p.shown]).items() >= {("answer", True), ("latency", True)}


def test_a_full_home_costs_the_choice_of_an_engine_alone(page, monkeypatch):
    def refuse(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(fastest, "find", refuse)
    monkeypatch.setattr(fastest, "contenders", lambda entry: ["onnxruntime", "openvino"])
    monkeypatch.setattr(fastest, "remembered", lambda entry: None)
    monkeypatch.setenv("BUDGET_ZOO_AUTO_ENGINE", "true")
    get_settings.cache_clear()
    look_up(page)
    *_, measured, _timing, last = page.send(page.run.run, visitor())
    assert page.p.latency in measured and set(last) == {page.p.stamp}


def test_another_unit_answers_and_measures_what_was_under_way(page):
    """Looking up makes what runs stale."""
    (heard,) = [e for e in page.demo.fns.values() if (page.p.unit._id, "input") in e.targets]
    chain = [heard]
    while after := [e for e in page.demo.fns.values() if e.trigger_after == chain[-1]._id]:
        chain += after
    assert [e.fn.__name__ for e in chain] == ["switch", "look_up", "run"]


@pytest.mark.parametrize(
    ("options", "said"),
    [({"question": " "}, "Ask a question"), ({"model": "gone"}, "no gone")],
)
def test_bad_input_is_said_and_nothing_old_is_left_standing(page, options, said):
    last = run(page, **options)[-1]
    assert said in words(last, page.p.notice) and last[page.p.notice]["visible"]
    assert last[page.p.answer] == "" and last[page.p.marked] == []
    assert (last[page.p.latency], last[page.p.spread], last[page.p.stamp]) == ("", None, ""), "of another input"


@pytest.mark.parametrize("emptied", [None, ""])
def test_an_emptied_number_box_does_nothing(page, emptied):
    assert run(page, slider=emptied) == [{page.p.shown: gr.skip()}]
    left = look_up(page, slider=emptied)
    assert list(left) == [page.p.shown] and json.loads(left[page.p.shown])["answer"], "what stands there is not dimmed"


def test_what_stands_there_is_dimmed_until_it_is_of_what_was_asked(page):
    state = [json.loads(told[page.p.shown]) for told in (look_up(page), *run(page)) if page.p.shown in told]
    assert [(one["answer"], one["latency"]) for one in state] == [(False, False), (True, False), (True, True)]
    again = look_up(page)
    assert json.loads(again[page.p.shown])["answer"] and "### one" in again[page.p.answer], "known: shown at once"
    assert page.p.answer not in look_up(page, question="another")


def test_an_unexpected_error_is_logged_and_friendly(page, caplog):
    last = run(page, question="crash")[-1]
    assert UNEXPECTED[:20] in last[page.p.notice]["value"] and "boom" not in last[page.p.notice]["value"]
    assert "boom" in caplog.text


def test_looking_up_draws_and_links_and_runs_nothing(page):
    shown = look_up(page, slider=75.0, tokens=50)
    assert "79.8" in shown[page.p.readout] and "layer, of 50<" in shown[page.p.readout]
    assert shown[page.p.link] == "model=small&budget=75&unit=macs&engine=onnxruntime"
    assert not page.desk.made


def test_another_unit_keeps_the_point(page, front):
    moved = page.send(page.select.switch, unit="loss")
    assert moved[page.p.slider]["value"] == pytest.approx(0.8) and moved[page.p.states.slider_unit] == "loss"
    assert moved[page.p.states.pin]["index"] == 1


def test_a_click_moves_the_slider_to_exactly_that_point(page, front):
    moved = click(page, 4)
    assert moved[page.p.slider]["value"] == 70
    pinned = moved[page.p.states.pin]
    assert page.desk.choose(page.desk.entry("small"), UNIT, 70.0, None, pinned).point is front.dominated[0]
    for wrong in (99, -1, None, "x"):
        said = click(page, wrong)
        assert "not on this front" in said[page.p.notice]["value"]


def test_what_stands_beside_the_front_is_found_once_drawn_downloaded_and_opened(page, front, monkeypatch):
    found, sought = [Rival("small", True, front.points[1]), Rival("other", False, front.full)], []
    monkeypatch.setattr(rivals, "find", lambda entry, owner: sought.append((entry.name, owner)) or found)
    state, p = page.p.states.rivals, page.p
    assert page.select.opening()[state] is None, "another checkpoint has others beside it"
    first = look_up(page)
    again = look_up(page, rivals=first[state])
    assert sought == [("small", None)] and again[state] == found
    ran = run(page, rivals=found)
    turned = page.send(page.run.show_axis, axis="ms", rivals=found)
    for shown in (first, again, ran[1], turned):
        assert 'data-index="6"' in shown[p.front] and "searched architecture small" in shown[p.front]
    assert page.send(page.run.write_csv, rivals=found)[p.csv_text].splitlines()[-1].endswith("other")
    opened = click(page, 5, rivals=found)
    assert opened[p.model]["value"] == "small" and opened[state] is None
    assert "no other" in click(page, 6, rivals=found)[p.hint]["value"]
    assert "not on this front" in click(page, 7, rivals=found)[p.notice]["value"]


def test_the_next_example_is_of_another_passage(page):
    p = page.p
    after = [page.send(page.select.pick_another, example=i) for i in (None, 0, 1, 2)]
    assert [updates[p.example] for updates in after] == [0, 2, 2, 0] and after[1][p.question] == "q2"
    unpicked = page.send(page.select.pick, example=None)
    assert unpicked == page.send(page.select.pick, example=99, model=None) == page.select.nothing(p.question)


def test_loading_adds_to_the_choices_once(page):
    loaded = page.send(page.select.load, other="small")
    assert loaded[page.p.model]["value"] == "small" and len(loaded[page.p.model]["choices"]) == 1
    failed = page.send(page.select.load, other="gone")
    assert set(failed) == {page.p.hint, page.p.convert} and failed[page.p.hint]["visible"]


def test_another_layer_is_shown_within_what_there_is(page):
    windows = run(page)[1][page.p.states.windows]
    first, last = (
        page.send(page.run.show_layer, layer=layer, window=0, windows=windows)[page.p.kept] for layer in (1, 99)
    )
    assert first[0][0] == "one two three four five six seven eight" and last[0][0] == "one two three four"


def test_with_nothing_chosen_every_event_leaves_the_page_as_it_is(page, desk, entry, monkeypatch):
    # An empty dictionary would be refused by gradio, so at least one of the event's outputs is named.
    p = page.p
    object.__setattr__(entry, "front", None)
    monkeypatch.setattr(catalog, "examples", lambda: [])
    for said, output in (
        (look_up(page, model=None, engine=None, question="", passage=""), p.shown),
        (page.send(page.run.show_layer), p.kept),
        (page.send(page.run.show_axis, model=None), p.front),
        (page.send(page.select.pick_another, model=None), p.question),
        (click(page, 0), p.slider),
        (page.send(page.select.switch), p.slider),
    ):
        assert list(said) == [output]


def test_a_checkpoint_without_a_front_answers_at_full_length(page, desk, entry):
    object.__setattr__(entry, "front", None)
    opened = page.select.open(visitor(budget="50"))
    assert opened[page.p.slider]["interactive"] is False and opened[page.p.slider]["value"] == 100
    shown = look_up(page, engine="torch", slider=100)
    assert "no searched front" in shown[page.p.readout] and shown[page.p.link] == "model=small&unit=macs&engine=torch"
    assert "### one" in run(page, slider=100, engine="torch")[1][page.p.answer]
    assert opened[page.p.axis]["visible"] is opened[page.p.csv]["visible"] is False and "svg" not in shown[page.p.front]
    assert "no searched front" in page.send(page.run.write_csv)[page.p.notice]["value"]
