"""neural-compressor's quantizers, and torch.compile running what they make. One compilation serves all tests here."""

from __future__ import annotations

import shutil
import sys
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from compress.int8 import inc
from compress.recipe.groups import Quantize
from compress.recipe.load import load
from compress.results.score import score_entry
from compress.run.run import run
from tests.compress.training_kit import windows
from zoo import catalog
from zoo.ask import QuestionAnswerer
from zoo.engines import INTEGERS, open_graph
from zoo.engines.inductor import InductorEngine
from zoo.engines.onednn import OneDnnEngine
from zoo.errors import UserError
from zoo.features import load_tokenizer, make_windows, pad
from zoo.files import read_json
from zoo.integers import IntegerLinear, open_integers
from zoo.modeling import LengthAdaptiveModel

pytestmark = pytest.mark.filterwarnings("ignore")  # torchao, torch.export and inductor warn of their own ways

READ = [sample.window for sample in windows(8)]


def loaded(folder) -> Any:
    from neural_compressor.torch.quantization import load

    return load(str(folder))


@pytest.fixture(scope="module")
def static(tiny_model, tmp_path_factory):
    out = tmp_path_factory.mktemp("inc") / "static"
    return out, inc.build(tiny_model, out, Quantize(), lambda _: READ)


def batch_of(folder):
    questions, contexts = ["Who?", "Who was born in Warsaw, and when?"], ["Marie Curie was born in Warsaw."] * 2
    return pad(make_windows(load_tokenizer(folder), questions, contexts))


def overflows() -> bool:
    """Whether products of eight bits go wrong here, as they do without VNNI: all of the largest, 64 to a sum."""
    parts = {"weight": torch.full((16, 64), 127, dtype=torch.int8), "scale": torch.ones(16)}
    (said,) = IntegerLinear(parts, None, real=True)(torch.ones(1, 64))
    assert (said == said[0]).all()
    return abs(float(said[0]) / (127 * 64) - 1) > 0.01


def test_the_folder_says_how_it_was_made(static):
    out, facts = static
    assert {key: facts[key] for key in ("approach", "weight_bits", "calibration_windows", "kept_float")} == {
        "approach": "static",
        "weight_bits": 7,
        "calibration_windows": 8,
        "kept_float": ["qa_outputs"],
    }
    assert facts["bytes"] > 0 and (out / "config.json").is_file() and not list(out.parent.glob("*.draft"))
    rounded = [node for node in loaded(out).graph.nodes if "quantize_per_channel" in str(node.target)]
    weights = {str(node.args[0]) for node in rounded if "dequantize" not in str(node.target)}
    assert len(weights) == 12 and not any("qa_outputs" in name for name in weights)
    assert all(node.args[4:6] == (-63, 63) for node in rounded)


