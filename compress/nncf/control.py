"""NNCF after training, on the encoder as an ONNX or OpenVINO model, with or without accuracy control."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from compress.nncf.export import PLAIN, PlainOnnx, PlainOpenVino
from compress.nncf.load import load_nncf, quiet
from compress.nncf.model import options, overflow, parameters_of
from compress.nncf.scopes import matching, operators
from compress.recipe.nncf import Control, Rounding
from compress.recipe.nncf_config import Numbers, Plan
from zoo.engines.base import Engine
from zoo.engines.openvino import runtime
from zoo.errors import UserError
from zoo.files import atomic
from zoo.graph import build
from zoo.modeling import LengthAdaptiveModel
from zoo.settings import get_settings
from zoo.weights import float_weights, linears, spec_of

if TYPE_CHECKING:
    from onnx import ModelProto

INTERMEDIATE = "model.nncf.xml"  # OpenVINO's form, with the weights beside it
SINGLE = ("f1", "em", "accuracy", "mrr_at_10", "ndcg_at_10")  # of one example by itself; operators are ranked by them


@dataclass(frozen=True)
class AccuracyGuard:
    """What accuracy control needs.

    Attributes:
        control: the group of the recipe: how much may be lost, how many operators may return to float.
        score: points of 100 of an engine on some of the examples.
        examples: what is scored on.
    """

    control: Control
    score: Callable[[Engine, Sequence[Any]], float]
    examples: Sequence[Any]


def quantize_exported(
    model: LengthAdaptiveModel,
    plan: Plan,
    settings: Rounding,
    batches: Sequence[dict[str, np.ndarray]],
    folder: Path,
    guard: AccuracyGuard | None = None,
) -> dict[str, Any]:
    """Writes what NNCF makes of an encoder's ONNX or OpenVINO model, at full length, into `folder`.

    Args:
        settings: the group `nncf` of a recipe, whose `backend` is onnx or openvino.
        batches: inputs of one window each, to take ranges from.
        guard: where accuracy is to be controlled.

    Returns:
        `file`, `bytes` and, with control, the scores `float`, `int8` and their `drop` on the examples.

    Raises:
        UserError: the plan asks for what NNCF has for torch models only, NNCF cannot do it, or more is lost than
            control allows.
    """
    nncf = load_nncf()
    _refuse(plan)
    kind, layers = settings.backend, model.shape.layers
    with quiet():
        exact = exported(model)
        names, floats = {node.name for node in exact.graph.node}, _kept(exact, model, plan, settings)
        subject = _opened(exact, kind)
        arguments = options(nncf, plan, settings)
        if plan.weights != Numbers():
            numbers = parameters_of(plan.weights.mode, plan.weights.bits, by_row=plan.weights.per_channel)
            arguments["advanced_parameters"].weights_quantization_params = numbers
        arguments |= {
            "subset_size": len(batches),
            "ignored_scope": nncf.IgnoredScope(names=sorted(names - floats), validate=False),
        }
        data = nncf.Dataset(list(batches))
        facts: dict[str, Any] = {}
        try:
            if guard is None:
                quantized = nncf.quantize(subject, data, **arguments)
            else:
                advanced = arguments.pop("advanced_parameters")

                def validate(candidate: object, places: Iterable[int]) -> float:
                    return guard.score(_engine(candidate, kind, layers), [guard.examples[i] for i in places]) / 100

                quantized = nncf.quantize_with_accuracy_control(
                    subject,
                    data,
                    nncf.Dataset(list(range(len(guard.examples)))),
                    validate,
                    max_drop=guard.control.max_drop / (1 if guard.control.drop_type == "relative" else 100),
                    drop_type=nncf.DropType(guard.control.drop_type),
                    advanced_quantization_parameters=advanced,
                    advanced_accuracy_restorer_parameters=nncf.AdvancedAccuracyRestorerParameters(
                        max_num_iterations=guard.control.max_restored
                    ),
                    **arguments,
                )
                before, after = (
                    guard.score(_engine(part, kind, layers), guard.examples) for part in (subject, quantized)
                )
                facts = {"float": before, "int8": after, "drop": before - after}
        except (nncf.ValidationError, nncf.InternalError, RuntimeError, ValueError) as error:
            raise UserError(f"NNCF cannot quantize this model so: {error}") from error
        if guard is not None:
            control = guard.control
            allowed = control.max_drop * (facts["float"] if control.drop_type == "relative" else 1)
            if facts["drop"] > allowed + 1e-6:
                raise UserError(
                    f"Accuracy control could not keep the loss below {allowed:g} points: {facts['drop']:.2f} are lost "
                    "with control.max_restored operators in float. Allow more of one of these."
                )
        path = _store(quantized, kind, folder)
    return {**facts, "file": path.name, "bytes": sum(f.stat().st_size for f in folder.glob("model.nncf.*"))}


def exported(model: LengthAdaptiveModel) -> ModelProto:
    """The float model as the house's graph at full length, an ONNX model of standard operators."""
    graph = build(float_weights(model), spec_of(model), active=())
    graph.graph.input.remove(next(part for part in graph.graph.input if part.name == "lengths"))
    return graph


