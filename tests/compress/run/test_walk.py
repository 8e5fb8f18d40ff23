"""The way of `run static_int8` through the house is the one that `docs/walks.md` tells."""

from __future__ import annotations

from compress.__main__ import app
from tests.walk_kit import passed, told


def test_a_recipe_passes_the_files_of_the_document_in_their_order(own_home, tiny_model, tiny_data, tmp_path):
    changes = [
        f"model={tiny_model}",
        f"dataset.train={tiny_data.train}",
        f"dataset.evaluation={tiny_data.evaluation}",
        *(f"dataset.{key}=null" for key in ("titles", "evaluation_titles")),
        "quantize.calibration_samples=2",
        "evaluate.latency_rounds=1",
        "package.license=mit",  # else the card beside the model's folder is looked at for one
    ]
    options = [word for change in changes for word in ("--set", change)]

    def run(name: str) -> None:
        app(["run", "static_int8", "--folder", str(tmp_path / name), *options], standalone_mode=False)

    run("first")  # imports what stages import, which is no part of the way
    _, files = passed(lambda: run("second"))
    told_files = told("A recipe")
    assert len(told_files) > 20 and [file for file in files if file in told_files] == told_files
