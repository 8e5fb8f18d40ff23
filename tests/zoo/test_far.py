"""Models on a device of their own: everything moves there, and the numbers are the CPU's. See `tests/far_kit.py`."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from compress.int8 import ranges
from tests.far_kit import FAR, Far, pretended
from tests.zoo.family_kit import batch_of, made
from zoo.engines.torch import TorchEngine
from zoo.lengths import LengthConfig

CASES = [("bert", "qa"), ("modernbert-cls", "classification"), ("albert", "embeddings"), ("mpnet", "ranking")]


def test_what_mixes_devices_fails_and_what_does_not_is_computed():
    here = torch.arange(6.0).view(2, 3)
    with pretended() as name:
        there = here.to(name)
        assert isinstance(there, Far) and there.device == FAR and (there + 1).sum().item() == 21
        with pytest.raises(RuntimeError, match="tensors of two devices"):
            torch.add(there, here)
        with pytest.raises(RuntimeError, match="tensors of two devices"):
            torch.index_select(there, 1, torch.tensor([0, 2]))
        assert (there.mul_(2) is there) and there.cpu().equal(here * 2)
        assert torch.zeros(2, device=there.device).device == FAR


@pytest.mark.parametrize(("variant", "head"), CASES)
def test_an_engine_answers_from_a_device_as_from_the_cpu(variant, head, tmp_path):
    _, model = made(variant, head, tmp_path)
    batch = {key: value.numpy() for key, value in batch_of(model).items()}
    layers = model.shape.layers
    for lengths in (np.array([[30] * layers, [20] * layers, [8] * layers]), np.full((3, layers), 40)):
        right = TorchEngine(model, 1).run(batch, lengths)
        with pretended() as name:
            engine = TorchEngine(model, 1, name)
            assert {value.device for value in model.state_dict().values()} == {FAR}
            found = engine.run(batch, lengths)
            model.to("cpu")
        np.testing.assert_allclose(found.logits, right.logits, atol=1e-5)
        assert all((one == two).all() for one, two in zip(found.kept, right.kept, strict=True))


def test_ranges_are_measured_on_a_device_and_the_model_comes_home(tmp_path, monkeypatch):
    _, model = made("bert", "qa", tmp_path)
    batches, config = [batch_of(model)], LengthConfig((0.7,) * model.shape.layers)
    right = ranges.calibrate(model, batches, [config], 99.9)
    with pretended() as name:
        monkeypatch.setattr(ranges, "compute_device", lambda: name)
        found = ranges.calibrate(model, batches, [config], 99.9)
    assert {parameter.device.type for parameter in model.parameters()} == {"cpu"}
    assert found.keys() == right.keys()
    for key, one in found.items():
        assert (one.low, one.high) == pytest.approx((right[key].low, right[key].high), abs=1e-5)
        np.testing.assert_allclose(one.lows, right[key].lows, atol=1e-5)
