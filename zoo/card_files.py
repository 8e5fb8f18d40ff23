"""What stands beside a card's text: the front as a picture, results as the Hub reads them, recipe, snippet."""

from __future__ import annotations

import io
import os
import platform
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from zoo.checkpoints import RAW, SIGMOID, SOFTMAX
from zoo.engines import engine_class, names, runs_int8
from zoo.errors import UserError
from zoo.metrics import listed, metric_name, scores_of
from zoo.settings import get_settings
from zoo.tasks import EMBEDDINGS, QUESTIONS, RANKING, TEXTS, TOKENS
from zoo.yaml_files import parse_yaml

if TYPE_CHECKING:
    from zoo.catalog import Entry
    from zoo.lengths import Front

PICTURE, RECIPE = "front.png", "recipe.yaml"
PACKAGES = ("torch", "transformers", "onnxruntime", "onnx", "openvino", "datasets", "neural-compressor", "nncf")

ONNX_SNIPPET = """\
import json, numpy as np, onnxruntime
from huggingface_hub import hf_hub_download
from tokenizers import Tokenizer

graph, words, front = (hf_hub_download("{repo}", n) for n in ("model.int8.onnx", "tokenizer.json", "front.json"))
budget = json.load(open(front, encoding="utf-8"))["full"]  # or ["points"][0], the cheapest of them
question, passage = "Which river leaves the lake?", "The Angara is the only river that leaves the lake."
text = Tokenizer.from_file(words).encode(question, passage)
feed = {{"input_ids": text.ids, "attention_mask": text.attention_mask, "token_type_ids": text.type_ids}}
feed["lengths"] = [max(2, round(share * len(text.ids))) for share in budget["fractions"]]
session = onnxruntime.InferenceSession(graph)
inputs = {{i.name: np.array([feed[i.name]]) for i in session.get_inputs()}}
start, end = session.run(["start_logits", "end_logits"], inputs)
inside = np.array([part == 1 for part in text.sequence_ids])
scores = np.where(np.triu(np.outer(inside, inside)), start[0][:, None] + end[0], -np.inf)
first, last = np.unravel_index(scores.argmax(), scores.shape)
print(passage[text.offsets[first][0] : text.offsets[last][1]])
"""

TORCH_SNIPPET = """\
import torch
from transformers import AutoModelForQuestionAnswering, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("{repo}")
model = AutoModelForQuestionAnswering.from_pretrained("{repo}", dtype=torch.float32)
question, passage = "Which river leaves the lake?", "The Angara is the only river that leaves the lake."
text = tokenizer(question, passage, return_tensors="pt")
with torch.no_grad():
    found = model(**text)
first, last = found.start_logits[0].argmax(), found.end_logits[0].argmax()
print(tokenizer.decode(text["input_ids"][0][first : last + 1]))
"""


CLASSIFY_ONNX_SNIPPET = """\
import json, numpy as np, onnxruntime
from huggingface_hub import hf_hub_download
from tokenizers import Tokenizer

names = ("model.int8.onnx", "tokenizer.json", "front.json", "config.json")
graph, words, front, config = (hf_hub_download("{repo}", n) for n in names)
budget = json.load(open(front, encoding="utf-8"))["full"]  # or ["points"][0], the cheapest of them
labels = json.load(open(config, encoding="utf-8"))["id2label"]
text = Tokenizer.from_file(words).encode({texts})
feed = {{"input_ids": text.ids, "attention_mask": text.attention_mask, "token_type_ids": text.type_ids}}
feed["lengths"] = [max(2, round(share * len(text.ids))) for share in budget["fractions"]]
session = onnxruntime.InferenceSession(graph)
inputs = {{i.name: np.array([feed[i.name]]) for i in session.get_inputs()}}
(logits,) = session.run(["logits"], inputs)
print({verdict})
"""

CLASSIFY_TORCH_SNIPPET = """\
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("{repo}")
model = AutoModelForSequenceClassification.from_pretrained("{repo}", dtype=torch.float32)
with torch.no_grad():
    logits = model(**tokenizer({texts}, return_tensors="pt")).logits[0]
print({verdict})
"""


