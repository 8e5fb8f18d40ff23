"""The families of encoders that this program runs: one row each. A new one is a row, and what only it computes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from zoo.encoders import as_a_whole, encoder_of
from zoo.errors import UserError

# Names that transformers has for activations -> what they compute; those of one curve differ in rounding alone.
CURVES = {
    "gelu": "gelu",
    "gelu_python": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "gelu_accurate": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_python_tanh": "gelu_tanh",
    "relu": "relu",
    "silu": "silu",
    "swish": "silu",
    "tanh": "tanh",
}
# Hugging Face's name of a weight within a layer, by ours
LAYER = {
    "query": "attention.self.query",
    "key": "attention.self.key",
    "value": "attention.self.value",
    "project": "attention.output.dense",
    "attention_norm": "attention.output.LayerNorm",
    "expand": "intermediate.dense",
    "contract": "output.dense",
    "output_norm": "output.LayerNorm",
}
EMBEDDINGS = {
    "words": "embeddings.word_embeddings",
    "positions": "embeddings.position_embeddings",
    "types": "embeddings.token_type_embeddings",
    "norm": "embeddings.LayerNorm",
}


@dataclass(frozen=True)
class Family:
    """What sets the encoders of a family apart. Names are Hugging Face's, by ours.

    Attributes:
        name: `model_type` in a `config.json`.
        title: what people call it.
        classes: how the names of transformers' classes begin.
        prefix: how the names of the encoder's weights begin; with `name` where it is empty.
        layer: names of the weights within a layer.
        stem: where the layers are in the encoder.
        packs: names within a layer of matrices that checkpoints have as one, with ours, one below the other.
        embeddings: names of the tables and the norm above them.
        dense, classifier: names of a classifier's two matrices.
        spans: name of the matrix that answers questions.
        head_norm: name of a norm between those two matrices; where there is one, the heads that every token has are
            made of both matrices, too.
        words_head: names for predicting masked words: the transform, its norm, the words' bias.
        words_curve: activation in that head, where it is not the one of the layers.
        bend: activation between a classifier's matrices, one of `CURVES`.
        sizes: its own names of the sizes in `config.json` -> BERT's.
        only: keys of `config.json`, and the one value of each that is computed here.
        defaults: what transformers assumes where `config.json` is silent, by BERT's names.
        pieces: transformers' class of tokenizers, where they can be made of sentencepiece's file.
        token_types: whether it has a table of token types.
        segments: whether that table tells two texts apart.
        pad: id of the padding token where the configuration has none.
        counts_tokens: positions count the real tokens, from the one behind padding's; else they follow the places.
        first: position of the first token, where positions follow the places.
        widening: name of what brings embeddings to the width of the layers where they are narrower.
        widens_always: it is there where they are not narrower, too.
        groups: key of `config.json` that says how many layers there are whose weights are others; the rest repeat them.
        final_norm: name of a norm above the layers; empty where there is none.
        rotary: positions turn queries and keys instead of being embedded, norms come before what they are for, and the
            feed-forward is gated: see `zoo.families.rotary`.
        distances: name of the table of what attention adds for the distance of two tokens; empty where there is none.
        peculiarity: why recipes that take an encoder apart (AIMET, NNCF, architecture search) cannot take this one.
    """

    name: str
    title: str
    classes: str
    dense: str
    classifier: str
    words_head: tuple[str, str, str]
    prefix: str = ""
    words_curve: str = ""
    spans: str = "qa_outputs"
    head_norm: str = ""
    layer: Mapping[str, str] = field(default_factory=lambda: LAYER)
    packs: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    stem: str = "encoder.layer"
    embeddings: Mapping[str, str] = field(default_factory=lambda: EMBEDDINGS)
    bend: str = "tanh"
    sizes: Mapping[str, str] = field(default_factory=dict[str, str])
    only: Mapping[str, Any] = field(default_factory=dict[str, Any])
    defaults: Mapping[str, Any] = field(default_factory=dict[str, Any])
    pieces: str = ""
    token_types: bool = True
    segments: bool = False
    pad: int = 0
    counts_tokens: bool = False
    first: int = 0
    widening: str = ""
    widens_always: bool = False
    groups: str = ""
    final_norm: str = ""
    rotary: bool = False
    distances: str = ""
    peculiarity: str = ""

    @property
    def root(self) -> str:
        """How the names of the encoder's weights begin."""
        return self.prefix or self.name

    @property
    def tables(self) -> tuple[str, ...]:
        """Our names of the tables that embeddings are read from."""
        return ("words", *([] if self.rotary else ["positions"]), *(["types"] if self.token_types else []))


