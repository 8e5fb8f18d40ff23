"""What an estimate counts of data that are on this machine, by type of task."""

from __future__ import annotations

import json

import pytest

from compress.jobs.estimate import CHARACTERS, Counts, _texts, estimate
from compress.recipe.train import TrainRecipe
from compress.recipe.work import Uncounted
from tests.compress.recipe_kit import load_as
from tests.compress.tag_kit import conll, sentences
from zoo.lengths import Shape

SHAPE = Shape(2, 32, 64)


def counts(path: object) -> Counts:
    parts = [f"dataset.{part}={path}" for part in ("train", "validation", "evaluation")]
    titles = [f"dataset.{part}titles=null" for part in ("", "validation_", "evaluation_")]
    recipe = load_as(TrainRecipe, "train_tiny", ["dataset.task=tokens", *parts, *titles])
    return Counts(SHAPE, recipe.dataset, recipe.finetune)


def test_sentences_of_this_machine_are_counted(tmp_path):
    passes = []
    for count in (40, 400):
        path = tmp_path / f"{count}.conll"
        path.write_text(conll(sentences(count, seed=1)), encoding="utf-8")
        passes.append(counts(path).passes("train"))
    assert passes[1] == pytest.approx(10 * passes[0], rel=0.2)
    with pytest.raises(Uncounted):
        counts("owner/name").passes("train")


def test_texts_with_labels_of_one_s_own_are_counted_by_their_columns(tmp_path):
    path = tmp_path / "reviews.csv"
    path.write_text("\n".join(["review,reply,stars", *(f"{'a' * 40},{'b' * 20},{i % 3}" for i in range(12))]))
    columns = {"text": "review", "second": "reply", "label": "stars"}
    data = [f"dataset.{part}={path}" for part in ("train", "validation", "evaluation")]
    wanted = ["model=minilm-l6-qa", "dataset.task=labels", *data, f"dataset.columns={json.dumps(columns)}"]
    recipe = load_as(TrainRecipe, "finetune_glue", wanted)
    assert "cannot be counted" not in estimate(recipe)["basis"]
    assert _texts(recipe.dataset, "train", 128) == (12, round(60 / CHARACTERS + 3))
