"""The supernet: one network whose leading slices are all encoders of a space.

As in AutoTinyBERT (Yin et al., arXiv 2107.13686, huawei-noah/Pretrained-Language-Model) a sub-network has the first
layers, the first columns of every matrix and norm, the first heads and the first feed-forward channels of the largest
one. Nothing is written twice for it: a sub-network is the ordinary model of its sizes, run with views of the supernet's
weights in place of its own, so that gradients reach the supernet and what is cut out computes the same by construction.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.func import functional_call

from compress.learn.masked_lm import MaskedLanguageModel
from compress.nas.space import GENES, Arch, Space
from zoo.checkpoints import read_config, renamed
from zoo.errors import UserError
from zoo.files import read_json, write_json
from zoo.modeling import LengthAdaptiveModel
from zoo.significance import KEY as SIGNIFICANCE

SPACE_FILE = "space.json"
Net = LengthAdaptiveModel | MaskedLanguageModel  # with a head for a task, or for masked words


class SuperNet(nn.Module):
    """A model and its sub-networks.

    Args:
        whole: the largest sub-network, whose weights all others share; a model for a task or for masked words.
        space: the sub-networks that there are.

    Raises:
        UserError: the model is not the largest of the space; see `SuperNet.of`.
    """

    def __init__(self, whole: Net, space: Space):
        super().__init__()
        if Arch.from_config(encoder_of(whole).config) != space.largest:
            raise UserError(
                f"A supernet of this space is {space.largest}, the model is "
                f"{Arch.from_config(encoder_of(whole).config)}. Cut it to size first."
            )
        self.whole, self.space = whole, space
        self._bodies: dict[Arch, Net] = {}  # in a dict they are no parts of this module: they have no weights

    @classmethod
    def of(cls, model: Net, space: Space) -> SuperNet:
        """A supernet of a model's weights, cut to the largest of the space.

        Raises:
            UserError: the model is too small, or has heads of another size.
        """
        space.check(encoder_of(model).config, "the model")
        return cls(cut(model, space.largest), space)

    @classmethod
    def load(
        cls, folder: Path, space: Space | None = None, read: Callable[[Path], Net] | None = None, dropout: float = 0.0
    ) -> SuperNet:
        """Reads what `save` wrote.

        Args:
            folder: a checkpoint of the largest sub-network with its `space.json`.
            space: the sub-networks that are wanted, all or some of those that it was trained for; None: all.
            read: how the checkpoint is read; by default with the head that it has.
            dropout: of hidden states in training, where `read` is not given.

        Raises:
            UserError: it is no supernet, or one of another space.
        """
        if not (folder / SPACE_FILE).is_file():
            raise UserError(
                f"{folder} is no supernet: it has no {SPACE_FILE}. Give the folder of a stage supernet or tune."
            )
        trained = Space.from_json(read_json(folder / SPACE_FILE)["space"])
        if space is not None:
            check_space(space, trained, folder)
        if read is None:
            kinds = read_config(folder).get("architectures") or [""]
            masked = kinds[0].endswith("ForMaskedLM")
            model: Net = (
                MaskedLanguageModel.load(folder, dropout)
                if masked
                else LengthAdaptiveModel.load(folder, dropout=dropout)
            )
        else:
            model = read(folder)
        return cls.of(model, space or trained)

    def save(self, folder: Path) -> None:
        """Writes the largest sub-network as a checkpoint that transformers loads, and the space beside it."""
        self.whole.save(folder)
        write_json(folder / SPACE_FILE, {"space": self.space.to_json(), "largest": self.space.largest.key})

    @property
    def encoder(self) -> LengthAdaptiveModel:
        """The largest sub-network's encoder."""
        return encoder_of(self.whole)

    @property
    def embeddings(self) -> list[nn.Embedding]:
        return self.encoder.embeddings

    def forward(self, *args: Any, arch: Arch | None = None, **named: Any) -> Any:
        """Runs a sub-network, the largest where none is named, on the inputs that `whole` takes."""
        if arch is None or arch == self.space.largest:
            return self.whole(*args, **named)
        body = self.body(arch)
        return functional_call(body, leading(self.whole, body), args, named, strict=True)

    def at(self, arch: Arch) -> Callable[..., Any]:
        """A sub-network as a function of a model's inputs."""
        return partial(self, arch=arch)

    def body(self, arch: Arch) -> Net:
        """The modules that compute a sub-network, to hang hooks on; they have no weights of their own.

        Raises:
            UserError: the sub-network is too large, or has heads of another size.
        """
        if arch == self.space.largest:
            return self.whole
        if arch not in self._bodies:
            self._bodies[arch] = shaped(self.whole, arch)
        body = self._bodies[arch].train(self.training)
        encoder_of(body).dropout = self.encoder.dropout
        return body

    def extract(self, arch: Arch) -> Net:
        """A sub-network with weights of its own."""
        return cut(self.whole, arch)


