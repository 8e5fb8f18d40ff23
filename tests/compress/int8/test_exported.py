"""Encoders that transformers computes, in eight bits: the exported graph, its integers, and the recipes to the end."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from compress.int8.export import export
from compress.int8.exported import Exported
from compress.recipe.groups import Quantize
from compress.recipe.kind import missing
from compress.recipe.load import load
from compress.results.score import score_entry
from compress.run.run import run
from tests.compress.text_kit import sst2
from tests.zoo.encoder_kit import ENDINGS, checkpoint
from zoo import card, catalog
from zoo.ask import QuestionAnswerer
from zoo.classify import TextClassifier
from zoo.encoders import ENCODERS
from zoo.engines import open_engine, open_graph, runs_int8
from zoo.engines.onnx import load as load_graph
from zoo.errors import UserError
from zoo.features import load_tokenizer, make_texts, make_windows, pad
from zoo.files import read_json, write_json
from zoo.onnx_files import EXPORTED
from zoo.pretrained import Pretrained
from zoo.stored import weights_in_words

ENGINES = ["onnxruntime", "openvino"]
TEXTS = ["the lake is deep", "who was the queen of chess and when was the queen born?", "chess"]
FAMILIES = ["deberta-v2", "mobilebert", "rembert", "squeezebert", "nomic_bert"]
CASES = [(family, task) for family in FAMILIES for task, end in ENDINGS.items() if end not in ENCODERS[family].lacks]
QUICK = ["evaluate.latency_rounds=1", "quantize.calibration_samples=6", "package.name=small"]


def windows(tokenizer):
    examples = catalog.examples()[:4]
    return make_windows(tokenizer, [e["question"] for e in examples], [e["context"] for e in examples], 128, 32)


def exported(folder, settings=None):
    return Exported(Pretrained.load(folder), load_tokenizer(folder), settings or Quantize(), windows)


@pytest.mark.parametrize(("family", "task"), CASES)
def test_the_float_graph_says_what_transformers_says(tiny_model, tmp_path, family, task):
    model = checkpoint(tmp_path, family, tiny_model, task)
    session = load_graph(export(Pretrained.load(tmp_path)).SerializeToString(), 1)
    batch = pad(make_texts(load_tokenizer(tmp_path), TEXTS, None))  # of three lengths, so padded
    feed = {name: values for name, values in batch.items() if name in session.inputs}
    with torch.no_grad():
        out = model(**{name: torch.from_numpy(values) for name, values in feed.items()})
    if task == "embeddings":
        share = torch.from_numpy(batch["attention_mask"])
        mean = (out.last_hidden_state * share[..., None]).sum(1) / share.sum(1, keepdim=True)
        out["embedding"] = mean / mean.norm(dim=1, keepdim=True)
    for name, values in zip(session.outputs, session.run(feed), strict=True):
        np.testing.assert_allclose(values, out[name].numpy(), atol=1e-4)


def test_what_cannot_be_traced_is_captured(tiny_model, tmp_path):
    """A Fourier transform has no symbol for the tracing exporter."""
    model = checkpoint(tmp_path, "fnet", tiny_model, "classification")
    session = load_graph(export(Pretrained.load(tmp_path)).SerializeToString(), 1)
    ids = torch.randint(5, 90, (3, 19))
    with torch.no_grad():
        expected = model(input_ids=ids).logits.numpy()
    (logits,) = session.run({"input_ids": ids.numpy(), "token_type_ids": np.zeros((3, 19), np.int64)})
    np.testing.assert_allclose(logits, expected, atol=1e-4)


def test_what_openvino_computes_wrongly_does_not_run_on_it(tiny_model, tmp_path):
    checkpoint(tmp_path / "m", "fnet", tiny_model, "embeddings")
    exported(tmp_path / "m").store(tmp_path / "q")  # torch.export has a value of the name of its output
    assert catalog.find(str(tmp_path / "q")).engines == ["onnxruntime"]
    said = missing(load("static_int8", [f"model={tmp_path / 'm'}", "evaluate.engine=openvino"]))
    assert said and "computes the graph of FNet wrongly: choose onnxruntime" in said


def test_an_input_that_is_only_passed_on_keeps_its_name(tiny_model, tmp_path):
    """OpenVINO gives an input the names of what it drops behind it, too."""
    checkpoint(tmp_path / "m", "eurobert", tiny_model, "classification")
    exported(tmp_path / "m").store(tmp_path / "q")
    batch = pad(make_texts(load_tokenizer(tiny_model), TEXTS[:1]))
    first, second = (
        open_graph(tmp_path / "q", 1, engine).run(batch, np.full((1, 2), batch["input_ids"].shape[1])).logits
        for engine in ENGINES
    )
    np.testing.assert_allclose(first, second, atol=1e-3)


def test_a_graph_that_says_something_else_is_refused(tiny_model, tmp_path, monkeypatch):
    checkpoint(tmp_path, "deberta", tiny_model)
    monkeypatch.setattr("compress.int8.export.CLOSE", -1.0)
    monkeypatch.setattr("compress.int8.export._captured", lambda *_: (_ for _ in ()).throw(ValueError("cannot")))
    with pytest.raises(UserError, match=r"deberta checkpoint cannot be exported.*logits are off by.*; cannot"):
        export(Pretrained.load(tmp_path))


@pytest.mark.parametrize("approach", ["static", "dynamic"])
def test_weights_are_seven_bits_and_both_runtimes_agree(tiny_model, tmp_path, approach):
    model = checkpoint(tmp_path / "m", "deberta-v2", tiny_model)
    made = exported(tmp_path / "m", Quantize(approach=approach))
    facts = made.store(tmp_path / "q")
    assert facts == {**facts, "weight_bits": 7, "kept_float": [], "approach": approach}
    arrays = {part.name: numpy_helper.to_array(part) for part in onnx.load(tmp_path / "q" / EXPORTED).graph.initializer}
    name = "deberta.encoder.layer.1.output.dense"
    whole, by = arrays[f"{name}.q"] * arrays[f"{name}.scale"], arrays.get(f"{name}.x_factor", 1)
    theirs = model.get_submodule(name).weight.detach().numpy().T
    assert np.abs(arrays[f"{name}.q"]).max() == 63 and arrays[f"{name}.q"].dtype == np.int8
    far = np.abs(whole - theirs / np.reshape(by, (-1, 1)) if approach == "static" else whole - theirs)
    assert (far <= arrays[f"{name}.scale"] / 2 + 1e-6).all()
    words = arrays["words.q"] * arrays["words.scale"]
    table = model.deberta.embeddings.word_embeddings.weight.detach().numpy()
    assert np.abs(words - table).max() <= arrays["words.scale"].max() / 2 + 1e-6
    floats = {key for key, value in arrays.items() if value.dtype == np.float32 and value.ndim == 2 and value.size > 99}
    assert floats == {"model.inner.deberta.encoder.rel_embeddings.weight", "words.scale"}
    # A matrix that is used on tokens and on distances is stored once.
    assert f"{name}.q".replace("output.dense", "attention.self.key_proj") in arrays
    assert not any("#2.q" in key for key in arrays)

    batch = pad(windows(made.tokenizer)[:1])
    lengths = np.full((1, 2), batch["input_ids"].shape[1])
    exact = open_engine("transformers", catalog.find(str(tmp_path / "m")), 1).run(batch, lengths).logits
    first, second = (open_graph(tmp_path / "q", 1, engine).run(batch, lengths).logits for engine in ENGINES)
    assert np.abs(first - second).mean() < 0.01 * exact.std() and np.abs(first - exact).mean() < 0.1 * exact.std()


def test_what_is_named_stays_float_and_sensitivities_are_by_module(tiny_model, tmp_path):
    checkpoint(tmp_path / "m", "rembert", tiny_model)
    made = exported(tmp_path / "m", Quantize(keep_float=["*.layer.1.*", "words"]))
    facts = made.store(tmp_path / "q")
    assert len(facts["kept_float"]) == 7 and all("layer.1." in n for n in facts["kept_float"] if n != "words")
    ops = [node.op_type for node in onnx.load(tmp_path / "q" / EXPORTED).graph.node]
    assert ops.count("QuantizeLinear") == len(made.names) - 7
    told = weights_in_words(catalog.find(str(tmp_path / "q")))
    assert told.startswith("int8, 7 of 13 matrix products; float32 in the word embeddings, rembert.encoder.layer.1.")
    assert told.endswith(" and 1 more")
    rows = made.sensitivities().rows
    assert [row.kl for row in rows] == sorted((row.kl for row in rows), reverse=True) and rows[0].kl > 0
    assert {row.name for row in rows} == set(made.names) and {row.parameters for row in rows} >= {32 * 64}
    with pytest.raises(UserError, match="No product is called 'nothing'"):
        exported(tmp_path / "m", Quantize(keep_float=["nothing"]))
    with pytest.raises(UserError, match="leaves every product in float"):
        made.store(tmp_path / "q", ["*"])


def test_convolutions_are_static_only(tiny_model, tmp_path):
    checkpoint(tmp_path / "m", "squeezebert", tiny_model)
    exported(tmp_path / "m").store(tmp_path / "q")
    nodes = onnx.load(tmp_path / "q" / EXPORTED).graph.node
    makers = {node.output[0]: node.op_type for node in nodes}
    convolutions = [node for node in nodes if node.op_type == "Conv"]
    assert len(convolutions) == 12
    assert {makers[name] for node in convolutions for name in node.input[:2]} == {"DequantizeLinear"}
    with pytest.raises(UserError, match="take the recipe static_int8"):
        exported(tmp_path / "m", Quantize(approach="dynamic"))


@pytest.fixture(scope="module")
def asks(own_home, tiny_model, tiny_data, tmp_path_factory) -> Path:
    """A run of `static_int8` with a criterion that nothing meets, on a tiny DeBERTa."""
    root = tmp_path_factory.mktemp("whole")
    checkpoint(root / "deberta", "deberta-v2", tiny_model)
    sources = [f"model={root / 'deberta'}", f"dataset.train={tiny_data.train}"]
    wishes = [f"criterion.{wish}" for wish in ("apply=true", "relative=false", "tolerable_loss=0", "max_trials=4")]
    data = [f"dataset.evaluation={tiny_data.evaluation}", "criterion.max_questions=8"]
    run(load("static_int8", [*sources, *data, *wishes, *QUICK]), root / "run")
    return root


def test_the_recipe_ends_in_an_entry_that_answers(asks):
    folder = asks / "run" / "package" / "small"
    entry = catalog.find(str(folder))
    assert entry.engines == [*ENGINES, "transformers"] and entry.method == "static-int8" and entry.front is None
    assert runs_int8(entry) and entry.full_precision == "small-float" and (folder / EXPORTED).is_file()
    assert f"- **weights**: {weights_in_words(entry)}\n" in entry.card
    assert catalog.find(str(entry.float_folder)).weights_dtype == "f16"
    assert entry.metrics["n"] == 10 and entry.metrics["p50_ms"] > 0 and {"f1", "em"} <= set(entry.metrics)
    assert catalog.find(str(folder.with_name("small-float"))).metrics["engine"] == "transformers"
    answers = {
        engine: QuestionAnswerer(entry, engine, 1).ask("Who?", "Marie Curie was born in Warsaw.").answers[0]
        for engine in entry.engines
    }
    assert answers["onnxruntime"].text == answers["openvino"].text
    said = card.read((folder / "README.md").read_text())
    assert said["library_name"] == "onnx" and {"int8", "onnx", "openvino"} <= set(said["tags"])
    assert "length-adaptive" not in said["tags"]


def test_the_criterion_returns_operators_by_module(asks):
    report = read_json(asks / "run" / "quantize" / "criterion.json")
    assert len(report["trials"]) in (1, 4)
    assert {row["name"] for row in report.get("sensitivity", {"rows": []})["rows"]} <= {
        "words",
        *(
            f"deberta.encoder.layer.{i}.{part}"
            for i in (0, 1)
            for part in (
                *(f"attention.self.{each}_proj" for each in ("query", "key", "value")),
                *("attention.output.dense", "intermediate.dense", "output.dense"),
            )
        ),
    }
    trials = {tuple(trial["kept_float"]) for trial in report["trials"]}
    assert () in trials and tuple(report["returned"]) in trials


def test_the_entry_is_scored_by_every_engine(asks, tiny_data):
    entry = str(asks / "run" / "package" / "small")
    scores = {e: score_entry(entry, str(tiny_data.evaluation), engine=e)["f1"] for e in (*ENGINES, "transformers")}
    assert scores["onnxruntime"] == pytest.approx(catalog.find(entry).metrics["f1"])
    assert scores["openvino"] == pytest.approx(scores["onnxruntime"], abs=15)


def test_a_classifier_without_names_is_quantized_dynamically(own_home, tiny_model, tmp_path):
    checkpoint(tmp_path / "m", "ernie", tiny_model, "classification", ("LABEL_0", "LABEL_1"))
    write_json(tmp_path / "texts.json", sst2(30, 1))
    texts = tmp_path / "texts.json"
    changes = [f"model={tmp_path / 'm'}", "dataset.task=sst2", "dataset.labels=[positive, negative]"]
    changes += [f"dataset.train={texts}", f"dataset.evaluation={texts}", QUICK[0], QUICK[2]]
    run(load("dynamic_int8", changes), tmp_path / "r")
    entry = catalog.find(str(tmp_path / "r" / "package" / "small"))
    assert entry.labels == ["positive", "negative"] and entry.method == "dynamic-int8"
    said = [TextClassifier(entry, engine, 1).classify("the lake is deep").labels for engine in entry.engines]
    model = Pretrained.load(tmp_path / "m").inner
    with torch.no_grad():
        window = pad(make_texts(load_tokenizer(tmp_path / "m"), ["the lake is deep"]))
        exact = model(**{name: torch.from_numpy(values) for name, values in window.items()}).logits.softmax(-1)[0]
    for labels in said:
        assert {row.name: row.probability for row in labels}["positive"] == pytest.approx(float(exact[0]), abs=0.1)


@pytest.mark.parametrize(
    ("recipe", "changes", "message"),
    [
        ("length_adaptive", [], "only BERT.*can drop tokens, and the recipe length_adaptive needs that of its model"),
        ("nas_tiny", [], "the recipe nas needs that of its model"),
        ("aimet_w8a8", [], "the recipe aimet_w8a8 needs that of its model"),
        ("nncf_tiny", [], "the recipe nncf needs that of its model"),
        ("train_tiny", [], "the recipe train needs that of its model"),
        ("static_int8", ["quantize.neural_compressor=true"], "quantize.neural_compressor is not heard for DeBERTa-v2"),
        ("static_int8", ["evaluate.length_config='(100, 50)'"], "evaluate.length_config is not heard: DeBERTa-v2"),
        ("static_int8", ["budgets.points=3"], "budgets is not heard"),
        ("static_int8", [], None),
        ("dynamic_int8", ["budgets.points=0"], None),
    ],
)
def test_recipes_that_need_our_own_encoder_refuse_it_before_anything(tiny_model, tmp_path, recipe, changes, message):
    checkpoint(tmp_path / "m", "deberta-v2", tiny_model)
    said = missing(load(recipe, [f"model={tmp_path / 'm'}", *changes]))
    assert (said is None) if message is None else (said and "DeBERTa-v2 or v3" in said)
    if message:
        with pytest.raises(UserError, match=message):
            run(load(recipe, [f"model={tmp_path / 'm'}", *changes]), tmp_path / "r")
        assert not list((tmp_path / "r").glob("*/done.json"))
