"""Tiny texts, a home of a module's own, an awkward model, and one run of the whole recipe for all who look at it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from compress.recipe.stage import Stage
from tests.compress.recipe_kit import watched
from tests.compress.text_kit import write_glue


@pytest.fixture(scope="session", autouse=True)
def every_stage_is_watched() -> Iterator[None]:
    """A stage of any kind fails where it reads a key that neither it nor a stage before it names."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Stage, "load", watched(Stage.load))
        yield


@pytest.fixture(scope="session")
def glue(tmp_path_factory) -> Path:
    """Tiny sets in the shape of GLUE's. Copy them before changing anything."""
    return write_glue(tmp_path_factory.mktemp("tiny") / "glue")


@pytest.fixture(scope="module")
def own_home(tmp_path_factory) -> Iterator[None]:
    """A home that holds nothing but what the module's tests make."""
    from zoo.settings import get_settings

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BUDGET_ZOO_HOME", str(tmp_path_factory.mktemp("home")))
        get_settings.cache_clear()
        yield
    get_settings.cache_clear()


@pytest.fixture
def outlying_model(tiny_model):
    """The tiny model with one column that is ten times the others where the feed-forward begins, as in real BERT."""
    import torch

    from zoo.modeling import LengthAdaptiveModel

    made = LengthAdaptiveModel.load(tiny_model)
    with torch.no_grad():
        for layer in made.blocks:
            layer.attention_norm.weight[3] *= 10
            layer.expand.weight[:, 3] /= 10
    return made


@pytest.fixture(scope="session")
def tiny_changes(tiny_model, tiny_data) -> list[str]:
    """What makes `length_adaptive_tiny` train the tiny model on the tiny data."""
    return [
        f"model={tiny_model}",
        f"dataset.train={tiny_data.train}",
        f"dataset.validation={tiny_data.validation}",
        f"dataset.evaluation={tiny_data.evaluation}",
        "dataset.titles=null",
        "dataset.validation_titles=null",
        "dataset.evaluation_titles=null",
        "evaluate.length_config=(300, 120)",
    ]


@pytest.fixture(scope="session")
def finished_run(tiny_changes, tmp_path_factory) -> Path:
    """The folder of a finished run. Copy it before changing anything."""
    from compress.recipe.load import load
    from compress.run.run import run

    folder = tmp_path_factory.mktemp("finished-run")
    run(load("length_adaptive_tiny", tiny_changes), folder)
    return folder
