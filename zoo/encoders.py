"""Encoders that transformers computes and this program does not: a row each. They run as they are, at full length.

What this program computes itself is in `zoo.families`. A row here is a checkpoint in float by transformers, and in
eight bits as an exported graph.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Encoder:
    """A family of encoders as transformers has it.

    Attributes:
        name: `model_type` in a `config.json`.
        title: what people call it.
        counts_tokens: positions count the real tokens, from the one behind padding's.
        pad: id of the padding token where the configuration has none.
        first: position of the first token, where positions follow the places.
        lacks: how the names of the models end that transformers does not have for it.
        traced: torch's tracing exporter has all of its operators.
        not_on: engines that compute its graph wrongly.
    """

    name: str
    title: str
    counts_tokens: bool = False
    pad: int = 0
    first: int = 0
    lacks: tuple[str, ...] = ()
    traced: bool = True
    not_on: tuple[str, ...] = ()


NO_QUESTIONS = ("ForQuestionAnswering",)
ENCODERS = {
    row.name: row
    for row in (
        Encoder("deberta", "DeBERTa"),
        Encoder("deberta-v2", "DeBERTa-v2 or v3"),
        Encoder("mobilebert", "MobileBERT"),
        Encoder("rembert", "RemBERT"),
        Encoder("squeezebert", "SqueezeBERT"),
        Encoder("convbert", "ConvBERT"),
        Encoder("fnet", "FNet", traced=False, not_on=("openvino",)),  # it has a Fourier transform
        Encoder("ernie", "ERNIE"),
        Encoder("megatron-bert", "Megatron-BERT"),
        Encoder("big_bird", "BigBird"),
        Encoder("data2vec-text", "data2vec", counts_tokens=True, pad=1),
        Encoder("roberta-prelayernorm", "RoBERTa-PreLayerNorm", counts_tokens=True, pad=1),
        Encoder("nomic_bert", "NomicBERT", lacks=NO_QUESTIONS),
        Encoder("gte", "GTE", lacks=NO_QUESTIONS),
        Encoder("eurobert", "EuroBERT", lacks=NO_QUESTIONS),
    )
}
SIZES = ("num_hidden_layers", "hidden_size", "intermediate_size", "vocab_size")  # that its configuration has to state


def encoder_of(config: Mapping[str, object]) -> Encoder | None:
    """The row of a `config.json`; None where this program computes the family itself, or nothing runs it."""
    return ENCODERS.get(str(config.get("model_type")))


def encoder_titles() -> str:
    """The families in words."""
    return ", ".join(row.title for row in ENCODERS.values())


def as_a_whole(row: Encoder, able: str) -> str:
    """Why an encoder has no budgets.

    Args:
        row: its family.
        able: the families that can drop tokens, in words.
    """
    return f"{row.title} is run as it was exported, at full length; only {able} can drop tokens"
