"""A float checkpoint becomes one int8 ONNX file that takes the lengths as an input.

Weights: symmetric, one scale a column. Activations: asymmetric, one scale a tensor, calibrated on real inputs at the
length configurations that will be served (static) or measured anew in every run (dynamic). Softmax, layer norm, GELU,
TopK and the head stay in float. With `reduce_range` weights take 7 bits: x86 CPUs without VNNI add pairs of
8-bit products in 16 bits, which overflows with 8-bit weights.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from zoo.graph import Weights
from zoo.graph import build as build_graph
from zoo.lengths import LengthConfig
from zoo.modeling import LengthAdaptiveModel

MODEL_FILE = "model.int8.onnx"
SMOOTH_GAIN = 1.5  # a range that smoothing shrinks by less is left alone: dividing takes time in every run


class Range(NamedTuple):
    """What enters a product: the range to quantize, and of every column its mean, lowest and highest value."""

    low: float
    high: float
    mean: np.ndarray
    lows: np.ndarray
    highs: np.ndarray

    def smoothed(self, strength: float) -> tuple[Range, np.ndarray | None]:
        """The range with outlying columns divided down, and by what `[in]`; None where it would gain little.

        A column is divided by (its peak / the median peak) ** strength where that is more than 1. BERT's encoders
        have a column or two whose values are ten times those of all others, and one scale has to fit them all
        (SmoothQuant, arXiv 2211.10438, divides every column and so disturbs the weights more).
        """
        peaks = np.maximum(np.abs(self.lows), np.abs(self.highs))
        by = np.maximum(1.0, (peaks / max(float(np.median(peaks)), 1e-8)) ** strength).astype(np.float32)
        lows, highs = self.lows / by, self.highs / by
        low, high = max(self.low, float(lows.min())), min(self.high, float(highs.max()))
        if high - low > (self.high - self.low) / SMOOTH_GAIN:
            return self, None
        return Range(low, high, self.mean / by, lows, highs), by


def spec_of(model: LengthAdaptiveModel) -> dict[str, Any]:
    """What `zoo.graph` needs to know beside the weights."""
    config = model.config
    return {
        "layers": model.shape.layers,
        "hidden": model.shape.hidden,
        "intermediate": model.shape.intermediate,
        "heads": config["num_attention_heads"],
        "eps": config.get("layer_norm_eps", 1e-12),
        "family": model.family,
        "pad": config.get("pad_token_id", 0),
        "drop_layers": list(model.drop_layers),
        "keep_first": bool(model.keep_first),
    }


def float_weights(model: LengthAdaptiveModel) -> Weights:
    """The checkpoint under the graph's names: query, key, value in one matrix, 1/sqrt(head size) in the query."""
    state = {key: value.detach().float().numpy() for key, value in model.state_dict().items()}
    scale = (model.shape.hidden // model.config["num_attention_heads"]) ** -0.5
    weights: Weights = {f"{n}.w": state[f"{n}.weight"] for n in ("words", "positions", "types")}
    weights |= {f"norm.{k}": state[f"norm.{k}"] for k in ("weight", "bias")}
    weights |= {"qa_outputs.w": state["qa_outputs.weight"].T.copy(), "qa_outputs.bias": state["qa_outputs.bias"]}
    for i in range(model.shape.layers):
        at = f"layers.{i}."
        weights[f"{at}qkv.w"] = np.concatenate(
            [state[f"{at}query.weight"].T * scale, state[f"{at}key.weight"].T, state[f"{at}value.weight"].T], 1
        )
        weights[f"{at}qkv.bias"] = np.concatenate(
            [state[f"{at}query.bias"] * scale, state[f"{at}key.bias"], state[f"{at}value.bias"]]
        )
        for name in ("project", "expand", "contract"):
            weights[f"{at}{name}.w"] = state[f"{at}{name}.weight"].T.copy()
            weights[f"{at}{name}.bias"] = state[f"{at}{name}.bias"]
        for name in ("attention_norm", "output_norm"):
            weights |= {f"{at}{name}.{k}": state[f"{at}{name}.{k}"] for k in ("weight", "bias")}
    return weights


def linears(model: LengthAdaptiveModel) -> dict[str, list[torch.nn.Linear]]:
    """Quantized products by their graph name, with the modules that they stand for."""
    found: dict[str, list[torch.nn.Linear]] = {}
    for i, layer in enumerate(model.blocks):
        found[f"layers.{i}.qkv"] = [layer.query, layer.key, layer.value]
        for name in ("project", "expand", "contract"):
            found[f"layers.{i}.{name}"] = [getattr(layer, name)]
    return found


def round_columns(w: np.ndarray, bits: int) -> tuple[np.ndarray, np.ndarray]:
    """Symmetric integers `[in, out]` int8 and their scales `[out]` float32."""
    top = 2 ** (bits - 1) - 1
    scale = np.maximum(np.abs(w).max(0), 1e-8) / top
    return np.clip(np.round(w / scale), -top, top).astype(np.int8), scale.astype(np.float32)


def integer_weights(
    weights: Weights,
    names: Iterable[str],
    ranges: dict[str, Range] | None,
    reduce_range: bool,
    smoothing: float = 0.0,
) -> Weights:
    """Replaces the float matrices `names` and the word embeddings by integers.

    Args:
        weights: from `float_weights`.
        names: products to quantize.
        ranges: calibrated input of each product; None quantizes inputs dynamically.
        reduce_range: 7-bit weights.
        smoothing: how far outlying columns of the inputs are divided down, from 0 to 1; see `Range.smoothed`.
    """
    made = dict(weights)
    for name in names:
        w, seen = made.pop(f"{name}.w"), ranges[name] if ranges is not None else None
        if seen is not None and smoothing:
            seen, by = seen.smoothed(smoothing)
            if by is not None:
                w, made[f"{name}.x_factor"] = w * by[:, None], (1 / by).astype(np.float32)
        made[f"{name}.q"], made[f"{name}.scale"] = round_columns(w, 7 if reduce_range else 8)
        if seen is not None:
            # What rounding the weights adds on average goes off the bias (Nagel et al., arXiv 1906.04721).
            lost = w - made[f"{name}.q"] * made[f"{name}.scale"]
            made[f"{name}.bias"] = (made[f"{name}.bias"] + seen.mean @ lost).astype(np.float32)
            low, high = min(seen.low, 0.0), max(seen.high, 0.0)
            scale = max(high - low, 1e-8) / 255
            made[f"{name}.x_scale"] = np.array(scale, np.float32)
            made[f"{name}.x_zero"] = np.array(np.clip(round(-low / scale), 0, 255), np.uint8)
    rows, scale = round_columns(made.pop("words.w").T, 8)
    made["words.q"], made["words.scale"] = rows.T.copy(), scale[:, None].copy()
    return made


def calibrate(
    model: LengthAdaptiveModel,
    batches: Sequence[dict[str, Tensor]],
    configs: Sequence[LengthConfig],
    percentile: float = 100.0,
) -> dict[str, Range]:
    """Input ranges of every product over real inputs, each run at one of the configurations in turn and at full length.

    Args:
        percentile: 100 takes the extremes; less takes, per run, that percentile and its mirror, averaged over runs.
    """
    seen: dict[str, list[Range]] = {}

    def watch(name: str) -> Callable:
        def hook(_module: Any, args: tuple[Tensor, ...]) -> None:
            x = args[0].detach()
            flat, rows = x.flatten(), x.flatten(0, 1)
            rest = max(1, round(flat.numel() * (100 - percentile) / 100))
            high, low = float(flat.topk(rest).values[-1]), -float((-flat).topk(rest).values[-1])
            seen[name].append(Range(low, high, *(part.numpy() for part in (rows.mean(0), rows.amin(0), rows.amax(0)))))

        return hook

    handles = []
    for name, modules in linears(model).items():
        seen[name] = []
        handles.append(modules[0].register_forward_pre_hook(watch(name)))
    try:
        with torch.no_grad():
            for turn, batch in enumerate(batches):
                counts = batch["attention_mask"].sum(1).tolist()
                chosen = [LengthConfig.full(model.shape.layers)]
                chosen += [configs[turn % len(configs)]] if configs else []
                for config in chosen:
                    model(**batch, lengths=torch.tensor([config.tokens(int(n)) for n in counts]))
    finally:
        for handle in handles:
            handle.remove()
    lowest, highest = (min, max) if percentile >= 100 else (np.mean, np.mean)
    return {
        name: Range(
            float(lowest([r.low for r in runs])),
            float(highest([r.high for r in runs])),
            np.mean([r.mean for r in runs], axis=0),
            np.min([r.lows for r in runs], axis=0),
            np.max([r.highs for r in runs], axis=0),
        )
        for name, runs in seen.items()
    }


def simulate(model: LengthAdaptiveModel, weights: Weights) -> LengthAdaptiveModel:
    """The model with all of the graph's weights and its rounding of inputs: what the graph computes, in torch.

    A published checkpoint in half precision will not do: eight-bit rounding makes its last digits matter.
    """
    twin = copy.deepcopy(model).eval()
    scale = (model.shape.hidden // model.config["num_attention_heads"]) ** -0.5
    with torch.no_grad():
        twin.words.weight.copy_(torch.from_numpy(weights["words.q"] * weights["words.scale"]))
        twin.positions.weight.copy_(torch.tensor(weights["positions.w"]))
        twin.types.weight.copy_(torch.tensor(weights["types.w"]))
        twin.qa_outputs.weight.copy_(torch.tensor(weights["qa_outputs.w"]).T)
        twin.qa_outputs.bias.copy_(torch.tensor(weights["qa_outputs.bias"]))
        for name, module in twin.named_modules():
            if isinstance(module, torch.nn.LayerNorm):
                module.weight.copy_(torch.tensor(weights[f"{name}.weight"]))
                module.bias.copy_(torch.tensor(weights[f"{name}.bias"]))
        for name, modules in linears(twin).items():
            whole = torch.from_numpy(weights[f"{name}.q"] * weights[f"{name}.scale"]).chunk(len(modules), 1)
            biases = torch.tensor(weights[f"{name}.bias"]).chunk(len(modules))
            for turn, (module, part, bias) in enumerate(zip(modules, whole, biases, strict=True)):
                folded = scale if len(modules) == 3 and turn == 0 else 1.0
                factor = torch.from_numpy(weights[f"{name}.x_factor"]) if f"{name}.x_factor" in weights else 1.0
                module.weight.copy_(part.T * factor / folded)
                module.bias.copy_(bias / folded)
                module.register_forward_pre_hook(_rounding(weights, name))
    return twin


def _rounding(weights: Weights, name: str) -> Callable:
    def hook(_module: Any, args: tuple[Tensor, ...]) -> tuple[Tensor]:
        factor = torch.from_numpy(weights.get(f"{name}.x_factor", np.ones(1, np.float32)))
        x = args[0] * factor
        if f"{name}.x_scale" in weights:
            scale, zero = float(weights[f"{name}.x_scale"]), int(weights[f"{name}.x_zero"])
        else:
            low, high = min(float(x.min()), 0.0), max(float(x.max()), 0.0)
            scale = (high - low) / 255
            zero = round(-low / scale)
        return (((x / scale).round() + zero).clamp(0, 255).sub(zero) * scale / factor,)

    return hook


def write(weights: Weights, spec: dict[str, Any], folder: Path) -> Path:
    """Stores the portable graph; returns its path."""
    import onnx

    folder.mkdir(parents=True, exist_ok=True)
    path = folder / MODEL_FILE
    unfinished = path.with_suffix(".tmp")
    onnx.save(build_graph(weights, spec), str(unfinished))
    unfinished.replace(path)
    return path


def build(checkpoint: Path, out: Path, recipe: Any, configs: Sequence[LengthConfig]) -> dict[str, Any]:
    """Quantizes `checkpoint` as the recipe says into `out` (graph, config and tokenizer).

    Args:
        configs: length configurations that calibration runs at, beside full length.

    Returns:
        What was decided: bytes, approach, bits of the weights, calibration windows.
    """
    from zoo.features import load_tokenizer, make_windows, pad
    from zoo.files import write_json

    settings = recipe.quantize
    model = LengthAdaptiveModel.load(checkpoint)
    tokenizer = load_tokenizer(checkpoint)
    ranges, windows = None, []
    if settings.approach == "static":
        examples = random.Random(recipe.seed).sample(
            everything := calibration_examples(recipe), min(len(everything), settings.calibration_samples)
        )
        windows = make_windows(
            tokenizer,
            [e.question for e in examples],
            [e.context for e in examples],
            recipe.reading.max_length,
            recipe.reading.stride,
        )
        batches = [{key: torch.from_numpy(value) for key, value in pad([window]).items()} for window in windows]
        percentile = 100.0 if settings.calibration_method == "minmax" else settings.percentile
        ranges = calibrate(model, batches, configs, percentile)
    # The file is to give the same answers everywhere, so "auto" takes the bits that no CPU overflows with.
    reduce_range = settings.reduce_range is not False
    weights = integer_weights(float_weights(model), linears(model), ranges, reduce_range, settings.smoothing)
    path = write(weights, spec_of(model), out)
    write_json(out / "config.json", model.config)
    tokenizer.save_pretrained(str(out))
    return {
        "bytes": path.stat().st_size,
        "approach": settings.approach,
        "weight_bits": 7 if reduce_range else 8,
        "calibration_windows": len(windows),
    }


def calibration_examples(recipe: Any) -> list[Any]:
    """The questions to calibrate with: those trained on, where the recipe trains."""
    from compress.data import load_split
    from compress.methods.finetune import training_examples

    return training_examples(recipe) if recipe.kind == "length_adaptive" else load_split(recipe.dataset, "train")


def open_scorer(
    folder: Path, threads: int, engine: str = "onnxruntime"
) -> Callable[[Sequence[Any], LengthConfig], list[str]]:
    """A function that answers examples (`question`, `context`) with the int8 model in `folder` at a configuration."""
    from zoo.ask import predict
    from zoo.engines.onnx import OnnxEngine
    from zoo.engines.openvino import OpenVinoEngine
    from zoo.features import load_tokenizer
    from zoo.files import read_json

    runner = (OpenVinoEngine if engine == "openvino" else OnnxEngine)(folder / MODEL_FILE, threads)
    tokenizer = load_tokenizer(folder)
    no_answer = bool(read_json(folder / "config.json").get("squad_v2", False))

    def answer(examples: Sequence[Any], config: LengthConfig) -> list[str]:
        found = predict(
            runner,
            tokenizer,
            [e.question for e in examples],
            [e.context for e in examples],
            config,
            no_answer=no_answer,
        )
        return [prediction.text for prediction in found]

    return answer


def run(ctx: Any) -> dict[str, Any]:
    """Stage `quantize`: the length-adaptive checkpoint, calibrated at the front's points -> the int8 file."""
    from zoo.lengths import Front

    front = Front.load(ctx.inputs["search"] / "front.json")
    return build(ctx.inputs["length_drop"], ctx.folder, ctx.recipe, [p.config for p in front.everything])
