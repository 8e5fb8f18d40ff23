"""sentence-transformers, asked over pipes: each backend a process in an interpreter that has it."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import tempfile
from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import numpy as np

from zoo import catalog
from zoo.errors import UserError
from zoo.files import sha256
from zoo.latency import machine
from zoo.settings import get_settings

SCRIPT = Path(__file__).with_name("sentence_peer.py")
BACKENDS = ("torch", "onnx", "openvino")
SAMPLES = 300  # of its own calibration
INSTALL = (
    "It is no requirement of this program, and its exporters need an older transformers: give it an environment of its "
    "own, `python -m venv peers` and `peers/bin/pip install 'sentence-transformers[onnx,openvino]' datasets`, and name "
    "it by --peers peers/bin/python."
)


class Peer:
    """A model of sentence-transformers in a process of its own.

    Args:
        process: that runs `sentence_peer.py`.
        backend: which.
        scratch: folder for vectors, and for what the process says.

    Attributes:
        name: what its row is called.

    Raises:
        UserError: the process ended, or could not load the model; the message says why.
    """

    def __init__(self, process: subprocess.Popen[str], backend: str, scratch: Path):
        self._process, self._scratch, self._backend = process, scratch, backend
        told = self._reply()
        if fault := told.get("fault"):
            raise UserError(str(fault))
        self.name = f"sentence-transformers {told['version']}, {backend}, {told['origin']}"

    def embed(self, texts: Sequence[str], batch: int) -> np.ndarray:
        """A vector of each text, `[texts, hidden]`."""
        path = self._scratch / f"{self._backend}.npy"
        self._ask(texts, batch, str(path))
        return np.load(path)

    def run(self, texts: Sequence[str], batch: int) -> None:
        """As `embed`, but the vectors stay where they are."""
        self._ask(texts, batch, None)

    def _ask(self, texts: Sequence[str], batch: int, path: str | None) -> None:
        pipe = self._process.stdin
        assert pipe is not None
        with suppress(BrokenPipeError):  # the reply says why
            pipe.write(json.dumps({"texts": list(texts), "batch": batch, "file": path}) + "\n")
            pipe.flush()
        self._reply()

    def _reply(self) -> Mapping[str, Any]:
        pipe = self._process.stdout
        assert pipe is not None
        if line := pipe.readline():
            return json.loads(line)
        said = (self._scratch / f"{self._backend}.log").read_text(encoding="utf-8", errors="replace").strip()
        raise UserError(
            f"{self._backend}'s process ended: {said.splitlines()[-1][:300] if said else 'it said nothing'}"
        )


@contextmanager
def opened(folder: Path, python: str, threads: int) -> Generator[tuple[list[Peer], list[str]]]:
    """Every backend of sentence-transformers that runs, and why the others do not.

    Args:
        folder: of the model.
        python: an interpreter that has the package.
        threads: of each.

    Raises:
        UserError: the folder holds no weights, or it runs on torch not at all.
    """
    if not (folder / "model.safetensors").is_file():
        raise UserError(f"{folder} holds no model.safetensors. Name the folder of the original model by --original.")
    peers, lacking = list[Peer](), list[str]()
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        _write_samples(scratch / "samples")
        for backend in BACKENDS:
            log = stack.enter_context((scratch / f"{backend}.log").open("w", encoding="utf-8"))
            try:
                process = stack.enter_context(_started(folder, backend, python, threads, scratch / "samples", log))
                peers.append(Peer(process, backend, scratch))
            except (UserError, OSError) as error:
                if backend == "torch":
                    raise UserError(f"sentence-transformers does not run in {python}: {error}. {INSTALL}") from error
                lacking.append(f"sentence-transformers, {backend}, does not run in {python}: {error}.")
        yield peers, lacking


@contextmanager
def _started(
    folder: Path, backend: str, python: str, threads: int, samples: Path, log: IO[str]
) -> Generator[subprocess.Popen[str]]:
    cache = get_settings().home / "cache" / "bench" / sha256(folder / "model.safetensors")[:16]
    cache.mkdir(parents=True, exist_ok=True)
    arguments = (str(folder.resolve()), backend, str(cache), _kind(), str(samples), str(threads))
    # -P: else modules of this folder stand before those of Python that are called alike.
    process = subprocess.Popen(
        [python, "-P", str(SCRIPT), *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
        text=True,
        encoding="utf-8",
        env={**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": str(threads)},
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def _kind() -> str:
    """Which of sentence-transformers' dynamic int8 files is made for this machine."""
    if platform.machine().lower() in ("arm64", "aarch64"):
        return "arm64"
    return "avx512_vnni" if machine()["vnni"] else "avx2"


def _write_samples(folder: Path) -> None:
    """What its static int8 is calibrated on: sentences of SST-2, its default; bundled passages where there are none."""
    place = get_settings().data
    lines = place / "glue" / "sst2" / "train.jsonl" if place else None
    if lines and lines.is_file():
        texts = [json.loads(line)["sentence"] for line in lines.read_text(encoding="utf-8").splitlines()[:SAMPLES]]
    else:
        texts = list(dict.fromkeys(example["context"] for example in catalog.examples()))[:SAMPLES]
    folder.mkdir()
    rows = "".join(json.dumps({"sentence": text}) + "\n" for text in texts)
    (folder / "train.jsonl").write_text(rows, encoding="utf-8")
