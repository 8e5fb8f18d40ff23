"""A key is heard, or the recipe is refused before it runs; every key of every kind is read by some stage."""

from __future__ import annotations

import re
import shutil
from typing import Any, get_args

import numpy as np
import pytest

from compress.int8 import inc
from compress.recipe import kind
from compress.recipe.heard import SET, Other, default_of, rules_of, said_by, value_of
from compress.recipe.heard import unheard as unheard_keys
from compress.recipe.length_adaptive import LengthAdaptiveRecipe
from compress.recipe.load import load, save, shipped, stages_of
from compress.run.run import run
from compress.tasks.lengths import effective, unheard
from compress.tasks.subjects import subject_of
from tests.compress.recipe_kit import changed_to, leaves, load_as, others, unread
from zoo.engines.torch import TorchEngine
from zoo.errors import UserError
from zoo.features import load_tokenizer, make_windows
from zoo.files import read_json
from zoo.lengths import LengthConfig

SEARCHED = ("average", "search", "quantize", "evaluate", "package")


@pytest.mark.parametrize(
    ("name", "changes", "words"),
    [
        (
            "static_int8",
            ["quantize.approach=dynamic", "quantize.calibration_samples=60"],
            "quantize.calibration_samples is not heard where "
            "quantize.approach is dynamic: set it to 128, or quantize.approach to static.",
        ),
        ("static_int8", ["budgets.points=0", "budgets.drop=0.1"], "or give budgets.points too"),
        ("static_int8", ["quantize.percentile=99"], "where quantize.calibration_method is minmax"),
        ("prune_once_tiny", ["quantize.calibration_samples=7"], "aware.calibration_samples is heard"),
        ("prune_once_tiny", ["pretrain.epochs=2"], "pretrain.epochs is not heard where pretrain.steps is 8: set it to"),
        (
            "minilm_w8a8_sst2",
            ["distill.apply=true", "distill.labels=[a, b]"],
            "or give distill.teacher too; dataset.labels are",
        ),
        ("distill", ["distill.layers=all"], "distill.hidden_weight is 0.0 and distill.attention_weight is 0.0"),
        ("nas_tiny", ["search.limit_ms=5", "search.limit_share=0.4"], "set it to 0.5, or search.limit_ms to null"),
        ("nas_tiny", ["search.strategy=random", "search.fresh=0.1"], "search.fresh is not heard where search.strategy"),
        ("nncf_post_training", ["evaluate.engine=openvino"], "which every engine is scored with at full length"),
        ("nncf_tiny", ["nncf.placement=graph", "evaluate.length_config=(64, 32)"], "or nncf.placement to products"),
        ("nncf_tiny", ["nncf.placement=graph", "package.layouts=true"], "or nncf.placement to products"),
        ("nncf_post_training", ["package.layouts=true"], "package.layouts is not heard where nncf.backend is"),
        (
            "minilm_w8a8_sst2",
            ["package.layouts=true"],
            "package.layouts is not heard where aimet.scope is full, so that no int8 graph comes out whose layout "
            "could be another: set it to false, or aimet.scope to deploy.",
        ),
        ("minilm_w8a8_sst2", ["quantize.reduce_range=true"], "which has eight bits in any case"),
        ("minilm_w8a8_sst2", ["aimet.scope=deploy", "aimet.mask=clamp"], "aimet.mask is not heard where aimet.scope"),
        ("aware_int8", ["quantize.approach=dynamic"], "quantize.approach is not heard where aware.apply is true"),
        ("aware_int8", ["quantize.percentile=99"], "quantize.percentile is not heard where aware.apply is true"),
        ("aware_int8", ["quantize.smoothing=0.5"], "aware.smoothing and aware.calibration_samples are heard"),
        ("prune_once_tiny", ["quantize.approach=dynamic"], "set it to static, or aware.apply to false"),
        ("minilm_w8a8_sst2", ["evaluate.engine=openvino"], "evaluate.engine is not heard where aimet.scope is full"),
        ("minilm_w8a8_sst2", ["evaluate.length_config=(64, 32)"], "set it to null, or aimet.scope to deploy"),
        # In groups that are not applied, whatever the group.
        (
            "static_int8",
            ["criterion.max_trials=3"],
            "max_trials is not heard where criterion.apply is false:",
        ),
        ("aware_int8", ["prune.scope=local"], "set it to global, or prune.apply to true."),
        ("distill", ["distill.apply=false", "distill.temperature=4"], "or distill.apply to true."),
        ("prune_once_tiny", ["aware.apply=false", "aware.epochs=3"], "aware.epochs is not heard where aware.apply is"),
        ("length_search", ["finetune.epochs=3"], "finetune.epochs is not heard where finetune.apply is false"),
        ("nncf_post_training", ["tune.average=0.9"], "tune.average is not heard where tune.apply is false"),
        ("nncf_tiny", ["control.max_drop=2"], "control.max_drop is not heard where control.apply is false"),
        ("minilm_w8a8_sst2", ["distill.label_weight=1"], "distill.label_weight is not heard where distill.apply is"),
        ("nas_tiny", ["supernet.apply=false", "supernet.dropout=0.1"], "where supernet.apply is false"),
        # In trainings that are not made for another reason.
        ("minilm_w8a8_sst2", ["aimet.learn=false", "aimet.epochs=9"], "set it to 6, or aimet.learn to true."),
        (
            "minilm_w8a8_sst2",
            ["aimet.learn=false", "finetune.apply=false", "training.freeze_layers=2"],
            "where aimet.learn is false and finetune.apply is false, so that nothing is trained: set it to 0, or",
        ),
        (
            "length_search",
            ["training.precision=fp32"],
            "and finetune.apply is false, so that nothing is trained: set it",
        ),
        ("nncf_post_training", ["training.gradient_accumulation=2"], "or tune.apply to true."),
        ("nas_tiny", ["search.scoring=finetune", "tune.epochs=2"], "each candidate by the group finetune: set it to 3"),
        (
            "prune",
            ["prune.approach=pattern_lock", "prune.target_sparsity=0.7"],
            "prune.target_sparsity is not heard where prune.approach is pattern_lock, which keeps the zeros that the "
            "checkpoint has: set it to 0.5, or choose another prune.approach.",
        ),
        ("prune_once_sparse_distilbert", ["pretrain.text=mine.txt"], "leave it out, or choose another prune.approach."),
        (
            "train_tiny",
            ["dataset.validation_titles=[Q*]"],
            "dataset.validation_titles is not heard where criterion.apply is false, so that nothing is chosen by them: "
            "set it to null, or criterion.apply to true.",
        ),
        ("nncf_tiny", ["dataset.validation_titles=[Q*]"], "where control.apply is false, so that nothing is chosen by"),
        ("minilm_w8a8_squad", ["dataset.validation_titles=[Q*]"], "not heard by aimet_w8a8, which chooses nothing"),
        (
            "train_tiny",
            ["dataset.validation=mine.json"],
            "dataset.validation is not heard where criterion.apply is false and dataset.task is squad, so that nothing "
            "is chosen by it: leave it out, or set criterion.apply to true.",
        ),
        ("prune_once_tiny", ["dataset.validation=mine.json"], "dataset.validation is not heard where criterion.apply"),
        ("nncf_tiny", ["dataset.validation=mine.json"], "leave it out, or set control.apply to true."),
        ("minilm_w8a8_squad", ["dataset.validation=mine.json"], "dataset.validation is not heard by aimet_w8a8, which"),
        # Beside what is ready, and where nothing is measured.
        ("nas_tiny", ["latency_table.table=t.json", "latency_table.rows=99"], "or latency_table.table to null."),
        ("nas_tiny", ["supernet.checkpoint=here", "supernet.batch_size=9"], "set it to 32, or supernet.checkpoint to"),
        ("nas_tiny", ["supernet.checkpoint=here", "generate_data.text=mine.txt"], "where supernet.checkpoint is here"),
        (
            "nas_tiny",
            ["supernet.checkpoint=here", "tokenizer=other"],
            "tokenizer is not heard where supernet.checkpoint",
        ),
        (
            "nas_tiny",
            ["supernet.apply=false", "supernet.order=false", "generate_data.max_passages=9"],
            "where supernet.apply is false and supernet.order is false, so that none is read: set it to null, or",
        ),
        (
            "static_int8",
            ["evaluate.latency_rounds=0", "evaluate.latency_tokens=99"],
            "so that none is measured: set it",
        ),
        (
            "static_int8",
            ["evaluate.null_threshold=-2"],
            "evaluate.null_threshold is not heard where dataset.version_2 is false and dataset.task is squad, where "
            "every question has an answer: set it to null, or dataset.version_2 to true.",
        ),
    ],
)
def test_a_key_that_nothing_would_hear_is_refused_before_anything_runs(name, changes, words, tmp_path, monkeypatch):
    monkeypatch.setattr(kind, "find_spec", lambda name: name)
    assert kind.missing(load(name)) is None, "as it ships it runs"
    recipe = load(name, changes)  # what an earlier version ran still opens
    with pytest.raises(UserError, match=re.escape(words)):
        run(recipe, tmp_path / "run")
    assert not list((tmp_path / "run").glob("*/started.json"))


