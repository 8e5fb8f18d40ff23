import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from compress.recipe import load as recipe
from compress.recipe import place
from compress.recipe.place import Mark, marked
from ui.compress import form, sources
from ui.compress.fields import fields
from ui.compress.sources import EXAMPLES, FILE, HUB, OWN, ZOO
from zoo.errors import UserError

UPLOADED = {
    "task": "squad",
    "parts": {"train": "t.json", "validation": "v.json", "evaluation": "e.json"},
    "impossible": 0,
}
TEXTS = {**UPLOADED, "task": "sst2", "parts": {role: f"{role}.jsonl" for role in UPLOADED["parts"]}}


def base(name="length_adaptive_minilm_l6"):
    return recipe.load(name).model_dump(mode="json")


def picked(source=OWN, name="", data=OWN, hub_data="", uploaded=None, of=None, task=OWN):
    return sources.pick(of or base(), source, name, data, hub_data, uploaded, task)


def test_the_recipes_own_changes_nothing():
    data = base()
    assert sources.apply(recipe.KINDS["length_adaptive"], data, picked()) == data


def test_another_checkpoint_drops_what_belonged_to_the_first():
    found = picked(ZOO, " another ")
    assert found["model"] == "another" and found["tokenizer"] is None and found["package.base_model"] is None
    model = recipe.KINDS["length_adaptive"]
    averaged = {**base(), "average": {"checkpoints": ["minilm-l6-qa"], "shares": [0.5]}}
    made, faults = form.check(model, sources.apply(model, averaged, found))
    assert not faults and not made.average.checkpoints and not made.average.shares and made.search.start is None
    same = picked(HUB, base()["model"])
    assert same["tokenizer"] == "minilm-l6-qa" and same["package.base_model"]


def test_the_search_and_the_report_never_share_articles():
    found = picked(data=EXAMPLES)
    assert {found[f"dataset.{part}"] for part in ("train", "validation", "evaluation")} == {"examples"}
    titles = [found[f"dataset.{key}"] for key in ("titles", "validation_titles", "evaluation_titles")]
    from compress.data.squad import load_squad

    chosen = [{e.title for e in load_squad("examples", titles=patterns)} for patterns in titles]
    assert all(chosen) and not (chosen[0] & chosen[1] or chosen[0] & chosen[2] or chosen[1] & chosen[2])
    hub = picked(data=HUB, hub_data="rajpurkar/squad:train")
    assert hub["dataset.evaluation"] == "rajpurkar/squad:validation" != hub["dataset.validation"]
    assert hub["dataset.titles"] != hub["dataset.validation_titles"]


def test_an_own_file_brings_its_parts_and_says_whether_answers_are_missing():
    found = picked(data=FILE, uploaded={**UPLOADED, "impossible": 2})
    assert found["dataset.train"] == "t.json" and found["dataset.version_2"] is True
    assert found["dataset.titles"] is None


@pytest.mark.parametrize(("data", "source"), [(OWN, "hub"), (HUB, "owner/texts")])
def test_a_task_for_texts_brings_its_data_and_leaves_no_titles(data, source):
    found = picked(data=data, hub_data="owner/texts", task="sst2")
    made, faults = form.check(
        recipe.KINDS["length_adaptive"], sources.apply(recipe.KINDS["length_adaptive"], base(), found)
    )
    assert not faults and (made.dataset.task, made.dataset.train, made.dataset.evaluation) == ("sst2", source, source)
    assert made.dataset.validation == "held-out" and made.dataset.titles is None
    # From there the recipe's own is the texts, and questions are the bundled ones.
    texts = made.model_dump(mode="json")
    assert sources.apply(recipe.KINDS["length_adaptive"], texts, picked(of=texts)) == texts
    back = picked(of=texts, task="squad")
    assert (back["dataset.task"], back["dataset.train"]) == ("squad", EXAMPLES) and back["dataset.titles"]


@pytest.mark.parametrize("name", ["static_int8", "length_adaptive_minilm_l6", "length_adaptive_sst2"])
def test_an_own_file_of_texts_is_what_the_recipe_learns_from_and_reports_on(name):
    data = base(name)
    model = recipe.KINDS[data["kind"]]
    made, faults = form.check(
        model, sources.apply(model, data, picked(data=FILE, uploaded=TEXTS, of=data, task="sst2"))
    )
    assert not faults and (made.dataset.task, made.dataset.train) == ("sst2", "train.jsonl")
    assert made.dataset.evaluation == "evaluation.jsonl" and made.dataset.titles is None
    assert getattr(made.dataset, "validation", "validation.jsonl") == "validation.jsonl"


def test_a_file_that_was_read_for_another_task_is_not_taken():
    again = {**TEXTS, "task": "mnli"}
    assert picked(data=FILE, uploaded=again, task="xnli_de")["dataset.train"] == "train.jsonl"
    for task, uploaded in (("sst2", again), ("squad", TEXTS), ("rte", {**TEXTS, "task": "mrpc"})):
        with pytest.raises(UserError, match="was read for .* pick .* there"):
            picked(data=FILE, uploaded=uploaded, task=task)


