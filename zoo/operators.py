"""ONNX operators, written one by one in a dialect: what `zoo.graph` is made of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from zoo.lazily import Lazy

if TYPE_CHECKING:
    from onnx import helper
else:
    helper = Lazy("onnx.helper")

Weights = dict[str, np.ndarray]


def dequantized(weights: Weights, name: str) -> np.ndarray:
    """What the integers of a matrix stand for: `(q - zero) * scale`; without zero points they are symmetric."""
    whole = weights[f"{name}.q"]
    if f"{name}.zero" in weights:
        whole = whole.astype(np.int16) - weights[f"{name}.zero"]
    return whole * weights[f"{name}.scale"]


class Nodes:
    """Collects nodes; every method returns the name of its result.

    Args:
        weights: initializers by name; those that a node reads are in `used`.
        dialect: see `zoo.graph.build`.
        eps: of layer norms.
    """

    def __init__(self, weights: Weights, dialect: str, eps: float):
        self.weights, self.eps, self.ort = weights, eps, dialect == "onnxruntime"
        self.nodes: list[Any] = []
        self.used: dict[str, np.ndarray] = {}
        self.same: dict[str, str] = {}
        self._names: dict[int, str] = {}
        self.serial = 0

    def op(self, kind: str, *inputs: str, outputs: int = 1, domain: str = "", **attributes: Any) -> Any:
        self.serial += 1
        names = [f"{kind}_{self.serial}" + (f"_{i}" if outputs > 1 else "") for i in range(outputs)]
        self.nodes.append(helper.make_node(kind, inputs, names, f"{kind}_{self.serial}", domain=domain, **attributes))
        return names if outputs > 1 else names[0]

    def const(self, value: ArrayLike, dtype: DTypeLike = np.int64) -> str:
        array = np.asarray(value, dtype)
        name = f"const_{array.dtype}_{'x'.join(map(str, array.shape))}_{array.tobytes().hex()}"
        self.used[name] = array
        return name

    def weight(self, name: str) -> str:
        """The name of an initializer; of one array under several names there is one, the others are in `same`."""
        first = self._names.setdefault(id(self.weights[name]), name)
        if first != name:
            self.same[name] = first
        self.used[first] = self.weights[first]
        return first

    def linear(self, name: str, x: str, bias: bool = True) -> str:
        """`x @ w + b`, with integer products where the weights are integers."""
        if f"{name}.w" in self.weights:
            y = self.op("MatMul", x, self.weight(f"{name}.w"))
            return self.op("Add", y, self.weight(f"{name}.bias")) if bias else y
        if f"{name}.x_factor" in self.weights:
            x = self.op("Mul", x, self.weight(f"{name}.x_factor"))
        w, scale = self.weight(f"{name}.q"), self.weight(f"{name}.scale")
        zero = self.weight(f"{name}.zero") if f"{name}.zero" in self.weights else ""
        static = f"{name}.x_scale" in self.weights
        if static:
            x_scale, x_zero = self.weight(f"{name}.x_scale"), self.weight(f"{name}.x_zero")
            integers = self.op("QuantizeLinear", x, x_scale, x_zero)
        else:
            integers, x_scale, x_zero = self.op("DynamicQuantizeLinear", x, outputs=3)
        if self.ort:
            args = [
                integers,
                w,
                x_scale,
                scale,
                x_zero,
                zero or self.const(np.zeros(self.weights[f"{name}.scale"].shape), np.int8),
            ]
            return self.op(
                "MatMulIntegerToFloat", *args, *([self.weight(f"{name}.bias")] if bias else []), domain="com.microsoft"
            )
        if static:
            left = self.op("DequantizeLinear", integers, x_scale, x_zero)
            right = self.op("DequantizeLinear", w, scale, *([zero] if zero else []), axis=1)
            y = self.op("MatMul", left, right)
        else:
            product = self.op("MatMulInteger", integers, w, x_zero, *([zero] if zero else []))
            whole = self.op("Cast", product, to=1)
            y = self.op("Mul", whole, self.op("Mul", scale, x_scale))
        return self.op("Add", y, self.weight(f"{name}.bias")) if bias else y

    def add_norm(self, name: str, x: str, y: str) -> str:
        weight, bias, eps = self.weight(f"{name}.weight"), self.weight(f"{name}.bias"), self.eps
        if self.ort:
            return self.op("SkipLayerNormalization", x, y, weight, bias, domain="com.microsoft", epsilon=eps)
        return self.op("LayerNormalization", self.op("Add", x, y), weight, bias, axis=-1, epsilon=eps)

    def normed(self, name: str, x: str) -> str:
        weight, bias = self.weight(f"{name}.weight"), self.weight(f"{name}.bias")
        return self.op("LayerNormalization", x, weight, bias, axis=-1, epsilon=self.eps)

    def curve(self, kind: str, x: str) -> str:
        """An activation, one of the values of `zoo.families.CURVES`."""
        if kind == "gelu":
            return self.op("Gelu", x, domain="com.microsoft" if self.ort else "")
        if kind == "gelu_tanh":
            return self.op("Gelu", x, approximate="tanh")
        if kind == "silu":
            return self.op("Mul", x, self.op("Sigmoid", x))
        return self.op({"relu": "Relu", "tanh": "Tanh"}[kind], x)

    def size(self, x: str, axis: int) -> str:
        return self.op("Shape", x, start=axis, end=axis + 1)
