"""sentence-transformers in an interpreter of its own: a process that `bench.peers` starts and asks line by line.

It imports nothing of this program, since what its exporters need of transformers is older than what this program runs.
Its first line on standard output says what it is, or why it is not; each line that it reads names texts, and a file for
their vectors or nothing, and is answered when these are there.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from shutil import rmtree
from types import ModuleType
from typing import IO, Any, Protocol


class Model(Protocol):
    """What is used of a model of sentence-transformers."""

    transformers_model: Any

    def encode(self, texts: list[str], *, batch_size: int, show_progress_bar: bool) -> Sequence[Sequence[float]]: ...


def load(folder: Path, backend: str, cache: Path, kind: str, samples: Path, threads: int) -> tuple[Model, str]:
    """A model of sentence-transformers, and where its weights come from.

    Args:
        folder: of the model.
        backend: "torch" for float, or "onnx" or "openvino" for int8.
        cache: for the int8 file, where the folder has none.
        kind: of the ONNX file, "avx512_vnni" for example.
        samples: folder with `train.jsonl`, whose key `sentence` the static file is calibrated on.
        threads: of the backend.
    """
    peer = import_module("sentence_transformers")
    if backend == "torch":
        import_module("torch").set_num_threads(threads)
        return peer.SentenceTransformer(str(folder), device="cpu"), "float32"
    settings = _settings(backend, threads)
    name = f"model_qint8_{kind}.onnx" if backend == "onnx" else "openvino_model_qint8_quantized.xml"
    name = name.replace("qint8_avx2", "quint8_avx2")  # as its exporter calls it
    origin = "its own file"
    if not (folder / backend / name).is_file():
        origin, folder = "made by its own exporter", _made(peer, folder, backend, cache / backend, kind, samples)
    settings["file_name"] = name
    model = peer.SentenceTransformer(str(folder), device="cpu", backend=backend, model_kwargs=settings)
    return model, f"int8 and {_beside(model, backend)}, {origin}"


def _beside(model: Model, backend: str) -> str:
    """What it computes in where it does not compute in integers: OpenVINO goes by the machine."""
    if backend == "onnx":
        return "float32"
    model.transformers_model.compile()
    return str(model.transformers_model.request.get_property("INFERENCE_PRECISION_HINT").to_string())


def _settings(backend: str, threads: int) -> dict[str, Any]:
    if backend == "openvino":
        return {"ov_config": {"INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1, "PERFORMANCE_HINT": "LATENCY"}}
    options = import_module("onnxruntime").SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.add_session_config_entry("session.force_spinning_stop", "1")  # as ours, so that neither slows the other
    return {"provider": "CPUExecutionProvider", "session_options": options}


def _made(peer: ModuleType, folder: Path, backend: str, cache: Path, kind: str, samples: Path) -> Path:
    """The model's folder with the int8 file that sentence-transformers' own exporter makes."""
    if (cache / "made").is_file():
        return cache
    rmtree(cache, ignore_errors=True)
    more = {"provider": "CPUExecutionProvider"} if backend == "onnx" else {}
    settings = {"export": True, **more}
    model = peer.SentenceTransformer(str(folder), device="cpu", backend=backend, model_kwargs=settings)
    model.save_pretrained(str(cache))
    if backend == "onnx":
        peer.export_dynamic_quantized_onnx_model(model, kind, str(cache))
    else:
        data = {"dataset_name": str(samples), "dataset_config_name": "default", "dataset_split": "train"}
        peer.export_static_quantized_openvino_model(model, None, str(cache), **data, column_name="sentence")
    (cache / "made").touch()
    return cache


def serve(model: Model, lines: IO[str], replies: IO[str]) -> None:
    """Embeds what each line names: `texts`, `batch`, and `file` for an array of NumPy, or None."""
    numpy = import_module("numpy")
    for line in lines:
        asked: Mapping[str, Any] = json.loads(line)
        vectors = model.encode(asked["texts"], batch_size=asked["batch"], show_progress_bar=False)
        if asked["file"]:
            numpy.save(asked["file"], vectors)
        _say(replies, {"done": len(vectors)})


def _say(replies: IO[str], words: Mapping[str, object]) -> None:
    replies.write(json.dumps(words) + "\n")
    replies.flush()


def main(arguments: Sequence[str]) -> None:
    folder, backend, cache, kind, samples, threads = arguments
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as replies:
        os.dup2(2, 1)  # libraries print where replies go
        try:
            model, origin = load(Path(folder), backend, Path(cache), kind, Path(samples), int(threads))
        except Exception as error:  # whatever it is, the benchmark says it in the row's place
            return _say(replies, {"fault": f"{type(error).__name__}: {str(error).strip()[:300]}"})
        _say(replies, {"version": version("sentence-transformers"), "origin": origin})
        serve(model, sys.stdin, replies)


if __name__ == "__main__":
    main(sys.argv[1:])