@pytest.mark.parametrize("name", shipped())
def test_nothing_that_ships_says_what_nothing_hears(name):
    assert not list(load(name).unheard())


@pytest.mark.parametrize("name", ["length_adaptive", "static_int8", "train_tiny", "prune_once_tiny", "nncf_tiny",
                                  "aimet_w8a8", "nas_tiny"])  # fmt: skip
def test_a_rule_refuses_its_keys_where_they_are_not_heard_and_only_there(name):
    recipe = load(name)
    types, rules = dict(leaves(recipe)), list(rules_of(type(recipe)))
    assert rules
    for rule in rules:
        deaf = recipe
        for other, wanted in rule.where.items():
            deaf = changed_to(deaf, other, _not(wanted, types[other]))
        hearing = [changed_to(deaf, other, _is(wanted, types[other])) for other, wanted in rule.where.items()]
        for key in rule.keys:
            group = f"{key.partition('.')[0]}.apply"
            loose = group in types and group not in rule.where
            value = next(other for other in others(value_of(recipe, key), types[key]) if other != default_of(
                type(recipe), key))  # fmt: skip
            each = [changed_to(changed_to(one, group, True) if loose else one, key, value) for one in (deaf, *hearing)]
            start = f"{key} is not heard where {next(iter(rule.where))} is "
            refusals = [[text for text in unheard_keys(said_by(one, {key})) if text.startswith(start)] for one in each]
            assert refusals[0], (name, key)
            assert all(len(texts) < len(refusals[0]) for texts in refusals[1:]), (name, key, refusals)
            waiting = [text for text in unheard_keys(said_by(each[0], ())) if text.startswith(start)]
            assert not (rule.waits and waiting), "what the recipe's file says is left there"


