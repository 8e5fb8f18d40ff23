"""The recipes of the five systems, started from what lies on the Hub, as it lies there: pickles, and revisions.

All but the five that take longer go to their ends; other tests bring their kinds there. All of them do with

    BUDGET_ZOO_TEST_ALL=1 python -m pytest tests/compress/run/test_from_the_hub.py
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch

from compress.recipe.load import load
from compress.run.run import run
from tests.compress.run.hub_kit import put_models, rows
from zoo import catalog, conversion
from zoo.checkpoints import ours
from zoo.errors import PickledWeights
from zoo.modeling import LengthAdaptiveModel
from zoo.tasks import QUESTIONS, TEXTS

TASKS = ("rte", "stsb", "mrpc", "cola", "sst2", "qnli", "qqp", "mnli")
SHORT = [
    "evaluate.latency_rounds=1",
    "evaluate.latency_tokens=40",
    "dataset.validation=held-out",
]
AIMET = ["finetune.epochs=1", "finetune.batch_size=8", "finetune.learning_rate=1e-12", "finetune.dropout=0"]
AIMET += ["aimet.epochs=1", "aimet.batch_size=8", "aimet.calibration_samples=8"]
SHORT_WINDOWS = [
    *AIMET,
    *(f"{stage}.{key}" for stage in ("finetune", "aimet") for key in ("max_length=128", "stride=16")),
]
NNCF = ["tune.epochs=1", "tune.batch_size=8"]
PRUNE = ["pretrain.text=examples", "pretrain.block_tokens=32", "pretrain.steps=2", "pretrain.batch_size=4"]
PRUNE += ["pretrain.max_passages=8"]
PRUNE += ["prune.end_step=1", "prune.frequency=1"]
LOCK = [f"{stage}.{key}" for stage in ("lock", "aware") for key in ("epochs=1", "batch_size=8", "max_length=128")]
LOCK += ["lock.stride=16", "aware.stride=16", "aware.calibration_samples=4"]
SEARCH = [
    "quantize.calibration_samples=4",
    "search.iterations=1",
    "search.population=4",
    "search.mutations=2",
    "search.crossovers=2",
]
SPARSE = "Intel/distilbert-base-uncased-sparse-90-unstructured-pruneofa"
MINILM = "microsoft/MiniLM-L12-H384-uncased"
# Recipe, its model, changes, the stages that are run unless all are wanted, the one with the model's weights.
RECIPES = [
    *((f"minilm_w8a8_{task}", MINILM, AIMET, "", "finetune") for task in TASKS),
    ("minilm_w8a8_squad", MINILM, SHORT_WINDOWS, "finetune", "finetune"),
    ("nncf_mnli", "FacebookAI/roberta-large-mnli", NNCF, "finetune", "finetune"),
    ("nncf_xnli_zh", "google-bert/bert-base-chinese", [*NNCF, "finetune.epochs=1"], "finetune", ""),
    ("prune_once_distilbert", "distilbert/distilbert-base-uncased", [*PRUNE, *LOCK], "", ""),
    ("prune_once_sparse_distilbert", SPARSE, LOCK, "teacher lock", ""),
    ("length_search", "sguskin/dynamic-minilmv2-L6-H384-squad1.1", SEARCH, "average search", ""),
]


@pytest.fixture
def states(local_hub) -> dict[str, dict[str, torch.Tensor]]:
    return put_models(local_hub)


@pytest.fixture
def data(tmp_path, tiny_data):
    """Overrides that name tiny data for a task."""

    def of(task: str) -> list[str]:
        if task == "squad":
            parts = {"train": tiny_data.train, "validation": tiny_data.validation, "evaluation": tiny_data.evaluation}
            nothing = [f"dataset.{part}titles=null" for part in ("", "validation_", "evaluation_")]
            return [*(f"dataset.{part}={path}" for part, path in parts.items()), *nothing]
        for part, count, seed in (("train", 40, 1), ("evaluation", 9, 2)):
            lines = [json.dumps(row, ensure_ascii=False) for row in rows(task, count, seed)]
            (tmp_path / f"{part}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
        return [f"dataset.{part}={tmp_path / part}.jsonl" for part in ("train", "evaluation")]

    return of


@pytest.mark.parametrize(("name", "model", "changes", "until", "start"), RECIPES, ids=[row[0] for row in RECIPES])
def test_a_recipe_starts_from_the_hub_as_it_is(local_hub, states, data, tmp_path, name, model, changes, until, start):
    recipe = load(name)
    assert recipe.model == model, "as it is published"
    task = recipe.dataset.task
    changes = [*SHORT, *changes, *data(task)]
    if task == "squad":
        changes = [change for change in changes if change != "dataset.validation=held-out"]
    if name == "nncf_xnli_zh":  # nobody's conversion bot was here: what somebody offers is taken by its name alone
        with pytest.raises(PickledWeights, match="zoo convert google-bert/bert-base-chinese"):
            catalog.checkpoint_of(model)
        changes.append(f"model={model}@refs/pr/1")
    if name == "prune_once_distilbert":
        conversion.convert("csarron/bert-base-uncased-squad-v1")
        changes += ["distill.teacher=csarron/bert-base-uncased-squad-v1"]
    whole = not until or os.environ.get("BUDGET_ZOO_TEST_ALL")
    root = tmp_path / "run"
    each = [run(load(name, changes), root, stage) for stage in ([None] if whole else until.split())]
    results = each[-1]
    if start:
        same_encoder(root / start, states[model], recipe.dataset.task)
    if name == "prune_once_sparse_distilbert":  # nothing is pre-trained, so that its very zeros are kept
        assert results["lock"]["zeros"] == sum(int((value == 0).sum()) for value in linear(states[model])) > 14_000
    if name == "length_search":
        assert results["search"]["measured"] > 1 and not {"finetune", "length_drop"} & set(results)
    if whole:
        entries = [catalog.find(str(root / "package" / entry)) for entry in results["package"]["entries"]]
        assert entries and all(entry.base_model == model for entry in entries)
        assert all(entry.metrics["n"] == (10 if task == "squad" else 9) for entry in entries)
    pickles = [path for _, path, operation in local_hub.log if operation == "resolve" and path.endswith(".bin")]
    assert all("csarron" in path for path in pickles), "no pickle comes but the one that is converted"


def linear(state: dict[str, torch.Tensor]) -> list[torch.Tensor]:
    """The weights of the encoder's linear layers, as DistilBERT names them."""
    return [value for key, value in state.items() if "transformer.layer" in key and value.ndim == 2]


def same_encoder(folder: Path, state: dict[str, torch.Tensor], task: str) -> None:
    """A stage's checkpoint has the encoder of the pickle."""
    model = LengthAdaptiveModel.load(folder, QUESTIONS if task == "squad" else TEXTS)
    weights = {ours(key, model.family, model.head): value for key, value in state.items()}
    names = [key for key in model.state_dict() if key.startswith(("words", "layers"))]
    assert len(names) == 1 + 2 * 16
    for key in names:
        torch.testing.assert_close(model.state_dict()[key], weights[key], atol=1e-6, rtol=0)
