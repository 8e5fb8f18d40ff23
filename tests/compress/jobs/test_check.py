"""`compress check`, the page's Check and submitting ask the same: task, model and data, before anything starts."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from compress.__main__ import app
from compress.jobs import jobs
from compress.recipe.load import load
from compress.recipe.place import owned
from tests.compress.jobs.jobs_kit import home_of
from zoo import library, settings
from zoo.errors import UserError
from zoo.settings import get_settings


@pytest.fixture
def home(tmp_path):
    with home_of(tmp_path / "home"):
        (tmp_path / "home").mkdir()
        yield tmp_path / "home"


def texts(path, text):
    path.write_text(text)
    return ["dataset.task=sst2", f"dataset.train={path}", f"dataset.evaluation={path}"]


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("no_column.csv", "review,label\nfine,1\n", "sentence"),
        ("wrong_label.csv", "sentence,label\nfine,1\nbad,often\n", "line 3"),
        ("empty.csv", "sentence,label\n", "empty.csv"),
    ],
)
def test_data_that_do_not_fit_the_task_are_told_before_anything_starts(home, tiny_texts, tmp_path, name, text, said):
    changes = [f"model={tiny_texts}", *texts(tmp_path / name, text)]
    with pytest.raises(UserError, match=said):
        jobs.check(load("static_int8", changes))
    with pytest.raises(UserError, match=said):
        jobs.submit(load("static_int8", changes), launcher="fake")
    assert jobs.jobs() == []
    told = CliRunner().invoke(app, ["check", "static_int8", *(word for one in changes for word in ("--set", one))])
    assert isinstance(told.exception, UserError) and said in str(told.exception)


def test_wrong_lines_are_no_reason_where_they_are_left_out(home, tiny_texts, tmp_path):
    data = texts(tmp_path / "a.csv", "sentence,label\nfine,1\nbad,often\n")
    jobs.check(load("static_int8", [f"model={tiny_texts}", *data, "dataset.skip=true"]))


def test_what_the_data_call_their_columns_is_heard(home, tiny_texts, tmp_path):
    data = texts(tmp_path / "a.csv", "one,two\nfine,good\nbad,poor\n")[1:]
    asked = [f"model={tiny_texts}", "dataset.task=labels", *data]
    jobs.check(load("static_int8", [*asked, "dataset.columns={text: one, label: two}"]))
    with pytest.raises(UserError, match="text"):
        jobs.check(load("static_int8", asked))


def test_the_command_says_what_a_recipe_takes(home):
    said = CliRunner().invoke(app, ["check", "static_int8"]).output
    assert said.startswith("static_int8 can run here: it takes about ") and "GiB of memory" in said
    lacking = CliRunner().invoke(app, ["check", "static_int8", "--set", "model=minilm-l6-sst2-length-adaptive-int8"])
    assert "in eight bits alone" in str(lacking.exception)


def test_on_a_space_a_recipe_names_its_owners_results(home, tiny_model, monkeypatch):
    monkeypatch.setattr(settings, "_on_space", lambda: True)
    get_settings.cache_clear()
    name = library.register(tiny_model, "ann").name
    recipe = load("static_int8", [f"model={name}"])
    assert owned(recipe, "ann").model == str(tiny_model)
    assert owned(recipe, "").model == name
    with pytest.raises(UserError, match=f"You have no result called {name}"):  # off the Space, a job would find it
        owned(recipe, "bob")
    assert owned(load("static_int8"), "ann").model == "minilm-l6-qa"
    jobs.check(recipe, "ann")


@pytest.fixture
def tiny_texts(tiny_model, tmp_path):
    """What looks like a checkpoint for sentiment."""
    folder = tmp_path / "tiny-texts"
    folder.mkdir()
    config = (tiny_model / "config.json").read_text()
    config = config.replace("BertForQuestionAnswering", "BertForSequenceClassification")
    (folder / "config.json").write_text(config)
    (folder / "model.safetensors").write_bytes((tiny_model / "model.safetensors").read_bytes())
    return folder
