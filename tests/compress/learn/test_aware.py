"""Quantization-aware training: what is simulated is what the int8 file computes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from compress.int8.ranges import grid, load_ranges
from compress.int8.rounding import integer_weights, round_columns
from compress.int8.simulation import simulate
from compress.learn.aware import RANGES_FILE, FakeQuant, round_inputs, round_rows
from compress.learn.loop import Hook, Schedule
from compress.recipe.training_groups import Aware
from tests.compress.training_kit import Interrupting, Stop, learn, windows
from zoo.engines.onnx import OnnxEngine
from zoo.errors import UserError
from zoo.features import pad
from zoo.lengths import LengthConfig
from zoo.modeling import LengthAdaptiveModel
from zoo.weights import float_weights, linears, spec_of, write

ROOT = Path(__file__).parents[3]
SETTINGS = Aware(apply=True, calibration_samples=8)


@pytest.fixture
def model(outlying_model):
    return outlying_model


@pytest.fixture
def data():
    return windows()


def batch_of(data, count=6):
    return {key: torch.from_numpy(value) for key, value in pad([s.window for s in data[:count]]).items()}


def distance(a, b, batch):
    real = batch["attention_mask"].bool()
    return (a[real] - b[real]).abs().median().item()


def test_what_is_simulated_is_what_the_file_computes(model, data, tmp_path):
    batch = batch_of(data)
    fake = FakeQuant(model, SETTINGS, data, 0, 0)
    with torch.no_grad():
        simulated = model(**batch).logits
    fake.finish()
    with torch.no_grad():
        exact = model(**batch).logits
    ranges = fake.ranges()
    assert any((found.by != 1).any() for found in ranges.values()), "outliers are divided down"
    weights = integer_weights(float_weights(model), linears(model), ranges, True, smoothing=0.75)
    engine = OnnxEngine.open(write(weights, spec_of(model), tmp_path).parent, 1)
    counts = batch["attention_mask"].sum(1).tolist()
    out = engine.run(
        {key: value.numpy() for key, value in batch.items()},
        np.array([LengthConfig.full(2).tokens(n) for n in counts]),
    )
    real = torch.stack([torch.from_numpy(out.start), torch.from_numpy(out.end)], -1)
    assert distance(real, simulated, batch) < 0.02 * distance(real, exact, batch)
    np.testing.assert_array_equal(weights["layers.0.qkv.bias"][32:], float_weights(model)["layers.0.qkv.bias"][32:])


def test_eight_bit_weights_are_simulated_as_such(model, data):
    """Against torch: on a CPU without VNNI the engine's own products would overflow."""
    batch = batch_of(data)
    fake = FakeQuant(model, SETTINGS, data, 0, 0, reduce_range=False)
    with torch.no_grad():
        simulated = model(**batch).logits
    fake.finish()
    far = {}
    for reduce_range in (True, False):
        weights = integer_weights(float_weights(model), linears(model), fake.ranges(), reduce_range)
        with torch.no_grad():
            far[reduce_range] = distance(simulate(model, weights)(**batch).logits, simulated, batch)
    assert far[False] < 0.1 * far[True]


def test_no_weight_is_added_renamed_or_rounded_for_good(model, data):
    before = {key: value.clone() for key, value in model.state_dict().items()}
    fake = FakeQuant(model, SETTINGS, data, 0, 0)
    batch = batch_of(data)
    with torch.no_grad():
        rounded = model(**batch).logits
    assert list(model.state_dict()) == list(before)
    fake.finish()
    assert all(model.state_dict()[key].equal(value) for key, value in before.items())
    with torch.no_grad():
        assert not model(**batch).logits.equal(rounded)
    assert not any("forward" in vars(module) for module in model.modules())


