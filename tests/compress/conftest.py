"""One run of the whole recipe on the tiny model, for all who look at what comes out."""

from __future__ import annotations

from pathlib import Path

import pytest


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
    from compress.recipe import load
    from compress.run import run

    folder = tmp_path_factory.mktemp("finished-run")
    run(load("length_adaptive_tiny", tiny_changes), folder)
    return folder
