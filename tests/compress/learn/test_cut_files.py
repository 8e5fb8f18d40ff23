"""What a stage leaves, cut off anywhere: it is told, and nothing goes on from half of it."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from compress.learn import shards, teacher
from compress.learn.loop import Schedule, train
from compress.progress import Progress
from compress.tasks.losses import span
from tests.compress.training_kit import Interrupting, Stop, windows
from zoo.errors import UserError
from zoo.files import write_json
from zoo.modeling import LengthAdaptiveModel

PLAN = Schedule(learning_rate=1e-3, epochs=1, batch_size=4, seed=5, checkpoint_minutes=0)


@pytest.fixture(scope="module")
def interrupted(tiny_model, tmp_path_factory) -> Path:
    """The folder of a training that was stopped behind a checkpoint."""
    folder = tmp_path_factory.mktemp("training")
    model = LengthAdaptiveModel.load(tiny_model)
    with pytest.raises(Stop):
        train(model, windows(), span(), PLAN, folder / "stage", Interrupting(folder / "p.jsonl", 3))
    return folder / "stage"


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.5, 0.9, 0.98])
@pytest.mark.parametrize("name", ["state.json", "step-*.pt"])
def test_a_cut_checkpoint_is_told(interrupted, tiny_model, tmp_path, name, share):
    folder = shutil.copytree(interrupted, tmp_path / "stage")
    (path,) = (folder / "checkpoint").glob(name)
    raw = path.read_bytes()
    path.write_bytes(raw[: int(share * len(raw))])
    model, quiet = LengthAdaptiveModel.load(tiny_model), Progress(tmp_path / "p.jsonl", "finetune", bar=False)
    with pytest.raises(UserError, match=r"state\.json is not valid JSON|checkpoint is broken.*Remove it"):
        train(model, windows(), span(), PLAN, folder, quiet)


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_cut_weights_of_a_stage_are_told(tiny_model, tmp_path, share):
    folder = shutil.copytree(tiny_model, tmp_path / "model")
    raw = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(raw[: int(share * len(raw))])
    with pytest.raises(UserError, match="cut short"):
        LengthAdaptiveModel.load(folder)


@pytest.mark.parametrize("name", ["values", "done"])
def test_cut_logits_of_a_teacher_are_told(tmp_path, name):
    write_json(tmp_path / teacher.HEADER, {"version": teacher.VERSION, "task": "qa", "width": 2, "mark": {}})
    write_json(tmp_path / teacher.INDEX, {"keys": ["a", "b"], "tokens": [3, 4], "checks": [0, 0]})
    files = {"values": (teacher.VALUES, np.zeros(14, np.float32)), "done": (teacher.DONE, np.ones(2, np.uint8))}
    for key, (file, values) in files.items():
        (tmp_path / file).write_bytes(values.tobytes()[: -1 if key == name else None])
    with pytest.raises(UserError, match=r"cannot be read.*Run the stage"):
        teacher.TeacherLogits(tmp_path, [])


def test_cut_tokens_are_told(tmp_path):
    write_json(tmp_path / shards.HEADER, {"block_tokens": 8, "counts": [2], "type": "uint16", "mark": []})
    shards._path(tmp_path, 0).write_bytes(bytes(31))
    with pytest.raises(UserError, match=r"cannot be read.*Run the stage"):
        shards.Shards(tmp_path)
