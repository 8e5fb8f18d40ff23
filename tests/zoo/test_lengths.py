from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zoo.errors import UserError
from zoo.files import write_json
from zoo.lengths import Front, LengthConfig, Point, Shape, macs, macs_ratio, non_dominated

MINILM = Shape(6, 384, 1536, counts_positions=True)
# QuaLA-MiniLM, evo_search/parents-iter30.tsv: lengths at 384 tokens and what torchprofile counted.
PUBLISHED = [
    ((308, 247, 198, 159, 128, 103), 2484739968),
    ((269, 253, 252, 202, 104, 34), 2485456896),
    ((300, 243, 214, 197, 129, 36), 2492206848),
    ((284, 262, 248, 200, 95, 36), 2510150400),
    ((315, 251, 242, 159, 142, 33), 2546934912),
    ((303, 268, 256, 182, 118, 29), 2581745280),
    ((346, 284, 275, 166, 107, 24), 2695914240),
    ((365, 280, 273, 176, 112, 46), 2782709760),
    ((375, 331, 283, 213, 127, 18), 3015100416),
    ((374, 331, 283, 230, 126, 51), 3085609344),
    ((377, 361, 345, 245, 132, 38), 3329854464),
    ((383, 363, 360, 242, 134, 42), 3385542144),
    ((383, 380, 376, 358, 202, 123), 3955011456),
]


@pytest.mark.parametrize(("lengths", "count"), PUBLISHED)
def test_macs_are_the_published_ones(lengths, count):
    assert macs(MINILM, 384, lengths) == count


def test_macs_of_the_full_model():
    assert macs(MINILM, 384) == 4_758_553_344
    assert macs_ratio(MINILM, 384, LengthConfig.full(6)) == 1.0


def test_macs_of_narrow_embeddings_count_what_widens_them():
    config = {"model_type": "electra", "num_hidden_layers": 2, "hidden_size": 64, "intermediate_size": 128}
    narrow = Shape.from_config({**config, "num_attention_heads": 4, "embedding_size": 16})
    wide = Shape.from_config({**config, "num_attention_heads": 4, "embedding_size": 64})
    assert macs(narrow, 10) - macs(wide, 10) == 10 * 16 * 64 + 10 * 16 - 10 * 64  # a product, and a narrower norm


def test_absolute_form_is_read_and_shown():
    text = "(315, 251, 242, 159, 142, 33)"
    config = LengthConfig.parse(text)
    assert config.tokens(384) == (315, 251, 242, 159, 142, 33)
    assert config.absolute() == text
    assert LengthConfig.parse("1, 0.5, .25").fractions == (1.0, 0.5, 0.25)


@pytest.mark.parametrize(
    "text",
    ["", "()", "abc", "__import__('os')", "(315, 400)", "1.5.2, 1", "(0, 0)", "0.5, 0.7", "-1, -2", "1;2", "[" * 5000],
)
def test_what_is_no_configuration_is_refused(text):
    with pytest.raises(UserError):
        LengthConfig.parse(text)


@given(st.lists(st.floats(0.01, 1), min_size=1, max_size=12), st.integers(1, 500))
def test_tokens_never_rise_and_never_fall_below_two(fractions, count):
    tokens = LengthConfig(tuple(sorted(fractions, reverse=True))).tokens(count)
    assert all(b <= a for a, b in zip((count, *tokens), tokens, strict=False))
    assert min(tokens) >= min(2, count)


def point(ratio: float, f1: float, ms: float | None = None) -> Point:
    return Point(LengthConfig((1.0, ratio)), ratio, {"f1": f1, "em": f1 - 9}, ms)


@pytest.fixture
def front() -> Front:
    return Front(point(1.0, 80, 40.0), [point(0.4, 75, 20.0), point(0.6, 78.5, 25.0), point(0.8, 79.5, 35.0)])


def test_non_dominated_has_no_dominated_ends():
    points = [point(0.4, 75), point(0.5, 74), point(0.6, 78), point(0.6, 77), point(1.0, 78)]
    assert [p.macs_ratio for p in non_dominated(points)] == [0.4, 0.6]


