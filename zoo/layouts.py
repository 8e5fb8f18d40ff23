"""An entry's weights in the layouts that other programs open, beside this program's own graph.

For transformers.js and optimum a graph with the usual inputs, for optimum-intel OpenVINO's own files, for
sentence-transformers what it reads of a model; all at full length, of the very integers that the entry holds.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Collection, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo.checkpoints import most_tokens, normalized, read_config
from zoo.engines import GRAPH, runs_graph, runs_int8
from zoo.engines.openvino import runtime
from zoo.engines.stock import graph_of
from zoo.errors import UserError
from zoo.files import read_json, write_json
from zoo.graph import read
from zoo.graph_standard import STATES, build_standard
from zoo.onnx_files import EXPORTED, whole
from zoo.pooling import MODES, PROMPTS
from zoo.tasks import EMBEDDINGS, QUESTIONS, RANKING, TEXTS, TOKENS

if TYPE_CHECKING:
    from onnx import ModelProto

    from zoo.catalog import Entry

ONNX = EXPORTED
OPENVINO = "openvino/openvino_model_qint8_quantized.xml"
WEIGHTS = OPENVINO.replace(".xml", ".bin")
MODULES, POOLING = "modules.json", "1_Pooling/config.json"
SENTENCES = (MODULES, POOLING, "sentence_bert_config.json", "config_sentence_transformers.json")
GRAPHS = (ONNX, OPENVINO, WEIGHTS)
TOKENIZER = "tokenizer_config.json"
# One class by two names: the first is not known to transformers 4, which optimum uses, the second is to both.
NEW_CLASS, OLD_CLASS = "TokenizersBackend", "PreTrainedTokenizerFast"


def refusal(entry: Entry) -> str:
    """Why an entry has no standard layout beside its own, as a sentence; empty where it has."""
    if runs_int8(entry) and not runs_graph(entry):
        return (
            f"{entry.name} holds integers of neural-compressor, which only this program runs: no other layout can be "
            "written of it. Choose the entry with the int8 graph beside it."
        )
    if not runs_int8(entry) and entry.type is not EMBEDDINGS:
        return f"{entry.name} is not in int8: other programs open it as it is. Choose an int8 entry."
    return ""


def planned(entry: Entry) -> list[str]:
    """Paths of the files that `write` makes.

    Raises:
        UserError: there are none, see `refusal`.
    """
    if reason := refusal(entry):
        raise UserError(reason)
    graphs: list[str] = []
    if runs_int8(entry):
        graphs += [] if (entry.folder / ONNX).is_file() and not _is_own(entry) else [ONNX]
        graphs += [OPENVINO, WEIGHTS] if "openvino" in entry.engines else []
    tokenizer = [TOKENIZER] if _tokenizer(entry).get("tokenizer_class") == NEW_CLASS else []
    return graphs + (list(SENTENCES) if entry.type is EMBEDDINGS else []) + tokenizer


def present(entry: Entry) -> list[str]:
    """Paths of those of the files that lie in the entry's folder already, as a recipe asked for them."""
    there = [name for name in ([] if refusal(entry) else planned(entry)) if (entry.folder / name).is_file()]
    asked = {ONNX, OPENVINO} if runs_int8(entry) else {POOLING}
    return [name for name in there if name != TOKENIZER] if asked & set(there) else []


def added(entry: Entry) -> int:
    """About how many bytes the files take, without writing them: each graph holds the weights once more."""
    return entry.bytes * sum(name in (ONNX, WEIGHTS) for name in ([] if refusal(entry) else planned(entry)))


def write(entry: Entry, out: Path) -> list[str]:
    """Writes the standard layouts of an entry into a folder.

    Args:
        entry: an int8 graph, or for embeddings any.
        out: where the files go, in folders of their own.

    Returns:
        Paths of the files from `out`.

    Raises:
        UserError: see `refusal`; the graph was exported without what other programs read; OpenVINO is not installed.
    """
    names = planned(entry)
    if runs_int8(entry):
        graph = _graph(entry)
        for name in names:
            (out / name).parent.mkdir(parents=True, exist_ok=True)
        if ONNX in names:
            (out / ONNX).write_bytes(graph.SerializeToString())
        if OPENVINO in names:
            _convert(graph, out / OPENVINO)
    if entry.type is EMBEDDINGS:
        for name, facts in _sentence_files(entry).items():
            write_json(out / name, facts)
    if TOKENIZER in names:
        write_json(out / TOKENIZER, {**_tokenizer(entry), "tokenizer_class": OLD_CLASS})
    return names


@contextmanager
def written(entry: Entry, wanted: bool = True) -> Generator[dict[str, Path]]:
    """The files by path, where they lie while the block lasts; where none are wanted, those that are there already."""
    if not wanted:
        yield {name: entry.folder / name for name in present(entry)}
        return
    folder = Path(tempfile.mkdtemp(prefix="budget-zoo-layouts-"))
    try:
        yield {name: folder / name for name in write(entry, folder)}
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def tags(entry: Entry, names: Collection[str]) -> list[str]:
    """What the Hub calls the programs that open an entry beside which these files stand."""
    script = ["transformers.js"] if names and runs_int8(entry) else []
    return script + (["sentence-transformers"] if MODULES in names else [])


