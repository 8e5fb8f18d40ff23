"""Tiny random models of every family and head, their padded batches, and the graph as onnxruntime runs it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch

from zoo import torchvision_fix
from zoo.graph import build
from zoo.lengths import LengthConfig
from zoo.modeling import LengthAdaptiveModel

torchvision_fix.mend()
import transformers  # noqa: E402

SIZES: dict[str, Any] = dict(
    vocab_size=90,
    hidden_size=32,
    num_hidden_layers=3,
    num_attention_heads=4,
    intermediate_size=64,
    max_position_embeddings=70,
)
DISTIL: dict[str, Any] = dict(vocab_size=90, dim=32, n_layers=3, n_heads=4, hidden_dim=64, max_position_embeddings=70)
KINDS: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "bert-qa": (transformers.BertConfig, transformers.BertForQuestionAnswering, {}),
    "bert-classification": (transformers.BertConfig, transformers.BertForSequenceClassification, {"num_labels": 3}),
    "roberta-qa": (transformers.RobertaConfig, transformers.RobertaForQuestionAnswering, {}),
    "roberta-classification": (
        transformers.RobertaConfig,
        transformers.RobertaForSequenceClassification,
        {"num_labels": 3},
    ),
    "distilbert-qa": (transformers.DistilBertConfig, transformers.DistilBertForQuestionAnswering, {}),
    "distilbert-classification": (
        transformers.DistilBertConfig,
        transformers.DistilBertForSequenceClassification,
        {"num_labels": 3},
    ),
    "mpnet-qa": (transformers.MPNetConfig, transformers.MPNetForQuestionAnswering, {}),
    "mpnet-classification": (transformers.MPNetConfig, transformers.MPNetForSequenceClassification, {"num_labels": 3}),
}
MORE: dict[str, tuple[Any, Any, dict[str, Any]]] = {  # heads beside the two that came first
    f"{family.lower()}-{head}": (
        getattr(transformers, f"{family}Config"),
        getattr(transformers, f"{family}{ending}"),
        {"num_labels": 5} if head == "tokens" else {},
    )
    for family in ("Bert", "Roberta", "DistilBert", "MPNet")
    for head, ending in (("tokens", "ForTokenClassification"), ("embeddings", "Model"))
}
CONFIGS = [LengthConfig((1.0, 1.0, 0.5)), LengthConfig((0.6, 0.4, 0.2)), LengthConfig((0.1, 0.05, 0.05))]
OTHERS = [  # than the two that questions are answered with
    "bert-classification",
    "roberta-classification",
    "distilbert-classification",
    "distilbert-qa",
    "mpnet-classification",
    "mpnet-qa",
]
SHIFTED = ("roberta", "mpnet")  # positions are counted from the one after padding's


def inputs(shifted: bool = False) -> dict[str, torch.Tensor]:
    """Three texts of 40, 25 and 12 random tokens, padded."""
    pad = 1 if shifted else 0
    torch.manual_seed(0)
    ids = torch.randint(5, 90, (3, 40))
    mask = torch.ones_like(ids)
    for row, length in enumerate((40, 25, 12)):
        ids[row, length:], mask[row, length:] = pad, 0
    return {"input_ids": ids, "attention_mask": mask}


def both(kind: str, folder: Path) -> tuple[transformers.PreTrainedModel, LengthAdaptiveModel]:
    """A random model of that kind, as transformers has it and as this program loads it from `folder`."""
    config, cls, extra = {**KINDS, **MORE}[kind]
    torch.manual_seed(1)
    reference = cls(config(**(DISTIL if "distilbert" in kind else SIZES), **extra)).eval()
    for parameter in reference.parameters():  # far from initialization, where every token looks alike
        parameter.data += 0.2 * torch.randn_like(parameter)
    reference.save_pretrained(folder)
    return reference, LengthAdaptiveModel.load(folder)


def arrays(batch: dict[str, torch.Tensor]) -> dict[str, np.ndarray]:
    """What the engines take of a batch: arrays, with token types."""
    values = {key: value.numpy() for key, value in batch.items()}
    return values | {"token_type_ids": np.zeros_like(values["input_ids"])}


def portable(weights: dict[str, np.ndarray], spec: dict[str, Any]) -> Callable[..., list[np.ndarray]]:
    """The graph in the dialect of plain ONNX: a function of a batch and its lengths that returns every output."""
    session = onnxruntime.InferenceSession(build(weights, spec).SerializeToString())
    names = {i.name for i in session.get_inputs()}

    def run(batch: dict[str, np.ndarray], lengths: np.ndarray) -> list[np.ndarray]:
        outputs = session.run(None, {k: v for k, v in {**batch, "lengths": lengths}.items() if k in names})
        return [np.asarray(value) for value in outputs]

    return run


def restored_states(model: LengthAdaptiveModel, ids: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, list]:
    """The last state of every token of one text, and the places of those that are left; as the paper has it."""
    state = model.embed(ids, None)
    places, restored = list(range(ids.shape[1])), state[0].clone()
    for i, layer in enumerate(model.blocks):
        attended, _, probabilities = layer.attend(state, torch.zeros(1), 0.0, True)
        assert probabilities is not None
        received = probabilities[0].sum((0, 1))
        if model.keep_first:
            received[places.index(0)] = 1e9
        top = sorted(range(len(places)), key=lambda j: -float(received[j]))[: int(lengths[i])]
        places = [places[j] for j in top]
        state = layer.feed(attended[:, top], 0.0)
        for j, place in enumerate(places):
            restored[place] = state[0, j]
    return restored, places
