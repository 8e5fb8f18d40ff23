"""What every kind of recipe has, and that a new one is a class in one file and a recipe in another."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator
from typing import Any, Literal, get_args, get_origin

import pytest

from compress import recipe as package
from compress.recipe import groups, kind
from compress.recipe import load as recipes
from compress.recipe.kind import KINDS, Kind
from compress.recipe.length_adaptive import LengthAdaptiveRecipe
from compress.recipe.load import load, shipped, stages_of
from compress.recipe.place import Mark, absolute, marked, on_disk, places
from compress.recipe.stage import Stage, holds
from compress.run.inputs import fingerprint
from compress.run.run import run
from compress.run.traces import stages as stages_in
from tests.compress.recipe_kit import decides, leaves, load_as
from zoo.errors import UserError
from zoo.settings import get_settings

# Of finished runs: with others, what took days would begin anew. Hashes of all stages' fingerprints, at 2f5fbf0; of
# `nas` from the latency table on, which left operators out, and of `nncf_mnli` with the configuration as published;
# of `length_adaptive` with the published dropout; of both tiny ones with data that they do not learn and search on at
# once.
FINISHED = {
    "length_adaptive": "2ca65333017a2063",
    "static_int8": "082eb12dc715ba5c",
    "train_tiny": "3bec2fc0a407f64b",
    "prune_once_tiny": "8445bd437ee9e718",
    "nncf_tiny": "8eed082268763def",
    "nncf_mnli": "e73116074927e6b5",  # its configuration is asymmetric since; a run holds its own
    "aimet_w8a8": "4d4508cbc1683b2a",
    "nas_tiny": "4ae6747afae88bc6",
    "length_adaptive_sst2": "59fa3a4210bab110",
    "nas_mnli": "ce15de3ba300ba20",
}
TOY = '''
"""The kind `toy`: a number is doubled."""

from typing import ClassVar, Literal

from pydantic import Field

from compress.recipe.groups import Evaluate, Group, Package, Quantize, Questions, Reading
from compress.recipe.kind import Kind, Need
from compress.recipe.stage import Stage, holds
from compress.recipe.work import Work


class Number(Group):
    """What is doubled."""

    value: int = Field(default=1, description="the number")


class ToyRecipe(Kind):
    """double -> halve: there and back."""

    trains: ClassVar[bool] = False
    stages: ClassVar = {
        "double": Stage("compress.recipe.toy:double", ("number",)),
        "halve": Stage("compress.recipe.toy:halve", ()),
    }
    kind: Literal["toy"] = Field(default="toy", description="which method")
    dataset: Questions = Questions()
    number: Number = Number()
    reading: Reading = Reading()
    quantize: Quantize = Quantize()
    evaluate: Evaluate = Evaluate()
    package: Package = Package()
    seed: int = Field(default=0, description="seed")

    def needs(self):
        yield Need("toys", "toys are not installed: `pip install toys`.")

    def work(self, counts):
        return [Work(0.0, 1.0), self.reported(counts, 1)]

    @property
    def method(self):
        return "doubled"


def double(ctx):
    return {"value": 2 * ctx.recipe.number.value}


def halve(ctx):
    return {"value": ctx.recipe.number.value, "stages": sorted(ctx.inputs)}
'''


@pytest.fixture
def toy(tmp_path, monkeypatch) -> Iterator[Any]:
    """A kind of recipe in a file beside the others', and a recipe of it."""
    (tmp_path / "toy.py").write_text(TOY)
    (tmp_path / "toy.yaml").write_text("kind: toy\nmodel: minilm-l6-qa\nnumber: {value: 21}\n")
    monkeypatch.setattr(package, "__path__", [*package.__path__, str(tmp_path)])
    recipes.discover()
    yield load(tmp_path / "toy.yaml")
    del KINDS["toy"], sys.modules["compress.recipe.toy"]


def test_a_kind_is_a_class_in_one_file_and_a_recipe_of_it_runs_to_its_end(toy, tmp_path, monkeypatch):
    monkeypatch.setattr(kind, "find_spec", lambda name: None if name == "toys" else name)
    assert kind.missing(toy) == "toys are not installed: `pip install toys`."
    monkeypatch.setattr(kind, "find_spec", lambda name: name)
    assert run(toy, tmp_path / "run") == {"double": {"value": 42}, "halve": {"value": 21, "stages": ["double"]}}
    again = load(tmp_path / "run", ["number.value=4"])
    assert run(again, tmp_path / "run")["halve"]["value"] == 4
    assert [stage["state"] for stage in stages_in(tmp_path / "run", "toy", None, "done")] == ["done", "done"]
    assert (toy.method, toy.int8_method, toy.suffix) == ("doubled", "doubled-int8", "-int8")


