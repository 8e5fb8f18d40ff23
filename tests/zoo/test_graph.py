"""The float graph in its three dialects against torch, padded and unpadded."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.zoo.model_kit import CONFIGS, OTHERS, SHIFTED, arrays, both, inputs, portable
from zoo.engines.onnx import OnnxEngine
from zoo.engines.openvino import OpenVinoEngine
from zoo.errors import UserError
from zoo.graph import read
from zoo.lengths import LengthConfig
from zoo.tasks import TEXTS
from zoo.weights import float_weights, spec_of, write


@pytest.fixture(params=["bert-qa", "roberta-qa"])
def model(request, tmp_path):
    return both(request.param, tmp_path)[1]


@pytest.mark.parametrize("config", [LengthConfig.full(3), *CONFIGS], ids=str)
def test_float_graph_equals_torch_in_padded_batches(model, config):
    batch = inputs(model.family in SHIFTED)
    lengths = torch.tensor([config.tokens(int(n)) for n in batch["attention_mask"].sum(1)])
    with torch.no_grad():
        expected = model(**batch, lengths=lengths)
    start, end, *kept = portable(float_weights(model), spec_of(model))(arrays(batch), lengths.numpy())
    np.testing.assert_allclose(start, expected.logits[..., 0], atol=1e-4)
    np.testing.assert_allclose(end, expected.logits[..., 1], atol=1e-4)
    for places, mask in zip(kept, expected.kept, strict=True):
        for row in range(3):
            chosen = places[row][places[row] >= 0]
            assert sorted(chosen) == np.flatnonzero(mask[row]).tolist()


@pytest.mark.parametrize("kind", OTHERS)
@pytest.mark.parametrize("config", [LengthConfig.full(3), CONFIGS[1]], ids=str)
def test_float_graphs_of_other_heads_and_families_equal_torch(kind, config, tmp_path):
    model = both(kind, tmp_path)[1]
    path = write(float_weights(model), spec_of(model), tmp_path / "float")
    batch = inputs(model.family in SHIFTED)
    lengths = torch.tensor([config.tokens(int(n)) for n in batch["attention_mask"].sum(1)])
    with torch.no_grad():
        expected = model(**batch, lengths=lengths)
    wanted = [expected.logits] if model.head is TEXTS else expected.logits.unbind(-1)
    stored = portable(*read(path))(arrays(batch), lengths.numpy())
    for got, right in zip(stored, wanted, strict=False):
        np.testing.assert_allclose(got, right, atol=1e-4)
    for engine in (OnnxEngine, OpenVinoEngine):
        out = engine.open(path.parent, 1).run(arrays(batch), lengths.numpy())
        np.testing.assert_allclose(out.logits, expected.logits, atol=1e-4, err_msg=engine.name)
        for got, right in zip(out.kept, expected.kept, strict=True):
            assert (got == right.numpy()).all()


def test_a_foreign_file_is_refused(tmp_path):
    (tmp_path / "model.int8.onnx").write_bytes(b"not an onnx file")
    with pytest.raises(UserError, match="no length-adaptive model"):
        read(tmp_path / "model.int8.onnx")
