from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compress.data import fingerprints
from compress.data.fingerprints import refuse_overlap
from compress.data.squad import Example, fingerprint
from compress.tasks import questions
from compress.tasks.lengths import PaddedLengths, effective, macs_share
from compress.tasks.questions import score_answers
from zoo import catalog
from zoo.errors import UserError
from zoo.files import read_json
from zoo.graph import read
from zoo.lengths import LengthConfig, Shape, macs_ratio

PAPER = LengthConfig.parse("(315, 251, 242, 159, 142, 33)")
MINILM = Shape(6, 384, 1536, counts_positions=True)


def question(name, text="cat"):
    answers = [{"text": text, "answer_start": 0}] if text else []
    return Example(name, "Who?", f"{text} and more", answers, impossible=not text)


def test_scores_and_progress(monkeypatch):
    monkeypatch.setattr(questions, "CHUNK", 2)
    told, seen = [], []

    def predict(part):
        seen.append(len(part))
        return ["cat" if e.id != "2" else "black cat" for e in part]

    scores = score_answers(predict, [question("1"), question("2"), question("3")], lambda *a: told.append(a))
    assert scores == {"f1": pytest.approx(100 * (2 + 2 / 3) / 3), "em": pytest.approx(200 / 3), "n": 3}
    assert told == [(2, 3), (3, 3)] and seen == [2, 1]


def test_squad_2_and_bad_sets():
    assert score_answers(lambda part: ["" for _ in part], [question("1"), question("2", "")])["NoAns_f1"] == 100
    with pytest.raises(UserError, match="no questions"):
        score_answers(lambda part: [], [])
    with pytest.raises(UserError, match="share an id"):
        score_answers(lambda part: ["", ""], [question("1"), question("1")])


def test_what_was_trained_on_is_not_reported_on(tmp_path):
    known, other = question("1"), question("2", "dog")
    fingerprints.save_fingerprints(tmp_path / fingerprints.TRAINED_ON, fingerprint([known]))
    stored = fingerprints.load_fingerprints(tmp_path)
    refuse_overlap(stored, [other])
    with pytest.raises(UserError, match="1 passages of the data to report on were trained on"):
        refuse_overlap(stored, [other, question("9")])
    assert fingerprints.load_fingerprints(tmp_path / "elsewhere") == set()
    (tmp_path / fingerprints.TRAINED_ON).write_text("{}")
    with pytest.raises(UserError, match="no list of passages"):
        fingerprints.load_fingerprints(tmp_path)


def test_the_papers_accounting_counts_dropped_padding():
    padded = PaddedLengths.of(PAPER)
    assert padded.lengths == (315, 251, 242, 159, 142, 33)
    assert padded.macs_ratio(MINILM) == 2546934912 / 4758553344  # both published
    assert padded.tokens(150) == (150, 150, 150, 150, 142, 33)


def test_macs_over_several_inputs_weigh_long_ones_more():
    one, two = (macs_ratio(MINILM, n, PAPER) for n in (100, 300))
    share = macs_share(MINILM, [100, 300], PAPER)
    assert min(one, two) < share < max(one, two) and abs(share - two) < abs(share - one)
    assert macs_share(MINILM, [100, 300], LengthConfig.full(6)) == 1


@given(st.lists(st.floats(0.05, 1), min_size=4, max_size=4), st.sets(st.integers(0, 3), min_size=1))
def test_a_layer_that_may_not_drop_keeps_what_it_gets(fractions, drops):
    config = LengthConfig(tuple(sorted(fractions, reverse=True)))
    real = effective(config, sorted(drops))
    before = 1.0
    for layer, fraction in enumerate(real.fractions):
        assert fraction == (config.fractions[layer] if layer in drops else before)
        before = fraction
    assert effective(real, sorted(drops)) == real


def test_a_configuration_for_a_smaller_model():
    with pytest.raises(UserError, match="for 2 layers"):
        effective(LengthConfig((1.0, 0.5)), range(6))


def test_the_bundled_padded_account_is_one_that_its_graph_can_do():
    entry = catalog.find("minilm-l6-qa-length-adaptive-int8")
    told = read_json(entry.folder / "front.json")["measured_on"]["padded_to_384"]
    drops = read(entry.folder / "model.int8.onnx")[1]["drop_layers"]
    lengths = LengthConfig.parse(told["lengths"])
    assert effective(lengths, drops).absolute() == lengths.absolute() == told["lengths"]
    config = read_json(entry.folder / "config.json")
    assert drops == config["length_drop_layers"]
    assert told["macs_ratio"] == pytest.approx(PaddedLengths.of(lengths).macs_ratio(Shape.from_config(config)))
    assert told["macs_ratio"] <= 0.535 and told["loss"] <= 0.9
