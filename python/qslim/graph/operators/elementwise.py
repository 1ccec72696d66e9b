# SPDX-License-Identifier: Apache-2.0
"""Operators that compute each element from the elements at its place."""

from __future__ import annotations

import math
from typing import Callable, Optional

import numpy as np

from qslim.graph.operators.operator import (
    Array,
    Attributes,
    Operator,
    OperatorFunction,
    SignRule,
    Signs,
    always,
    broadcast_shape,
    first_shape,
    if_all_are,
    if_any_is,
    if_first_is,
    input_or_none,
    sign_of,
    table,
)

__all__ = ["CAST_DTYPES", "ELEMENTWISE", "folded"]

# By ONNX's TensorProto.DataType, the attribute of Cast.
CAST_DTYPES = {
    1: "float32", 2: "uint8", 3: "int8", 4: "uint16", 5: "int16", 6: "int32", 7: "int64", 9: "bool",
    10: "float16", 11: "float64", 12: "uint32",
}  # fmt: skip

_erf = np.frompyfunc(math.erf, 1, 1)


def _exact_erf(x: Array) -> Array:
    """Compute the error function, which NumPy lacks."""
    return np.asarray(_erf(x), np.float64)


def _unary(
    name: str, function: Callable[[Array], Array], since: int, non_negative: Optional[SignRule] = None
) -> Operator:
    """Make a row that is computed in float64 and rounded once to the dtype of the input."""

    def operator(_: Attributes, inputs: list[Array]) -> list[Array]:
        (x,) = inputs
        return [np.asarray(function(x.astype(np.float64)), x.dtype)]

    return _same_shape(name, operator, since, non_negative)


def _same_shape(
    name: str, function: OperatorFunction, since: int, non_negative: Optional[SignRule] = None
) -> Operator:
    """Make a row with the shape of operand 0; other operands are numbers."""
    return Operator(name, function, since, first_shape, is_elementwise=True, non_negative=non_negative)


def _binary(
    name: str, function: Callable[[Array, Array], Array], since: int, non_negative: Optional[SignRule] = None
) -> Operator:
    """Make a row computed in the dtype of its operands, which broadcast. Max and Min take any number."""
    return Operator(
        name, folded(function), since, broadcast_shape, is_elementwise=True, non_negative=non_negative
    )


def folded(function: Callable[[Array, Array], Array]) -> OperatorFunction:
    """Make an operator's function that combines the inputs one after the other by `function`."""

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


def _celu(attributes: Attributes, inputs: list[Array]) -> list[Array]:
    alpha, x = np.float64(attributes.get("alpha", 1.0)), inputs[0].astype(np.float64)
    return [np.where(x < 0, alpha * np.expm1(np.minimum(x, 0) / alpha), x).astype(inputs[0].dtype)]


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


def _mod(_: Attributes, inputs: list[Array]) -> list[Array]:
    """Compute the remainder of integers, with the divisor's sign."""
    return [np.asarray(np.mod(*inputs))]


def _pow(_: Attributes, inputs: list[Array]) -> list[Array]:
    return [np.power(inputs[0].astype(np.float64), inputs[1]).astype(inputs[0].dtype)]


def _identity(_: Attributes, inputs: list[Array]) -> list[Array]:
    return [inputs[0]]


def _cast(attributes: Attributes, inputs: list[Array]) -> list[Array]:
    return [inputs[0].astype(CAST_DTYPES[attributes["to"]])]


def _clip_is_non_negative(_: Attributes, signs: Signs) -> bool:
    """Return True if min(max(x, low), high) is non-negative."""
    return sign_of(signs, 2) is not False and bool(signs[0] or sign_of(signs, 1))


ELEMENTWISE = table(
    _unary("Abs", np.abs, 6, always),
    _binary("Add", np.add, 7, if_all_are),
    _same_shape("Cast", _cast, 9, if_first_is),
    _unary("Ceil", np.ceil, 6, if_first_is),
    _same_shape("Celu", _celu, 12, if_first_is),
    _same_shape("Clip", _clip, 11, _clip_is_non_negative),
    _unary("Cos", np.cos, 7),
    _binary("Div", _divide, 7),
    _same_shape("Dropout", _identity, 12, if_first_is),
    _same_shape("Elu", _elu, 6, if_first_is),
    _unary("Erf", _exact_erf, 9, if_first_is),
    _unary("Exp", np.exp, 6, always),
    _unary("Floor", np.floor, 6, if_first_is),
    _same_shape("Gelu", _gelu, 20, if_first_is),
    _same_shape("HardSigmoid", _hard_sigmoid, 6, always),
    _same_shape("HardSwish", _hard_swish, 14, if_first_is),
    _same_shape("LeakyRelu", _leaky_relu, 6, if_first_is),
    _unary("Log", np.log, 6),
    _binary("Max", np.maximum, 8, if_any_is),
    _binary("Min", np.minimum, 8, if_all_are),
    _unary("Mish", lambda x: x * np.tanh(_softplus(x)), 18, if_first_is),
    Operator("Mod", _mod, 10, broadcast_shape, is_elementwise=True),
    _binary("Mul", np.multiply, 7, if_all_are),
    _unary("Neg", np.negative, 6),
    Operator("PRelu", _prelu, 9, broadcast_shape, is_elementwise=True, non_negative=if_first_is),
    Operator("Pow", _pow, 12, broadcast_shape, is_elementwise=True, non_negative=if_first_is),
    _unary("Reciprocal", lambda x: 1 / x, 6),
    _unary("Relu", lambda x: np.maximum(x, 0), 6, always),
    _unary("Round", np.rint, 11, if_first_is),
    _unary("Sigmoid", _sigmoid, 6, always),
    _unary("Sin", np.sin, 7),
    _unary("Softplus", _softplus, 1, always),
    _unary("Sqrt", np.sqrt, 6, always),
    _binary("Sub", np.subtract, 7),
    _unary("Tanh", np.tanh, 6, if_first_is),
)
