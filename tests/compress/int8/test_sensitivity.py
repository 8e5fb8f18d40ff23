"""The sensitivity of every product: each alone in integers, and nothing changed afterwards."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from typer.testing import CliRunner

from compress.__main__ import app
from compress.int8 import sensitivity
from compress.int8.graph import Calibrated, calibrate_checkpoint
from compress.int8.ranges import calibrate
from compress.int8.rounding import integer_weights, operators
from compress.int8.simulation import simulate
from compress.recipe.groups import Quantize
from tests.compress.training_kit import windows
from zoo.errors import UserError
from zoo.files import read_json
from zoo.modeling import LengthAdaptiveModel
from zoo.tasks import TEXTS
from zoo.weights import float_weights, linears

PLAIN = Quantize(smoothing=0)


@pytest.fixture(scope="module")
def ready(tiny_model):
    """The tiny model, with a column of what enters the first feed-forward thirty times as large as the others."""
    read = [sample.window for sample in windows(8)]
    made = calibrate_checkpoint(tiny_model, PLAIN, lambda _: read)
    with torch.no_grad():
        layer = made.model.blocks[0]
        layer.attention_norm.weight[3] *= 30
        layer.expand.weight[:, 3] /= 30
    batches = [{"input_ids": torch.tensor([w.input_ids])} for w in read]
    batches = [batch | {"attention_mask": torch.ones_like(batch["input_ids"])} for batch in batches]
    return Calibrated(made.model, made.tokenizer, calibrate(made.model, batches, ()), len(read)), read


def test_the_product_that_eight_bits_hurt_comes_first_and_smoothing_helps_it(ready):
    model, read = ready
    report = sensitivity.measure(model, PLAIN, read)
    assert [row.name for row in report.rows] != operators(model.model)
    assert {row.name for row in report.rows} == set(operators(model.model))
    assert report.rows[0].name == "layers.0.expand" and report.rows[0].share > 0.3
    assert sum(row.share for row in report.rows) == pytest.approx(1)
    assert report.rows[0].parameters == 32 * 64 and report.windows == 8 and report.approach == "static"
    smooth = sensitivity.measure(model, Quantize(smoothing=0.75), read)
    worst = next(row for row in smooth.rows if row.name == "layers.0.expand")
    assert worst.kl < 0.5 * report.rows[0].kl


def test_a_product_alone_is_what_the_graph_computes_and_leaves_no_trace(ready):
    model, read = ready
    before = {key: value.clone() for key, value in model.model.state_dict().items()}
    integers = integer_weights(float_weights(model.model), linears(model.model), model.ranges, True)
    mixed = {**float_weights(model.model), **{k: v for k, v in integers.items() if k.startswith("layers.1.qkv")}}
    batch = {"input_ids": torch.tensor([read[0].input_ids])}
    batch["attention_mask"] = torch.ones_like(batch["input_ids"])
    with torch.no_grad():
        exact, expected = model.model(**batch).logits, simulate(model.model, mixed)(**batch).logits
        with sensitivity.only_rounded(model.model, integers, "layers.1.qkv"):
            got = model.model(**batch).logits
        with sensitivity.only_rounded(model.model, integers, "words"):
            assert not model.model(**batch).logits.equal(exact)
        torch.testing.assert_close(got, expected, atol=1e-5, rtol=0)
        assert not got.equal(exact) and model.model(**batch).logits.equal(exact)
    assert all(model.model.state_dict()[key].equal(value) for key, value in before.items())


def test_divergence_is_of_distributions_or_of_numbers():
    sure, even = torch.tensor([[9.0, 0.0]]), torch.tensor([[0.0, 0.0]])
    assert sensitivity.divergence([sure], [sure], TEXTS) == 0
    assert sensitivity.divergence([sure], [even], TEXTS) > 1
    assert sensitivity.divergence([torch.tensor([[3.0]])], [torch.tensor([[1.0]])], TEXTS) == 4


def test_nothing_to_measure_on_is_told(ready):
    with pytest.raises(UserError, match="at least one question"):
        sensitivity.measure(ready[0], PLAIN, [])


def test_the_command_prints_a_table_and_writes_json(tiny_model, tiny_data, tmp_path):
    told = CliRunner().invoke(
        app,
        ["sensitivity", str(tiny_model), "--eval-file", str(tiny_data.train), "--questions", "3"]
        + ["--json", str(tmp_path / "s.json")],
    )
    assert told.exit_code == 0, told.output
    report = read_json(tmp_path / "s.json")
    assert [line.split()[0] for line in told.stdout.splitlines()[1:10]] == [row["name"] for row in report["rows"]]
    assert "all at once" in told.stdout and report["together"] > 0 and report["windows"] >= 3
    with pytest.raises(UserError, match="answers questions: leave"):
        sensitivity.of_entry(str(tiny_model), task="sst2")


def test_classifiers_are_measured_on_texts_of_their_task(tiny_model, tmp_path):
    folder = tmp_path / "classifier"
    model = LengthAdaptiveModel.load(tiny_model, head=TEXTS, id2label={"0": "negative", "1": "positive"})
    model.save(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(tiny_model / name, folder)
    texts = tmp_path / "texts.jsonl"
    rows = [{"idx": i, "sentence": f"the {i}th film was good", "label": i % 2} for i in range(6)]
    texts.write_text("\n".join(map(json.dumps, rows)))
    report = sensitivity.of_entry(str(folder), str(texts), 3, "dynamic", task="sst2")
    assert report.windows == 3 and report.approach == "dynamic" and report.together > 0 and len(report.rows) == 9
    with pytest.raises(UserError, match="name it, for example --task sst2"):
        sensitivity.of_entry(str(folder))
