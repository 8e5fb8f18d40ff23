from __future__ import annotations

from bench.distillation import Row, as_json, compare, table


def test_a_teacher_in_the_loop_and_a_stored_one_are_measured_in_turn(tiny_model, monkeypatch):
    from bench import distillation

    monkeypatch.setattr(distillation, "_base", lambda config: {**config, "num_hidden_layers": 3})
    rows = compare(tiny_model, rounds=2, questions=8)
    assert [row.teacher for row in rows] == [distillation.SAME, distillation.LARGER]
    for row in rows:
        assert len(row.stored) == len(row.live) == 2 and min(row.stored + row.live) > 0
        assert row.largest_difference < 1e-4 and row.bytes_stored > 0


def test_the_table_tells_the_gain():
    row = Row("small", 10, 100.0, 8000, 2.0, 1e-6, [8.0, 10.0, 12.0], [4.0, 5.0, 6.0])
    assert "| small | 5.00 | 10.00 | 2.00 | 1.0e-06 | 8,000 | 2.0 s |" in table([row])
    assert as_json([row])[0]["gain"] == 2.0