def open_exported(folder: Path, threads: int, layers: int) -> Any:
    """An engine for what `quantize_exported` left in `folder`."""
    if (folder / PLAIN).is_file():
        return PlainOnnx(folder / PLAIN, threads, layers)
    return PlainOpenVino(folder / INTERMEDIATE, threads, layers)


def _kept(exact: ModelProto, model: LengthAdaptiveModel, plan: Plan, settings: Rounding) -> set[str]:
    """Names of the nodes that may be quantized."""
    aliases = operators(model.config)
    left = set(matching(plan.targets, aliases)) if plan.targets else set(aliases)
    left -= set(matching(plan.ignored, aliases))
    floats, tied = set(), set()
    for product, modules in linears(model).items():
        layer = product.rpartition(".")[0]
        parts = {f"{layer}.{part}" for part in ("query", "key", "value")} if len(modules) == 3 else {product}
        tied.add(f"{product}.w")
        if parts & left and not parts <= left:
            raise UserError(f"{', '.join(sorted(parts))} are one product here: ignore all of them, or none.")
        if parts <= left:
            floats |= {node.name for node in exact.graph.node if f"{product}.w" in node.input}
    if "words" in left:
        floats |= {node.name for node in exact.graph.node if "words.w" in node.input}
    if settings.placement == "graph":
        initializers = {part.name for part in exact.graph.initializer}
        spared = "MatMul" if overflow(plan, settings) == "enable" else ""  # of two inputs: both take eight bits
        floats |= {
            node.name
            for node in exact.graph.node
            if not tied & set(node.input) and (node.op_type != spared or initializers & set(node.input))
        }
    return floats


def _refuse(plan: Plan) -> None:
    lists = [field.name for field in fields(plan) if field.name.startswith(("ignored_", "target_"))]
    if plan.overrides or any(getattr(plan, name) for name in lists):
        raise UserError(
            "scope_overrides, and scopes of weights or activations by themselves, need nncf.backend torch: set it."
        )


def _opened(exact: ModelProto, kind: str) -> Any:
    if kind == "onnx":
        return exact
    return runtime("backend onnx").Core().read_model(exact.SerializeToString(), b"")


def _engine(model: Any, kind: str, layers: int) -> Any:
    threads = get_settings().threads
    if kind == "onnx":
        return PlainOnnx(model.SerializeToString(), threads, layers)
    return PlainOpenVino(model, threads, layers)


def _store(model: Any, kind: str, folder: Path) -> Path:
    """Writes a model beside its place and moves it there."""
    if kind == "onnx":
        with atomic(folder / PLAIN) as draft:
            draft.write_bytes(model.SerializeToString())
        return folder / PLAIN
    folder.mkdir(parents=True, exist_ok=True)
    unfinished = folder / ".unfinished.xml"
    runtime().save_model(model, str(unfinished), compress_to_fp16=False)
    path = folder / INTERMEDIATE
    os.replace(unfinished.with_suffix(".bin"), path.with_suffix(".bin"))
    os.replace(unfinished, path)
    return path
