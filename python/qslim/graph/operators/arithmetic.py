# SPDX-License-Identifier: Apache-2.0
"""Operators that work element by element."""

from __future__ import annotations

import math
from typing import Callable

import numpy as np

from qslim.graph.operators.types import Array, Attributes, OperatorFunction, input_or_none

__all__ = ["ARITHMETIC"]

_erf = np.frompyfunc(math.erf, 1, 1)


def _exact_erf(x: Array) -> Array:
    """NumPy has none of its own."""
    return np.asarray(_erf(x), np.float64)


def _unary(function: Callable[[Array], Array]) -> OperatorFunction:
    """Computed in float64, rounded once to the dtype of the input."""

    def operator(_: Attributes, inputs: list[Array]) -> list[Array]:
        (x,) = inputs
        return [np.asarray(function(x.astype(np.float64)), x.dtype)]

    return operator


def _binary(function: Callable[[Array, Array], Array]) -> OperatorFunction:
    """Computed in the dtype of the operands, which broadcast. Max and Min take any number of them."""

    def operator(_: Attributes, inputs: list[Array]) -> list[Array]:
        result = inputs[0]
        for other in inputs[1:]:
            result = np.asarray(function(result, other))
        return [result]

    return operator


def _divide(a: Array, b: Array) -> Array:
    if a.dtype.kind == "f":
        return np.asarray(a / b)
    return np.asarray(np.trunc(a / b), a.dtype)  # integers are extents here, far below 2^53


def _clip(_: Attributes, inputs: list[Array]) -> list[Array]:
    x, low, high = inputs[0], input_or_none(inputs, 1), input_or_none(inputs, 2)
    if low is not None:
        x = np.maximum(x, low)
    return [np.asarray(x if high is None else np.minimum(x, high))]


def _leaky_relu(attributes: Attributes, inputs: list[Array]) -> list[Array]:
    x = inputs[0]
    return [np.where(x < 0, x * x.dtype.type(attributes.get("alpha", 0.01)), x)]


def _prelu(_: Attributes, inputs: list[Array]) -> list[Array]:
    x, slope = inputs
    return [np.where(x < 0, x * slope, x)]


def _elu(attributes: Attributes, inputs: list[Array]) -> list[Array]:
    x = inputs[0].astype(np.float64)
    alpha = attributes.get("alpha", 1.0)
    return [np.where(x < 0, alpha * np.expm1(np.minimum(x, 0)), x).astype(inputs[0].dtype)]


def _hard_sigmoid(attributes: Attributes, inputs: list[Array]) -> list[Array]:
    x = inputs[0]
    alpha, beta = (
        x.dtype.type(attributes.get(name, value)) for name, value in (("alpha", 0.2), ("beta", 0.5))
    )
    return [np.clip(x * alpha + beta, x.dtype.type(0), x.dtype.type(1))]


def _hard_swish(_: Attributes, inputs: list[Array]) -> list[Array]:
    x = inputs[0]
    number = x.dtype.type
    return [x * np.clip(x + number(3), number(0), number(6)) / number(6)]  # in this order, as the engine


def _gelu(attributes: Attributes, inputs: list[Array]) -> list[Array]:
    x = inputs[0].astype(np.float64)
    if attributes.get("approximate", "none") == "tanh":
        inner = np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))
    else:
        inner = _exact_erf(x / math.sqrt(2))
    return [(0.5 * x * (1 + inner)).astype(inputs[0].dtype)]


def _sigmoid(x: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-x)))


def _softplus(x: Array) -> Array:
    return np.logaddexp(0, x)


def _where(_: Attributes, inputs: list[Array]) -> list[Array]:
    return [np.where(*inputs)]


def _mod(_: Attributes, inputs: list[Array]) -> list[Array]:
    """Of integers, with the divisor's sign."""
    return [np.asarray(np.mod(*inputs))]


ARITHMETIC: dict[str, OperatorFunction] = {
    "Abs": _unary(np.abs),
    "Add": _binary(np.add),
    "And": _binary(np.logical_and),
    "Ceil": _unary(np.ceil),
    "Clip": _clip,
    "Cos": _unary(np.cos),
    "Div": _binary(_divide),
    "Dropout": lambda _, inputs: [inputs[0]],
    "Elu": _elu,
    "Equal": _binary(np.equal),
    "Erf": _unary(_exact_erf),
    "Exp": _unary(np.exp),
    "Floor": _unary(np.floor),
    "Gelu": _gelu,
    "Greater": _binary(np.greater),
    "GreaterOrEqual": _binary(np.greater_equal),
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": _hard_swish,
    "Identity": lambda _, inputs: [inputs[0]],
    "LeakyRelu": _leaky_relu,
    "Less": _binary(np.less),
    "LessOrEqual": _binary(np.less_equal),
    "Log": _unary(np.log),
    "Max": _binary(np.maximum),
    "Min": _binary(np.minimum),
    "Mish": _unary(lambda x: x * np.tanh(_softplus(x))),
    "Mod": _mod,
    "Mul": _binary(np.multiply),
    "Neg": _unary(np.negative),
    "Not": lambda _, inputs: [np.logical_not(inputs[0])],
    "Or": _binary(np.logical_or),
    "PRelu": _prelu,
    "Pow": lambda _, inputs: [
        np.power(inputs[0].astype(np.float64), inputs[1]).astype(inputs[0].dtype),
    ],
    "Reciprocal": _unary(lambda x: 1 / x),
    "Relu": _unary(lambda x: np.maximum(x, 0)),
    "Round": _unary(np.rint),
    "Sigmoid": _unary(_sigmoid),
    "Sin": _unary(np.sin),
    "Softplus": _unary(_softplus),
    "Sqrt": _unary(np.sqrt),
    "Sub": _binary(np.subtract),
    "Tanh": _unary(np.tanh),
    "Where": _where,
    "Xor": _binary(np.logical_xor),
}
