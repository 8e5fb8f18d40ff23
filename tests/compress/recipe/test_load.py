from __future__ import annotations

from typing import Any

import pytest
import yaml

from compress.recipe.length_adaptive import LengthAdaptiveRecipe
from compress.recipe.load import describe, dump, expanded, load, shipped
from compress.recipe.place import group_of
from compress.recipe.quantize import QuantizeRecipe
from zoo.errors import UserError
from zoo.settings import get_settings
from zoo.tasks import QUESTIONS, TEXTS

NO_TITLES = ["dataset.titles=null", "dataset.validation_titles=null"]


@pytest.mark.parametrize("name", shipped())
def test_every_shipped_recipe_is_valid_and_survives_yaml(name, tmp_path):
    made = load(name)
    (tmp_path / "recipe.yaml").write_text(dump(made))
    assert load(tmp_path / "recipe.yaml") == load(tmp_path) == made


@pytest.mark.parametrize("name", shipped())
def test_what_starts_from_a_model_of_the_hub_says_so_in_its_card(name):
    made: Any = load(name)
    stated = getattr(made.package, "base_model", None)
    assert "/" not in made.model or made.model.startswith("$") or stated in (None, made.model)


def test_the_published_settings_ship():
    made: Any = load("length_adaptive")
    assert (made.finetune.learning_rate, made.finetune.epochs, made.finetune.batch_size) == (3e-5, 2, 8)
    assert (made.finetune.max_length, made.finetune.stride) == (384, 128)
    drop = made.length_drop
    assert (drop.num_sandwich, drop.length_drop_ratio_bound, drop.layer_dropout_prob, drop.epochs) == (2, 0.2, 0.2, 5)
    for part in (made.finetune, drop):  # of BERT's configuration, which the published training leaves as it is
        assert (part.dropout, part.attention_dropout) == (0.1, 0.1)
    search = made.search
    assert (search.iterations, search.population, search.mutations, search.crossovers) == (30, 20, 30, 30)


def leaves(model, before=""):
    for key, field in model.model_fields.items():
        inner = group_of(field.annotation)
        if inner:
            yield from leaves(inner, f"{before}{key}.")
        else:
            yield before + key, field


@pytest.mark.parametrize(
    ("name", "recipe"), [("length_adaptive", LengthAdaptiveRecipe), ("static_int8", QuantizeRecipe)]
)
def test_every_key_is_documented_and_shown(name, recipe):
    shown = describe(load(name))
    for key, field in leaves(recipe):
        assert field.description, key
        assert field.description in shown, key
    assert yaml.safe_load(shown) == yaml.safe_load(dump(load(name)))


