"""An encoder that rounds as NNCF says, made from a float one."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import ModuleType
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from compress.nncf.load import load_nncf, quiet
from compress.nncf.scopes import LINEARS, matching, operators
from compress.recipe.nncf import Rounding
from compress.recipe.nncf_config import Numbers, Plan
from zoo.errors import UserError
from zoo.lazily import Lazy
from zoo.modeling import LengthAdaptiveModel
from zoo.task_types import HEAD_LAYERS

if TYPE_CHECKING:
    from nncf.common.quantization import structs
    from nncf.quantization import advanced_parameters, range_estimator
    from nncf.torch import function_hook
    from nncf.torch.function_hook.nncf_graph import nncf_graph_builder
    from nncf.torch.quantization import layers
else:  # once `load_nncf` has seen to how it is imported
    structs, layers = Lazy("nncf.common.quantization.structs"), Lazy("nncf.torch.quantization.layers")
    advanced_parameters = Lazy("nncf.quantization.advanced_parameters")
    range_estimator = Lazy("nncf.quantization.range_estimator")
    function_hook = Lazy("nncf.torch.function_hook")
    nncf_graph_builder = Lazy("nncf.torch.function_hook.nncf_graph.nncf_graph_builder")

HOOKS = "__nncf_hooks"
PASSING = ("mul", "transpose", "reshape", "view", "dropout", "contiguous")  # between a quantizer and what it is for


@dataclass(frozen=True)
class Scopes:
    """Which operators are rounded: their weights, and what enters them."""

    weights: frozenset[str]
    inputs: frozenset[str]

    @classmethod
    def of(cls, plan: Plan, config: Mapping[str, Any], placement: str) -> Scopes:
        """What a plan leaves to round of a model.

        Raises:
            UserError: a scope names nothing, or nothing is left.
        """
        aliases = operators(config)
        for override in plan.overrides:
            matching([override.scope], aliases)
        heads = (*HEAD_LAYERS, "positions", "types")  # of these only NNCF's own placement rounds
        able = {name for name in aliases if ": " not in name and (placement == "graph" or name not in heads)}

        def left(ignored: Sequence[str], targets: Sequence[str]) -> set[str]:
            return (set(matching(targets, aliases)) if targets else able) - set(matching(ignored, aliases))

        both = able & left(plan.ignored, plan.targets)
        scopes = cls(
            frozenset(both & left(plan.ignored_weights, plan.target_weights)),
            frozenset(both & left(plan.ignored_activations, plan.target_activations)),
        )
        if not any("layers." in name for name in scopes.weights | scopes.inputs):
            raise UserError("ignored_scopes and target_scopes leave nothing to quantize: narrow the first.")
        return scopes


def quantized(model: LengthAdaptiveModel, plan: Plan, settings: Rounding, batches: Sequence[dict[str, Tensor]]) -> Any:
    """A copy of a float model that simulates eight-bit integers, with first ranges from real inputs; it can be trained.

    With placement `products` each product's input is rounded where it enters, query, key and value by one range, so
    that the int8 graph can do the same; with `graph` everything stands where NNCF puts it.

    Args:
        model: on the CPU; at full length.
        plan: from the JSON configuration; what it leaves open the settings decide.
        settings: the group `nncf` of a recipe.
        batches: of one window each.

    Raises:
        UserError: see `Scopes.of`; or NNCF cannot do it.
    """
    nncf = load_nncf()
    scopes = Scopes.of(plan, model.config, settings.placement)
    apart = [*plan.ignored_activations, *plan.target_activations, *(o for o in plan.overrides if o.group != "weights")]
    if settings.placement == "graph" and apart:
        raise UserError("Scopes of activations by themselves need nncf.placement products: set it.")
    plain = model.eval()
    with quiet():
        nodes = operations(plain, batches[0])
        names = {nodes[name] for name in scopes.weights | scopes.inputs if name in nodes}
        every = _names(plain, batches[0])
        half = narrow(plan, settings)
        out = every - names
        if settings.placement == "graph":  # both sides of attention's products take eight bits, which overflow, too
            out &= set(nodes.values()) | (
                _names(plain, batches[0], ["scaled_dot_product_attention"]) if half else set()
            )
        try:
            result = nncf.quantize(
                plain,
                nncf.Dataset(list(batches)),
                subset_size=len(batches),
                ignored_scope=nncf.IgnoredScope(names=sorted(out), validate=False),
                **options(nncf, plan, settings),
            )
        except (nncf.ValidationError, nncf.InternalError, RuntimeError, ValueError) as error:
            raise UserError(f"NNCF cannot quantize this model so: {error}") from error
        if settings.placement == "products":
            result = _settled(plain, result, batches[0], nodes, scopes, plan)
        _round_weights(result, nodes, scopes, plan, half, settings.placement)
    for name, part in result.named_modules():
        if type(part).__name__ == "SQMultiply":
            part.requires_grad_(False)
            assert HOOKS in name
    return result.eval()


def options(nncf: ModuleType, plan: Plan, settings: Rounding) -> dict[str, Any]:
    """The arguments of `nncf.quantize` that a plan and the settings ask for; the plan comes first."""
    preset = plan.preset or (None if settings.preset == "auto" else settings.preset)
    estimator = plan.estimator or (None if settings.estimator == "auto" else settings.estimator)
    advanced: dict[str, Any] = {
        "smooth_quant_alphas": nncf.AdvancedSmoothQuantParameters(matmul=settings.smooth_quant_alpha),
        "disable_bias_correction": settings.bias_correction == "none",
        "overflow_fix": nncf.OverflowFix(overflow(plan, settings)),
    }
    numbers = plan.activations
    if numbers.mode or numbers.signed is not None:
        advanced["activations_quantization_params"] = parameters_of(numbers.mode, signed=numbers.signed)
    if estimator:
        types = {"min_max": "MINMAX", "mean_min_max": "MEAN_MINMAX", "histogram": "HISTOGRAM"}
        parameters = getattr(range_estimator.RangeEstimatorParametersSet, types.get(estimator, "MEAN_QUANTILE"))
        if parameters.min.statistics_type == range_estimator.StatisticsType.QUANTILE:
            low, high = plan.percentiles
            parameters = replace(
                parameters,
                min=replace(parameters.min, quantile_outlier_prob=low / 100),
                max=replace(parameters.max, quantile_outlier_prob=(100 - high) / 100),
            )
        advanced["activations_range_estimator_params"] = parameters
    return {
        "preset": nncf.QuantizationPreset(preset) if preset else None,
        "target_device": nncf.TargetDevice(plan.device or settings.target_device),
        "fast_bias_correction": settings.bias_correction != "full",
        "model_type": nncf.ModelType.TRANSFORMER if settings.model_type == "transformer" else None,
        "advanced_parameters": nncf.AdvancedQuantizationParameters(**advanced),
    }


def parameters_of(
    mode: str | None, bits: int | None = None, signed: bool | None = None, by_row: bool | None = None
) -> advanced_parameters.QuantizationParameters:
    """A quantizer's numbers as NNCF takes them; what is None here NNCF chooses."""
    scheme = structs.QuantizationScheme(mode) if mode else None
    return advanced_parameters.QuantizationParameters(bits, scheme, signed, by_row)


