"""Weights that others have quantized are refused by the maker's name, at every way in."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from zoo import catalog
from zoo.errors import UserError
from zoo.modeling import LengthAdaptiveModel

ROW = "bert.encoder.layer.0.attention.self.query"
INTEGERS = torch.ones(32, 32, dtype=torch.int8)
MADE = {  # as the libraries write them: tensors in the place of a matrix, and quantization_config
    "bitsandbytes": (
        {"weight": INTEGERS, "SCB": torch.ones(32)},
        {"quant_method": "bitsandbytes", "load_in_8bit": True},
    ),
    "GPTQ": (
        {"qweight": torch.ones(8, 32, dtype=torch.int32), "qzeros": torch.ones(1, 4, dtype=torch.int32)}
        | {"scales": torch.ones(1, 32), "g_idx": torch.zeros(32, dtype=torch.int32)},
        {"quant_method": "gptq", "bits": 4},
    ),
    "AWQ": ({"qweight": torch.ones(32, 4, dtype=torch.int32), "scales": torch.ones(1, 32)}, {"quant_method": "awq"}),
    "torchao": ({"_weight_qdata": INTEGERS, "_weight_scale": torch.ones(32, 1)}, {"quant_method": "torchao"}),
    "quanto": ({"weight._data": INTEGERS, "weight._scale": torch.ones(32, 1)}, {"quant_method": "quanto"}),
}


def foreign(tiny_model: Path, folder: Path, maker: str, stated: bool) -> Path:
    """The tiny model with one matrix as another program leaves it."""
    shutil.copytree(tiny_model, folder)
    tensors, parts = load_file(folder / "model.safetensors"), MADE[maker]
    del tensors[f"{ROW}.weight"]
    tensors |= {f"{ROW}.{name}": value for name, value in parts[0].items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    if stated:
        path = folder / "config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "quantization_config": parts[1]}))
    return folder


@pytest.mark.parametrize("stated", [True, False])
@pytest.mark.parametrize("maker", MADE)
def test_foreign_integers_are_refused_by_name(tiny_model, tmp_path, maker, stated):
    folder = foreign(tiny_model, tmp_path / "model", maker, stated)
    for open_it in (lambda: catalog.find(str(folder)), lambda: LengthAdaptiveModel.load(folder)):
        with pytest.raises(UserError, match=f"quantized by .*{maker}.*from float weights"):
            open_it()


def test_integers_of_nobody_are_refused_too(tiny_model, tmp_path):
    shutil.copytree(tiny_model, tmp_path / "model")
    tensors = load_file(tmp_path / "model" / "model.safetensors")
    tensors[f"{ROW}.weight"] = INTEGERS
    save_file(tensors, tmp_path / "model" / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match=f"{ROW}.weight as I8"):
        LengthAdaptiveModel.load(tmp_path / "model")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_float_weights_of_any_width_and_buffers_of_integers_are_none(tiny_model, tmp_path, dtype):
    shutil.copytree(tiny_model, tmp_path / "model")
    tensors = {key: value.to(dtype) for key, value in load_file(tiny_model / "model.safetensors").items()}
    tensors["bert.embeddings.position_ids"] = torch.arange(512)
    save_file(tensors, tmp_path / "model" / "model.safetensors", metadata={"format": "pt"})
    assert catalog.find(str(tmp_path / "model")).task == "qa"
    assert LengthAdaptiveModel.load(tmp_path / "model").words.weight.dtype == torch.float32