def _is(wanted, annotation):
    """A value of a key that is what a rule wants."""
    if isinstance(wanted, Other):
        return next((choice for choice in get_args(annotation) if choice not in wanted.than), 1)
    return 1 if wanted is SET else wanted


def _not(wanted, annotation):
    """A value of a key that is not what a rule wants."""
    if isinstance(wanted, Other):
        return wanted.than[0]
    plain = {SET: None, None: 7, True: False, False: True}
    if wanted in plain:
        return plain[wanted]
    return next((choice for choice in get_args(annotation) if choice != wanted), f"another than {wanted}")


def test_what_a_configuration_of_nncf_says_comes_first_and_the_key_is_refused():
    assert not list(load("nncf_tiny", ["nncf.subset_size=7"]).unheard())
    (sentence,) = load("nncf_mnli", ["nncf.subset_size=7"]).unheard()
    assert sentence == (
        "nncf.subset_size is not heard where nncf_config says it, which comes first (24): set it to 300, or take it "
        "out of the configuration."
    )


@pytest.mark.parametrize("name", ["train_tiny", "prune_once_tiny", "nncf_tiny", "minilm_w8a8_squad"])
def test_who_changes_all_data_is_not_asked_to_leave_one_part_out(name):
    whole = [f"dataset.{part}=mine-{part}.json" for part in ("train", "validation", "evaluation")]
    assert not list(load(name, whole).unheard())
    assert len(list(load(name, whole[1:2]).unheard())) == 1
    texts = ["dataset.task=sst2", "dataset.titles=null", "dataset.validation_titles=null"]
    texts += ["dataset.evaluation_titles=null", "dataset.validation=held-out"]
    assert not list(load(name, texts).unheard()), "which is kept out of training"


def test_what_would_be_heard_otherwise_is_not_refused(monkeypatch):
    monkeypatch.setattr(kind, "find_spec", lambda name: name)
    assert kind.missing(load("aware_int8", ["aware.apply=false", "quantize.approach=dynamic"])) is None
    deploy = ["aimet.scope=deploy", "evaluate.engine=openvino", "evaluate.latency_tokens=77"]
    assert kind.missing(load("minilm_w8a8_sst2", deploy)) is None


