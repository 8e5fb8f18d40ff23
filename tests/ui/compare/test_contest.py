import csv
import io
from dataclasses import replace

import pytest

from ui.budget import full_only
from ui.compare import contest
from ui.compare.contest import Contestant
from ui.compare.tab import start_pairs
from zoo.answers import Reply
from zoo.errors import UserError

PASSAGE = "one two three four five six seven eight nine ten"
PAIRS = [("small", 100), ("small", 60), ("", 50)]


def compare(desk, pairs=PAIRS):
    found = contest.ask_all(desk, pairs, "q", PASSAGE)
    return contest.time_all(desk, found, "q", PASSAGE)[0]


def test_all_are_asked_at_their_own_budget_and_timed_in_the_same_rounds(desk):
    a, b = compare(desk)
    assert (a.letter, b.letter) == ("A", "B") and a.compute == 100 and b.compute == 60
    assert a.timing and b.timing and a.timing.n == b.timing.n
    assert a.speedup is None and b.speedup and b.speedup[1] <= b.speedup[2]
    assert [config and config.fractions for _, _, config in desk.made[0].asked] == [(1.0, 1.0), (0.8, 0.4)]
    assert (a.score, b.score, a.metric) == (80.0, 79.2, "f1")


def test_a_checkpoint_without_a_front_shows_its_own_f1(desk, entry):
    object.__setattr__(entry, "front", None)
    a, b = compare(desk, [("small", 50), ("small", 70)])
    assert a.compute == 100 and a.score == 80.0
    object.__setattr__(entry, "metrics", {})
    assert b.score is None and "| 2.0 MB |  |" in contest.tabulate([a, b])


@pytest.mark.parametrize("pairs", [[], [("small", 50)], [("small", 50)] * 5, [("", 1), (None, 2), ("small", 3)]])
def test_two_to_four_are_compared(desk, pairs):
    with pytest.raises(UserError, match="2 to 4"):
        contest.ask_all(desk, pairs, "q", PASSAGE)


def test_agreement_is_said_in_words(desk, monkeypatch):
    found = compare(desk, [("small", value) for value in (100, 80, 60)])
    assert contest.agreement(found) == "All give the same answer."
    monkeypatch.setattr(Reply, "agrees", lambda one, other: one is found[2].reply)
    assert contest.agreement(found).startswith("C answer as A does")
    monkeypatch.setattr(Reply, "agrees", lambda one, other: False)
    assert "None of the others" in contest.agreement(found)


def test_the_table_escapes_and_the_csv_holds_everything(desk):
    found = compare(desk)
    table = contest.tabulate(found)
    assert "<b>" not in table and table.count("\n") == 3 and "× as fast" in table.splitlines()[3]
    first, second = csv.DictReader(io.StringIO(contest.write_csv(found)))
    assert first["speedup_against_first"] == "" and float(second["speedup_against_first"]) > 0
    assert (second["fractions"], second["same_as_first"], second["answer"]) == ("0.8 0.4", "1", "one")
    assert found[0].timing and float(first["p50_ms"]) == found[0].timing.p50_ms and int(first["bytes"]) == 2_000_000


def test_no_answer_becomes_a_formula_in_a_spreadsheet():
    assert contest._plain("=1+1") == "'=1+1" and contest._plain("Oslo") == "Oslo"


def test_bars_are_by_contestant(desk):
    found = compare(desk)
    assert list(contest.bars(found)["F1 when it was made"].items()) == [("A · 100 %", 80.0), ("B · 60 %", 79.2)]


def test_a_score_is_called_by_its_metric_where_all_have_the_same(desk, entry):
    a, b = compare(desk)
    assert contest.score_name([a, b]) == "F1" and contest.tabulate([a, b]).splitlines()[0].endswith("| F1 |")
    other = Contestant("C", replace(entry, front=None, metrics={"accuracy": 91.0}), "torch", full_only(2), a.reply)
    assert contest.score_name([other]) == "Accuracy" and contest.score_name([a, other]) == contest.SCORE
    assert "| 91.0 Accuracy (n not stated) |" in contest.tabulate([a, other])
    assert contest.write_csv([a, other]).splitlines()[2].endswith(",accuracy,91.0,")


def test_the_page_opens_with_full_length_beside_the_cheapest(entry):
    assert start_pairs([entry])[:2] == [("small", 100.0), ("small", 40.0)]
    assert len(start_pairs([entry])) == 4 and start_pairs([]) == [(None, 100.0)] * 4
