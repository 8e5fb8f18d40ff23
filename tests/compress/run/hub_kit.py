"""Models laid out as on the Hub, tiny: pickles alone, vocabularies as text, names of weights of older programs."""

from __future__ import annotations

import io
import json
import random
from collections.abc import Sequence
from typing import Any

import torch
from safetensors.torch import save

from tests.hub_state import Hub
from zoo import torchvision_fix
from zoo.tasks import TASKS

torchvision_fix.mend()
import tokenizers  # noqa: E402
import transformers  # noqa: E402

SIZES: dict[str, Any] = dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64)
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = "the of and in is lake deep chess queen man woman model sleeps eats small"
CHINESE = "我你他们在家里吃饭睡觉看书不是的了很大小猫狗"


def _saved(model: Any, names: Any = lambda name: name) -> tuple[bytes, bytes, dict[str, torch.Tensor]]:
    """A model's weights as a pickle, as safetensors, and as they are."""
    state = {names(key): value.clone() for key, value in model.state_dict().items()}
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue(), save(state, {"format": "pt"}), state


def _config(model: Any, **more: Any) -> bytes:
    config = {**model.config.to_dict(), "architectures": [type(model).__name__], **more}
    return json.dumps(config).encode()


def _old(name: str) -> str:
    return name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")


def _word_pieces(words: Sequence[str]) -> bytes:
    letters = [*"abcdefghijklmnopqrstuvwxyz0123456789.,?!'-"]
    return "\n".join([*SPECIAL, *letters, *(f"##{letter}" for letter in letters), *words]).encode()


def _byte_pairs() -> dict[str, bytes]:
    """RoBERTa's vocabulary and merges, trained on a few words."""
    bpe = tokenizers.ByteLevelBPETokenizer()
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    bpe.train_from_iterator([WORDS] * 4, vocab_size=400, special_tokens=special, show_progress=False)
    model = json.loads(bpe.to_str())["model"]
    merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in model["merges"]]
    lines = ["#version: 0.2", *merges]
    return {"vocab.json": json.dumps(model["vocab"]).encode(), "merges.txt": "\n".join(lines).encode()}


def put_models(hub: Hub) -> dict[str, dict[str, torch.Tensor]]:
    """The checkpoints that the five systems start from, under their names; their weights by name."""
    torch.manual_seed(0)
    vocabulary, states = _word_pieces(WORDS.split()), {}
    size = len(vocabulary.splitlines())

    bare = transformers.BertModel(transformers.BertConfig(vocab_size=size, **SIZES))
    pickle, tensors, states["microsoft/MiniLM-L12-H384-uncased"] = _saved(bare, lambda name: _old(f"bert.{name}"))
    files = {"config.json": _config(bare), "vocab.txt": vocabulary, "pytorch_model.bin": pickle}
    hub.put("microsoft/MiniLM-L12-H384-uncased", {**files, "tf_model.h5": b"tf", "flax_model.msgpack": b"flax"})
    hub.offer("microsoft/MiniLM-L12-H384-uncased", {"model.safetensors": tensors})

    distil = transformers.DistilBertConfig(vocab_size=size, dim=32, n_layers=2, n_heads=4, hidden_dim=64)
    masked = transformers.DistilBertForMaskedLM(distil)
    name = "distilbert/distilbert-base-uncased"
    pickle, tensors, states[name] = _saved(masked)
    lower = {"vocab.txt": vocabulary, "tokenizer_config.json": b'{"do_lower_case": true, "model_max_length": 512}'}
    hub.put(name, {**lower, "config.json": _config(masked), "pytorch_model.bin": pickle})
    hub.offer(name, {"model.safetensors": tensors})

    asks = transformers.BertForQuestionAnswering(transformers.BertConfig(vocab_size=size, **SIZES))
    name = "csarron/bert-base-uncased-squad-v1"
    pickle, tensors, states[name] = _saved(asks)
    hub.put(name, {**lower, "config.json": _config(asks), "pytorch_model.bin": pickle})

    dynamic = transformers.BertForQuestionAnswering(transformers.BertConfig(vocab_size=size, **SIZES))
    name = "sguskin/dynamic-minilmv2-L6-H384-squad1.1"
    pickle, tensors, states[name] = _saved(dynamic)
    hub.put(name, {**lower, "config.json": _config(dynamic), "pytorch_model.bin": pickle})
    hub.offer(name, {"model.safetensors": tensors})

    sparse, chance = transformers.DistilBertForMaskedLM(distil), torch.Generator().manual_seed(3)
    for weight in sparse.distilbert.transformer.parameters():
        if weight.ndim == 2:  # of the encoder's linear layers nine tenths are zero
            weight.data.masked_fill_(torch.rand(weight.shape, generator=chance) < 0.9, 0)
    name = "Intel/distilbert-base-uncased-sparse-90-unstructured-pruneofa"
    pickle, tensors, states[name] = _saved(sparse)
    hub.put(name, {**lower, "config.json": _config(sparse), "pytorch_model.bin": pickle})
    hub.offer(name, {"model.safetensors": tensors})
    taught = transformers.DistilBertForQuestionAnswering(distil)
    name = "distilbert/distilbert-base-uncased-distilled-squad"
    hub.put(name, {**lower, "config.json": _config(taught), "model.safetensors": _saved(taught)[1]})

    pairs = _byte_pairs()
    more: dict[str, Any] = dict(type_vocab_size=1, max_position_embeddings=514, pad_token_id=1, num_labels=3, **SIZES)
    settings = transformers.RobertaConfig(vocab_size=len(json.loads(pairs["vocab.json"])), **more)
    large = transformers.RobertaForSequenceClassification(settings)
    labels = {"0": "CONTRADICTION", "1": "NEUTRAL", "2": "ENTAILMENT"}
    name = "FacebookAI/roberta-large-mnli"
    pickle, tensors, states[name] = _saved(large)
    hub.put(name, {**pairs, "config.json": _config(large, id2label=labels), "pytorch_model.bin": pickle})
    hub.offer(name, {"model.safetensors": tensors})

    chinese = _word_pieces([*CHINESE, "。", "，"])
    masked = transformers.BertForMaskedLM(transformers.BertConfig(vocab_size=len(chinese.splitlines()), **SIZES))
    name = "google-bert/bert-base-chinese"
    pickle, tensors, states[name] = _saved(masked)
    del states[name]["cls.predictions.decoder.weight"]
    hub.put(name, {**lower, "vocab.txt": chinese, "config.json": _config(masked), "pytorch_model.bin": pickle})
    weights = save({key: value for key, value in states[name].items() if "decoder" not in key}, {"format": "pt"})
    hub.offer(name, {"model.safetensors": weights}, author="somebody")
    return states


def rows(task: str, count: int, seed: int) -> list[dict[str, Any]]:
    """Texts of a task, with its columns and labels."""
    about, chance = TASKS[task], random.Random(seed)
    words = [*CHINESE] if task.endswith("_zh") else WORDS.split()
    space = "" if task.endswith("_zh") else " "
    return [
        {column: space.join(chance.choices(words, k=6)) for column in about.columns}
        | {"label": round(5 * chance.random(), 1) if about.regression else i % about.outputs}
        for i in range(count)
    ]
