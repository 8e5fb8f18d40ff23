"""What the weights of an int8 entry really are: which of its products are integers, read from the file itself."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from zoo.graph import META, SAME
from zoo.onnx_files import EXPORTED, OURS, skeleton
from zoo.tensors import INTEGERS, header

if TYPE_CHECKING:
    from onnx import ModelProto

    from zoo.catalog import Entry

KEY = "budget_zoo_products"  # of what an exported graph says of itself
WORDS = "words"  # the word embeddings among operators
NAMED = 6  # operators that are named at most
PARTS = ("qkv", "project", "expand", "contract")  # products of a layer of this program's own graph


def weights_in_words(entry: Entry) -> str:
    """What the card says of an entry's weights: their type, and of an int8 entry what stayed in float.

    Args:
        entry: with its files in its folder.
    """
    for name, read in ((OURS, _in_own), (EXPORTED, _in_exported), (INTEGERS, _in_tensors)):
        if (entry.folder / name).is_file():
            products, floats = read(entry.folder / name)
            return _worded(products, floats) if floats else entry.weights_dtype
    return entry.weights_dtype


def _worded(products: Sequence[str], floats: Sequence[str]) -> str:
    """Such as “int8, 22 of 24 matrix products; float32 in layers.0.qkv, layers.1.contract”."""
    left = [name for name in floats if name != WORDS]
    listed = [*(["the word embeddings"] if WORDS in floats else []), *left]
    more = len(listed) - NAMED
    told = ", ".join(listed[:NAMED]) + (f" and {more} more" if more > 0 else "")
    return f"int8, {len(products) - len(left)} of {len(products)} matrix products; float32 in {told}"


def _in_own(path: Path) -> tuple[list[str], list[str]]:
    """Products of this program's graph, and the operators of it in float."""
    graph = skeleton(path)
    spec = json.loads(_property(graph, META) or "{}")
    names = {part.name for part in graph.graph.initializer} | set(spec.get(SAME, ()))
    products = [f"layers.{i}.{part}" for i in range(spec.get("layers", 0)) for part in PARTS]
    return products, [name for name in (WORDS, *products) if f"{name}.w" in names]


def _in_exported(path: Path) -> tuple[list[str], list[str]]:
    """The same of an exported graph, as it says itself; nothing of one of another program."""
    facts = json.loads(_property(skeleton(path), KEY) or "{}")
    return [name for name in facts.get("names", ()) if name != WORDS], list(facts.get("floats", ()))


def _in_tensors(path: Path) -> tuple[list[str], list[str]]:
    """The same of neural-compressor's layers; the embeddings and the head are in float in any case."""
    inner = re.compile(r"(layers\.\d+\.\w+)\.weight")
    layers = {match[1]: one for one in header(path) if len(one.shape) == 2 and (match := inner.fullmatch(one.name))}
    return list(layers), [name for name, one in layers.items() if one.dtype != "I8"]


def _property(graph: ModelProto, key: str) -> str:
    return next((part.value for part in graph.metadata_props if part.key == key), "")
