"""A model under AIMET's simulation: starting ranges, training, files, logits."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from compress.aimet.backend import load, quiet
from compress.aimet.quantizers import simulate
from compress.aimet.simulable import FACTOR
from compress.int8.ranges import calibrate
from compress.int8.rounding import matching
from compress.recipe.aimet import AimetRecipe
from zoo.checkpoints import read_config
from zoo.errors import UserError, told
from zoo.families import family_of
from zoo.features import Window, pad
from zoo.files import atomic, read_json, write_json
from zoo.modeling import LengthAdaptiveModel, Output
from zoo.tasks import LOST
from zoo.weights import linears

STATE, SETTINGS, ENCODINGS = "aimet.safetensors", "aimet.json", "aimet_encodings.json"
BELOW = 6.0  # policy clamp: how far below the lowest score of a real token the range of scores reaches
BATCH = 8  # windows that are calibrated on together: padding among them is as it will be in training
INPUTS = ("input_ids", "attention_mask", "token_type_ids")


@dataclass(frozen=True)
class Settings:
    """What decides how a model is simulated; kept beside its weights. The fields are those of the recipe's `aimet`.

    `weight_bits` may be 7, too: what CPUs without VNNI need of a model that is to run. `keep_float` are names of
    products, see `zoo.weights.linears`.
    """

    scope: str = "full"
    weight_bits: int = 8
    per_channel: bool = False
    ranges: str = "min_max"
    percentile: float = 99.99
    mask: str = "-6"
    calibration_samples: int = 64
    smoothing: float = 0.0
    keep_float: tuple[str, ...] = ()

    @classmethod
    def of(cls, recipe: AimetRecipe, model: LengthAdaptiveModel) -> Settings:
        """As a recipe of the kind `aimet_w8a8` says.

        Raises:
            UserError: a pattern of `quantize.keep_float` fits no product.
        """
        values: dict[str, Any] = recipe.aimet.settings | {"weight_bits": recipe.weight_bits}
        return cls(**values, keep_float=tuple(matching(list(linears(model)), recipe.quantize.keep_float)))


class Simulated(nn.Module):
    """A model whose every forward pass is rounded; takes the place of a `LengthAdaptiveModel` in training and engines.

    Its parameters are the model's weights, and the lowest and highest value of every range: all of them learn. It runs
    at full length, in float32 under autocast too.

    Args:
        model: whose weights it takes over; not to be used afterwards.
        settings: what is rounded, and how.

    Raises:
        UserError: aimet-torch is missing or broken.
    """

    sim: Any
    net: Any

    def __init__(self, model: LengthAdaptiveModel, settings: Settings):
        super().__init__()
        self.config, self.head, self.shape, self.family = model.config, model.head, model.shape, model.family
        self.settings, self.row = settings, model.row
        self.sim = simulate(model, settings)
        self.net = self.sim.model

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        token_type_ids: Tensor | None = None,
        lengths: Tensor | None = None,
        layers: list[bool] | None = None,
        scored: bool = False,
    ) -> Output:
        """As `LengthAdaptiveModel.forward`, with nothing dropped.

        Raises:
            UserError: `lengths` asks for less than all tokens.
        """
        if lengths is not None and bool((lengths < attention_mask.sum(1)[:, None]).any()):
            raise UserError("What AIMET simulates runs at full length only: choose onnxruntime for budgets.")
        types = torch.zeros_like(input_ids) if token_type_ids is None else token_type_ids
        with torch.autocast(input_ids.device.type, enabled=False):
            logits = self.net(input_ids, attention_mask, types).as_subclass(Tensor).float()
        alive = attention_mask.bool()
        if self.head.per_token:
            logits = logits.masked_fill(~alive[..., None], LOST)
        return Output(logits=logits, kept=[alive] * self.shape.layers)

    @property
    def embeddings(self) -> list[nn.Module]:
        """As of `LengthAdaptiveModel`."""
        return [getattr(self.net, name) for name in family_of(self.family).tables]

    @property
    def norm(self) -> nn.Module:
        """That of the embeddings."""
        return self.net.norm

    @property
    def blocks(self) -> list[nn.Module]:
        """The layers, with modules that are named as those of `LengthAdaptiveModel`."""
        return list(self.net.layers)

    def calibrate(self, windows: Sequence[Window], pad_id: int, seed: int) -> None:
        """Takes the starting ranges from some of the windows, drawn at random.

        Raises:
            UserError: there are no windows.
        """
        if not windows:
            raise UserError("There are no training windows to take the first ranges from. Give data to train on.")
        count = min(len(windows), self.settings.calibration_samples)
        chosen = [windows[i] for i in random.Random(seed).sample(range(len(windows)), count)]
        if self.settings.smoothing:
            self._smooth(chosen, pad_id)
        clamped = self.settings.mask == "clamp"
        size = 1 if clamped else BATCH  # alone, a window has no padding: the range is that of real tokens
        batches = [pad(chosen[at : at + size], pad_id) for at in range(0, len(chosen), size)]

        def show(net: nn.Module) -> None:
            for batch in batches:
                net(*(torch.from_numpy(batch[key]) for key in INPUTS))

        with quiet():
            self.sim.compute_encodings(show)
        if clamped and self.settings.scope == "full":
            with torch.no_grad():
                for layer in self.net.layers:
                    quantizer = layer.masked.output_quantizers[0]
                    quantizer.set_range(quantizer.get_min() - BELOW, quantizer.get_max())

    def _smooth(self, windows: Sequence[Window], pad_id: int) -> None:
        """Divides outlying columns of what enters products down, and multiplies the weights that they meet."""
        batches = [{key: torch.from_numpy(value) for key, value in pad([one], pad_id).items()} for one in windows]
        ranges = calibrate(self.plain(), batches, [])
        with torch.no_grad():
            for name, modules in linears(self).items():
                by = ranges[name].smoothed(self.settings.smoothing)[1]
                for module in self._smoothed(modules) if by is not None else ():
                    module.weight.mul_(module.x_factor * torch.from_numpy(by))
                    module.x_factor.copy_(1 / torch.from_numpy(by))

    @staticmethod
    def _smoothed(modules: Iterable[nn.Module]) -> list[Any]:
        return [module for module in modules if hasattr(module, FACTOR)]

    def quantizers(self) -> dict[str, Any]:
        """AIMET's quantizers by name, each once."""
        quantizer = load().quantization.base.QuantizerBase
        return {name: module for name, module in self.net.named_modules() if isinstance(module, quantizer)}

    def ranges(self) -> dict[str, tuple[float, float]]:
        """Lowest and highest value of every range by its quantizer's name; over all rows where there is one a row."""
        with torch.no_grad():
            quantizers = self.quantizers().items()
            return {name: (float(one.get_min().min()), float(one.get_max().max())) for name, one in quantizers}

    def range_rates(self, share: float, learning_rate: float) -> dict[str, float]:
        """By the names of the ranges' ends, `rates` of `compress.learn.loop.train` with which a step moves them by that
        share of their range's width (of the mean one where there is one a row)."""
        rates = {}
        for name, quantizer in self.quantizers().items():
            with torch.no_grad():
                width = float((quantizer.get_max() - quantizer.get_min()).mean())
            if width > 0:
                rates |= {f"net.{name}.{end}": share * width / learning_rate for end in ("min", "max")}
        return rates

    def round_weights(self) -> None:
        """Rounds the weights for good, which every pass would do again; neither trained nor saved afterwards."""
        quantized = load().nn.BaseQuantizationMixin
        for module in self.net.modules():
            # Of the table of words a pass rounds the rows that it needs.
            if isinstance(module, quantized) and module is not self.net.words:
                module.fold_param_quantizers()

    def plain(self) -> LengthAdaptiveModel:
        """A float model with the weights as they are now, not rounded."""
        model = LengthAdaptiveModel(self.config)
        state = self.net.state_dict()
        names = {module: name for name, module in self.net.named_modules()}
        for module in self._smoothed(names):
            state[f"{names[module]}.weight"] = module.weight.detach() * module.x_factor
        model.load_state_dict({key: state[key] for key in model.state_dict()})
        return model.eval()

    def held(self) -> dict[str, Tensor]:
        """What files keep: weights, ranges, and the factors of inputs where there are some."""
        factors = {name: value for name, value in self.net.named_buffers() if name.endswith(f".{FACTOR}")}
        return {**dict(self.net.named_parameters()), **factors}

    def restore(self, folder: Path | str) -> None:
        """Takes weights, ranges and factors of inputs from what `save` wrote.

        Raises:
            UserError: they are not those of such a simulation.
        """
        path = Path(folder) / STATE
        with told(f"{path} cannot be read", "Run its stage again."):
            state, tensors = load_file(path), self.held()
        integers = {name: state[name] for name in state if state[name].dtype is torch.int8}
        odd = sorted(state.keys() ^ tensors.keys()) or [
            key for key in tensors if tensors[key].shape != state[key].shape
        ]
        if odd:
            raise UserError(
                f"{path} does not fit its settings, for example {odd[0]}: it was made by another version of "
                "aimet-torch or of this program. Run the recipe's stage aimet again."
            )
        with torch.no_grad():
            for name in state.keys() - integers.keys():
                tensors[name].copy_(state[name])  # which also tells AIMET that a range is settled
            for name, whole in integers.items():  # as `compress.aimet.packing` writes them
                module: Any = self.net.get_submodule(name.rpartition(".")[0])
                tensors[name].copy_(whole * module.param_quantizers["weight"].get_scale())

    def save(self, folder: Path | str) -> None:
        """Writes weights and ranges, what `open_simulated` needs beside them, and AIMET's encodings as JSON."""
        folder = Path(folder)
        tensors = {name: value.detach().cpu().contiguous() for name, value in self.held().items()}
        with atomic(folder / STATE) as draft:
            save_file(tensors, draft, metadata={"format": "pt"})
        write_json(folder / "config.json", self.config)
        write_json(folder / SETTINGS, {**asdict(self.settings), "aimet_torch": _version()})
        with quiet():
            activations, weights = self.sim.get_activation_param_encodings()
        encodings = {"activation_encodings": activations, "param_encodings": weights}
        write_json(folder / ENCODINGS, json.loads(json.dumps(encodings)))


