"""An NNCF JSON configuration, as versions 1 and 2 of NNCF took it, as a plan for what today's NNCF can do.

Every key is either carried over or refused by name with what to do instead; none is passed over in silence. Keys and
their meanings are those of NNCF's own documentation of its configuration file (openvinotoolkit/nncf, the patch for
transformers among its integrations).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from zoo.errors import UserError

MODES = ("symmetric", "asymmetric")
ESTIMATORS = ("min_max", "mean_min_max", "percentile", "mean_percentile", "histogram")
OVERFLOW = ("enable", "first_layer_only", "disable")
DEVICES = ("ANY", "CPU", "GPU", "NPU")
PRESETS = ("performance", "mixed")
PERCENTILES = (0.1, 99.9)  # NNCF's own where a configuration names none
INPUTS = ("input_ids", "attention_mask", "token_type_ids", "position_ids")

OTHER_ALGORITHMS = {
    "magnitude_sparsity": "use a recipe of kind `train` with prune.approach magnitude",
    "const_sparsity": "use a recipe of kind `train` with prune.approach pattern_lock",
    "rb_sparsity": "use a recipe of kind `train` with prune.approach snip_momentum",
    "movement_sparsity": "use a recipe of kind `train` with prune.approach snip_momentum and a pattern of channels",
    "filter_pruning": "it prunes convolutions, and these models have none",
    "binarization": "there is no such thing for these models: choose quantization",
    "knowledge_distillation": "set distill.apply to true in the recipe instead",
    "experimental_quantization": "write quantization",
}
# What today's NNCF, or an encoder, has no place for -> what to do.
REFUSED = {
    "accuracy_aware_training": "set control.apply to true in the recipe for accuracy control after training",
    "bootstrapNAS": "use a recipe that searches instead",
    "hw_config_type": "write target_device, for example CPU",
    "compression.initializer.precision": "mixed precision is not searched for: name bits in scope_overrides",
    "compression.params": "stages by epoch are gone: remove it; rounding is simulated from the first step on",
    "compression.compression_lr_multiplier": "ranges learn at tune.learning_rate: remove it",
    "compression.quantize_outputs": "the answers stay in float: remove it",
    "compression.quantizable_subgraph_patterns": "NNCF finds what it fuses by itself: remove it",
    "compression.activations.unified_scale_ops": "NNCF unifies scales by itself: remove it",
    "compression.activations.per_channel": "one range a tensor is what runtimes multiply with: set it to false",
    "compression.weights.logarithm_scale": "scales are learned as they are: remove it",
    "compression.activations.logarithm_scale": "scales are learned as they are: remove it",
    "compression.export_to_onnx_standard_ops": "standard operators are always written: remove it or set it to true",
}


@dataclass(frozen=True)
class Numbers:
    """How a kind of tensor is rounded; None leaves it to the preset, and of weights every output has its own scale."""

    mode: Literal["symmetric", "asymmetric"] | None = None
    bits: int = 8
    per_channel: bool | None = None
    signed: bool | None = None


@dataclass(frozen=True)
class Override:
    """Numbers for what a scope names, beside those of all others."""

    group: Literal["weights", "activations"]
    scope: str
    numbers: Numbers


@dataclass(frozen=True)
class Plan:
    """What a configuration asks for.

    Attributes:
        max_length: tokens that `input_info` names.
        samples: to take ranges from; `steps`, where given instead, counts batches.
        estimator: one of ESTIMATORS for ranges of activations, `percentiles` for those that have them.
        ignored, targets: scopes that stay in float, and the only ones that do not (empty: all).
        ignored_weights, ignored_activations, target_weights, target_activations: the same for one of the two.
        remarks: what is carried over in another sense than it had.
    """

    max_length: int | None = None
    samples: int | None = None
    steps: int | None = None
    estimator: str | None = None
    percentiles: tuple[float, float] = PERCENTILES
    weights: Numbers = Numbers()
    activations: Numbers = Numbers()
    ignored: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    ignored_weights: tuple[str, ...] = ()
    ignored_activations: tuple[str, ...] = ()
    target_weights: tuple[str, ...] = ()
    target_activations: tuple[str, ...] = ()
    overrides: tuple[Override, ...] = ()
    preset: str | None = None
    device: str | None = None
    overflow_fix: str | None = None
    remarks: tuple[str, ...] = ()


def read_text(name: str | Path, shipped: Path) -> str:
    """What a configuration's file holds.

    Args:
        name: a file, or the name of one in `shipped`.

    Raises:
        UserError: there is no such file.
    """
    path = Path(name).expanduser()
    path = path if path.is_file() else shipped / Path(name).name
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"There is no NNCF configuration {Path(name).name}. Name a JSON file in nncf_config."
        ) from error


def parse_config(text: str) -> Plan:
    """A plan from JSON; `//` comments are allowed, as NNCF allows them.

    Raises:
        UserError: no JSON, or see `plan_of`.
    """
    try:
        data = json.loads(re.sub(r'("(?:[^"\\]|\\.)*")|//[^\n]*', lambda found: found[1] or "", text))
    except (ValueError, RecursionError) as error:
        raise UserError(f"The NNCF configuration is not JSON: {error}. Correct it, or name another file.") from error
    return plan_of(data)


def plan_of(data: object) -> Plan:
    """A plan from a configuration.

    Raises:
        UserError: another algorithm than quantization, a key that cannot be carried over, or a value out of bounds.
    """
    top = Keys(data, "")
    plan = Plan(max_length=_length(top.take("input_info")), device=top.choice("target_device", DEVICES))
    algorithms = top.take("compression")
    if isinstance(algorithms, list) and len(algorithms) == 1:
        algorithms = algorithms[0]
    if isinstance(algorithms, list):
        names = [str(part.get("algorithm")) for part in algorithms if isinstance(part, dict)]
        other = [_no(name) for name in names if name != "quantization"]
        raise UserError("compression: " + ("; ".join(other) or "name one algorithm, not several") + ".")
    if algorithms is None:
        raise UserError('The NNCF configuration lacks compression: write {"algorithm": "quantization"} there.')
    keys = Keys(algorithms, "compression.")
    algorithm = keys.take("algorithm")
    if algorithm != "quantization":
        raise UserError(f"compression.algorithm: {_no(str(algorithm))}.")
    top.close(("log_dir", "validate_scopes"))
    if keys.flag("export_to_onnx_standard_ops") is False:
        keys.refuse("export_to_onnx_standard_ops")
    if keys.flag("quantize_outputs"):
        keys.refuse("quantize_outputs")
    keys.flag("quantize_inputs")  # token ids are integers already
    plan = replace(
        plan,
        preset=keys.choice("preset", PRESETS),
        overflow_fix=keys.choice("overflow_fix", OVERFLOW),
        ignored=keys.scopes("ignored_scopes"),
        targets=keys.scopes("target_scopes"),
    )
    plan = _initialized(plan, Keys(keys.take("initializer") or {}, "compression.initializer."))
    for group in ("weights", "activations"):
        inner = Keys(keys.take(group) or {}, f"compression.{group}.")
        parts = {f"{kind}_{group}": inner.scopes(f"{kind}_scopes") for kind in ("ignored", "target")}
        plan = replace(plan, **parts, **{group: _numbers(inner, group)})
    overrides = Keys(keys.take("scope_overrides") or {}, "compression.scope_overrides.")
    groups = [
        Override(group, scope, _numbers(Keys(inner, f"compression.scope_overrides.{group}."), group))
        for group in ("weights", "activations")
        for scope, inner in (overrides.take(group) or {}).items()
    ]
    overrides.close()
    keys.close()
    return replace(plan, overrides=tuple(groups))


def _initialized(plan: Plan, keys: Keys) -> Plan:
    keys.take("batchnorm_adaptation")  # there is no batch normalization in an encoder
    ranges = keys.take("range") or {}
    keys.close()
    if isinstance(ranges, list):
        raise UserError(
            "compression.initializer.range: ranges by scope cannot be expressed today: write one group for all."
        )
    inner = Keys(ranges, "compression.initializer.range.")
    kind, params = inner.take("type"), Keys(inner.take("params") or {}, "compression.initializer.range.params.")
    if kind is not None and kind not in ESTIMATORS:
        raise UserError(
            f"compression.initializer.range.type: {kind!r} is not among what NNCF offers today: choose one of "
            f"{', '.join(ESTIMATORS)}."
        )
    low, high = (params.number(f"{side}_percentile", 0, 100) for side in ("min", "max"))
    percentiles = (PERCENTILES[0] if low is None else low, PERCENTILES[1] if high is None else high)
    if percentiles[0] >= percentiles[1]:
        raise UserError("compression.initializer.range.params: min_percentile is not below max_percentile.")
    params.close()
    samples, steps = (inner.number(f"num_init_{unit}", 0, 10**6) for unit in ("samples", "steps"))
    if samples == 0 or steps == 0:
        raise UserError(
            "compression.initializer.range: without samples there are no first ranges to learn from: write at least 1."
        )
    inner.close()
    remarks = plan.remarks
    if kind == "percentile":
        remarks += ("percentiles are taken of every sample and averaged, not of all samples together",)
    return replace(
        plan,
        samples=None if samples is None else int(samples),
        steps=None if steps is None else int(steps),
        estimator=kind,
        percentiles=percentiles,
        remarks=remarks,
    )


def _numbers(keys: Keys, group: str) -> Numbers:
    mode, bits = keys.choice("mode", MODES), keys.number("bits", 2, 8)
    per_channel, signed = keys.flag("per_channel"), keys.flag("signed")
    if group == "activations" and per_channel:
        keys.refuse("per_channel")
    if group == "weights" and signed is False and mode != "asymmetric":
        raise UserError(f"{keys.where}signed: unsigned weights lose all that is below zero: remove it, or set it true.")
    for gone in ("logarithm_scale", "unified_scale_ops"):
        if keys.take(gone):
            keys.refuse(gone)
    keys.close()
    return Numbers(mode, 8 if bits is None else int(bits), per_channel, signed)  # type: ignore[arg-type]


def _length(info: object) -> int | None:
    """Tokens of the inputs that `input_info` describes."""
    lengths = set()
    for part in info if isinstance(info, list) else [info] if info is not None else []:
        keys = Keys(part, "input_info.")
        size, kind, name = keys.take("sample_size"), keys.take("type"), keys.take("keyword")
        keys.choice("filler", ("ones", "zeros", "random"))
        keys.close()
        if kind not in (None, "long"):
            raise UserError(f"input_info.type: {kind!r} is not what an encoder reads: write long.")
        if name is not None and name not in INPUTS:
            raise UserError(f"input_info.keyword: there is no input {name!r}: name one of {', '.join(INPUTS)}.")
        if not (isinstance(size, list) and len(size) == 2 and all(isinstance(n, int) and n > 0 for n in size)):
            raise UserError("input_info.sample_size: write [batch, tokens], for example [1, 384].")
        lengths.add(size[1])
    if len(lengths) > 1:
        raise UserError(f"input_info names inputs of different lengths, {sorted(lengths)}: give all the same.")
    return lengths.pop() if lengths else None


def _no(algorithm: str) -> str:
    advice = OTHER_ALGORITHMS.get(algorithm, "write quantization")
    return f"{algorithm!r} is not quantization: {advice}"


class Keys:
    """A group of a configuration, whose keys are taken one by one; what is left at the end is refused."""

    def __init__(self, data: object, where: str):
        if not isinstance(data, Mapping):
            raise UserError(f"{where.rstrip('.') or 'The NNCF configuration'} should hold keys and values in JSON.")
        self._data, self.where = dict(data), where

    def take(self, key: str) -> Any:
        return self._data.pop(key, None)

    def choice(self, key: str, known: Iterable[str]) -> str | None:
        value = self.take(key)
        if value is not None and value not in tuple(known):
            raise UserError(f"{self.where}{key}: {value!r} cannot be done today: choose one of {', '.join(known)}.")
        return value

    def flag(self, key: str) -> bool | None:
        value = self.take(key)
        if value is not None and not isinstance(value, bool):
            raise UserError(f"{self.where}{key} is true or false.")
        return value

    def number(self, key: str, low: float, high: float) -> float | None:
        value = self.take(key)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise UserError(f"{self.where}{key}: {value!r} is not a number from {low} to {high}.")
        return value

    def scopes(self, key: str) -> tuple[str, ...]:
        value = self.take(key)
        value = [value] if isinstance(value, str) else value or []
        if not isinstance(value, list) or not all(isinstance(scope, str) for scope in value):
            raise UserError(f"{self.where}{key} is a list of names, or of regular expressions behind {{re}}.")
        return tuple(value)

    def refuse(self, key: str) -> None:
        path = self.where + key
        raise UserError(f"{path}: {REFUSED.get(path, 'this cannot be carried over to NNCF of today: remove it')}.")

    def close(self, harmless: Iterable[str] = ()) -> None:
        """Refuses what nobody took."""
        for key in self._data:
            if key not in harmless:
                self.refuse(key)
