"""NNCF's JSON configurations: every key is carried over or refused by name, and scopes find what they name."""

from __future__ import annotations

import json
from typing import Any

import pytest

from compress.nncf.scopes import matching, operators
from compress.recipe.load import RECIPES, load, shipped
from compress.recipe.nncf import NncfRecipe
from compress.recipe.nncf_config import Numbers, Override, Plan, parse_config, plan_of, read_text
from tests.compress.recipe_kit import load_as
from zoo.errors import UserError

FAMILIES = {
    "bert": "BertForQuestionAnswering",
    "roberta": "RobertaForSequenceClassification",
    "distilbert": "DistilBertForSequenceClassification",
    "xlm-roberta": "XLMRobertaForQuestionAnswering",
}


def config(**compression):
    return {"compression": {"algorithm": "quantization", **compression}}


def ranges(**keys):
    return config(initializer={"range": keys})


def model(family):
    return {"model_type": family, "architectures": [FAMILIES[family]], "num_hidden_layers": 2, "n_layers": 2}


@pytest.mark.parametrize(
    ("data", "attribute", "expected"),
    [
        (config(preset="mixed"), "preset", "mixed"),
        (config(overflow_fix="disable"), "overflow_fix", "disable"),
        ({**config(), "target_device": "CPU"}, "device", "CPU"),
        ({**config(), "input_info": {"sample_size": [1, 128], "type": "long"}}, "max_length", 128),
        ({**config(), "input_info": [{"sample_size": [8, 384], "filler": "ones"}] * 3}, "max_length", 384),
        (ranges(num_init_samples=32), "samples", 32),
        (ranges(num_init_steps=4), "steps", 4),
        (ranges(type="histogram"), "estimator", "histogram"),
        (
            ranges(type="mean_percentile", params={"min_percentile": 1, "max_percentile": 99}),
            "percentiles",
            (1, 99),
        ),
        (config(weights={"mode": "asymmetric", "bits": 4}), "weights", Numbers("asymmetric", 4)),
        (config(weights={"per_channel": False, "signed": True}), "weights", Numbers(None, 8, False, True)),
        (config(activations={"mode": "symmetric", "signed": False}), "activations", Numbers("symmetric", signed=False)),
        (config(ignored_scopes=["words"]), "ignored", ("words",)),
        (config(target_scopes="{re}layers"), "targets", ("{re}layers",)),
        (config(weights={"ignored_scopes": ["words"]}), "ignored_weights", ("words",)),
        (config(activations={"target_scopes": ["layers.0"]}), "target_activations", ("layers.0",)),
        (
            config(scope_overrides={"weights": {"layers.0": {"bits": 4, "mode": "symmetric"}}}),
            "overrides",
            (Override("weights", "layers.0", Numbers("symmetric", 4)),),
        ),
        (config(export_to_onnx_standard_ops=True), "preset", None),
        (config(initializer={"batchnorm_adaptation": {"num_bn_adaptation_samples": 0}}), "samples", None),
        ({"compression": [config()["compression"]], "log_dir": "x"}, "weights", Numbers()),
    ],
)
def test_what_is_carried_over(data, attribute, expected):
    assert getattr(plan_of(data), attribute) == expected