EMBED_ONNX_SNIPPET = """\
import json, numpy as np, onnxruntime
from huggingface_hub import hf_hub_download
from tokenizers import Tokenizer

graph, words, front = (hf_hub_download("{repo}", n) for n in ("model.int8.onnx", "tokenizer.json", "front.json"))
budget = json.load(open(front, encoding="utf-8"))["full"]  # or ["points"][0], the cheapest of them
session = onnxruntime.InferenceSession(graph)
for sentence in ("The lake is deep.", "Its water reaches far down."):
    text = Tokenizer.from_file(words).encode(sentence)
    feed = {{"input_ids": text.ids, "attention_mask": text.attention_mask, "token_type_ids": text.type_ids}}
    feed["lengths"] = [max(2, round(share * len(text.ids))) for share in budget["fractions"]]
    (vector,) = session.run(["embedding"], {{i.name: np.array([feed[i.name]]) for i in session.get_inputs()}})
    print(vector[0])
"""

EMBED_TORCH_SNIPPET = """\
import torch
from transformers import AutoModel, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("{repo}")
model = AutoModel.from_pretrained("{repo}", dtype=torch.float32)
for sentence in ("The lake is deep.", "Its water reaches far down."):
    with torch.no_grad():
        states = model(**tokenizer(sentence, return_tensors="pt")).last_hidden_state[0]
    vector = {verdict}
    print(vector)
"""
POOLED = {"mean": "states.mean(0)", "cls": "states[0]", "max": "states.max(0).values"}

TAG_ONNX_SNIPPET = """\
import json, numpy as np, onnxruntime
from huggingface_hub import hf_hub_download
from tokenizers import Tokenizer

names = ("model.int8.onnx", "tokenizer.json", "front.json", "config.json")
graph, words, front, config = (hf_hub_download("{repo}", n) for n in names)
budget = json.load(open(front, encoding="utf-8"))["full"]  # or ["points"][0], the cheapest of them
labels = json.load(open(config, encoding="utf-8"))["id2label"]
sentence = "Ada Lovelace was born in London."
text = Tokenizer.from_file(words).encode(sentence)
feed = {{"input_ids": text.ids, "attention_mask": text.attention_mask, "token_type_ids": text.type_ids}}
feed["lengths"] = [max(2, round(share * len(text.ids))) for share in budget["fractions"]]
session = onnxruntime.InferenceSession(graph)
inputs = {{i.name: np.array([feed[i.name]]) for i in session.get_inputs()}}
(logits,) = session.run(["logits"], inputs)
for (first, end), best in zip(text.offsets, logits[0].argmax(-1)):
    print(sentence[first:end], labels[str(best)])
"""

TAG_TORCH_SNIPPET = """\
from transformers import pipeline

tag = pipeline("token-classification", "{repo}", aggregation_strategy="first")
for entity in tag("Ada Lovelace was born in London."):
    print(entity["word"], entity["entity_group"], entity["score"])
"""


VERDICTS = {
    SOFTMAX: ("model.config.id2label[int(logits.argmax())]", "labels[str(logits[0].argmax())]"),
    SIGMOID: (
        "dict(zip(model.config.id2label.values(), logits.sigmoid().tolist()))",
        "{labels[str(i)]: float(1 / (1 + np.exp(-x))) for i, x in enumerate(logits[0])}",
    ),
    RAW: ("float(logits[0])", "logits[0][0]"),
}  # what a classifier says, in torch and with the int8 graph
SNIPPETS = {
    QUESTIONS.name: (TORCH_SNIPPET, ONNX_SNIPPET),
    TEXTS.name: (CLASSIFY_TORCH_SNIPPET, CLASSIFY_ONNX_SNIPPET),
    RANKING.name: (CLASSIFY_TORCH_SNIPPET, CLASSIFY_ONNX_SNIPPET),
    EMBEDDINGS.name: (EMBED_TORCH_SNIPPET, EMBED_ONNX_SNIPPET),
    TOKENS.name: (TAG_TORCH_SNIPPET, TAG_ONNX_SNIPPET),
}  # in torch, and with the int8 graph


def is_pair(entry: Entry) -> bool:
    """Whether a classifier takes two texts, by the columns that it was measured on."""
    return entry.type is RANKING or "," in str(entry.metrics.get("columns") or "")