def test_a_stage_that_reads_what_it_does_not_name_is_seen(toy, tmp_path, monkeypatch):
    monkeypatch.setattr(kind, "find_spec", lambda name: name)
    run(toy, tmp_path / "run")
    monkeypatch.setattr(type(toy), "stages", {"double": Stage("compress.recipe.toy:double", ("seed",))})
    with pytest.raises(AssertionError, match="double of toy reads, but does not name, .'number.value'"):
        run(toy, tmp_path / "other")


def test_a_new_kind_is_estimated_and_submitted(toy, monkeypatch, tmp_path):
    from compress.jobs import estimate

    monkeypatch.setattr(estimate, "_speed", lambda _now: 1e9)
    told = estimate.estimate(toy)
    assert (
        told["minutes"] and told["minutes"] > estimate.STARTING_MINUTES and told["basis"].startswith("its arithmetic")
    )


@pytest.mark.parametrize("name", ["length_adaptive", "static_int8", "train_tiny", "prune_once_tiny", "nncf_tiny",
                                  "aimet_w8a8", "nas_tiny", "nas_mnli", "nncf_mnli"])  # fmt: skip
def test_every_key_that_a_stage_names_changes_its_fingerprint_and_no_other_does(name):
    recipe = load(name)
    idle = set(marked(type(recipe), Mark.IDLE))
    for stage in type(recipe).stages.values():
        assert fingerprint(recipe, stage, "before") != fingerprint(recipe, stage, "after")
        for key, annotation in leaves(recipe):
            if get_origin(annotation) is Literal and len(get_args(annotation)) == 1:
                continue  # nothing else may stand there
            if key in {condition.removeprefix("not ").partition(" != ")[0] for _, condition in stage.also}:
                continue  # decides by other keys, where these are set
            is_named = any(key == part or key.startswith(f"{part}.") for part in stage.parts)
            of_questions = key.startswith("dataset.") and recipe.dataset.task == "squad" and key != "dataset.task"
            is_later = stage.spread and of_questions and key.removeprefix("dataset.") not in groups.LEARNED
            of_texts = key.startswith("dataset.") and "dataset.train" in stage.parts and not of_questions
            is_named |= any(
                f"{key}.".startswith(f"{also}.") and holds(condition, recipe) for also, condition in stage.also
            )
            expected = (is_named or of_texts) and not is_later and key not in idle
            assert decides(recipe, stage, key) == expected, (stage.target, key)


@pytest.mark.parametrize("name", FINISHED)
def test_finished_work_is_known_again(name):
    recipe = load(name)
    marks = [fingerprint(recipe, stage, "x") for stage in stages_of(recipe.kind, recipe.model_dump()).values()]
    assert hashlib.sha256("".join(marks).encode()).hexdigest()[:16] == FINISHED[name]


def test_every_kind_says_what_it_is():
    assert sorted(KINDS) == ["aimet_w8a8", "length_adaptive", "nas", "nncf", "prune_once", "quantize", "train"]
    for name, model in KINDS.items():
        assert model.model_fields["kind"].default == name and issubclass(model, Kind)
        assert list(model.stages)[-2:] == ["evaluate", "package"] and model.stages["package"].packs
        assert any(stage.checkpoint for stage in model.stages.values()) == model.trains


@pytest.mark.parametrize(
    ("name", "changes", "methods"),
    [
        ("length_adaptive", [], ("length-drop", "length-adaptive-int8")),
        ("static_int8", [], ("none", "static-int8")),
        ("dynamic_int8", [], ("none", "dynamic-int8")),
        ("train_tiny", [f"{part}.apply=false" for part in ("prune", "distill", "aware")],
         ("fine-tuned", "fine-tuned-int8")),
        ("train_tiny", [f"{part}.apply=true" for part in ("prune", "distill", "aware")],
         ("pruned-distilled-quantization-aware", "pruned-distilled-quantization-aware-int8")),
        ("nas_tiny", [], ("nas", "nas-int8")),
        ("aimet_w8a8", [], ("fine-tuned", "aimet-int8")),
        ("nncf_tiny", ["finetune.apply=true"], ("fine-tuned", "nncf-int8")),
        ("nncf_tiny", ["finetune.apply=false"], ("none", "nncf-int8")),
    ],
)  # fmt: skip
def test_the_methods_that_entries_get(name, changes, methods):
    recipe = load(name, changes)
    assert (recipe.float_method, recipe.int8_method) == methods