@pytest.mark.parametrize(
    ("data", "named"),
    [
        ({"compression": {"algorithm": "magnitude_sparsity"}}, "magnitude_sparsity.*prune.approach magnitude"),
        ({"compression": {"algorithm": "filter_pruning"}}, "filter_pruning"),
        ({"compression": {"algorithm": "binarization"}}, "binarization"),
        ({"compression": {}}, "compression.algorithm"),
        ({"compression": [config()["compression"], {"algorithm": "rb_sparsity"}]}, "rb_sparsity"),
        ({}, "lacks compression"),
        ([], "should hold keys and values"),
        ({**config(), "accuracy_aware_training": {}}, "accuracy_aware_training: set control.apply"),
        ({**config(), "hw_config_type": "cpu"}, "hw_config_type: write target_device"),
        ({**config(), "target_device": "TRIAL"}, "target_device: 'TRIAL'.*ANY"),
        ({**config(), "no_such": 1}, "no_such: this cannot be carried over"),
        (config(initializer={"precision": {"type": "hawq"}}), "initializer.precision: mixed precision"),
        (config(initializer={"range": [{"type": "min_max"}]}), "ranges by scope"),
        (config(params={"activations_quant_start_epoch": 1}), "compression.params: stages"),
        (config(compression_lr_multiplier=5), "compression_lr_multiplier"),
        (config(quantize_outputs=True), "quantize_outputs"),
        (config(export_to_onnx_standard_ops=False), "export_to_onnx_standard_ops"),
        (config(overflow_fix="maybe"), "overflow_fix: 'maybe'"),
        (config(activations={"per_channel": True}), "activations.per_channel: one range"),
        (config(activations={"unified_scale_ops": [["a"]]}), "unified_scale_ops"),
        (config(weights={"logarithm_scale": True}), "weights.logarithm_scale"),
        (config(weights={"signed": False}), "weights.signed"),
        (config(weights={"bits": 16}), "weights.bits: 16"),
        (config(weights={"mode": "ternary"}), "weights.mode: 'ternary'"),
        (config(scope_overrides={"operator_metatypes": {}}), "scope_overrides.operator_metatypes"),
        (config(ignored_scopes=[1]), "ignored_scopes is a list of names"),
        (ranges(type="threesigma"), "'threesigma' is not among"),
        (ranges(num_init_samples=0), "write at least 1"),
        (ranges(type="percentile", params={"min_percentile": 60, "max_percentile": 40}), "not below"),
        ({**config(), "input_info": {"sample_size": [1, 3, 224, 224]}}, r"\[batch, tokens\]"),
        ({**config(), "input_info": {"sample_size": [1, 8], "type": "float"}}, "write long"),
        ({**config(), "input_info": {"sample_size": [1, 8], "keyword": "pixels"}}, "no input 'pixels'"),
        ({**config(), "input_info": [{"sample_size": [1, 8]}, {"sample_size": [1, 9]}]}, r"\[8, 9\]"),
    ],
)
def test_what_is_refused_is_named(data, named):
    with pytest.raises(UserError, match=named):
        plan_of(data)


def test_percentiles_of_all_samples_are_told_to_be_taken_otherwise():
    assert "averaged" in plan_of(ranges(type="percentile")).remarks[0]


def test_comments_are_read_as_nncf_reads_them():
    text = '{"compression": {"algorithm": "quantization", // a remark\n "ignored_scopes": ["{re}a//b"]}}'
    assert parse_config(text).ignored == ("{re}a//b",)
    with pytest.raises(UserError, match="is not JSON"):
        parse_config("algorithm: quantization")


def test_a_file_that_is_not_there_is_named_without_its_folder(tmp_path):
    with pytest.raises(UserError, match="no NNCF configuration gone.json") as error:
        read_text(tmp_path / "gone.json", RECIPES)
    assert str(tmp_path) not in str(error.value)


@pytest.mark.parametrize("family", FAMILIES)
def test_operators_go_by_their_names_of_all_versions(family):
    named = operators(model(family))
    paths = {
        "bert": ("bert.encoder.layer.1.attention.output.dense", "{re}BertLayer\\[1\\].*SelfOutput.*NNCFLinear"),
        "roberta": ("roberta.encoder.layer.1.attention.output.dense", "{re}BertLayer\\[1\\].*SelfOutput.*NNCFLinear"),
        "xlm-roberta": (
            "roberta/encoder/layer/1/attention/output/dense",
            "{re}XLMRobertaLayer\\[1\\].*SelfOutput.*NNCFLinear",
        ),
        "distilbert": ("distilbert/transformer/layer/1/attention/out_lin", "{re}Block\\[1\\].*NNCFLinear\\[out_lin"),
    }[family]
    for scope in ("layers.1.project", *paths):
        assert matching([scope], named) == ["layers.1.project"]
    assert matching(["{re}embedding"], named)[:2] == ["words", "positions"]
    whole = matching(["layers.0"], named)
    assert whole == [f"layers.0.{part}" for part in ("query", "key", "value", "project", "expand", "contract")]


