"""The length-adaptive encoder: BERT and RoBERTa weights in, logits out, for any length configuration.

Drop-and-restore follows the Length-Adaptive Transformer (Kim and Cho, arXiv 2010.07003): between attention and
feed-forward of a layer only the most significant tokens go on, where the significance of a token is the attention it
receives, summed over heads and over real query tokens. A dropped token keeps its last state. As the question-answering
head is linear per token, its two logits are restored instead of its hidden state: the same numbers at a fraction of
the copying.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.errors import UserError
from zoo.lengths import Shape

MASK = -1e4  # exp(MASK) is exactly 0 in float32, and unlike the smallest float it survives a later quantization
LOST = -1e4  # logit of a padded position

# Hugging Face parameter name within a layer <-> ours
NAMES = (
    ("attention.self.query", "query"),
    ("attention.self.key", "key"),
    ("attention.self.value", "value"),
    ("attention.output.dense", "project"),
    ("attention.output.LayerNorm", "attention_norm"),
    ("intermediate.dense", "expand"),
    ("output.dense", "contract"),
    ("output.LayerNorm", "output_norm"),
)
HEADS = {"ForQuestionAnswering": "qa", "ForSequenceClassification": "classification"}


@dataclass
class Output:
    """What a forward pass gives.

    Attributes:
        logits: `[batch, tokens, 2]` (start, end) for question answering, `[batch, labels]` for classification.
        kept: for every layer, which tokens are alive after it, `[batch, tokens]` bool.
        significance: for every layer that scored its tokens, (layer, share of all attention received, token
            positions), the two `[batch, tokens alive]`; differentiable.
    """

    logits: Tensor
    kept: list[Tensor] = field(default_factory=list)
    significance: list[tuple[int, Tensor, Tensor]] = field(default_factory=list)


class Layer(nn.Module):
    def __init__(self, config: dict):
        super().__init__()
        hidden, inner, eps = config["hidden_size"], config["intermediate_size"], config.get("layer_norm_eps", 1e-12)
        self.heads = config["num_attention_heads"]
        self.query, self.key, self.value = (nn.Linear(hidden, hidden) for _ in range(3))
        self.project = nn.Linear(hidden, hidden)
        self.attention_norm = nn.LayerNorm(hidden, eps=eps)
        self.expand, self.contract = nn.Linear(hidden, inner), nn.Linear(inner, hidden)
        self.output_norm = nn.LayerNorm(hidden, eps=eps)

    def attend(self, x: Tensor, bias: Tensor, dropout: float, scored: bool) -> tuple[Tensor, Tensor | None]:
        """Self-attention with residual: `[batch, tokens, hidden]`, and the probabilities where they are asked for."""
        batch, tokens, hidden = x.shape
        q, k, v = (
            part(x).view(batch, tokens, self.heads, hidden // self.heads).transpose(1, 2)
            for part in (self.query, self.key, self.value)
        )
        if scored:  # a fused attention does not give its probabilities away
            scores = q @ k.transpose(2, 3) * (hidden // self.heads) ** -0.5 + bias
            probabilities = scores.softmax(-1)
            mixed = F.dropout(probabilities, dropout, self.training) @ v
        else:
            probabilities = None
            mixed = F.scaled_dot_product_attention(q, k, v, bias, dropout if self.training else 0.0)
        mixed = self.project(mixed.transpose(1, 2).reshape(batch, tokens, hidden))
        return self.attention_norm(x + F.dropout(mixed, dropout, self.training)), probabilities

    def feed(self, x: Tensor, dropout: float) -> Tensor:
        return self.output_norm(x + F.dropout(self.contract(F.gelu(self.expand(x))), dropout, self.training))


class LengthAdaptiveModel(nn.Module):
    """BERT or RoBERTa with a question-answering or classification head and drop-and-restore.

    Args:
        config: the checkpoint's `config.json`. Two keys are ours: `length_drop_layers` (the layers at which tokens may
            be dropped; every layer where absent) and `always_keep_first_token` (default: only for classification,
            where the head reads it, as in the paper; SQuAD v2 needs it too, its null score is read there).
        dropout: probability used in training mode.
    """

    def __init__(self, config: dict, dropout: float = 0.0):
        super().__init__()
        check_config(config)
        self.config, self.dropout, self.family = config, dropout, config["model_type"]
        self.head = head_of(config)
        self.shape = Shape.from_config(config)
        self.drop_layers = tuple(config.get("length_drop_layers") or range(self.shape.layers))
        self.keep_first = config.get("always_keep_first_token", self.head == "classification")
        hidden, eps = config["hidden_size"], config.get("layer_norm_eps", 1e-12)
        self.words = nn.Embedding(config["vocab_size"], hidden, padding_idx=config.get("pad_token_id", 0))
        self.positions = nn.Embedding(config["max_position_embeddings"], hidden)
        self.types = nn.Embedding(config.get("type_vocab_size", 2), hidden)
        self.norm = nn.LayerNorm(hidden, eps=eps)
        self.layers = nn.ModuleList(Layer(config) for _ in range(self.shape.layers))
        if self.head == "qa":
            self.qa_outputs = nn.Linear(hidden, 2)
        else:
            self.dense = nn.Linear(hidden, hidden)
            self.classifier = nn.Linear(hidden, len(config.get("id2label") or {0: "", 1: ""}))

    @property
    def blocks(self) -> list[Layer]:
        return list(self.layers)  # type: ignore[arg-type]

    def embed(self, input_ids: Tensor, token_type_ids: Tensor | None) -> Tensor:
        if self.family == "roberta":  # positions count the real tokens, from padding_idx + 1: settled before any drop
            pad = self.config.get("pad_token_id", 1)
            real = input_ids.ne(pad).long()
            position = real.cumsum(1) * real + pad
        else:
            position = torch.arange(input_ids.shape[1], device=input_ids.device)[None]
        types = torch.zeros_like(input_ids) if token_type_ids is None else token_type_ids
        x = self.norm(self.words(input_ids) + self.types(types) + self.positions(position))
        return F.dropout(x, self.dropout, self.training)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        token_type_ids: Tensor | None = None,
        lengths: Tensor | None = None,
        layers: list[bool] | None = None,
        scored: bool = False,
    ) -> Output:
        """Runs the encoder and its head.

        Args:
            input_ids, attention_mask, token_type_ids: int64 `[batch, tokens]`.
            lengths: int64 `[batch, layers]`, tokens that go on after each layer; None keeps all of them.
            layers: which layers run (LayerDrop); None runs all. A skipped layer drops nothing.
            scored: give `Output.significance` at the drop layers even where nothing is dropped.

        Returns:
            Output. Padded positions have the logit `LOST` and never win a place over a real token; the result of an
            example does not depend on what it is batched with.
        """
        alive = attention_mask.bool()
        batch, tokens = input_ids.shape
        x = self.embed(input_ids, token_type_ids)
        where = torch.arange(tokens, device=x.device).expand(batch, tokens)
        bias = (1.0 - alive[:, None, None, :].to(x.dtype)) * MASK
        restored: Tensor | None = None
        out = Output(logits=x)
        for i, layer in enumerate(self.blocks):
            if layers is not None and not layers[i]:
                out.kept.append(_spread(alive, where, tokens))
                continue
            count = alive.sum(1)
            goal = None
            if lengths is not None and i in self.drop_layers:
                goal = torch.minimum(lengths[:, i].clamp_min(2), count)
                if bool((goal >= count).all()):
                    goal = None
            inside = x
            x, probabilities = layer.attend(
                x, bias, self.dropout, goal is not None or (scored and i in self.drop_layers)
            )
            if probabilities is not None:
                received = attention_received(probabilities, alive)
                out.significance.append((i, received / (layer.heads * count)[:, None], where))
                if goal is not None:
                    if self.head == "qa":
                        restored = self.restore(restored, inside, alive, where, tokens)
                    pick, lives = choose(received, alive, goal, self.keep_first)
                    x = x.gather(1, pick[..., None].expand(-1, -1, x.shape[2]))
                    where, alive = where.gather(1, pick), lives
                    bias = (1.0 - alive[:, None, None, :].to(x.dtype)) * MASK
            x = layer.feed(x, self.dropout)
            out.kept.append(_spread(alive, where, tokens))
        if self.head == "qa":
            logits = self.restore(restored, x, alive, where, tokens)
            out.logits = logits.masked_fill(~attention_mask.bool()[..., None], LOST)
        else:
            first = F.dropout(torch.tanh(self.dense(x[:, 0])), self.dropout, self.training)
            out.logits = self.classifier(first)
        return out

    def restore(self, restored: Tensor | None, x: Tensor, alive: Tensor, where: Tensor, tokens: int) -> Tensor:
        """Writes the logits of tokens that are alive over those of their earlier states: `[batch, tokens, 2]`."""
        fresh = self.qa_outputs(x).float()
        if restored is None:
            return fresh
        index = where[..., None].expand(-1, -1, 2)
        # A row that is shorter than its batch-mates carries dead tokens along: their earlier logits stand.
        return restored.scatter(1, index, torch.where(alive[..., None], fresh, restored.gather(1, index)))

    @classmethod
    def load(
        cls, folder: Path | str, head: str | None = None, dropout: float = 0.0, **overrides
    ) -> LengthAdaptiveModel:
        """Reads a Hugging Face checkpoint folder (`config.json`, `model.safetensors`), computing in float32.

        Args:
            folder: the checkpoint.
            head: "qa" or "classification" to put a new head on an encoder that lacks it.
            dropout: used in training mode.
            **overrides: keys of the configuration to set, such as `length_drop_layers`.

        Raises:
            UserError: the folder is no BERT or RoBERTa checkpoint in safetensors, or weights are missing.
        """
        from safetensors.torch import load_file

        folder = Path(folder)
        try:
            config = json.loads((folder / "config.json").read_text())
        except (OSError, ValueError) as error:
            raise UserError(
                f"{folder} has no readable config.json: {error}. Give the folder of a checkpoint."
            ) from error
        if not (folder / "model.safetensors").is_file():
            raise UserError(f"{folder} has no model.safetensors. Save the checkpoint with safe_serialization=True.")
        config.update(overrides)
        if head:
            name = next(key for key, value in HEADS.items() if value == head)
            config["architectures"] = [config["model_type"].capitalize() + name]
        model = cls(config, dropout)
        found = {ours(key): value.float() for key, value in load_file(folder / "model.safetensors").items()}
        missing = [key for key in model.state_dict() if key not in found]
        new_head = ("qa_outputs.", "dense.", "classifier.") if head else ()
        lost = [key for key in missing if not key.startswith(new_head)]
        if lost:
            raise UserError(
                f"{folder}: the checkpoint lacks {len(lost)} weights, for example {theirs(lost[0], model)}."
            )
        model.load_state_dict({key: found[key] for key in model.state_dict() if key in found}, strict=False)
        return model.eval()

    def save(self, folder: Path | str, dtype: torch.dtype = torch.float32) -> None:
        """Writes a checkpoint folder that transformers loads too."""
        from safetensors.torch import save_file

        from zoo.files import write_json

        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        state = {theirs(key, self): value.detach().to(dtype).contiguous() for key, value in self.state_dict().items()}
        unfinished = folder / "model.safetensors.tmp"
        save_file(state, unfinished, metadata={"format": "pt"})
        unfinished.replace(folder / "model.safetensors")
        write_json(folder / "config.json", {**self.config, "dtype": str(dtype).removeprefix("torch.")})


def attention_received(probabilities: Tensor, alive: Tensor) -> Tensor:
    """Significance `[batch, tokens]`: attention received, summed over heads and over real queries."""
    queries = alive[:, None, None, :].to(probabilities.dtype)
    return (queries @ probabilities).sum((1, 2))


def choose(received: Tensor, alive: Tensor, goal: Tensor, keep_first: bool) -> tuple[Tensor, Tensor]:
    """The most significant tokens of every example.

    Args:
        received: significance, `[batch, tokens]`.
        alive: real tokens that were not dropped before, `[batch, tokens]` bool.
        goal: how many go on, `[batch]`, never more than are alive.
        keep_first: the token at place 0 always goes on.

    Returns:
        Places `[batch, longest goal]`, most significant first, and which of them are alive: an example with a smaller
        goal than its batch-mates fills up with dead places, so ties among padded positions cannot matter.
    """
    score = received.masked_fill(~alive, -1.0)
    if keep_first:
        score = torch.cat([torch.full_like(score[:, :1], float(2**31)), score[:, 1:]], 1)
    pick = score.topk(int(goal.max()), dim=1).indices
    lives = torch.arange(pick.shape[1], device=pick.device)[None] < goal[:, None]
    return pick, lives


def _spread(alive: Tensor, where: Tensor, tokens: int) -> Tensor:
    return torch.zeros(alive.shape[0], tokens, dtype=torch.bool, device=alive.device).scatter(1, where, alive)


def head_of(config: dict) -> str:
    """ "qa" or "classification", by the checkpoint's architecture."""
    name = (config.get("architectures") or [""])[0]
    for ending, head in HEADS.items():
        if name.endswith(ending):
            return head
    raise UserError(
        f"This checkpoint is a {name or 'bare encoder'}: it needs a question-answering or classification head."
    )