def describe(entry: Entry, repo_id: str, names: Collection[str]) -> str:
    """How other programs open the files, for a card; empty where there are none."""
    if not names:
        return ""
    parts = ["## In other programs", "At full length, with the same integers; budgets are this program's own."]
    file, xml = ONNX.rpartition("/")[2], OPENVINO.rpartition("/")[2]
    facts = {"repo": repo_id, "ending": entry.type.ending.replace("Model", "ForFeatureExtraction")}
    facts |= {"pipeline": PIPELINES[entry.task], "pooling": entry.pooling.mode}
    facts |= {"normalize": str(entry.pooling.normalize).lower()}
    if entry.type in SENTENCE:
        facts["options"] = SENTENCE_OPTIONS.format(**facts) if entry.type is EMBEDDINGS else ""
        backends = [BACKEND.format("onnx", file)] if runs_int8(entry) else [""]
        backends += [BACKEND.format("openvino", xml)] if OPENVINO in names else []
        kind, asked = SENTENCE[entry.type]
        opened = "\n# or\n".join(OPEN.format(kind=kind, repo=repo_id, more=more) for more in backends)
        code = SENTENCE_CODE.format(kind=kind, asked=asked, opened=opened)
        parts.append(f"sentence-transformers:\n\n```python\n{code}```")
    if runs_int8(entry):
        if OPENVINO in names:
            parts.append(f"optimum-intel:\n\n```python\n{INTEL.format(file=xml, **facts)}```")
        parts.append(f"optimum:\n\n```python\n{OPTIMUM.format(file=file, **facts)}```")
        parts.append(f"transformers.js:\n\n```js\n{SCRIPT.format(**{'options': '', **facts})}```")
    return "\n\n".join(parts)


PIPELINES = {
    QUESTIONS.name: "question-answering",
    TEXTS.name: "text-classification",
    RANKING.name: "text-classification",
    TOKENS.name: "token-classification",
    EMBEDDINGS.name: "feature-extraction",
}  # of transformers.js
BACKEND = ', backend="{}", model_kwargs={{"file_name": "{}"}}'
OPEN = 'model = {kind}("{repo}"{more})'
SENTENCE_CODE = """\
from sentence_transformers import {kind}

{opened}
print({asked})
"""
SENTENCE = {
    EMBEDDINGS: (
        "SentenceTransformer",
        'model.similarity(model.encode("A text ..."), model.encode("Another ..."))',
    ),
    RANKING: ("CrossEncoder", 'model.predict([("Who ...?", "A passage ...")])'),
}
INTEL = """\
from optimum.intel import OVModel{ending}

model = OVModel{ending}.from_pretrained("{repo}", subfolder="openvino", file_name="{file}")
"""
OPTIMUM = """\
from optimum.onnxruntime import ORTModel{ending}

model = ORTModel{ending}.from_pretrained("{repo}", subfolder="onnx", file_name="{file}")
"""
SCRIPT = """\
import {{ pipeline }} from "@huggingface/transformers";

const model = await pipeline("{pipeline}", "{repo}", {{ dtype: "q8" }});{options}
"""
SENTENCE_OPTIONS = """
const vectors = await model(["A text ..."], {{ pooling: "{pooling}", normalize: {normalize} }});"""


def _tokenizer(entry: Entry) -> dict[str, Any]:
    path = entry.folder / TOKENIZER
    return read_json(path) if path.is_file() else {}


def _is_own(entry: Entry) -> bool:
    return (entry.folder / GRAPH).is_file()


def _graph(entry: Entry) -> ModelProto:
    """The graph with the usual inputs: written anew of this program's own, or as it was exported."""
    if _is_own(entry):
        return build_standard(*read(entry.folder / GRAPH))
    graph = whole(graph_of(entry.folder))
    if entry.type is EMBEDDINGS and STATES not in {part.name for part in graph.graph.output}:
        raise UserError(
            f"The graph of {entry.name} gives vectors alone, where other programs read {STATES}. Quantize the model "
            "again: graphs have had both since."
        )
    return graph


_COUNTED = re.compile(r"Constant_\d+")  # named by how many nodes the process ever made


def _convert(graph: ModelProto, path: Path) -> None:
    """Stores a graph as OpenVINO's own files: the same bytes whenever it is done."""
    openvino: Any = runtime()
    model = openvino.Core().read_model(graph.SerializeToString(), b"")
    for port in model.inputs:  # it has the names of what only passes it on, too
        port.get_tensor().set_names({port.get_node().get_friendly_name()})
    for port, part in zip(model.outputs, graph.graph.output, strict=True):
        port.get_tensor().set_names({part.name})
    for i, node in enumerate(model.get_ordered_ops()):
        if node.get_type_name() not in ("Parameter", "Result", "Constant") or _COUNTED.match(node.get_friendly_name()):
            node.set_friendly_name(f"part_{i}")
    openvino.save_model(model, str(path), compress_to_fp16=False)


def _sentence_files(entry: Entry) -> dict[str, Any]:
    """What sentence-transformers reads beside the configuration and the tokenizer, by path."""
    config, pooling = normalized(read_config(entry.folder)), entry.pooling
    kinds = ["Transformer", "Pooling", *(["Normalize"] if pooling.normalize else [])]
    modules = [
        {
            "idx": i,
            "name": str(i),
            "path": f"{i}_{kind}" if i else "",
            "type": f"sentence_transformers.models.{kind}",
        }
        for i, kind in enumerate(kinds)
    ]
    modes = {key: mode == pooling.mode for mode, key in MODES.items()}
    facts = (
        modules,
        {"word_embedding_dimension": int(config["hidden_size"]), **modes},
        {"max_seq_length": most_tokens(config, pooling.max_length), "do_lower_case": False},
        {"prompts": {}, "default_prompt_name": None, "similarity_fn_name": "cosine", **config.get(PROMPTS, {})},
    )
    return dict(zip(SENTENCES, facts, strict=True))
