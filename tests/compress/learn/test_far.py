"""Trainings on a device of their own: everything moves there, and the numbers are the CPU's. See `tests/far_kit.py`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from compress.learn import loop
from compress.learn.aware import FakeQuant
from compress.learn.distill import distilled
from compress.learn.length_drop import Sandwich
from compress.learn.loop import Hook, Loss, Schedule, train
from compress.learn.masked_lm import MaskedLanguageModel
from compress.learn.masking import Masking
from compress.learn.pruning.prune import Pruner
from compress.learn.shards import make_shards
from compress.learn.teacher import Teacher, TeacherLogits
from compress.nas.space import Space
from compress.nas.supernet import SuperNet
from compress.nas.supernet_train import Learner, taught
from compress.progress import Progress
from compress.recipe.length_groups import LengthDrop
from compress.recipe.nas_groups import GenerateData, Supernet
from compress.recipe.training_groups import Aware, Distill, Prune
from compress.tasks.losses import span
from compress.tasks.samples import Sample
from tests.compress.learn.distill_kit import disturbed
from tests.compress.training_kit import windows
from tests.far_kit import FAR, pretended
from zoo.features import load_tokenizer
from zoo.modeling import LengthAdaptiveModel

PLAN = Schedule(
    learning_rate=1e-3, epochs=1, batch_size=8, seed=3, precision="fp32", average=0.9, keep_start=0.1,
    word_dropout=0.2, mask_id=4, special_ids=(0, 1, 2, 3), parts=2,
)  # fmt: skip
QUIET = Progress(None, "train", bar=False, shown=False)
Part = Callable[[LengthAdaptiveModel], tuple[Loss, list[Hook]]]


class Elsewhere:
    """Accelerate's side of a training on that device."""

    num_processes, process_index, device = 1, 0, FAR

    def __init__(self, **_settings: Any):
        pass

    def prepare(self, model: torch.nn.Module) -> torch.nn.Module:
        assert {parameter.device for parameter in model.parameters()} == {FAR}
        return model

    def backward(self, loss: torch.Tensor) -> None:
        loss.backward()


def named() -> list[Sample]:
    return [replace(sample, key=str(i)) for i, sample in enumerate(windows())]


@pytest.fixture
def parts(tiny_model, tmp_path) -> dict[str, Part]:
    """What is learned from, and what else is done in a training."""

    def teacher() -> Teacher:
        return Teacher(disturbed(LengthAdaptiveModel.load(tiny_model), 5))

    def stored(student: LengthAdaptiveModel) -> Loss:
        TeacherLogits.make(tmp_path / "stored", teacher(), named(), {}, QUIET)
        return distilled(span(), Distill(apply=True), student, TeacherLogits(tmp_path / "stored", named(), {}))

    live = Distill(apply=True, store_logits=False, hidden_weight=1, attention_weight=1, layers="all")
    drop = LengthDrop(num_sandwich=1, length_drop_ratio_bound=0.5, layer_dropout_prob=0.3)
    cut = Prune(apply=True, approach="snip_momentum", pattern="4x1", target_sparsity=0.5, end_step=2, frequency=1)
    aware = Aware(apply=True, calibration_samples=8)
    return {
        "task": lambda model: (span(), []),
        "dropped tokens": lambda model: (Sandwich.of(drop, model), []),
        "a teacher": lambda model: (distilled(span(), live, model, teacher()), []),
        "what a teacher said": lambda model: (stored(model), []),
        "pruning": lambda model: (span(), [Pruner(model, cut)]),
        "rounding": lambda model: (span(), [FakeQuant(model, aware, windows(), 0, 0)]),
    }


def both(make: Callable[[], Any], data: list[Any], place: Path, monkeypatch: Any) -> None:
    """Trains here and there, what `make` gives, and compares.

    Args:
        make: the model, the loss and the hooks.
    """
    results, ends = [], []
    for name in ("here", "there"):
        model, loss, hooks = make()
        start = flat(model)
        if name == "here":
            results.append(train(model, data, loss, PLAN, place / name, QUIET, hooks))
        else:
            monkeypatch.setattr(loop, "Accelerator", Elsewhere)
            monkeypatch.setattr(loop, "computing", lambda wish, device: torch.autocast("cpu", enabled=False))
            with pretended():
                results.append(train(model, data, loss, PLAN, place / name, QUIET, hooks))
        ends.append(flat(model))
        assert (ends[-1] - start).abs().mean() > 1e-4, "something was learned"
    assert results[1]["loss"] == pytest.approx(results[0]["loss"], abs=1e-3)
    # Adam makes a whole step of a gradient that is mere rounding, as those of the biases of keys are.
    assert (ends[1] - ends[0]).abs().mean() < 2e-5


def flat(model: torch.nn.Module) -> torch.Tensor:
    return torch.cat([parameter.detach().cpu().flatten() for parameter in model.parameters()])


@pytest.mark.parametrize("name", ["task", "dropped tokens", "a teacher", "what a teacher said", "pruning", "rounding"])
def test_a_training_on_a_device_ends_as_on_the_cpu(name, parts, tiny_model, tmp_path, monkeypatch):
    def make() -> tuple[Any, Loss, list[Hook]]:
        model = LengthAdaptiveModel.load(tiny_model)
        return model, *parts[name](model)

    both(make, named(), tmp_path, monkeypatch)


def test_a_supernet_is_trained_on_a_device_as_on_the_cpu(tiny_model, tmp_path, monkeypatch):
    tokenizer, space = load_tokenizer(tiny_model), Space.spanned([1, 2], [8, 32], [16, 64], 8, 16)
    blocks = make_shards(tmp_path / "blocks", tiny_model, GenerateData(block_tokens=32))

    def make() -> tuple[Any, Any, list[Hook]]:
        torch.manual_seed(0)
        masked, teacher = (MaskedLanguageModel.load(tiny_model) for _ in range(2))
        net = Learner(SuperNet.of(masked, space), 32)
        return net, taught(Supernet(label_weight=0.5), space, Masking(tokenizer), teacher), []

    both(make, [blocks[i] for i in range(16)], tmp_path, monkeypatch)


def test_a_teacher_on_a_device_says_what_it_says_on_the_cpu(tiny_model, tmp_path):
    said = []
    for place in ("here", "there"):
        teacher = Teacher(disturbed(LengthAdaptiveModel.load(tiny_model), 5))
        if place == "here":
            TeacherLogits.make(tmp_path / place, teacher, named(), {}, QUIET)
        else:
            with pretended() as device:
                teacher.model.to(device)
                TeacherLogits.make(tmp_path / place, teacher, named(), {}, QUIET)
        (file,) = (tmp_path / place).glob("*.f32")
        said.append(np.fromfile(file, np.float32))
    assert said[0].size > 500 and said[0].std() > 0.1
    np.testing.assert_allclose(said[1], said[0], atol=1e-5)