def picture(front: Front) -> bytes:
    """The front as a PNG: its metric against the share of the unpadded full model's MACs."""
    os.environ.setdefault("MPLCONFIGDIR", str(get_settings().home / "matplotlib"))
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.2), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    points = front.everything
    axes.plot([100 * p.macs_ratio for p in points], [p.score for p in points], "-o", color="#0f766e", label="the front")
    if front.dominated:
        shares, scores = [100 * p.macs_ratio for p in front.dominated], [p.score for p in front.dominated]
        axes.plot(shares, scores, "o", color="#a8a29e", markersize=4, label="beaten", zorder=1)
    axes.plot(100 * front.full.macs_ratio, front.full.score, "s", color="#b45309", label="full length")
    axes.set_xlabel("MACs, percent of the unpadded full model")
    axes.set_ylabel(metric_name(front.metric))
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
    data = io.BytesIO()
    # Without the program's version in it the same figures give the same bytes.
    figure.savefig(data, format="png", metadata={"Software": None})
    return data.getvalue()


def eval_results(entry: Entry) -> bytes | None:
    """The headline score as `.eval_results/*.yaml` wants it; None where none was measured on a data set of the Hub.

    The Hub shows one value a task and data set, so the other scores go into the notes.
    """
    dataset = str(entry.metrics.get("dataset") or "")
    scores = scores_of(entry.metrics)
    if not scores or dataset.count("/") != 1:
        return None
    key, value = next(iter(scores.items()))
    others = listed({name: score for name, score in scores.items() if name != key})
    n, split = entry.metrics.get("n"), entry.metrics.get("split")
    notes = [metric_name(key), others, f"split {split}" if split else "", f"{n} examples" if n else ""]
    notes += [f"{entry.metrics['engine']} on {entry.metrics.get('cpu', 'CPU')}"] if "engine" in entry.metrics else []
    result: dict[str, Any] = {
        "dataset": {"id": dataset, "task_id": str(entry.metrics.get("config") or "default")},
        "value": round(value, 4),
    }
    if entry.metrics.get("date"):
        result["date"] = str(entry.metrics["date"])
    result["notes"] = ", ".join(note for note in notes if note)
    return yaml.safe_dump([result], sort_keys=False, allow_unicode=True).encode()


def recipe(folder: Path) -> str | None:
    """The YAML of the recipe that made the entry in a folder, without folders of this machine; None if it is not known.

    It lies beside the weights, or at the top of the run whose stage `package` the folder is of.
    """
    places = [folder / RECIPE, *([folder.parent.parent / RECIPE] if folder.parent.name == "package" else [])]
    for path in places:
        if path.is_file():
            try:
                data = parse_yaml(path.read_text(encoding="utf-8"), str(path))
            except (UserError, UnicodeDecodeError, OSError):
                continue
            if isinstance(data, dict):
                return yaml.safe_dump(_without_folders(data), sort_keys=False, allow_unicode=True, width=120)
    return None


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that make and run models, for an entry's provenance."""
    packages = {"python": platform.python_version()}
    for package in dict.fromkeys((*PACKAGES, *(engine_class(name).package for name in names()))):
        try:
            packages[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return packages


def snippet(entry: Entry, repo_id: str) -> str:
    """Python that downloads the entry and runs it without this program; empty where there is none: for other types of
    task, and for neural-compressor's integers."""
    if runs_int8(entry) and not entry.front:
        return ""
    in_torch, in_onnx = SNIPPETS.get(entry.task, ("", ""))
    texts = '"A man sleeps.", "Nobody is awake."' if is_pair(entry) else '"The plot is thin, the acting superb."'
    verdicts = VERDICTS.get(entry.activation, ("", ""))
    if entry.type.reads == "pooled":
        vector = POOLED[entry.pooling.mode]
        verdicts = (f"torch.nn.functional.normalize({vector}, dim=0)" if entry.pooling.normalize else vector, "")
    code, verdict = (in_onnx, verdicts[1]) if entry.front else (in_torch, verdicts[0])
    return code.format(repo=repo_id, texts=texts, verdict=verdict)


def _without_folders(value: object) -> Any:
    if isinstance(value, dict):
        return {key: _without_folders(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_without_folders(inner) for inner in value]
    if isinstance(value, str) and (value.startswith(("/", "~", ".", "$")) or "\\" in value):
        return value.replace("\\", "/").rstrip("/").rpartition("/")[2]
    return value