def test_questions_are_scored_in_the_windows_that_the_recipe_asks_for(tiny_model, tiny_data, monkeypatch):
    tokenizer, engine = load_tokenizer(tiny_model), TorchEngine.open(tiny_model, 1)
    seen: list[int] = []
    once = engine.run
    monkeypatch.setattr(engine, "run", lambda batch, *more: seen.extend([batch["input_ids"].shape[1]] * len(
        batch["input_ids"])) or once(batch, *more))  # fmt: skip
    scores = {}
    for length, stride in ((384, 128), (128, 32), (128, 64)):
        changes = [f"reading.max_length={length}", f"reading.stride={stride}", f"dataset.evaluation={tiny_data.train}"]
        subject = subject_of(load("static_int8", [f"model={tiny_model}", *changes]))
        examples = subject.load("evaluation")
        seen.clear()
        scores[length, stride] = subject.score(
            engine, tokenizer, examples, settings=read_json(tiny_model / "config.json")
        )
        asked, contexts = [e.question for e in examples], [e.context for e in examples]
        windows = make_windows(tokenizer, asked, contexts, length, stride)
        assert sorted(seen) == sorted(len(window.input_ids) for window in windows) and max(seen) <= length
        remark = subject.description(len(examples)).get("remark", "")
        assert remark == (
            "" if length == 384 else f"read in windows of 128 tokens at most, of which neighbours share {stride}"
        )
    assert len({tuple(score.items()) for score in scores.values()}) > 1


def test_a_configuration_at_layers_that_drop_nothing_is_told():
    asked = LengthConfig((0.9, 0.5, 0.5, 0.2))
    real = effective(asked, [1, 3])
    assert unheard(asked, real) == (
        "the model drops no tokens at layer 0 (counted from 0): what was asked for there was not done, "
        "(1, 0.5, 0.5, 0.2) was"
    )
    assert "layers 0, 1, 2 (" in unheard(asked, effective(asked, [3]))
    assert unheard(real, real) == ""


def test_neural_compressor_quantizes_behind_a_search_too(finished_run, tiny_changes, tmp_path, monkeypatch):
    root, built = shutil.copytree(finished_run, tmp_path / "run"), []
    monkeypatch.setattr(inc, "backend", lambda: None)
    monkeypatch.setattr(kind, "find_spec", lambda name: name)

    def build(checkpoint, folder, settings, read) -> dict[str, Any]:
        built.append((checkpoint.parent, folder, settings.calibration_samples))
        return {"bytes": 1}

    monkeypatch.setattr(inc, "build", build)
    recipe = load("length_adaptive_tiny", [*tiny_changes, "quantize.neural_compressor=true"])
    results = run(recipe, root)
    assert results["quantize"]["neural_compressor"] == {"bytes": 1}
    assert built == [(root, root / "quantize" / inc.FOLDER, recipe.quantize.calibration_samples)]


@pytest.fixture(scope="module")
def searched(finished_run, tiny_changes, tmp_path_factory):
    """The folder of a run that only searches lengths for a checkpoint that had its LengthDrop training."""
    root = tmp_path_factory.mktemp("searched")
    checkpoint = shutil.copytree(finished_run / "length_drop", root / "given")
    changes = [change for change in tiny_changes if not change.startswith("model=")]
    off = [
        f"model={checkpoint}",
        "finetune.apply=false",
        "length_drop.apply=false",
        "quantize.calibration_method=percentile",
    ]
    return root, run(load("length_adaptive_tiny", [*changes, *off]), root / "run")


def test_lengths_are_searched_for_a_given_checkpoint_without_training(searched):
    root, results = searched
    assert tuple(results) == SEARCHED and results["average"] == {} and results["search"]["measured"] > 1
    small = root / "run/package" / results["package"]["entries"][1]
    facts = read_json(small / "entry.json")
    told = facts["provenance"]
    assert facts["method"] == "length-adaptive-int8" and "trained on" not in told and "trained from" not in told
    assert told["searched for"] == "given" and told["calibrated on"] == "train.json"
    assert len(read_json(small / "front.json")["points"]) >= 1
    whole = read_json(root / "run/package" / results["package"]["entries"][0] / "entry.json")
    assert whole["method"] == "none"


