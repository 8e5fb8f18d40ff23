"""The length-adaptive encoder: weights of BERT and its kin in, logits out, for any length configuration.

Drop-and-restore follows the Length-Adaptive Transformer (Kim and Cho, arXiv 2010.07003): between attention and
feed-forward of a layer only the most significant tokens go on, where the significance of a token is the attention it
receives, summed over heads and over real query tokens, or what a scorer has learned of it (`zoo.significance`). What
becomes of a dropped token's last state: `zoo.heads`.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from zoo.checkpoints import (
    architecture,
    check_config,
    embedding_size,
    first_position,
    groups_of,
    head_layers,
    head_of,
    in_group,
    is_mapped,
    is_widened,
    keeps_first,
    labels_of,
    normalized,
    ours,
    pad_of,
    read_config,
    theirs,
    with_heads,
)
from zoo.dropout import dropped
from zoo.dropping import WIDTH, attention_received, choose
from zoo.errors import UserError, told
from zoo.families import family_of
from zoo.families.rotary_layer import RotaryLayer
from zoo.files import atomic, write_json
from zoo.heads import outcome
from zoo.layers import MASK, Layer, distance_buckets, packed, share, unpacked
from zoo.lengths import Shape
from zoo.pooling import SHORTCUTS
from zoo.scorer import Scorer
from zoo.shortcut import Shortcut
from zoo.significance import KEY, NAME, is_learned
from zoo.sizes import check_held
from zoo.task_types import TASK_TYPES, TaskType
from zoo.tensors import Tensors
from zoo.undrawn import Undrawn

DROP_LAYERS = "length_drop_layers"  # in config.json
HEAD_LAYERS = tuple(f"{name}." for kind in TASK_TYPES.values() for name in kind.layers)


@dataclass
class Output:
    """What a forward pass gives.

    Attributes:
        logits: `[batch, tokens, 2]` (start, end) for question answering, `[batch, tokens, labels]` for token labels,
            `[batch, labels]` for classification, `[batch, hidden]` for embeddings, which are what they give.
        kept: for every layer, which tokens are alive after it, `[batch, tokens]` bool.
        significance: for every layer that scored its tokens, (layer, share of all attention received, or of what a
            scorer gives, token positions), the two `[batch, tokens alive]`; differentiable.
        needed: what the scorers of each drop layer learn to guess, `[batch, tokens]`: the share of all attention that
            each token receives, a mean over the later half of the layers; where dropped states are mapped, its mean
            with the token's share of what they would be off. Empty where it was not asked for.
    """

    logits: Tensor
    kept: list[Tensor] = field(default_factory=list)
    significance: list[tuple[int, Tensor, Tensor]] = field(default_factory=list)
    needed: dict[int, Tensor] = field(default_factory=dict)


class LengthAdaptiveModel(nn.Module):
    """An encoder of a family in `zoo.families` with the head of a task and drop-and-restore.

    Args:
        config: the checkpoint's `config.json`. Three keys are ours: `length_drop_layers` (the layers at which tokens
            may be dropped; every layer where absent), `always_keep_first_token` (SQuAD v2 needs it, its null score is
            read there; a classifier keeps that token in any case, its head reads nothing else) and
            `length_drop_significance`, see `zoo.significance`. `pooling` is what `zoo.pooling` has for embeddings.
        dropout: probability used in training mode, of hidden states. Attention has none by default, since on a CPU the
            random numbers for its probabilities cost half of the speed: see `attention_dropout`.

    Attributes:
        attention_dropout: of the probabilities of attention, in training mode.
    """

    qa_outputs: nn.Linear
    tags: nn.Linear
    dense: nn.Linear
    classifier: nn.Linear

    def __init__(self, config: dict[str, Any], dropout: float = 0.0):
        super().__init__()
        self.attention_dropout = 0.0
        check_config(config)
        config = normalized(config)
        self.config, self.dropout, self.family = config, dropout, config["model_type"]
        self.row = row = family_of(self.family)
        self.head = head_of(config)
        self.shape = Shape.from_config(config)
        self.drop_layers = tuple(config.get(DROP_LAYERS) or range(self.shape.layers))
        self.keep_first = keeps_first(config)
        hidden, eps = config["hidden_size"], config.get("layer_norm_eps", 1e-12)
        width = embedding_size(config)
        self.words = nn.Embedding(config["vocab_size"], width, padding_idx=pad_of(config))
        if not row.rotary:
            self.positions = nn.Embedding(config["max_position_embeddings"], width)
        if row.token_types:
            self.types = nn.Embedding(config.get("type_vocab_size", 2), width)
        if row.distances:
            self.distances = nn.Embedding(
                config.get("relative_attention_num_buckets", 32), config["num_attention_heads"]
            )
        self.norm = nn.LayerNorm(width, eps, bias=config.get("norm_bias", True))
        if is_widened(config):
            self.widen = nn.Linear(width, hidden)
        kind = RotaryLayer if row.rotary else Layer
        self.layers = nn.ModuleList(kind(config, i) for i in range(self.shape.layers))
        if row.final_norm:
            self.final_norm = nn.LayerNorm(hidden, eps, bias=config["norm_bias"])
        if is_learned(config):
            mixed = self.blocks[0].heads * self.blocks[0].size
            self.significance = nn.ModuleDict({str(i): Scorer(hidden, mixed) for i in self.drop_layers})
        if self.shape.mapped:
            self.shortcuts = nn.ModuleDict({str(i): Shortcut(hidden) for i in self.drop_layers})
        self.groups = groups_of(config)
        for layer, source in zip(self.blocks, self.sources, strict=True):
            share(self.blocks[source], layer)
        for name in head_layers(row, self.head)[:-1]:
            self.add_module(name, nn.Linear(hidden, hidden, config.get("classifier_bias", True)))
        if row.head_norm and self.head.layers:
            self.head_norm = nn.LayerNorm(hidden, eps, bias=config["norm_bias"])
        for name in self.head.layers[-1:]:
            self.add_module(name, nn.Linear(hidden, self.head.values or len(labels_of(config))))

    @property
    def blocks(self) -> list[Layer]:
        return list(self.layers)  # type: ignore[arg-type]

    @property
    def sources(self) -> list[int]:
        """For every layer the first one that has its weights: itself, where no layers share theirs."""
        return [self.groups.index(group) for group in self.groups]

    def untied(self) -> LengthAdaptiveModel:
        """A copy that can be rounded: every layer has weights of its own, and what has no bias gets one of zeros."""
        twin = copy.deepcopy(self)
        for layer in twin.blocks if len(set(self.groups)) < len(self.groups) else ():
            share(copy.deepcopy(layer), layer)
        for module in twin.modules():
            if isinstance(module, (nn.Linear, nn.LayerNorm)) and module.bias is None:  # pyright: ignore
                module.bias = nn.Parameter(module.weight.new_zeros(len(module.weight)))
        return twin

    @property
    def last(self) -> nn.Linear:
        """The layer that gives the logits."""
        return getattr(self, self.head.layers[-1])

    @property
    def embeddings(self) -> list[nn.Embedding]:
        """Words, positions and, where the family has them, token types and what it learned of distances."""
        tables = (*self.row.tables, *(["distances"] if self.row.distances else []))
        return [self.get_submodule(name) for name in tables]  # type: ignore[misc]

    def embed(self, input_ids: Tensor, token_type_ids: Tensor | None) -> Tensor:
        if self.row.counts_tokens:  # positions count the real tokens, from padding_idx + 1: settled before any drop
            pad = pad_of(self.config)
            real = input_ids.ne(pad).long()
            position = real.cumsum(1) * real + pad
        else:
            position = first_position(self.config) + torch.arange(input_ids.shape[1], device=input_ids.device)[None]
        x = self.words(input_ids)
        if self.row.token_types:
            x = x + self.types(segments(self.types, input_ids, token_type_ids))
        x = x if self.row.rotary else x + self.positions(position)
        x = dropped(self.norm(x), self.dropout, self.training)
        return self.widen(x) if is_widened(self.config) else x

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
            scored: give `Output.significance` at the drop layers even where nothing is dropped, and `Output.needed`
                where scorers can learn from it and nothing is dropped.

        Returns:
            Output. Padded positions have the logit `LOST` and never win a place over a real token; the result of an
            example does not depend on what it is batched with.
        """
        alive = attention_mask.bool()
        batch, tokens = input_ids.shape
        x = self.embed(input_ids, token_type_ids)
        where = torch.arange(tokens, device=x.device).expand(batch, tokens)
        places = where[:1]  # all rows have their tokens in the same
        bias = self.attention_bias(alive, places, x.dtype)
        gathered = outcome(self, alive)
        out = Output(logits=x)
        learned, needed, before = is_learned(self.config), list[Tensor](), dict[int, Tensor]()
        for i, layer in enumerate(self.blocks):
            if learned and scored and lengths is None and i in self.drop_layers:
                before[i] = x
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
            is_scored = goal is not None or (scored and i in self.drop_layers)
            is_target = learned and scored and lengths is None and i >= len(self.blocks) // 2
            asked = (is_scored and not learned) or is_target  # for probabilities, which take longer
            x, mixed, probabilities = layer.run(
                layer.attend, x, bias, self.dropout, asked, self.attention_dropout, places
            )
            received = None if probabilities is None else attention_received(probabilities, alive)
            if is_target and received is not None:
                needed.append(received.detach() / (layer.heads * count)[:, None])
            if is_scored:
                if learned:  # what is scored does not learn from it
                    received = self.scorer(i)(inside.detach(), mixed.detach(), alive)
                    share = received.masked_fill(~alive, -torch.inf).softmax(1)
                else:
                    assert received is not None
                    share = received / (layer.heads * count)[:, None]
                out.significance.append((i, share, where))
                if goal is not None:
                    pick, lives = choose(received, alive, goal, self.keep_first, WIDTH if self.training else 1)
                    gathered.drop(i, self.finish(inside), alive, where, torch.zeros_like(alive).scatter(1, pick, lives))
                    x = x.gather(1, pick[..., None].expand(-1, -1, x.shape[2]))
                    where, alive = where.gather(1, pick), lives
                    places = where
                    bias = self.attention_bias(alive, where, x.dtype)
            x = layer.run(layer.feed, x, self.dropout)
            out.kept.append(_spread(alive, where, tokens))
        out.logits = gathered.logits(self.finish(x), alive, where)
        if needed:
            late, last = torch.stack(needed).mean(0).float(), self.finish(x)
            for i, states in before.items():
                off = self.shortcut(i).off(self.finish(states), last, alive) if self.shape.mapped else late
                out.needed[i] = (late + off) / 2
        return out

    def scorer(self, layer: int) -> Scorer:
        """That of a drop layer, where significance is learned."""
        return self.significance[str(layer)]  # type: ignore[return-value]

    def shortcut(self, layer: int) -> Shortcut:
        """That of a drop layer, where the states of dropped tokens are mapped."""
        return self.shortcuts[str(layer)]  # type: ignore[return-value]

    def states(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None) -> list[Tensor]:
        """The states before each layer and after the last, as heads read them, `[batch, tokens, hidden]` each.

        Args: as `forward` has them; nothing is dropped.
        """
        x = self.embed(input_ids, token_type_ids)
        places = torch.arange(input_ids.shape[1], device=x.device)[None]
        bias = self.attention_bias(attention_mask.bool(), places, x.dtype)
        states = [self.finish(x)]
        for layer in self.blocks:
            x, _, _ = layer.run(layer.attend, x, bias, self.dropout, False, self.attention_dropout, places)
            x = layer.run(layer.feed, x, self.dropout)
            states.append(self.finish(x))
        return states

    def finish(self, x: Tensor) -> Tensor:
        """States of the last layer, or of the last that a token has seen, as heads read them."""
        return self.final_norm(x) if self.row.final_norm else x

    def attention_bias(self, alive: Tensor, where: Tensor, dtype: torch.dtype) -> Tensor:
        """What is added to the scores of attention: `MASK` at padding, and what the model learned for each distance.

        Args:
            alive: which tokens are real, `[batch, tokens]` bool.
            where: their places in the input, `[batch or 1, tokens]`.

        Returns:
            `[batch, 1 or heads, 1 or queries, tokens]`.
        """
        bias = (1.0 - alive[:, None, None, :].to(dtype)) * MASK
        if not self.row.distances:
            return bias
        buckets = distance_buckets(where[:, None, :] - where[:, :, None], self.distances.num_embeddings)
        return bias + self.distances(buckets).permute(0, 3, 1, 2).to(dtype)

    @classmethod
    def load(
        cls, folder: Path | str, head: TaskType | None = None, dropout: float = 0.0, **overrides: Any
    ) -> LengthAdaptiveModel:
        """Reads a Hugging Face checkpoint folder (`config.json` and safetensors), computing in float32.

        Args:
            folder: the checkpoint.
            head: the type of task to put a new head for on an encoder that lacks it, or that has another one or one for
                another number of labels.
            dropout: used in training mode.
            **overrides: keys of the configuration to set, such as `length_drop_layers`; None takes a key out. Scorers
                and shortcuts that these ask for and that the checkpoint lacks are new.

        Raises:
            UserError: the folder is no checkpoint of a family known here in safetensors, or weights are missing.
        """
        folder = Path(folder)
        config = {k: v for k, v in {**read_config(folder), **overrides}.items() if v is not None}
        pruned = config.pop("pruned_heads", None)
        check_config(config)
        if head:
            config["architectures"] = [architecture(config["model_type"], head)]
        mapped = is_mapped(config) and (DROP_LAYERS in overrides or not is_mapped(read_config(folder)))
        asked = {NAME: overrides.get(KEY), SHORTCUTS: mapped}
        new = (*(HEAD_LAYERS if head else ()), *(f"{name}." for name, value in asked.items() if value))
        tensors = Tensors.of(folder)
        check_held(config, tensors.parameters, str(folder))
        with told(f"No model can be made by {folder / 'config.json'}"), nullcontext() if new else Undrawn():
            model = cls(config, dropout)
        state = model.state_dict()
        stored = {ours(name, model.family, model.head): name for name in tensors.stored}
        names = {key: stored[other] for key in state if (other := in_group(key, model.groups)) in stored}
        packs = {key: name for key, name in stored.items() if any(f".{pack}." in key for pack in model.row.packs)}
        weights = tensors.load([*names.values(), *packs.values()])
        found = {key: weights[name] for key, name in names.items()}
        found |= unpacked({key: weights[name] for key, name in packs.items()}, model.row)
        if pruned:
            cut: dict[str | int, Sequence[int]] = {
                i: pruned[key] for key in pruned for i, group in enumerate(model.groups) if group == int(key)
            }
            found = with_heads(found, config, cut)
        for key in [key for key in found if found[key].shape != state[key].shape]:
            if not key.startswith(new):
                raise UserError(_misfit(folder, theirs(key, model.family), found[key].shape, state[key].shape))
            del found[key]
        lost = [key for key in state if key not in found and not key.startswith(new)]
        if lost:
            raise UserError(
                f"{folder}: the checkpoint lacks {len(lost)} weights, for example {theirs(lost[0], model.family)}."
            )
        model.load_state_dict(found, strict=False)
        return model.eval()

    def save(self, folder: Path | str, dtype: torch.dtype = torch.float32) -> None:
        """Writes a checkpoint folder that transformers loads too."""
        folder = Path(folder)
        tensors = packed(self.state_dict(), self.row).items()
        names = {key: theirs(in_group(key, self.groups), self.family) for key, _ in tensors}
        state = {names[key]: value.detach().to(dtype).contiguous() for key, value in tensors}
        with atomic(folder / "model.safetensors") as draft:
            save_file(state, draft, metadata={"format": "pt"})
        write_json(folder / "config.json", {**self.config, "dtype": str(dtype).removeprefix("torch.")})


def _misfit(folder: Path, name: str, weights: Sequence[int], stated: Sequence[int]) -> str:
    """What to say of a weight of another shape than the configuration asks for."""
    text = f"{folder}: {name} has the shape {tuple(weights)}, but by config.json it should have {tuple(stated)}. "
    if name.startswith("classifier"):
        return text + "Name every output of the classifier in id2label."
    return text + "Take the config.json that was saved with these weights."


def segments(types: nn.Embedding, input_ids: Tensor, token_type_ids: Tensor | None) -> Tensor:
    """Token types that a table has: all 0 where it has one row, whatever the tokenizer writes."""
    if token_type_ids is None or types.num_embeddings == 1:
        return torch.zeros_like(input_ids)
    return token_type_ids


def _spread(alive: Tensor, where: Tensor, tokens: int) -> Tensor:
    return torch.zeros(alive.shape[0], tokens, dtype=torch.bool, device=alive.device).scatter(1, where, alive)