def test_a_kind_takes_only_the_keys_that_it_has():
    data = base("static_int8")
    found = sources.apply(recipe.KINDS["quantize"], data, picked(ZOO, "other", FILE, uploaded=UPLOADED, of=data))
    assert found["model"] == "other" and found["dataset"]["evaluation"] == "e.json"
    made, faults = form.check(recipe.KINDS["quantize"], found)
    assert made is not None and not faults


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"source": ZOO}, "which checkpoint"),
        ({"data": HUB}, "which data set"),
        ({"data": FILE}, "your own file first"),
        ({"data": HUB, "task": "sst2"}, "which data set"),
        ({"data": EXAMPLES, "task": "sst2"}, "about texts"),
        ({"data": FILE, "task": "sst2"}, "your own file first"),
        ({"data": FILE, "task": "sst2", "uploaded": UPLOADED}, "was read for SQuAD 1.1, and the task is SST-2"),
    ],
)
def test_what_is_not_there_yet_is_asked_for(options, said):
    with pytest.raises(UserError, match=said):
        picked(**options)


def test_the_command_does_what_the_form_does():
    data = base("static_int8")
    wanted = {**data, "model": "my model's", "quantize": {**data["quantize"], "calibration_samples": 7}}
    wanted["evaluate"] = {**data["evaluate"], "max_questions": 3, "dataset_name": "yes"}
    model = recipe.KINDS["quantize"]
    line = sources.command("static_int8", form.changes(data, wanted, model), "a name", "ray")
    words = shlex.split(line)
    assert words[:5] == ["python", "-m", "compress", "submit", "static_int8"]
    assert words[-4:] == ["--name", "a name", "--launcher", "ray"]
    changes = [words[i + 1] for i, word in enumerate(words) if word == "--set"]
    assert recipe.load("static_int8", changes) == model.model_validate(wanted)
    assert sources.command("static_int8", []) == "python -m compress submit static_int8"


UP = Path("/up")


@pytest.mark.parametrize("value", ["/etc/passwd", "~/x", "../x", ".", "a/b/c/d", "$HOME/x", "a\\b", "/up/../etc/x"])
def test_on_a_space_no_path_of_the_server_gets_in(value):
    adaptive, nncf = recipe.KINDS["length_adaptive"], recipe.KINDS["nncf"]
    fine = {"model": "owner/name", "dataset": {"train": "examples", "evaluation": "/up/mine/train.json"}}
    place.refuse_paths(adaptive, fine | {"package": {"title": value}}, UP)
    place.refuse_paths(nncf, {**fine, "nncf_config": '{"compression": {"scopes": ["../x"]}}'}, UP)
    for model, wrong in (
        (adaptive, {"model": value}),
        (adaptive, {"tokenizer": value}),
        (adaptive, {"dataset": {"train": value}}),
        (adaptive, {"distill": {"teacher": value}}),
        (adaptive, {"average": {"checkpoints": ["owner/name", value]}}),
        (adaptive, {"search": {"start": value}}),
        (nncf, {"nncf_config": value}),
    ):
        with pytest.raises(UserError, match="path of this server"):
            place.refuse_paths(model, fine | wrong, UP)


def test_on_a_space_a_configuration_of_a_data_set_is_named(tmp_path, monkeypatch):
    adaptive = recipe.KINDS["length_adaptive"]
    for name in ("google/xquad/xquad.de:validation", "nyu-mll/glue/sst2"):
        place.refuse_paths(adaptive, {"model": "owner/name", "dataset": {"evaluation": name}}, UP)
    (tmp_path / "secret" / "data" / "set").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    for key, name in (("dataset", "secret/data/set"), ("dataset", "secret/data/train.json"), ("search", "a/b/c")):
        wrong = {"search": {"start": name}} if key == "search" else {"dataset": {"train": name}}
        with pytest.raises(UserError, match="path of this server"):
            place.refuse_paths(adaptive, {"model": "owner/name", **wrong}, UP)


@pytest.mark.parametrize("kind", recipe.KINDS)
def test_on_a_space_every_place_of_every_kind_is_its_owners_or_the_hubs(kind, tmp_path, monkeypatch):
    model = recipe.KINDS[kind]
    monkeypatch.chdir(tmp_path)
    own, others = tmp_path / "home" / "uploads" / "a", tmp_path / "home" / "uploads" / "b"
    for path in (own / "mine.json", others / "theirs.json", tmp_path / "zoo" / "models" / "config.json"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")
    (own / "link.json").symlink_to(others / "theirs.json")
    bad = ("zoo/models", "zoo", "../..", "../home", str(others / "theirs.json"), f"{own}/../b/theirs.json")
    bad += (str(own / "link.json"), str(tmp_path), "~", "$HOME", "home/uploads/b/theirs.json")
    keys = list(marked(model, Mark.PLACE))
    assert "model" in keys and len(keys) > 2
    for key in keys:
        for name, is_fine in (*((name, False) for name in bad), (str(own / "mine.json"), True), ("owner/name", True)):
            data: Any = name if key != "average.checkpoints" else ["owner/name", name]
            for part in reversed(key.split(".")):
                data = {part: data}
            if is_fine:
                place.refuse_paths(model, data, own)
            else:
                with pytest.raises(UserError, match="path of this server"):
                    place.refuse_paths(model, data, own)


def test_every_key_that_may_name_a_folder_or_a_file_is_watched():
    for model in recipe.KINDS.values():
        watched = {*marked(model, Mark.PLACE), "dataset.task"}
        for field in fields(model):
            if field.kind in ("text", "lines", "yaml") and re.search(r"\b(folders?|file|files)\b", field.help):
                assert field.key in watched, field.key


def test_what_belongs_to_the_model_of_a_preset_is_marked():
    assert list(marked(recipe.KINDS["length_adaptive"], Mark.OF_MODEL)) == [
        *("tokenizer", "dataset.labels", "distill.labels", "average.checkpoints", "average.shares", "search.start"),
        "package.base_model",
    ]
