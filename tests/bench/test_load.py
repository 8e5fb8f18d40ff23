from __future__ import annotations

from collections import Counter

from bench.load import Load, as_json, run, table


def test_many_clients_get_the_right_answers_and_a_full_queue_is_told(monkeypatch):
    from zoo.settings import get_settings

    monkeypatch.setenv("BUDGET_ZOO_WAITING", "4")
    get_settings.cache_clear()
    try:
        steady, burst = run(clients=3, seconds=2)
    finally:
        get_settings.cache_clear()
    assert steady.outcomes["right"] >= 3 and not steady.outcomes["wrong"] and not steady.outcomes["lost"]
    assert steady.look_ups_ms
    assert burst.clients == 7 and burst.outcomes.total() == 7
    assert not burst.outcomes["lost"] and not burst.outcomes["wrong"], burst.errors


def test_the_table_tells_counts_times_and_errors():
    load = Load(2, 1, Counter(right=3, lost=1), [10.0, 20.0, 30.0], [4.0], [5.0, 6.0], ["ValueError: no"])
    text = table(load, Load(5, 0, Counter(refused=5)))
    assert (
        "3 right, 0 wrong, 1 lost" in text
        and "answers: p50 20 ms" in text
        and "refusals: p50 4 ms" in text
        and "ValueError: no" in text
    )
    assert as_json(load)["answers_p50_ms"] == 20.0
