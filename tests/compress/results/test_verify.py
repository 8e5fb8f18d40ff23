"""What is packaged is compared with what half precision must change: a model that learned little ends well too."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from compress.results.package import TOKENIZER, assemble
from compress.results.verify import verify_loading
from zoo.errors import UserError
from zoo.features import load_tokenizer
from zoo.modeling import LengthAdaptiveModel
from zoo.tasks import TEXTS

FACTS = {"task": "classification", "license": "mit", "base_model": "tiny", "method": "none", "weights_dtype": "f16"}


@pytest.fixture
def little(tiny_model, tmp_path) -> Path:
    """A checkpoint whose scores hardly differ, as after a few steps of STS-B."""
    torch.manual_seed(0)
    model = LengthAdaptiveModel.load(tiny_model, TEXTS, id2label={"0": "score"}, length_drop_layers=[])
    with torch.no_grad():
        model.classifier.weight.mul_(0.02)
        model.classifier.bias.fill_(0.30003)
    model.save(tmp_path / "trained")
    load_tokenizer(tiny_model).save_pretrained(str(tmp_path / "trained"))
    return tmp_path / "trained"


def packaged(trained: Path) -> Path:
    half = trained.with_name("half")
    LengthAdaptiveModel.load(trained).save(half, torch.float16)
    files = {name: half / name for name in ("config.json", "model.safetensors")}
    files |= {name: trained / name for name in TOKENIZER}
    facts = {**FACTS, "title": "Little", "provenance": {}, "metrics": {}}
    return assemble(trained.with_name("little"), files, facts, set())


def test_a_model_that_has_learned_little_is_no_fault(little):
    entry = packaged(little)
    assert all(share < 1e-4 for share in verify_loading(entry, little).values())
    state = {key: value.float() for key, value in load_file(little / "model.safetensors").items()}
    stored = load_file(entry / "model.safetensors")
    assert all(torch.equal(stored[key], value.half()) for key, value in state.items())
    assert any(not torch.equal(stored[key].float(), value) for key, value in state.items()), "rounding changed it"


@pytest.mark.parametrize("fault", ["another precision", "a layer of another", "no bias"])
def test_a_file_that_is_really_wrong_fails(little, fault):
    entry = packaged(little)
    weights = load_file(entry / "model.safetensors")
    for key, value in weights.items():
        if fault == "another precision":
            weights[key] = value.bfloat16().half()  # three digits fewer
        elif fault == "a layer of another" and "layer.1.output.dense.weight" in key:
            weights[key] = value.flip(0).contiguous()
        elif fault == "no bias" and key == "classifier.bias":
            weights[key] = value * 0
    save_file(weights, entry / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match=r"says something else on torch at full length.*run the recipe again"):
        verify_loading(entry, little)