def test_operators_that_stay_in_float_are_known():
    named = operators(model("bert"))
    assert len(matching([r"{re}BertSelfAttention\[self\]/__add___0"], named)) == 2


@pytest.mark.parametrize("scope", ["layers.7", "layer", "{re}Conv2d", "words/embedding_1"])
def test_a_scope_that_matches_nothing_is_named(scope):
    with pytest.raises(UserError, match="matches nothing in this model"):
        matching([scope], operators(model("bert")))
    with pytest.raises(UserError, match="no regular expression"):
        matching(["{re}["], operators(model("bert")))


def test_configurations_ship_beside_recipes_and_are_no_recipes():
    files = {path.stem for path in RECIPES.glob("nncf_*.json")}
    assert files == {"nncf_squad", "nncf_xnli", "nncf_mnli", "nncf_minilm_l6", "nncf_minilm_l6_squad"}
    for name in [name for name in shipped() if name.startswith("nncf")]:
        recipe: Any = load(name)
        assert recipe.kind == "nncf"
        if recipe.nncf_config:
            assert parse_config(recipe.nncf_config) != Plan()
    assert "nncf_xnli" not in shipped()


@pytest.mark.parametrize(
    ("name", "samples", "length", "estimator", "line"),
    [
        ("nncf_squad", 32, 384, "percentile", "92.48% F1"),
        ("nncf_xnli_zh", 96, 128, None, "77.02% accuracy"),
        ("nncf_mnli", 24, 128, None, "89.25% accuracy"),
    ],
)
def test_what_ships_is_asymmetric_as_the_published_results_are(name, samples, length, estimator, line, seeds):
    recipe = load_as(NncfRecipe, name, [])
    plan = parse_config(recipe.nncf_config or "")
    assert plan.weights == plan.activations == Numbers("asymmetric")
    assert (plan.samples, plan.max_length, plan.estimator) == (samples, length, estimator)
    (said,) = [row for row in seeds["004"].splitlines() if line in row]
    assert "asymmetrically quantized" in said


def test_the_recipe_holds_the_configuration_itself(tmp_path):
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(config(preset="mixed")))
    given, none = (load("nncf_tiny", [f"nncf_config={name}"]) for name in (path, "''"))
    assert isinstance(given, NncfRecipe) and isinstance(none, NncfRecipe)
    assert json.loads(given.nncf_config or "") == config(preset="mixed")
    assert none.nncf_config is None


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (["nncf_config=gone.json"], "no NNCF configuration gone.json"),
        (["nncf_config=nncf_xnli.json"], "inputs of 128 tokens.*tune.max_length is 384"),
        (["nncf.backend=onnx"], "cannot be trained: set tune.apply to false"),
        (["control.apply=true"], "control needs nncf.backend onnx or openvino"),
        (["tune.apply=false"], "distill takes part in tune"),
        (["tune.max_length=256"], "read the same windows"),
        (["nncf.bias_correction=full"], "full needs backend onnx or openvino"),
        (["nncf.overflow_fix=first_layer_only"], "for convolutions"),
        (["control.drop_type=relative", "control.max_drop=5"], "share of the float score"),
        (["dataset.evaluation_task=xnli_en"], "other labels than squad"),
        (["dataset.evaluation_task=xnli_xx"], "no task"),
    ],
)
def test_parts_that_do_not_fit_are_told(changes, told):
    with pytest.raises(UserError, match=told):
        load("nncf_tiny", changes)


def test_one_task_is_learned_and_another_reported_on():
    data: Any = load("nncf_xnli_en").dataset
    assert (data.task, data.evaluation_task) == ("mnli", "xnli_en")
    with pytest.raises(UserError, match="other labels than mnli"):
        load("nncf_xnli_en", ["dataset.evaluation_task=sst2"])