def test_cards_tell_where_a_length_adaptive_model_comes_from():
    changes = ["model=/home/me/mine", "average.checkpoints=[a/b, /home/me/c]", "distill.apply=true"]
    assert load("length_adaptive_tiny", [*changes, "distill.teacher=/home/me/t"]).origin() == {
        "recipe": "length_adaptive",
        "trained from": "mine",
        "trained on": "examples",
        "searched on": "examples",
        "search objective": "macs",
        "titles": "[!E-M]*",
        "validation titles": "[LM]*",
        "tokens ranked by": "the attention that they receive",
        "taught by": "t",
        "averaged with": "a/b, c",
    }


@pytest.mark.parametrize(
    ("name", "changes", "told"),
    [
        ("nas_tiny", [], True),
        ("train_tiny", [], False),
        ("train_tiny", ["criterion.apply=true"], True),
        ("prune_once_tiny", [], False),
        ("nncf_tiny", [], False),
        ("minilm_l6_w8a8_squad", ["dataset.validation_titles=[Q*]"], False),
    ],
)
def test_cards_name_titles_to_choose_by_only_where_something_was_chosen(name, changes, told):
    recipe = load(name, changes)
    assert recipe.dataset.validation_titles and ("validation titles" in recipe.origin()) is told


def test_embeddings_are_not_learned_in_parts_of_a_batch():
    """Each text would be compared with those of its part alone."""
    with pytest.raises(UserError, match="embeddings are learned by comparing all of it: set it to 1"):
        load("minilm_embeddings", ["training.gradient_accumulation=2"])
    assert load("train_tiny", ["training.gradient_accumulation=2"])


@pytest.mark.parametrize("name", ["aimet_w8a8", "nncf_minilm_l6_squad"])
def test_a_float_model_that_was_taken_as_it_is_was_not_fine_tuned(name):
    assert load(name, ["finetune.apply=false"]).float_method == "none"
    assert load(name, ["finetune.apply=true"]).float_method == "fine-tuned"


def test_places_are_found_by_their_type_wherever_they_stand(tmp_path, monkeypatch):
    assert list(marked(KINDS["nas"], Mark.PLACE)) == [
        *("model", "tokenizer", "dataset.train", "dataset.validation", "dataset.evaluation", "generate_data.text"),
        *("supernet.checkpoint", "supernet.teacher", "latency_table.table"),
    ]
    data = {"model": "m", "dataset": {"train": 3}, "average": {"checkpoints": ["a", "b", 7]}, "search": {"start": "s"}}
    assert list(places(KINDS["length_adaptive"], data)) == [
        (("model",), "m"),
        (("average", "checkpoints", 0), "a"),
        (("average", "checkpoints", 1), "b"),
        (("search", "start"), "s"),
    ]
    for name in ("hub", "examples", "held-out", "mine"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path)
    names = ["hub", "examples", "held-out", "", "mine", "{" * 5000, "~nobody-here/x", "\0", str(tmp_path)]
    assert [name for name in names if on_disk(name)] == ["mine", str(tmp_path)]
    changes = ["dataset.train=mine", "dataset.evaluation=hub", "search.start=mine"]
    made = absolute(load_as(LengthAdaptiveRecipe, "length_adaptive_sst2", changes))
    assert made.dataset.train == made.search.start == str(tmp_path / "mine")
    assert (made.dataset.evaluation, made.dataset.validation) == ("hub", "held-out")


def test_the_data_folder_is_filled_into_lists_too(monkeypatch, tmp_path):
    monkeypatch.setenv("BUDGET_ZOO_DATA", str(tmp_path))
    get_settings.cache_clear()
    try:
        changes = ["average.checkpoints=['${BUDGET_ZOO_DATA}/soup']"]
        recipe = recipes.expanded(load_as(LengthAdaptiveRecipe, "length_adaptive_tiny", changes))
        assert recipe.average.checkpoints == [f"{tmp_path}/soup"]
    finally:
        monkeypatch.undo()
        get_settings.cache_clear()


@pytest.mark.parametrize("name", shipped())
def test_every_stage_can_be_loaded(name):
    for stage in type(load(name)).stages.values():
        assert callable(stage.load())