def test_integer_products_compiled_once_give_what_was_quantized(static, tiny_model):
    folder, _ = static
    engine, model, graph = InductorEngine.open(folder, 1), LengthAdaptiveModel.load(tiny_model), loaded(folder)
    batch = batch_of(folder)
    counts = batch["attention_mask"].sum(1)
    lengths = np.repeat(counts[:, None], 2, 1)
    torch._dynamo.utils.counters.clear()
    out = engine.run(batch, lengths)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1, "two lengths, one compilation"
    assert counts[0] != counts[1] and all(kept.sum() == counts.sum() for kept in out.kept)
    tensors = {key: torch.from_numpy(value) for key, value in batch.items()}
    with torch.no_grad():
        exact = model(**tensors).logits.numpy()
        for row, count in enumerate(counts):
            expected = graph(*(value[row : row + 1, :count] for value in tensors.values()))[0].numpy()
            got = np.stack([out.start[row], out.end[row]], -1)[:count]
            assert np.median(np.abs(got - expected)) < 0.02 * expected.std()
            assert np.corrcoef(got.ravel(), exact[row, :count].ravel())[0, 1] > 0.9
    assert out.start.shape == batch["input_ids"].shape and (out.start[0, counts[0] :] == -1e4).all()
    with pytest.raises(UserError, match="full length only"):
        engine.run(batch, lengths // 2)


def test_its_integers_run_on_an_engine_of_their_own(static):
    folder, facts = static
    assert facts["distance"] < 0.02
    stored = load_file(folder / INTEGERS)
    graph = loaded(folder)
    rounded = {name for name, value in stored.items() if value.dtype is torch.int8}
    assert len(rounded) == 12 and all(stored[name].abs().max() <= 63 for name in rounded)
    engine, batch = OneDnnEngine.open(folder, 1), batch_of(folder)
    tensors = {key: torch.from_numpy(value) for key, value in batch.items()}
    counts = batch["attention_mask"].sum(1)
    out = engine.run(batch, np.repeat(counts[:, None], 2, 1))
    with torch.no_grad():
        for row, count in enumerate(counts):
            expected = graph(*(value[row : row + 1, :count] for value in tensors.values()))[0].numpy()
            got = np.stack([out.start[row], out.end[row]], -1)[:count]
            assert np.median(np.abs(got - expected)) < inc.ALLOWED * expected.std()
    same, real = (open_integers(folder / INTEGERS, real=kind) for kind in (False, True))
    with torch.no_grad():
        floats = same(**{key: value[:1, : counts[0]] for key, value in tensors.items()}).logits.flatten()
        whole = real(**{key: value[:1, : counts[0]] for key, value in tensors.items()}).logits.flatten()
    assert (floats - whole).abs().median() < 1e-4 * floats.std() + 1e-5
    with pytest.raises(UserError, match="set quantize.neural_compressor"):
        OneDnnEngine.open(folder.parent, 1)


def test_what_it_made_is_scored_packaged_pulled_and_answers(tiny_model, tiny_data, tmp_path, local_hub):
    changes = [
        f"model={tiny_model}",
        f"dataset.train={tiny_data.train}",
        f"dataset.evaluation={tiny_data.evaluation}",
        *(f"dataset.{part}titles=null" for part in ("", "evaluation_")),
        "quantize.neural_compressor=true",
        "quantize.calibration_samples=4",
        "evaluate.latency_rounds=1",
        "package.name=tiny",
    ]
    results = run(load("static_int8", changes), tmp_path / "run")
    assert results["package"]["entries"] == ["tiny-float", "tiny", "tiny-inc-int8"]
    scores = read_json(tmp_path / "run/evaluate/scores.json")
    entry = catalog.find(str(tmp_path / "run/package/tiny-inc-int8"))
    assert entry.engines[0] == "onednn" and "torch" in entry.engines and entry.method == "neural-compressor-static"
    assert entry.metrics["f1"] == scores["neural_compressor"]["f1"] and entry.metrics["engine"] == "onednn"
    assert abs(scores["neural_compressor"]["f1"] - scores["float"]["f1"]) <= 20, "of ten questions two may change"
    report = score_entry(str(entry.folder), str(tiny_data.evaluation))
    assert report["f1"] == scores["neural_compressor"]["f1"] and report["engine"] == "onednn"
    reply = QuestionAnswerer(entry, "onednn", 1).ask("Who?", "Marie Curie was born in Warsaw.")
    assert reply.answers[0].text in "Marie Curie was born in Warsaw."
    told = (entry.folder / "README.md").read_text()
    assert "onednn" in told and "AutoModel" not in told and "quantized from it" in told

    local_hub.put("ann/inc", {path.name: path.read_bytes() for path in entry.folder.iterdir() if path.is_file()})
    pulled = catalog.find("ann/inc")
    assert pulled.engines == entry.engines and pulled.folder != entry.folder
    assert (pulled.folder / INTEGERS).read_bytes() == (entry.folder / INTEGERS).read_bytes()
    again = QuestionAnswerer(pulled, "onednn", 1).ask("Who?", "Marie Curie was born in Warsaw.")
    assert again.answers == reply.answers


def test_ranges_of_every_run_need_no_windows_and_products_may_stay_float(tiny_model, tmp_path):
    settings = Quantize(approach="dynamic", reduce_range=False, keep_float=["layers.0.qkv"])
    bits = 8
    if overflows():  # eight bits are refused there, and what the sentence says helps
        with pytest.raises(UserError, match=r"or quantize\.reduce_range to true on a CPU without VNNI"):
            inc.build(tiny_model, tmp_path / "refused", settings, lambda _: [])
        assert not (tmp_path / "refused").exists()
        settings, bits = settings.model_copy(update={"reduce_range": True}), 7
    facts = inc.build(tiny_model, tmp_path / "dynamic", settings, lambda _: [])
    assert facts["kept_float"] == ["layers.0.query", "layers.0.key", "layers.0.value", "qa_outputs"]
    assert (facts["calibration_windows"], facts["weight_bits"]) == (0, bits)
    graph, model = loaded(tmp_path / "dynamic"), LengthAdaptiveModel.load(tiny_model)
    assert any("choose_qparams" in str(node.target) for node in graph.graph.nodes)
    tensors = {key: torch.from_numpy(value) for key, value in pad(READ[:1]).items()}
    with torch.no_grad():
        got, exact = graph(*tensors.values()), model(**tensors).logits
        own = open_integers(tmp_path / "dynamic" / INTEGERS)(**tensors).logits
    assert 0 < (got - exact).abs().median() < 0.2 * exact.std()
    assert facts["distance"] < inc.ALLOWED and (own - got).abs().median() < inc.ALLOWED * got.std()


def test_what_is_absent_is_told(static, tiny_model, tmp_path, monkeypatch):
    with pytest.raises(UserError, match="No product is called"):
        inc.build(tiny_model, tmp_path / "x", Quantize(keep_float=["nothing"]), lambda _: READ)
    shutil.copytree(tiny_model, tmp_path / "plain")
    with pytest.raises(UserError, match="holds no model of neural-compressor"):
        open_graph(tmp_path / "plain", 1, "inductor")
    for name in [name for name in sys.modules if name.split(".")[0] == "neural_compressor"]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, "neural_compressor", None)
    with pytest.raises(UserError, match="pip install neural-compressor-pt"):
        inc.build(tiny_model, tmp_path / "x", Quantize(), lambda _: READ)
    with pytest.raises(UserError, match="or choose onnxruntime"):
        InductorEngine.open(static[0], 1)