@pytest.mark.parametrize(
    ("unit", "value", "ratio"),
    [
        ("macs", 70, 0.6),
        ("macs", 60, 0.6),
        ("macs", 100, 1.0),
        ("ms", 30, 0.6),
        ("ms", 36, 0.8),
        ("speedup", 1.5, 0.6),
        ("speedup", 1, 1.0),
        ("loss", 0, 1.0),
        ("loss", 1, 0.8),
        ("loss", 1.5, 0.6),
        ("loss", 50, 0.4),
    ],
)
def test_a_budget_picks_the_best_point_within_it(front, unit, value, ratio):
    choice = front.at(unit, value)
    assert choice.point.macs_ratio == ratio
    assert choice.message is None


@pytest.mark.parametrize(
    ("unit", "value", "ratio"),
    [
        ("macs", 10, 0.4),
        ("macs", 150, 1.0),
        ("ms", 1, 0.4),
        ("ms", 99, 1.0),
        ("speedup", 9, 0.4),
        ("speedup", 0.5, 1.0),
        ("loss", -1, 1.0),
    ],
)
def test_a_budget_outside_the_front_takes_its_end_and_says_so(front, unit, value, ratio):
    choice = front.at(unit, value)
    assert choice.point.macs_ratio == ratio
    assert choice.message


def test_latencies_scale_to_this_machine(front):
    assert front.at("ms", 60, full_ms=80).point.macs_ratio == 0.6  # 40 ms where it was measured, 80 ms here


@pytest.mark.parametrize(("unit", "value"), [("watts", 3), ("macs", float("nan")), ("speedup", 0), ("macs", "50")])
def test_what_is_no_budget_is_refused(front, unit, value):
    with pytest.raises(UserError):
        front.at(unit, value)


def test_a_front_survives_the_disk(front, tmp_path):
    front.save(tmp_path / "front.json")
    assert Front.load(tmp_path / "front.json") == front
    (tmp_path / "front.json").write_text('{"points": []}')
    with pytest.raises(UserError, match="no front"):
        Front.load(tmp_path / "front.json")


def test_a_front_of_before_is_read_as_one_of_f1_and_em(tmp_path):
    older = {"fractions": [1.0, 0.5], "macs_ratio": 0.6, "f1": 79.0, "em": 70.0, "p50_ms": 9.0, "validation_f1": 78.0}
    full = {**older, "fractions": [1.0, 1.0], "macs_ratio": 1.0, "f1": 80.0}
    write_json(tmp_path / "front.json", {"full": full, "points": [older], "measured_on": {"n": 5}})
    found = Front.load(tmp_path / "front.json")
    assert found.metric == "f1" and found.full.score == 80 and found.points[0].metrics == {"f1": 79.0, "em": 70.0}
    assert found.points[0].extra == {"validation_f1": 78.0} and found.points[0].p50_ms == 9
    found.save(tmp_path / "again.json")
    assert Front.load(tmp_path / "again.json") == found


def test_a_front_is_in_its_own_metric(tmp_path):
    def scored(ratio: float, pearson: float) -> Point:
        return Point(LengthConfig((1.0, ratio)), ratio, {"pearson": pearson, "spearman": 1.0})

    front = Front(scored(1.0, 88), [scored(0.5, 86), scored(0.7, 87.5)])
    assert front.metric == "pearson" and front.full.score == 88
    choice = front.at("loss", 1)
    assert choice.point.score == 87.5 and choice.binding == "loses 0.50 Pearson of 1 allowed"
    assert front.at("loss", -1).binding == "Pearson" and "-1 Pearson" in (front.at("loss", -1).message or "")
    with pytest.raises(UserError, match="in points of Pearson"):
        front.at("ms", 3)
    front.save(tmp_path / "front.json")
    assert Front.load(tmp_path / "front.json") == front


@pytest.mark.parametrize("metrics", [{}, {"f1": 1.0, "bleu": 2.0}, 3])
def test_a_front_without_known_metrics_is_refused(metrics, tmp_path):
    point = {"fractions": [1.0, 1.0], "macs_ratio": 1.0, "metrics": metrics}
    write_json(tmp_path / "front.json", {"full": point, "points": [point]})
    with pytest.raises(UserError, match="no front"):
        Front.load(tmp_path / "front.json")