def overflow(plan: Plan, settings: Rounding) -> str:
    """NNCF's overflow fix: the plan's, else the settings', where "auto" is what no CPU overflows with."""
    return plan.overflow_fix or ("enable" if settings.overflow_fix == "auto" else settings.overflow_fix)


def narrow(plan: Plan, settings: Rounding) -> bool:
    """Whether weights take seven bits. NNCF leaves that to us for torch models."""
    return overflow(plan, settings) == "enable"


def operations(model: LengthAdaptiveModel, batch: dict[str, Tensor]) -> dict[str, str]:
    """NNCF's name of the operation that each embedding and linear layer is used in."""
    graph = _graph(model, batch)
    nodes = {}
    for node in graph.get_nodes_by_types(["linear", "embedding"]):
        for before in graph.get_previous_nodes(node):
            if before.node_name.endswith(".weight"):
                nodes[before.node_name.removesuffix(".weight")] = node.node_name
    return nodes


def _names(model: LengthAdaptiveModel, batch: dict[str, Tensor], kinds: Sequence[str] = ()) -> set[str]:
    graph = _graph(model, batch)
    return {node.node_name for node in (graph.get_nodes_by_types(list(kinds)) if kinds else graph.get_all_nodes())}


def _graph(model: torch.nn.Module, batch: dict[str, Tensor]) -> Any:
    return nncf_graph_builder.build_nncf_graph(function_hook.wrap_model(copy.deepcopy(model)), dict(batch))


def _settled(
    plain: LengthAdaptiveModel, made: Any, batch: dict[str, Tensor], nodes: dict[str, str], scopes: Scopes, plan: Plan
) -> Any:
    """What NNCF made, with its smoothing and its quantizers where each product's input enters."""
    graph, storage = _graph(made, batch), getattr(made, HOOKS)
    state = {key: value for key, value in made.state_dict().items() if not key.startswith(HOOKS)}
    fresh = type(plain)(plain.config, plain.dropout)
    fresh.load_state_dict(state)
    function_hook.wrap_model(fresh)
    hooks = dict(storage.named_hooks(remove_duplicate=False))
    shared: dict[str, Any] = {}
    for name, node in nodes.items():
        layer, _, part = name.rpartition(".")
        factor = next((h for at, h in hooks.items() if at == f"pre_hooks.{node.replace('.', ':')}__0.0"), None)
        factor = factor if type(factor).__name__ == "SQMultiply" else None
        entering = None
        if name in scopes.inputs and part in LINEARS:
            entering = _quantizer_before(made, graph, graph.get_node_by_name(node))
        if entering is not None:
            entering = _resized(entering, _numbers(plan, "activations", name, plain))
            if part in ("query", "key", "value"):
                entering = shared.setdefault(f"{layer} {entering.num_bits}", entering)
            if factor is not None:
                factor = shared.setdefault(f"{layer} factor", factor) if part in ("query", "key", "value") else factor
                function_hook.register_pre_function_hook(fresh, node, 0, factor)
            function_hook.register_pre_function_hook(fresh, node, 0, entering)
        elif factor is not None:
            with torch.no_grad():
                fresh.get_submodule(name).weight.mul_(factor.scale.flatten())  # type: ignore[operator, union-attr]
    return fresh


