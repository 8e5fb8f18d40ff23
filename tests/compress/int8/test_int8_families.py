"""Every native family in eight bits: what the engines compute is what is simulated, and near the float model."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from compress.int8.ranges import calibrate
from compress.int8.rounding import integer_weights
from compress.int8.simulation import simulate
from tests.zoo.family_kit import CASES, batch_of, made
from tests.zoo.model_kit import CONFIGS, arrays
from zoo.engines.onnx import OnnxEngine
from zoo.engines.openvino import OpenVinoEngine
from zoo.lengths import LengthConfig
from zoo.weights import float_weights, linears, spec_of, write


@pytest.mark.parametrize(("variant", "head"), CASES)
def test_int8_engines_equal_the_simulation_and_are_near_float(variant, head, tmp_path):
    _, model = made(variant, head, tmp_path)
    batch = batch_of(model)
    real = batch["attention_mask"].bool().numpy() if model.head.per_token else slice(None)
    weights = integer_weights(float_weights(model), linears(model), calibrate(model, [batch], CONFIGS), True, 0.5)
    folder, twin = write(weights, spec_of(model), tmp_path / "int8").parent, simulate(model, weights)
    for config in (LengthConfig.full(3), CONFIGS[0]):
        lengths = torch.tensor([config.tokens(int(n)) for n in batch["attention_mask"].sum(1)])
        with torch.no_grad():
            rounded, exact = (each(**batch, lengths=lengths).logits.numpy()[real] for each in (twin, model))
        for engine in (OnnxEngine, OpenVinoEngine):
            got = engine.open(folder, 1).run(arrays(batch), lengths.numpy()).logits[real]
            # An input on the edge between two integers may round either way: most logits agree closely, few do not.
            assert np.median(np.abs(got - rounded)) < 0.15 * rounded.std(), engine.name
        if config.is_full:  # where nothing is dropped: which tokens are depends on small differences here
            assert np.corrcoef(rounded.ravel(), exact.ravel())[0, 1] > 0.9