def open_simulated(folder: Path | str) -> Simulated:
    """What `Simulated.save` wrote.

    Raises:
        UserError: the folder holds no such files or others than AIMET makes of them, or aimet-torch is missing.
    """
    folder = Path(folder)
    if not all((folder / name).is_file() for name in (STATE, SETTINGS, "config.json")):
        raise UserError(
            f"{folder} holds no simulation of AIMET ({STATE}, {SETTINGS}). Give the folder of a finished run of an "
            "aimet_w8a8 recipe, or an entry that one made."
        )
    model = Simulated(LengthAdaptiveModel(read_config(folder)), stored_settings(folder))
    model.restore(folder)
    return model.eval()


def stored_settings(folder: Path) -> Settings:
    """The settings that `Simulated.save` wrote.

    Raises:
        UserError: they are none.
    """
    values: dict[str, Any] = {k: v for k, v in read_json(folder / SETTINGS).items() if k != "aimet_torch"}
    try:
        values["keep_float"] = tuple(values.get("keep_float", ()))
        return Settings(**values)
    except TypeError as error:
        raise UserError(f"{folder / SETTINGS} holds other settings than a simulation has: {error}.") from error


def windows_of(samples: Iterable[Any]) -> list[Window]:
    """The windows of labelled samples."""
    return [sample.window for sample in samples]


def _version() -> str:
    try:
        return version("aimet-torch")
    except PackageNotFoundError:
        return ""