def _quantizer_before(made: Any, graph: Any, node: Any) -> Any:
    """The quantizer of what enters an operation, looked for behind what only moves numbers about."""
    while True:
        before = graph.get_input_edge_by_port_id(node, 0).from_node
        if before.node_type in ("symmetric_quantize", "asymmetric_quantize"):
            inputs = [edge.from_node.node_name for edge in graph.get_input_edges(before)]
            parameter = next(name for name in inputs if name.startswith(HOOKS))
            return made.get_submodule(parameter.rpartition(".")[0])
        if before.node_type not in PASSING:
            return None
        node = before


def _numbers(plan: Plan, group: str, name: str, model: LengthAdaptiveModel) -> Numbers:
    """How one operator's weights or inputs are rounded: by the last override that names it, else as all."""
    numbers = getattr(plan, group)
    for override in plan.overrides:
        if override.group == group and name in matching([override.scope], operators(model.config)):
            numbers = override.numbers
    return numbers


def _resized(quantizer: Any, numbers: Numbers) -> Any:
    """A quantizer of inputs with the bits asked for over the range that was found.

    Raises:
        UserError: another mode is asked for than the one that ranges were taken for.
    """
    mode = "symmetric" if type(quantizer).__name__ == "SymmetricQuantizer" else "asymmetric"
    if numbers.mode not in (None, mode):
        raise UserError("scope_overrides.activations: the mode is one for all inputs: set activations.mode instead.")
    if numbers.bits == quantizer.num_bits:
        return quantizer
    resized = type(quantizer).from_config({**quantizer.get_config(), "num_bits": numbers.bits})
    with torch.no_grad():
        for mine, theirs in zip(resized.parameters(), quantizer.parameters(), strict=True):
            if mine.is_floating_point():
                mine.copy_(theirs)
    if mode == "symmetric":
        resized.signed = quantizer.signed
    return resized


def _round_weights(made: Any, nodes: dict[str, str], scopes: Scopes, plan: Plan, half: bool, placement: str) -> None:
    """Quantizers of weights over the range that each has, in place of NNCF's own."""
    storage = getattr(made, HOOKS)
    for name, node in nodes.items():
        port = 1
        places = [
            at for at, _ in storage.named_hooks() if at.startswith(f"pre_hooks.{node.replace('.', ':')}__{port}.")
        ]
        for at in places:
            storage.delete_hook(at)
        if name in scopes.weights and (places or placement == "products"):
            linear = name.rpartition(".")[2] in LINEARS or name in HEAD_LAYERS
            weight = made.get_submodule(name).weight.detach()
            numbers = _numbers(plan, "weights", name, made)
            quantizer = weight_quantizer(weight, numbers, half and linear)
            function_hook.register_pre_function_hook(made, node, port, quantizer)


def weight_quantizer(weight: Tensor, numbers: Numbers, half: bool = False) -> Any:
    """A quantizer of a matrix `[out, in]` over the range that it has, one for each output unless told otherwise.

    Args:
        half: leave one of eight bits unused.
    """
    by_row = numbers.per_channel is not False
    symmetric = numbers.mode != "asymmetric"
    spec = layers.PTQuantizerSpec(
        num_bits=numbers.bits,
        mode=structs.QuantizationScheme.SYMMETRIC if symmetric else structs.QuantizationScheme.ASYMMETRIC,
        signedness_to_force=True if symmetric else None,
        narrow_range=symmetric,
        half_range=half and numbers.bits == 8,
        scale_shape=(weight.shape[0], 1) if by_row else (1,),
        logarithm_scale=False,
    )
    low, high = (weight.amin(1, True), weight.amax(1, True)) if by_row else (weight.min()[None], weight.max()[None])
    with torch.no_grad():
        if symmetric:
            quantizer: Any = layers.SymmetricQuantizer(spec)
            quantizer.signed = True
            quantizer.scale.copy_(torch.maximum(-low, high).clamp_min(1e-8))
        else:
            quantizer = layers.AsymmetricQuantizer(spec)
            quantizer.input_low.copy_(low.clamp_max(0))
            quantizer.input_range.copy_((high.clamp_min(0) - low.clamp_max(0)).clamp_min(1e-8))
    return quantizer