ROBERTA = Family(
    "roberta",
    "RoBERTa",
    "Roberta",
    dense="classifier.dense",
    classifier="classifier.out_proj",
    words_head=("lm_head.dense", "lm_head.layer_norm", "lm_head.bias"),
    words_curve="gelu",
    pad=1,
    counts_tokens=True,
)
FAMILIES = {
    family.name: family
    for family in (
        Family(
            "bert",
            "BERT",
            "Bert",
            dense="bert.pooler.dense",
            classifier="classifier",
            words_head=(
                "cls.predictions.transform.dense",
                "cls.predictions.transform.LayerNorm",
                "cls.predictions.bias",
            ),
            segments=True,
        ),
        ROBERTA,
        replace(
            ROBERTA,
            name="xlm-roberta",
            title="XLM-R",
            classes="XLMRoberta",
            prefix="roberta",
            pieces="XLMRobertaTokenizer",
        ),
        replace(
            ROBERTA,
            name="camembert",
            title="CamemBERT",
            classes="Camembert",
            prefix="roberta",
            pieces="CamembertTokenizer",
        ),
        Family(
            "distilbert",
            "DistilBERT",
            "DistilBert",
            dense="pre_classifier",
            classifier="classifier",
            words_head=("vocab_transform", "vocab_layer_norm", "vocab_projector.bias"),
            layer={
                "query": "attention.q_lin",
                "key": "attention.k_lin",
                "value": "attention.v_lin",
                "project": "attention.out_lin",
                "attention_norm": "sa_layer_norm",
                "expand": "ffn.lin1",
                "contract": "ffn.lin2",
                "output_norm": "output_layer_norm",
            },
            stem="transformer.layer",
            bend="relu",
            sizes={
                "dim": "hidden_size",
                "hidden_dim": "intermediate_size",
                "n_layers": "num_hidden_layers",
                "n_heads": "num_attention_heads",
                "activation": "hidden_act",
            },
            token_types=False,
        ),
        Family(
            "mpnet",
            "MPNet",
            "MPNet",
            dense="classifier.dense",
            classifier="classifier.out_proj",
            words_head=("lm_head.dense", "lm_head.layer_norm", "lm_head.bias"),
            layer={
                **LAYER,
                "query": "attention.attn.q",
                "key": "attention.attn.k",
                "value": "attention.attn.v",
                "project": "attention.attn.o",
                "attention_norm": "attention.LayerNorm",
            },
            token_types=False,
            first=2,  # transformers has it in the code, whatever stands for padding in the vocabulary
            distances="encoder.relative_attention_bias",
            peculiarity="its attention depends on how far apart tokens are",
            words_curve="gelu",
        ),
        Family(
            "electra",
            "ELECTRA",
            "Electra",
            dense="classifier.dense",
            classifier="classifier.out_proj",
            words_head=(
                "generator_predictions.dense",
                "generator_predictions.LayerNorm",
                "generator_lm_head.bias",
            ),
            words_curve="gelu",
            bend="gelu",
            defaults={"embedding_size": 128},
            segments=True,
            widening="embeddings_project",
        ),
        Family(
            "albert",
            "ALBERT",
            "Albert",
            dense="albert.pooler",
            classifier="classifier",
            words_head=("predictions.dense", "predictions.LayerNorm", "predictions.bias"),
            layer={
                name: f"albert_layers.0.{there}"
                for name, there in {
                    "query": "attention.query",
                    "key": "attention.key",
                    "value": "attention.value",
                    "project": "attention.dense",
                    "attention_norm": "attention.LayerNorm",
                    "expand": "ffn",
                    "contract": "ffn_output",
                    "output_norm": "full_layer_layer_norm",
                }.items()
            },
            stem="encoder.albert_layer_groups",
            only={"inner_group_num": 1},
            defaults={"embedding_size": 128, "hidden_act": "gelu_new", "num_hidden_groups": 1},
            segments=True,
            widening="encoder.embedding_hidden_mapping_in",
            widens_always=True,
            groups="num_hidden_groups",
            pieces="AlbertTokenizer",
            peculiarity="its layers share their weights",
        ),
        Family(
            "modernbert",
            "ModernBERT",
            "ModernBert",
            dense="head.dense",
            classifier="classifier",
            words_head=("head.dense", "head.norm", "decoder.bias"),
            prefix="model",
            spans="classifier",
            head_norm="head.norm",
            layer={
                "project": "attn.Wo",
                "attention_norm": "attn_norm",
                "contract": "mlp.Wo",
                "output_norm": "mlp_norm",
            },
            packs={"attn.Wqkv": ("query", "key", "value"), "mlp.Wi": ("expand", "gate")},
            stem="layers",
            embeddings={"words": "embeddings.tok_embeddings", "norm": "embeddings.norm"},
            bend="gelu",
            sizes={"hidden_activation": "hidden_act", "norm_eps": "layer_norm_eps"},
            only={"classifier_activation": "gelu"},
            defaults={
                "hidden_act": "gelu",
                "layer_norm_eps": 1e-5,
                "norm_bias": False,
                "attention_bias": False,
                "mlp_bias": False,
                "classifier_bias": False,
                "classifier_pooling": "cls",
            },
            token_types=False,
            pad=50283,
            final_norm="final_norm",
            rotary=True,
            peculiarity="its layers turn queries and keys by their positions and gate their feed-forward",
        ),
    )
}


def family_of(name: object) -> Family:
    """The row of a `model_type`.

    Raises:
        UserError: there is none.
    """
    row = FAMILIES.get(str(name))
    if row is None and (other := encoder_of({"model_type": name})):
        raise UserError(f"{as_a_whole(other, titles())}. Take the recipe static_int8 or dynamic_int8 for it.")
    if row is None:
        raise UserError(f"Model type {name!r} is not supported: use a {titles()} checkpoint.")
    return row


def titles() -> str:
    """The families in words: `BERT, RoBERTa, DistilBERT or MPNet`."""
    *most, last = (row.title for row in FAMILIES.values())
    return f"{', '.join(most)} or {last}"