def test_changes_are_read_as_yaml():
    made: Any = load(
        "length_adaptive",
        ["finetune.epochs=0.5", "length_drop.drop_layers=[1, 3]", "dataset.titles=null", "quantize.reduce_range=false"],
    )
    assert (made.finetune.epochs, made.length_drop.drop_layers) == (0.5, [1, 3])
    assert made.dataset.titles is None and made.quantize.reduce_range is False


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("finetune.epoch=1", "no key finetune.epoch. Did you mean finetune.epochs"),
        ("epochs=1", "finetune.epochs or length_drop.epochs"),
        ("finetune=1", "finetune is a group of keys: set one of learning_rate"),
        ("finetune.epochs", "write key=value"),
        (".=1", "write key=value"),
        ("finetune.epochs.x=1", "no key finetune.epochs.x"),
        ("finetune.epochs=[", "not valid YAML"),
        ("finetune.epochs=-1", "finetune.epochs: should be greater than 0 .it is -1."),
        ("finetune.epochs=many", "finetune.epochs: should be a valid number"),
        ("search.objective=energy", "search.objective: should be 'macs' or 'latency'"),
        ("quantize.reduce_range=7", "quantize.reduce_range: should be"),
        ("dataset.titles=[1]", r"dataset.titles\[0\]: should be a valid string"),
        ("length_drop.length_drop_ratio_bound=1.5", "lies in 0 to 1"),
        ("length_drop.length_drop_ratio_bound=[0.1, 0.2]", "one number for each of drop_layers"),
        ("length_drop.drop_layers=[3, 1]", "rising order"),
        ("package.name=../up", "package.name: "),
        ("kind=other", "there is no kind 'other'"),
    ],
)
def test_a_bad_change_is_told_in_plain_words(change, message):
    with pytest.raises(UserError, match=message):
        load("length_adaptive", [change])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["dataset.task=wnli"], "dataset.task: There is no task 'wnli'"),
        (["dataset.validation=held-out"], "held-out is for texts"),
        (["dataset.task=sst2"], "titles is for questions: leave it out for sst2"),
        (["dataset.task=sst2", *NO_TITLES, "dataset.version_2=true"], "version_2 is for questions"),
        (["dataset.task=sst2", *NO_TITLES, "dataset.train=held-out"], "for dataset.validation alone"),
        (["dataset.task=sst2", *NO_TITLES, "length_drop.significance_weight=1"], "which texts have not: set both to 0"),
        (["length_drop.pooled=left"], "length_drop.pooled is for embeddings, and questions are none: leave it out"),
        (["length_drop.full_every=4"], "its teacher_weight above 0 and num_sandwich to 1 or more, or full_every"),
        (["length_drop.neighbours=8"], "length_drop.neighbours are of embeddings, and questions are none: leave it"),
    ],
)
def test_what_does_not_go_with_a_task_is_refused(changes, message):
    with pytest.raises(UserError, match=message):
        load("length_adaptive", changes)


def test_a_task_is_known_by_all_its_names():
    made: Any = load("length_adaptive", ["dataset.task=SST-2", "dataset.train=null", *NO_TITLES])
    assert (made.dataset.task, made.dataset.train, made.dataset.type) == ("sst2", "hub", TEXTS)
    assert load("length_adaptive").dataset.task == "squad" and load("static_int8").dataset.type is QUESTIONS


def test_all_faults_of_a_file_are_told_one_a_line(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("model: x\ndataset: {train: a, validation: b, traim: c}\nfinetune: {batch_size: 0}\nserch: {}\n")
    with pytest.raises(UserError) as caught:
        load(path)
    lines = str(caught.value).splitlines()
    assert len(lines) == 5
    assert "  dataset.evaluation: is missing and has no default." in lines
    assert any(line.startswith("  dataset.traim: there is no such key. Did you mean dataset.train") for line in lines)
    assert any(line.startswith("  finetune.batch_size: should be greater than or equal to 1") for line in lines)
    assert any(line.startswith("  serch: there is no such key.") for line in lines)


@pytest.mark.parametrize(("text", "message"), [("a: [", "not valid YAML"), ("- 1", "should hold keys")])
def test_files_that_are_no_recipe(tmp_path, text, message):
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(UserError, match=message):
        load(tmp_path / "mine.yaml")


def test_an_unknown_name_lists_the_shipped_ones():
    with pytest.raises(UserError, match="length_adaptive, length_adaptive_minilm_l6"):
        load("no-such-recipe")


def test_yaml_runs_no_code(tmp_path):
    (tmp_path / "mine.yaml").write_text("model: !!python/object/apply:os.system ['true']\n")
    with pytest.raises(UserError, match="not valid YAML"):
        load(tmp_path / "mine.yaml")


def test_the_data_folder_is_filled_in_when_it_runs(monkeypatch, tmp_path):
    made = load("length_adaptive_minilm_l6")
    assert made.dataset.train.startswith("${BUDGET_ZOO_DATA}/")
    monkeypatch.setenv("BUDGET_ZOO_DATA", str(tmp_path))
    get_settings.cache_clear()
    try:
        assert expanded(made).dataset.train == f"{tmp_path}/qa/squad_train_v2.json"
        monkeypatch.delenv("BUDGET_ZOO_DATA")
        get_settings.cache_clear()
        with pytest.raises(UserError, match="set BUDGET_ZOO_DATA"):
            expanded(made)
    finally:
        monkeypatch.undo()
        get_settings.cache_clear()
