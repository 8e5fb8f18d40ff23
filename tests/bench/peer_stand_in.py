"""Stands in for sentence-transformers in a process of its own: vectors of texts come from a file that a test wrote."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np


def note(*words: object) -> None:
    """Adds a line to what a test reads."""
    with Path(os.environ["STAND_IN_NOTES"]).open("a", encoding="utf-8") as lines:
        lines.write(" ".join(map(str, words)) + "\n")


class SentenceTransformer:
    """Has no OpenVINO, like an environment in which its package is absent."""

    def __init__(self, folder: str, device: str, backend: str = "torch", model_kwargs: dict[str, Any] | None = None):
        settings = model_kwargs or {}
        if backend == "openvino":
            raise ImportError("optimum-intel is absent")
        if "file_name" in settings:
            assert (Path(folder) / backend / settings["file_name"]).is_file()
        print("what a library says where replies go")
        note("loaded", device, backend, *(["to export"] if settings.get("export") else []))

    def encode(self, texts: list[str], batch_size: int, show_progress_bar: bool) -> np.ndarray:
        known = json.loads(Path(os.environ["STAND_IN_VECTORS"]).read_text(encoding="utf-8"))
        note("asked", len(texts), batch_size, show_progress_bar)
        return np.array([known[text] for text in texts], np.float32)

    def save_pretrained(self, folder: str) -> None:
        (Path(folder) / "onnx").mkdir(parents=True)


def export_dynamic_quantized_onnx_model(model: SentenceTransformer, kind: str, folder: str) -> None:
    name = "quint8_avx2" if kind == "avx2" else f"qint8_{kind}"
    (Path(folder) / "onnx" / f"model_{name}.onnx").touch()
    note("exported", kind)
