"""A masked language model: an encoder with the head that tells which words were masked."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.checkpoints import curve_of, embedding_size, in_group, theirs
from zoo.errors import UserError
from zoo.families import family_of
from zoo.files import atomic, write_json
from zoo.layers import CURVES
from zoo.modeling import LengthAdaptiveModel
from zoo.task_types import HEAD_LAYERS
from zoo.tasks import QUESTIONS
from zoo.tensors import Tensors

OWN_HEAD = tuple(f"{layer}." for layer in HEAD_LAYERS)  # of a LengthAdaptiveModel, for its task


class MaskedLanguageModel(nn.Module):
    """An encoder and what tells from its hidden states which words were masked; these are those of its embeddings.

    Args:
        encoder: its own head is neither used nor trained.
    """

    def __init__(self, encoder: LengthAdaptiveModel):
        super().__init__()
        config = encoder.config
        hidden, eps = config["hidden_size"], config.get("layer_norm_eps", 1e-12)
        self.encoder = encoder
        width = embedding_size(config)
        self.transform, self.norm = nn.Linear(hidden, width), nn.LayerNorm(width, eps=eps)
        nn.init.normal_(self.transform.weight, std=config.get("initializer_range", 0.02))
        nn.init.zeros_(self.transform.bias)
        self.bias = nn.Parameter(torch.zeros(config["vocab_size"]))
        self.curve = CURVES[family_of(encoder.family).words_curve or curve_of(config)]
        self.has_head = False
        for name, parameter in encoder.named_parameters():
            if name.startswith(OWN_HEAD):
                parameter.requires_grad_(False)

    def forward(self, input_ids: Tensor, attention_mask: Tensor, holes: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Hidden states `[batch, tokens, hidden]` and, at the `holes` `[batch, tokens]`, logits `[holes, words]`.

        Without holes there are no logits: over all tokens they would be most of the work.
        """
        encoder = self.encoder
        x = encoder.embed(input_ids, None)
        places = torch.arange(input_ids.shape[1], device=x.device)[None]
        bias = encoder.attention_bias(attention_mask.bool(), places, x.dtype)
        for layer in encoder.blocks:
            x = layer.run(layer.attend, x, bias, encoder.dropout, False).x
            x = layer.run(layer.feed, x, encoder.dropout)
        if holes is None:
            return x, None
        words = self.norm(self.curve(self.transform(x[holes])))
        return x, F.linear(words, encoder.words.weight, self.bias)

    @classmethod
    def load(cls, folder: Path, dropout: float = 0.0) -> MaskedLanguageModel:
        """Reads a checkpoint folder, with its head for masked words where it has one; else that is new.

        Raises:
            UserError: the folder is no checkpoint that can be used.
        """
        model = cls(LengthAdaptiveModel.load(folder, QUESTIONS, dropout))
        if model.encoder.row.rotary:
            raise UserError(
                f"{model.encoder.row.title} cannot learn masked words here: {model.encoder.row.peculiarity}. Take a "
                "BERT, RoBERTa or DistilBERT checkpoint, or one that is pre-trained."
            )
        names = head_names(model.encoder.family)
        tensors = Tensors.of(folder)
        old = {key.replace(".gamma", ".weight").replace(".beta", ".bias"): key for key in tensors.stored}
        tied = model.encoder.config.get("tie_word_embeddings", True)  # an own matrix of words is not read
        if tied and all(name in old for name in names.values()):
            weights = tensors.load(old[name] for name in names.values())
            model.load_state_dict({ours: weights[old[name]] for ours, name in names.items()}, strict=False)
            model.has_head = True
        return model.eval()

    def save(self, folder: Path) -> None:
        """Writes a checkpoint for masked texts, that transformers and `LengthAdaptiveModel.load(head=…)` read."""
        family, encoder = self.encoder.family, self.encoder
        weights = {in_group(k, encoder.groups): v for k, v in encoder.state_dict().items()}
        state = {theirs(k, family): v for k, v in weights.items() if not k.startswith(OWN_HEAD)}
        own = self.state_dict()
        state |= {name: own[ours] for ours, name in head_names(family).items()}
        with atomic(folder / "model.safetensors") as draft:
            save_file({k: v.detach().float().cpu().contiguous() for k, v in state.items()}, draft, {"format": "pt"})
        config = {**encoder.config, "architectures": [f"{encoder.row.classes}ForMaskedLM"], "dtype": "float32"}
        write_json(folder / "config.json", config)


def head_names(family: str) -> dict[str, str]:
    """Our names of the weights of the head for masked words -> those of a family's checkpoints."""
    transform, norm, bias = family_of(family).words_head
    pairs = {
        f"{ours}.{kind}": f"{theirs}.{kind}"
        for ours, theirs in (("transform", transform), ("norm", norm))
        for kind in ("weight", "bias")
    }
    return {**pairs, "bias": bias}
