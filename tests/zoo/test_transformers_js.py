"""transformers.js opens the layouts: the same tokens and the same numbers as this program's own graph."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from tests.zoo.layout_kit import MEASURED, SENTENCES, float_folder, full_lengths, int8_entry
from zoo import layouts
from zoo.engines import open_engine
from zoo.engines.base import logits_of
from zoo.features import load_tokenizer, make_texts, pad
from zoo.graph_standard import STATES
from zoo.task_types import TASK_TYPES

PACKAGE = "@huggingface/transformers"
CLASSES = {
    "qa": "AutoModelForQuestionAnswering",
    "classification": "AutoModelForSequenceClassification",
    "tokens": "AutoModelForTokenClassification",
    "ranking": "AutoModelForSequenceClassification",
    "embeddings": "AutoModel",
}


def modules() -> str:
    """A folder in whose `node_modules` transformers.js is."""
    folder = os.environ.get("BUDGET_ZOO_NODE_MODULES", "")
    if not shutil.which("node") or not (Path(folder) / "node_modules" / PACKAGE).is_dir():
        pytest.skip(f"BUDGET_ZOO_NODE_MODULES names no folder where `npm install {PACKAGE}` has run")
    return folder


@pytest.mark.timeout(300)
def test_transformers_js_opens_them(tiny_model, tmp_path):
    folder, entries = modules(), {}
    for task in MEASURED:
        source = float_folder(task, tiny_model, tmp_path / "float" / task)
        entries[task] = int8_entry(source, tmp_path / "int8" / task, task=task)
        shutil.copytree(entries[task].folder, tmp_path / "all" / task)
        layouts.write(entries[task], tmp_path / "out" / task)
        shutil.copytree(tmp_path / "out" / task, tmp_path / "all" / task, dirs_exist_ok=True)
    job = {"root": f"{tmp_path / 'all'}/", "tasks": CLASSES, "texts": SENTENCES, "modules": folder}
    script = Path(__file__).parent / "layouts.mjs"
    done = subprocess.run(["node", script], input=json.dumps(job), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    said = json.loads(done.stdout)
    for task, entry in entries.items():
        engine = open_engine("onnxruntime", entry, 1)
        for text, theirs in zip(SENTENCES, said[task], strict=True):
            batch = pad(make_texts(load_tokenizer(entry.folder), [text], None))
            assert theirs["ids"] == batch["input_ids"][0].tolist(), (task, text)
            arrays = {name: np.reshape(one["data"], one["dims"]) for name, one in theirs["outputs"].items()}
            expected = engine.run(batch, full_lengths(batch, engine.layers)).logits
            if task == "embeddings":
                mean = arrays[STATES].mean(1)
                np.testing.assert_allclose(mean / np.linalg.norm(mean), expected, atol=1e-4)
                continue
            names = TASK_TYPES[task].outputs
            np.testing.assert_allclose(logits_of([arrays[name] for name in names]), expected, atol=1e-4)