def encoder_of(model: Net) -> LengthAdaptiveModel:
    return model.encoder if isinstance(model, MaskedLanguageModel) else model


def leading(model: Net, like: Net) -> dict[str, Tensor]:
    """The parameters of a sub-network: views of `model`'s in the shapes of those of `like`."""
    own = dict(model.named_parameters())
    return {name: own[name][tuple(slice(n) for n in part.shape)] for name, part in like.named_parameters()}


def shaped(model: Net, arch: Arch) -> Net:
    """A model like `model` with the sizes of `arch`, without weights.

    Raises:
        UserError: `model` is smaller, or has heads of another size: its leading slices would not be whole heads.
    """
    encoder = encoder_of(model)
    own = Arch.from_config(encoder.config)
    if arch.head_size != own.head_size:
        raise UserError(
            f"{arch} has heads of size {arch.head_size}, the supernet has heads of size {own.head_size}: take "
            f"queries of {own.head_size} times the number of heads."
        )
    if any(getattr(arch, size) > getattr(own, size) for size in (*GENES, "heads")):
        raise UserError(f"{arch} is larger than the supernet, {own}. Choose smaller sizes.")
    with torch.device("meta"):
        smaller = LengthAdaptiveModel(config_at(encoder.config, arch), encoder.dropout)
        return MaskedLanguageModel(smaller) if isinstance(model, MaskedLanguageModel) else smaller


def cut(model: Net, arch: Arch) -> Net:
    """A model of the sizes of `arch` with copies of `model`'s leading weights.

    Raises:
        UserError: as `shaped`.
    """
    smaller = shaped(model, arch)
    weights = {name: part.detach().clone() for name, part in leading(model, smaller).items()}
    smaller = smaller.to_empty(device=next(model.parameters()).device)
    smaller.load_state_dict(weights, strict=True)
    if isinstance(smaller, MaskedLanguageModel):
        smaller.has_head = cast(MaskedLanguageModel, model).has_head
    return smaller.train(model.training)


def config_at(config: dict[str, Any], arch: Arch) -> dict[str, Any]:
    """A `config.json` with the sizes of `arch`."""
    sizes = {
        "num_hidden_layers": arch.layers,
        "hidden_size": arch.hidden,
        "intermediate_size": arch.intermediate,
        "num_attention_heads": arch.heads,
    }
    smaller = renamed({**config, **sizes})
    smaller.pop("attention_head_size", None)
    if arch.qkv != arch.hidden:
        smaller["attention_head_size"] = arch.head_size
    drops = [layer for layer in config.get("length_drop_layers") or () if layer < arch.layers]
    for key in ("length_drop_layers", SIGNIFICANCE):  # scorers fit the sizes that they learned at
        smaller.pop(key, None)
    return {**smaller, "length_drop_layers": drops} if drops else smaller


def check_space(wanted: Space, trained: Space, name: Path) -> None:
    """Refuses a supernet that lacks sizes of the space.

    Raises:
        UserError: it names them, and those that there are.
    """
    if wanted.head_size != trained.head_size:
        raise UserError(
            f"The search space has heads of size {wanted.head_size}, the supernet {name} was trained with heads of "
            f"size {trained.head_size}. Take a supernet of this space, or change the space."
        )
    for gene in GENES:
        lacking = sorted({*getattr(wanted, gene)} - {*getattr(trained, gene)})
        if lacking:
            sizes = ", ".join(map(str, getattr(trained, gene)))
            raise UserError(
                f"The supernet {name} is of another space: {gene} {', '.join(map(str, lacking[:5]))} was never "
                f"trained in it. It has {gene} {sizes}. Make the space narrower, or train a supernet of this space."
            )
