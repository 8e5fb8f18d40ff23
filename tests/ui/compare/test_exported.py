"""An encoder that transformers computes beside one of this program's own: as an exported graph, and in float."""

from __future__ import annotations

import pytest

from compress.int8.exported import Exported
from compress.recipe.groups import Quantize
from tests.zoo.encoder_kit import checkpoint
from tests.zoo.layout_kit import float_folder, int8_entry
from ui.compare.contest import ask_all, bars, tabulate, time_all
from ui.desk import Desk
from zoo import catalog
from zoo.ask import QuestionAnswerer
from zoo.engines import engines_here
from zoo.features import load_tokenizer
from zoo.files import write_json
from zoo.pretrained import Pretrained

QUESTION, PASSAGE = "Who was born?", "Marie Curie was born in Warsaw. She played chess by the lake."


@pytest.fixture(scope="module")
def three(tiny_model, tmp_path_factory):
    """A DeBERTa in float and exported in int8, and this program's own int8 graph, which has a budget."""
    root = tmp_path_factory.mktemp("three")
    checkpoint(root / "deberta", "deberta-v2", tiny_model)
    model, tokenizer = Pretrained.load(root / "deberta"), load_tokenizer(root / "deberta")
    Exported(model, tokenizer, Quantize(approach="dynamic"), lambda _: []).store(root / "deberta-int8")
    facts = {"task": "qa", "method": "dynamic-int8", "weights_dtype": "int8", "full_precision": "deberta"}
    write_json(root / "deberta-int8" / "entry.json", facts)
    int8_entry(float_folder("qa", tiny_model, root / "tiny"), root / "tiny-int8")
    return [str(root / name) for name in ("deberta-int8", "deberta", "tiny-int8")]


def test_all_three_are_compared_each_on_what_runs_it(three):
    desk = Desk()
    rows, _ = time_all(desk, ask_all(desk, [(name, 50) for name in three], QUESTION, PASSAGE), QUESTION, PASSAGE)
    assert [row.engine for row in rows] == ["onnxruntime", "transformers", "onnxruntime"]
    assert [row.choice.point.macs_ratio for row in rows] == [1.0, 1.0, 0.5], "no budget where nothing can be dropped"
    for row in rows:
        alone = QuestionAnswerer(catalog.find(row.entry.name), row.engine, 1)
        config = row.choice.point.config
        assert row.reply.answers == alone.ask(QUESTION, PASSAGE, config).answers
        assert row.timing and row.timing.p50_ms > 0
    assert tabulate(rows).count("\n") >= len(rows) and all(row.letter in str(bars(rows)) for row in rows)


def test_the_exported_one_has_its_float_sibling_beside_it(three, monkeypatch):
    monkeypatch.setattr("zoo.engines.openvino.multiplies_bf16", lambda: False)
    desk, entry = Desk(), catalog.find(three[0])
    assert engines_here(entry) == ["onnxruntime", "openvino", "transformers"]
    full, in_float = desk.reference(entry, "onnxruntime", QUESTION, PASSAGE)
    exact = QuestionAnswerer(catalog.find(three[1]), "transformers", 1).ask(QUESTION, PASSAGE)
    assert in_float and full.answers == exact.answers
