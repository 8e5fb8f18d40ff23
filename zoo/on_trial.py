"""A child process of `zoo.trial`: reads a model's folder and runs the model once, within limits.

`python -m zoo.on_trial FOLDER ROOT SECONDS` ends with 0 where all went well, else with why on stderr. Frameworks are
left out where they are not needed: a model that this program computes itself is bounded by its sizes.
`python -m zoo.on_trial --data GRAPH SECONDS` prints which files beside a graph hold its data.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from zoo import safety
from zoo.checkpoints import has_head, most_tokens, normalized, read_config
from zoo.confined import SPARE, hasten, limit
from zoo.encoders import encoder_of
from zoo.engines import open_float, open_graph
from zoo.engines.base import GRAPH, Engine
from zoo.errors import UserError, told
from zoo.onnx_files import data_files, names_in, stock_graph
from zoo.tensors import has_tensors, header, is_finite
from zoo.tokenizer_files import FILE, check_files
from zoo.trial import REFUSED

TEXTS = (
    "Who was there?",
    "The queen was there, with 1,234 others. " * 500,
    "a" * 20_000,
    "aaaaaaaaaaaaaaaaaaaa! " * 900,
    "日本語 🙂 é́ " * 1000,
)
TOKENS = 16  # of the input that is run
RUN = 2  # seconds of processor time for that, beside one for every 20 MB


def main(place: str, root: str, seconds: str) -> None:
    """Reads and runs the model in a folder, in so many seconds beside one for every 5 MB.

    Raises:
        UserError: what is wrong with it.
    """
    folder = safety.check_files(Path(place), Path(root))
    config = read_config(folder)
    is_foreign = encoder_of(config) is not None and has_tensors(folder)
    for package in ("torch", "transformers") if is_foreign else ("onnxruntime", "onnx"):
        import_module(package)  # what they map is none of the model's
    if is_foreign:
        _load_code(config)
    size = sum((folder / name).stat().st_size for name in names_in(folder))
    _bound(size, seconds)
    safety.check_folder(folder, Path(root))
    ids = _tokens(folder)
    for path in folder.glob("*.safetensors"):
        for stored in header(path):
            if not is_finite(stored):
                raise UserError(
                    f"{stored.name} in {path} holds values that are no finite numbers: the training or the conversion "
                    "to half precision went wrong. Take another checkpoint."
                )
    if not is_foreign and ((folder / GRAPH).is_file() or (stock_graph(names_in(folder)) and not has_tensors(folder))):
        _run(folder, open_graph, ids, size)
    elif is_foreign and has_head(config):
        _run(folder, open_float, ids, size)


def _load_code(config: Mapping[str, Any]) -> None:
    """Imports what transformers computes a family by: of DeBERTa that alone maps half a gigabyte for its scripts."""
    transformers = import_module("transformers")
    kind = transformers.CONFIG_MAPPING[config["model_type"]]
    assert transformers.MODEL_MAPPING[kind]


def tell(graph: str, seconds: str) -> None:
    """Prints the names of the files with a graph's data, as JSON.

    Raises:
        UserError: it is no graph, or has data elsewhere.
    """
    import_module("onnx")
    _bound(Path(graph).stat().st_size, seconds)
    print(json.dumps(data_files(Path(graph))))


def _bound(size: int, seconds: str) -> None:
    limit(6 * size + SPARE, int(seconds) + size // 5_000_000)


def _tokens(folder: Path) -> list[int]:
    """Ids of a text by the tokenizer of a folder, which reads longer texts, too; some where it has no such file."""
    check_files(folder, read_config(folder))
    if not (folder / FILE).is_file():
        return list(range(TOKENS))
    with told(f"{folder / FILE} is no tokenizer that reads text", "Put the model's own beside its weights."):
        tokenizer = Tokenizer.from_file(str(folder / FILE))
        tokenizer.no_padding()
        tokenizer.no_truncation()
        for text in TEXTS:
            tokenizer.encode(text, text[:100])
        return tokenizer.encode(TEXTS[0]).ids[:TOKENS]


def _run(folder: Path, opened: Callable[[Path, int], Engine], ids: list[int], size: int) -> None:
    """Runs what another program exported, or has the code of: such a model may do anything at all."""
    with told(f"{folder} cannot be opened"):
        engine = opened(folder, 1)
    config = normalized(read_config(folder))
    row = np.array([ids[: max(2, min(TOKENS, most_tokens(config, TOKENS)))]], np.int64)
    if not 0 <= row.min() <= row.max() < config.get("vocab_size", np.inf):
        raise UserError(f"The tokenizer in {folder} writes ids for which the model has no embedding. Restore it.")
    mask, lengths = np.ones_like(row), np.full((1, engine.layers), row.shape[1])
    batch = {"input_ids": row, "attention_mask": mask, "token_type_ids": np.zeros_like(row)}
    hasten(RUN + size // 20_000_000)
    with told(f"{folder} does not run"):
        logits = engine.run(batch, lengths).logits
    if np.isnan(logits).any():
        raise UserError(f"{folder} answers with what is no number (NaN): its weights are broken. Take another.")


if __name__ == "__main__":
    try:
        tell(*sys.argv[2:]) if sys.argv[1] == "--data" else main(*sys.argv[1:])
    except UserError as refusal:
        print(" ".join(str(refusal).split()), file=sys.stderr)
        sys.exit(REFUSED)
    except MemoryError:
        print(f"{sys.argv[1]} wants more memory than its size explains. Take another model.", file=sys.stderr)
        sys.exit(REFUSED)