def test_a_search_without_training_hears_the_checkpoint_the_windows_and_the_bound(searched):
    off = ["finetune.apply=false", "length_drop.apply=false"]
    for change in ("model=other/one", "finetune.max_length=200", "length_drop.length_drop_ratio_bound=0.3"):
        from compress.run.inputs import fingerprint

        one, two = (load_as(LengthAdaptiveRecipe, "length_adaptive", [*off, *more]) for more in ([], [change]))
        stage = one.stages["average"]
        assert fingerprint(one, stage, "") != fingerprint(two, stage, ""), change
        trained = [load("length_adaptive", more) for more in ([], [change])]
        assert fingerprint(trained[0], stage, "") == fingerprint(trained[1], stage, "")


def test_what_a_search_without_training_cannot_do_is_refused(tiny_model, tiny_changes, tmp_path):
    from zoo.modeling import LengthAdaptiveModel
    from zoo.tasks import TEXTS

    off = ["finetune.apply=false", "length_drop.apply=false"]
    with pytest.raises(UserError, match=r"distill\.apply teaches in training"):
        load("length_adaptive", [*off, "distill.apply=true"])
    with pytest.raises(UserError, match="tokenizer is taken up in fine-tuning"):
        load("length_adaptive", [*off, f"tokenizer={tiny_model}"])
    other = tmp_path / "other"
    LengthAdaptiveModel.load(tiny_model, TEXTS, id2label={"0": "no", "1": "yes"}).save(other)
    load_tokenizer(tiny_model).save_pretrained(str(other))
    with pytest.raises(UserError, match="nothing is trained here that could make a head for SQuAD 1.1"):
        run(load("length_adaptive_tiny", [*tiny_changes, f"model={other}", *off]), tmp_path / "run")


def test_a_run_that_an_earlier_version_began_has_all_of_its_stages():
    stages = list(stages_of("length_adaptive", {"finetune": {"epochs": 1}, "length_drop": {}}))
    assert stages[:2] == ["finetune", "length_drop"]
    assert list(stages_of("length_adaptive", load("length_search").model_dump())) == list(SEARCHED)


def test_every_key_of_length_adaptive_is_read(finished_run, searched):
    assert unread(LengthAdaptiveRecipe, finished_run, searched[0] / "run") == set()
    assert np.isfinite(read_json(finished_run / "result.json")["stages"]["search"]["points"])


@pytest.mark.parametrize(
    ("name", "off", "key", "on"),
    [
        ("train_tiny", "prune.apply=false", "prune.frequency", "prune.apply=true"),
        ("train_tiny", "aware.apply=false", "aware.calibration_samples", "aware.apply=true"),
        ("aimet_w8a8", "aimet.learn=false", "finetune.batch_size", "aimet.learn=true"),
        ("nas_tiny", "latency_table.table=table.json", "latency_table.rows", "latency_table.table=null"),
        ("nas_tiny", "search.scoring=finetune", "tune.epochs", "search.scoring=inside"),
        ("prune_once_tiny", "prune.approach=pattern_lock", "pretrain.steps", "prune.approach=magnitude"),
    ],
)
def test_what_only_the_recipe_says_waits_where_a_person_turns_it_off(name, off, key, on, tmp_path):
    stated = value_of(load(name), key)
    recipe = load(name, [off])
    assert value_of(recipe, key) == stated and not list(recipe.unheard())
    save(recipe, tmp_path / "recipe.yaml")
    again = load(tmp_path, [on])  # as of a run's folder, whose recipe says every key
    assert value_of(again, key) == stated and not list(again.unheard()) and again == load(name)


def test_what_only_the_recipe_says_gives_way_to_what_a_person_says():
    recipe = load("static_int8", ["quantize.approach=dynamic"])
    assert recipe.quantize.calibration_samples == default_of(type(recipe), "quantize.calibration_samples") != 60
    assert list(recipe.unheard()) == []
    trained = load("finetune_glue", ["aware.apply=true"])
    assert list(trained.unheard()) == []
    said = load("static_int8", ["quantize.approach=dynamic", "quantize.calibration_samples=60"])
    assert [line.split()[0] for line in said.unheard()] == ["quantize.calibration_samples"]
    assert load("static_int8").quantize.calibration_samples == 60
