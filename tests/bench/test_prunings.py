from __future__ import annotations

import json
import shutil

import pytest

from bench.__main__ import main
from bench.prunings import Settings, compare, table
from compress.recipe.training_groups import PRUNING_TYPES
from zoo.errors import UserError
from zoo.settings import get_settings


@pytest.fixture
def real_data(tmp_path, tiny_data, monkeypatch):
    """A data folder as the real one is laid out, with a task that words decide."""
    folder = tmp_path / "data"
    (folder / "glue" / "sst2").mkdir(parents=True)
    for name, count in (("train", 40), ("validation", 10)):
        rows = [{"sentence": f"a {('dull', 'fine')[i % 2]} film {i}", "label": i % 2, "idx": i} for i in range(count)]
        text = "\n".join(json.dumps(row) for row in rows)
        (folder / "glue" / "sst2" / f"{name}.jsonl").write_text(text, encoding="utf-8")
    (folder / "qa").mkdir()
    shutil.copy(tiny_data.train, folder / "qa" / "train.json")
    shutil.copy(tiny_data.evaluation, folder / "qa" / "squad-dev-v1.1.json")
    monkeypatch.setenv("BUDGET_ZOO_DATA", str(folder))
    monkeypatch.setenv("BUDGET_ZOO_HOME", str(tmp_path / "home"))
    get_settings.cache_clear()
    yield folder
    get_settings.cache_clear()


def test_all_ways_of_pruning_are_trained_and_scored_alike(tiny_model, real_data, tmp_path, capsys):
    command = ["prunings", "--model", str(tiny_model), "--steps", "3", "--batch", "4", "--json", str(tmp_path / "r")]
    assert main(command) == 0
    told = json.loads((tmp_path / "r").read_text())
    assert [row["approach"] for row in told["rows"]] == ["none", *PRUNING_TYPES]
    for row in told["rows"]:
        assert row["operators"] == pytest.approx(0.0 if row["approach"] == "none" else 0.8, abs=0.005)
        assert row["metric"] == "accuracy" and row["n"] == 10 and 0 <= row["score"] <= 100
        assert row["model"] <= row["operators"] + 0.05 and row["steps_per_s"] > 0 and row["compressed_bytes"] > 1000
    assert told["settings"]["warm_steps"] == 3 and told["machine"]["cpu"]
    assert "| snip_momentum_progressive | 80.0 % |" in capsys.readouterr().out
    (made,) = (tmp_path / "home" / "bench" / "prunings").iterdir()
    written = {path: path.stat().st_mtime_ns for path in made.rglob("*.safetensors")}
    assert len(written) == 11 and main(command) == 0  # what is done stays done
    assert written == {path: path.stat().st_mtime_ns for path in made.rglob("*.safetensors")}


def test_question_answering_is_compared_too(tiny_model, real_data, tmp_path):
    settings = Settings("squad", steps=2, warm_steps=1, model=str(tiny_model), batch=2, examples=3, sparsity=0.5)
    rows = compare(settings, tmp_path / "run", ("none", "snip_momentum"))
    assert [(row.approach, round(row.operators, 2)) for row in rows] == [("none", 0.0), ("snip_momentum", 0.5)]
    assert all(row.metric == "f1" and row.n == 3 for row in rows)
    assert "f1, n = 3" in table(rows)


def test_what_cannot_work_is_told_before_anything_is_trained(tiny_model, tmp_path, capsys):
    with pytest.raises(UserError, match="5x1 does not fit"):
        compare(Settings(model=str(tiny_model), pattern="5x1"), tmp_path / "run")
    assert not (tmp_path / "run").exists()
    assert main(["prunings", "--model", str(tiny_model), "--sparsity", "1.5"]) == 2
    assert "less than or equal to 0.99" in capsys.readouterr().err
