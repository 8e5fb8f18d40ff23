"""The mean of checkpoints' weights."""

from __future__ import annotations

import shutil

import pytest
import torch

from compress.data.fingerprints import TRAINED_ON, load_fingerprints, save_fingerprints
from compress.learn import average
from compress.recipe.length_adaptive import LengthAdaptiveRecipe
from compress.recipe.stage import StageContext
from compress.recipe.training_groups import Average
from tests.compress import recipe_kit
from tests.compress.recipe_kit import load_as
from zoo.errors import UserError
from zoo.files import read_json, write_json
from zoo.modeling import LengthAdaptiveModel


def noisy(source, folder, seed):
    """A checkpoint beside another, as after some training."""
    shutil.copytree(source, folder)
    model = LengthAdaptiveModel.load(source)
    torch.manual_seed(seed)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn_like(weight), alpha=0.1)
    model.save(folder)
    return folder


def context(trained, folder, **settings) -> StageContext[LengthAdaptiveRecipe]:
    folder.mkdir()
    recipe = load_as(LengthAdaptiveRecipe, "length_adaptive_tiny")
    recipe.average = Average(**settings)
    return recipe_kit.context(recipe, folder, {"length_drop": trained})


def test_the_mean_is_of_all_weights_by_their_shares(tiny_model, tmp_path):
    first, second = noisy(tiny_model, tmp_path / "a", 1), noisy(tiny_model, tmp_path / "b", 2)
    save_fingerprints(first / TRAINED_ON, {"aa"})
    ctx = context(tiny_model, tmp_path / "out", checkpoints=[str(first), str(second)], shares=[0.25, 0.35])
    facts = average.run(ctx)
    assert facts["shares"] == pytest.approx([0.4, 0.25, 0.35])
    one, two, three, mean = (LengthAdaptiveModel.load(f).state_dict() for f in (tiny_model, first, second, ctx.folder))
    for name, value in mean.items():
        torch.testing.assert_close(value, 0.4 * one[name] + 0.25 * two[name] + 0.35 * three[name])
    assert load_fingerprints(ctx.folder) == {"aa"}


def test_without_shares_all_count_the_same(tiny_model, tmp_path):
    other = noisy(tiny_model, tmp_path / "a", 1)
    average.run(ctx := context(tiny_model, tmp_path / "out", checkpoints=[str(other)]))
    one, two, mean = (LengthAdaptiveModel.load(f).words.weight for f in (tiny_model, other, ctx.folder))
    torch.testing.assert_close(mean, (one + two) / 2)


def test_without_checkpoints_nothing_is_written(tiny_model, tmp_path):
    ctx = context(tiny_model, tmp_path / "out")
    assert average.run(ctx) == {} and not list(ctx.folder.iterdir())


def test_another_shape_and_other_words_are_refused(tiny_model, tmp_path):
    from transformers import BertConfig, BertForQuestionAnswering  # torchvision is mended by then

    wide = tmp_path / "wide"
    config = BertConfig(**{**read_json(tiny_model / "config.json"), "hidden_size": 16})
    BertForQuestionAnswering(config).save_pretrained(str(wide))
    with pytest.raises(UserError, match="other layers or widths"):
        average.run(context(tiny_model, tmp_path / "a", checkpoints=[str(wide)]))
    words = shutil.copytree(tiny_model, tmp_path / "words")
    tokenizer = read_json(words / "tokenizer.json")
    vocabulary = tokenizer["model"]["vocab"]
    first, last = list(vocabulary)[10], list(vocabulary)[-1]
    vocabulary[first], vocabulary[last] = vocabulary[last], vocabulary[first]
    write_json(words / "tokenizer.json", tokenizer)
    with pytest.raises(UserError, match="other words"):
        average.run(context(tiny_model, tmp_path / "b", checkpoints=[str(words)]))


@pytest.mark.parametrize("wrong", [{"shares": [0.5]}, {"checkpoints": ["a"], "shares": [1.2]}])
def test_shares_that_do_not_fit_are_told(wrong):
    with pytest.raises(ValueError, match="shares"):
        Average(**wrong)