def test_rounding_lets_gradients_through_but_for_inputs_out_of_range():
    x = torch.tensor([-3.0, -0.9, 0.0, 0.31, 0.9, 3.0], requires_grad=True)
    y = round_inputs(x, -1.0, 1.0)
    y.sum().backward()
    assert x.grad is not None and x.grad.tolist() == [0, 1, 1, 1, 1, 0]
    scale, zero = grid(-1.0, 1.0)
    assert y[2] == 0 and y[0] == -zero * scale
    w = torch.randn(4, 6, requires_grad=True)
    (round_rows(w, 7) * torch.arange(6.0)).sum().backward()
    assert w.grad is not None and w.grad.equal(torch.arange(6.0).expand(4, 6))
    integers, columns = round_columns(w.detach().numpy().T, 7)
    np.testing.assert_allclose(round_rows(w, 7).detach().numpy().T, integers * columns, rtol=1e-6)


def test_training_under_rounding_beats_rounding_afterwards(model, data, tmp_path):
    """The two end with the same loss to learn from, but only one has learned with three-bit weights."""
    losses = {}
    for aware in (False, True):
        torch.manual_seed(0)
        own = LengthAdaptiveModel(model.config)
        own.load_state_dict(model.state_dict())
        fake = FakeQuant(own, SETTINGS, data, 0, 0)
        fake.bits = 3
        if not aware:
            fake.finish()
        learn(own, data, tmp_path / str(aware), Schedule(learning_rate=3e-3, epochs=4, batch_size=4), [fake] * aware)
        judge = FakeQuant(own, SETTINGS, data, 0, 0)
        judge.bits = 3
        batch = batch_of(data, len(data))
        with torch.no_grad():
            logits = own(**batch).logits
        losses[aware] = torch.nn.functional.cross_entropy(logits[..., 0], torch.full((len(data),), 3)).item()
    assert losses[True] < losses[False]


def test_ranges_follow_the_steps_until_they_are_frozen(model, data, tmp_path):
    class Watching(Hook):
        def __init__(self, fake):
            self.fake, self.seen = fake, []

        def after_step(self, step, total):
            self.seen.append([(p.low, p.high) for p in self.fake.products.values()])

    fake = FakeQuant(model, SETTINGS.model_copy(update={"freeze_step": 5}), data, 0, 0)
    watching = Watching(fake)
    learn(model, data, tmp_path, hooks=[fake, watching])
    seen = watching.seen
    assert len(seen) == 12 and seen[0] != seen[3] != seen[4] and all(row == seen[4] for row in seen[5:])
    assert [(r.low, r.high) for r in fake.ranges().values()] == seen[-1]


def test_padding_is_in_no_range(model, data):
    found = []
    for shift in (0, 100):
        fake = FakeQuant(model, SETTINGS, data, 0, 0)
        model.train()
        fake.before_step(0, 10)
        batch = batch_of(data)
        with torch.no_grad():
            model.words.weight[0, 0] += shift
            model(**batch)
            model.words.weight[0, 0] -= shift
        fake.after_step(0, 10)
        fake.finish()
        found.append([(held.low, held.high) for held in fake.ranges().values()])
    assert not batch["attention_mask"].all()
    for mine, other in zip(*found, strict=True):
        assert mine == pytest.approx(other, abs=1e-5)


WORKER = """
import sys
from pathlib import Path
import torch
from compress.learn.aware import FakeQuant
from compress.recipe.training_groups import Aware
from tests.compress.training_kit import learn, windows
from zoo.modeling import LengthAdaptiveModel

model, out = LengthAdaptiveModel.load(sys.argv[1]), Path(sys.argv[2])
fake = FakeQuant(model, Aware(apply=True, calibration_samples=8), windows(), 0, 0)
learn(model, windows(), out, hooks=[fake])
import os
fake.save(out / os.environ.get("RANK", "0"))
"""