def check_config(config: dict) -> None:
    """Refuses what this encoder would compute wrongly."""
    if config.get("model_type") not in ("bert", "roberta"):
        raise UserError(f"Model type {config.get('model_type')!r} is not supported: use a BERT or RoBERTa checkpoint.")
    if config.get("hidden_act", "gelu") != "gelu":
        raise UserError(f"Activation {config['hidden_act']!r} is not supported: use a checkpoint with hidden_act gelu.")
    if config.get("position_embedding_type", "absolute") != "absolute":
        raise UserError("Relative position embeddings are not supported: use a checkpoint with absolute ones.")


def ours(key: str) -> str:
    """A Hugging Face parameter name as this encoder spells it."""
    key = re.sub(r"^(bert|roberta)\.", "", key)
    key = key.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias")
    if match := re.fullmatch(r"encoder\.layer\.(\d+)\.(.+)\.(weight|bias)", key):
        return f"layers.{match[1]}.{dict(NAMES).get(match[2], match[2])}.{match[3]}"
    for there, here in (
        ("embeddings.word_embeddings", "words"),
        ("embeddings.position_embeddings", "positions"),
        ("embeddings.token_type_embeddings", "types"),
        ("embeddings.LayerNorm", "norm"),
        ("pooler.dense", "dense"),
        ("classifier.dense", "dense"),
        ("classifier.out_proj", "classifier"),
    ):
        if key.startswith(there + "."):
            return here + key[len(there) :]
    return key


def theirs(key: str, model: LengthAdaptiveModel) -> str:
    """Our parameter name as Hugging Face spells it for this model's family."""
    family = model.family
    if match := re.fullmatch(r"layers\.(\d+)\.(\w+)\.(weight|bias)", key):
        name = {here: there for there, here in NAMES}[match[2]]
        return f"{family}.encoder.layer.{match[1]}.{name}.{match[3]}"
    part, _, kind = key.rpartition(".")
    roberta = family == "roberta"
    return (
        {
            "words": f"{family}.embeddings.word_embeddings",
            "positions": f"{family}.embeddings.position_embeddings",
            "types": f"{family}.embeddings.token_type_embeddings",
            "norm": f"{family}.embeddings.LayerNorm",
            "qa_outputs": "qa_outputs",
            "dense": "classifier.dense" if roberta else f"{family}.pooler.dense",
            "classifier": "classifier.out_proj" if roberta else "classifier",
        }[part]
        + "."
        + kind
    )
