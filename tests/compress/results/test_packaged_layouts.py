"""The key `package.layouts`: a recipe's entry has what other programs open, and says the same there."""

from __future__ import annotations

import json
from fnmatch import fnmatch
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime
import openvino
import pytest

from compress.jobs.there import KEPT
from compress.nncf.stages import run_package
from compress.recipe.load import load
from compress.results.package import float_content, pack
from compress.run.run import run
from tests.compress.embedding_kit import write_pairs, write_queries
from tests.zoo.layout_kit import batch_of, float_folder, full_lengths
from zoo import catalog, layouts, publishing
from zoo.engines import open_engine
from zoo.engines.base import logits_of
from zoo.engines.openvino import properties
from zoo.errors import UserError
from zoo.files import read_json, sha256
from zoo.graph_standard import STATES
from zoo.modeling import LengthAdaptiveModel
from zoo.pooling import stated_in
from zoo.task_types import TASK_TYPES

QUICK = ["evaluate.latency_rounds=0", "quantize.calibration_samples=12", "package.name=small", "package.layouts=true"]
WRITE = {"embeddings": write_pairs, "ranking": write_queries}


@pytest.fixture(scope="module", params=WRITE)
def packaged(request, tiny_model, tmp_path_factory) -> Path:
    """The run of `static_int8` on a tiny model of a task; `package/small` is its entry."""
    task, root = request.param, tmp_path_factory.mktemp(request.param)
    parts = [
        f"dataset.{part}={WRITE[task](root / f'{part}.jsonl', 12, i)}" for i, part in enumerate(("train", "evaluation"))
    ]
    model = float_folder(task, tiny_model, root / "tiny")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BUDGET_ZOO_HOME", str(root / "home"))
        run(load("static_int8", [f"dataset.task={task}", f"model={model}", *parts, *QUICK]), root / "run")
    return root / "run"


def test_each_library_opens_what_the_recipe_packaged(packaged):
    folder = packaged / "package" / "small"
    entry = catalog.open_folder(folder)
    assert "onnxruntime" in entry.engines and entry.front, "this program's own graph is what it runs all the same"
    batch, outputs = batch_of(entry), [STATES] if entry.task == "embeddings" else list(TASK_TYPES[entry.task].outputs)
    session = onnxruntime.InferenceSession(str(folder / layouts.ONNX), providers=["CPUExecutionProvider"])
    compiled = openvino.Core().compile_model(str(folder / layouts.OPENVINO), "CPU", properties(1))
    given = {"onnxruntime": session.run(None, dict(batch)), "openvino": [compiled(batch)[name] for name in outputs]}
    for name, parts in given.items():
        engine = open_engine(name, entry, 1)
        expected = engine.run(batch, full_lengths(batch, engine.layers)).logits
        logits = logits_of(list(parts))
        if entry.task == "embeddings":
            mask = batch["attention_mask"][..., None]
            logits = (parts[0] * mask).sum(1) / mask.sum(1)
            logits /= np.linalg.norm(logits, axis=1, keepdims=True)
        np.testing.assert_allclose(logits, expected, atol=2e-3)
        assert expected.std() > 0.01, "texts that all look alike would compare nothing"


def test_the_folder_is_sentence_transformers_own_where_it_embeds(packaged):
    for name in ("small", "small-float"):
        folder = packaged / "package" / name
        entry = catalog.open_folder(folder)
        if entry.task == "embeddings":
            assert stated_in(folder) == {"mode": "mean", "normalize": True, "max_length": 128}
            assert [one["type"].rpartition(".")[2] for one in json.loads((folder / "modules.json").read_text())] == [
                "Transformer", "Pooling", "Normalize",
            ]  # fmt: skip
        else:
            assert not (folder / layouts.MODULES).exists()


def test_the_card_says_so_and_publishing_sends_what_is_there(packaged, tmp_path):
    folder = packaged / "package" / "small"
    entry = catalog.open_folder(folder)
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert "## In other programs" in card and "transformers.js" in card and "optimum-intel" in card
    assert set(layouts.GRAPHS) <= set(layouts.present(entry))
    plain, ticked = (publishing.preview(folder, "me/small", None, with_layouts=tick) for tick in (False, True))
    assert dict(plain.files) == dict(ticked.files) and set(layouts.GRAPHS) <= {path for path, _ in plain.files}
    assert "## In other programs" in plain.card
    layouts.write(entry, tmp_path)
    assert all(sha256(folder / name) == sha256(tmp_path / name) for name in layouts.planned(entry))
    assert read_json(folder / layouts.TOKENIZER)["tokenizer_class"] == layouts.OLD_CLASS
    assert all(any(fnmatch(f"package/small/{name}", kept) for kept in KEPT) for name in layouts.GRAPHS)


def test_a_run_whose_entries_have_none_refuses_it(tiny_model, tmp_path):
    asked = SimpleNamespace(evaluate=SimpleNamespace(null_threshold=None), package=SimpleNamespace(layouts=True))
    ctx: Any = SimpleNamespace(folder=tmp_path, recipe=asked, inputs={"quantize": tmp_path})
    floats = float_content("tiny", tiny_model, "Tiny", "fine-tuned", {})
    about = {"task": "qa", "license": "mit", "base_model": "tiny", "provenance": {}}
    with pytest.raises(UserError, match=r"is not in int8: .*\. Or set package.layouts to false"):
        pack(ctx, about, [floats], set(), LengthAdaptiveModel.load(tiny_model))
    with pytest.raises(UserError, match="No entry comes out of what NNCF made here.*package.layouts to false"):
        run_package(ctx)
    asked.package.layouts = False
    assert run_package(ctx)["entries"] == []
    assert pack(ctx, about, [floats], set(), LengthAdaptiveModel.load(tiny_model))["entries"] == ["tiny"]
