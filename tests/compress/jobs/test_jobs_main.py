"""The command line of jobs, and a search whose configurations are measured elsewhere."""

from __future__ import annotations

import json
import os
import re
from concurrent.futures import ThreadPoolExecutor

import pytest
from typer.testing import CliRunner

from compress.__main__ import app
from compress.jobs import jobs
from compress.jobs.ledger import get_ledger
from compress.learn.evolution import Evolution, Space
from compress.progress import Progress
from compress.recipe.length_groups import Search
from compress.recipe.load import load, save
from tests.compress.jobs import jobs_kit
from tests.compress.jobs.jobs_kit import FINISH, run_it, script
from zoo.errors import UserError
from zoo.files import Archive


@pytest.fixture
def home(tmp_path):
    with jobs_kit.home_of(tmp_path):
        yield tmp_path


def called(*arguments):
    result = CliRunner().invoke(app, [str(a) for a in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output.strip()


def test_a_job_from_the_command_line(home):
    script(home, 'echo step >> "$1/made"\necho "ValueError: too small"; exit 1')
    first = called("submit", "static_int8", "--set", "quantize.calibration_samples=9", "--launcher", "fake")
    second = called("submit", "dynamic_int8", "--name", "mine", "--launcher", "fake")
    listed = json.loads(called("jobs", "--json"))
    assert [(row["id"], row["name"], row["state"]) for row in listed] == [
        (second, "mine", "queued"),
        (first, "static_int8", "queued"),
    ]
    assert called("cancel", second) == "cancelled"
    run_it(jobs.find(first))
    shown = called("show", first)
    assert "failed: It stopped with an error: ValueError: too small" in shown and "  quantize     failed" in shown
    assert called("logs", first, "--lines", "1") == "ValueError: too small"
    assert called("retry", first) == "queued"
    script(home, "mkdir -p $1/package/e\necho '{}' > $1/package/e/entry.json\n" + FINISH)
    run_it(jobs.find(first))
    assert re.search(rf"{first}  \S+ \S+  ready to publish static_int8", called("jobs"))
    assert f"made {home / 'jobs' / first / 'package/e'}" in called("show", first)
    again = called("submit", first, "--set", "seed=4", "--launcher", "fake")
    assert load(jobs.find(again).folder, ["seed=0"]) == load(jobs.find(first).folder)
    assert jobs.find(again).name == "static_int8" and load(jobs.find(again).folder).seed == 4


def test_show_tells_a_recipe_or_a_job(home):
    assert "calibration_samples: 60" in called("show", "static_int8")
    job = get_ledger().create(load("static_int8"), "x", "", "local")
    assert "queued" in called("show", job.id) and str(job.folder) in called("show", job.id)
    with pytest.raises(UserError, match="There is no recipe deadbeef"):
        called("show", "deadbeef")


def test_a_folder_is_run_where_it_is(tmp_path, monkeypatch):
    ran = []
    monkeypatch.setattr("compress.__main__.run_recipe", lambda *given: ran.append(given) or {})
    save(load("static_int8"), tmp_path / "recipe.yaml")
    called("run", tmp_path)
    called("run", os.path.relpath(tmp_path), "--stage", "quantize")
    assert [(recipe, folder.resolve(), stage) for recipe, folder, stage in ran] == [
        (load("static_int8"), tmp_path, None),
        (load("static_int8"), tmp_path, "quantize"),
    ]
    with pytest.raises(UserError, match="--folder"):
        called("run", "static_int8")


@pytest.mark.parametrize("workers", [2, 7])
def test_a_search_measured_at_once_finds_the_same(tmp_path, workers):
    space, settings = Space(4, (1, 2), (0.5, 0.5)), Search(iterations=3, population=5, mutations=4, crossovers=4)
    quiet = Progress(None, "search", shown=False)
    batches = []

    def measure(config):
        return {"cost": sum(config.fractions), "f1": 100 - 5 / sum(config.fractions)}

    def spread(measure, configs):
        batches.append(len(configs))
        with ThreadPoolExecutor(workers) as pool:
            yield from pool.map(measure, configs)

    alone = Evolution(measure, space, settings, Archive(tmp_path / "alone"), quiet).run()
    together = Evolution(measure, space, settings, Archive(tmp_path / "together"), quiet, spread).run()
    assert together == alone and (tmp_path / "together").read_bytes() == (tmp_path / "alone").read_bytes()
    assert len(batches) == 4 and sum(batches) == len(alone), "a generation is handed over whole, and nothing twice"
    Evolution(measure, space, settings, Archive(tmp_path / "together"), quiet, spread).run()
    assert sum(batches) == len(alone), "what is in the archive is not measured again"