def test_processes_that_train_together_have_the_ranges_of_one(tiny_model, data, tmp_path):
    (tmp_path / "worker.py").write_text(WORKER)
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "ACCELERATE_USE_CPU": "true"}
    start = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    command = [*start, str(tmp_path / "worker.py"), str(tiny_model), str(tmp_path)]
    subprocess.run(command, env=env, check=True, timeout=240, capture_output=True)
    alone = LengthAdaptiveModel.load(tiny_model)
    fake = FakeQuant(alone, SETTINGS, data, 0, 0)
    learn(alone, data, tmp_path / "alone", hooks=[fake])
    one, other = (load_ranges(tmp_path / rank / RANGES_FILE) for rank in "01")
    for name, held in fake.ranges().items():
        assert (one[name].low, one[name].high) == (other[name].low, other[name].high)
        assert (one[name].low, one[name].high) == pytest.approx((held.low, held.high), abs=2e-3)


def test_an_interrupted_training_goes_on_with_its_ranges(model, data, tmp_path):
    start = {key: value.clone() for key, value in model.state_dict().items()}

    def begin():
        made = LengthAdaptiveModel(model.config)
        made.load_state_dict(start)
        return made, FakeQuant(made, SETTINGS, data, 0, 0)

    straight, whole = begin()
    learn(straight, data, tmp_path / "a", hooks=[whole])
    broken, fake = begin()
    with pytest.raises(Stop):
        learn(broken, data, tmp_path / "b", hooks=[fake], progress=Interrupting(tmp_path / "b.jsonl", 5))
    resumed, fake = begin()
    learn(resumed, data, tmp_path / "b", hooks=[fake])
    for mine, other in zip(fake.ranges().values(), whole.ranges().values(), strict=True):
        assert (mine.low, mine.high) == pytest.approx((other.low, other.high), abs=1e-6)
    for mine, other in zip(resumed.parameters(), straight.parameters(), strict=True):
        torch.testing.assert_close(mine, other, atol=1e-6, rtol=0)


def test_zeros_stay_zeros_in_training_and_in_the_file(model, data, tmp_path):
    class Mask(Hook):
        """Keeps the weights of the feed-forward that are zero at the start zero."""

        def __init__(self, model):
            self.held = {layer.expand: layer.expand.weight.detach().ne(0) for layer in model.blocks}

        def after_step(self, step, total):
            with torch.no_grad():
                for module, mask in self.held.items():
                    module.weight.mul_(mask)

        def finish(self):
            self.after_step(0, 0)

    with torch.no_grad():
        for layer in model.blocks:
            layer.expand.weight[:, ::2] = 0
    fake = FakeQuant(model, SETTINGS, data, 0, 0)
    learn(model, data, tmp_path, Schedule(learning_rate=1e-3, epochs=1, batch_size=4, average=0.9), [Mask(model), fake])
    weights = integer_weights(float_weights(model), linears(model), fake.ranges(), True)
    for i, layer in enumerate(model.blocks):
        assert (layer.expand.weight[:, ::2] == 0).all() and (layer.expand.weight[:, 1::2] != 0).any()
        assert (weights[f"layers.{i}.expand.q"][::2] == 0).all()


def test_ranges_are_stored_and_read_back(model, data, tmp_path):
    fake = FakeQuant(model, SETTINGS, data, 0, 0)
    fake.save(tmp_path)
    for name, held in load_ranges(tmp_path / RANGES_FILE).items():
        mine = fake.ranges()[name]
        assert (held.low, held.high) == (mine.low, mine.high)
        np.testing.assert_array_equal(held.by, mine.by)
    (tmp_path / RANGES_FILE).write_text('{"layers.0.qkv": 3}')
    with pytest.raises(UserError, match="holds no ranges"):
        load_ranges(tmp_path / RANGES_FILE)


def test_what_cannot_work_is_told_before_any_step(model, data, tmp_path):
    with pytest.raises(UserError, match="no training windows"):
        FakeQuant(model, SETTINGS, [], 0, 0)
    with pytest.raises(ValueError, match="freeze_step comes before start_step"):
        Aware(start_step=9, freeze_step=3)
    fake = FakeQuant(model, SETTINGS.model_copy(update={"start_step": 50}), data, 0, 0)
    with pytest.raises(UserError, match="12 steps only"):
        learn(model, data, tmp_path, hooks=[fake])
