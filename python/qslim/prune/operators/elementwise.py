# SPDX-License-Identifier: Apache-2.0
"""Operators that work element by element: channels keep their places, operands' channels are one."""

from __future__ import annotations

from qslim.graph import Node
from qslim.prune.channels import Channels, Factors
from qslim.prune.operators.rule import Rule, unchanged

__all__ = ["ELEMENTWISE"]


def _elementwise(channels: Channels, node: Node) -> list[Factors]:
    names = [name for name in node.inputs if name]
    rank = max(len(channels.shape(name)) for name in names)
    return [channels.couple_tensors(names, rank, _meets_whole(node))]


def _meets_whole(node: Node) -> str:
    return f"{node.label} combines it with a tensor that cannot be cut"


_UNARY = (
    "Abs", "Cast", "Ceil", "Clip", "Cos", "Dropout", "Elu", "Erf", "Exp", "Floor", "Gelu", "HardSigmoid",
    "HardSwish", "Identity", "LeakyRelu", "Log", "Mish", "Neg", "Not", "Reciprocal", "Relu", "Round",
    "Sigmoid", "Sin", "Softplus", "Sqrt", "Tanh",
)  # fmt: skip
_BINARY = (
    "Add", "And", "Div", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Max", "Min", "Mod",
    "Mul", "Or", "PRelu", "Pow", "Sub", "Where", "Xor",
)  # fmt: skip
# Paddle's own, with attributes that ONNX has no operator for.
_PADDLE_UNARY = (
    "acos", "asin", "atan", "celu", "cos", "dropout", "expm1", "hardshrink", "hardtanh", "isinf", "isnan",
    "log10", "log1p", "log2", "logit", "logsigmoid", "relu6", "round", "scale", "selu", "sign", "sin",
    "softplus", "softshrink", "softsign", "swish", "tan", "tanh_shrink", "thresholded_relu",
)  # fmt: skip
_PADDLE_BINARY = (
    "elementwise_pow", "floor_divide", "fmax", "fmin", "greater_equal", "less_equal", "not_equal",
)  # fmt: skip

ELEMENTWISE: dict[str, Rule] = {
    **dict.fromkeys(_UNARY, unchanged),
    **dict.fromkeys((f"paddle.{name}" for name in _PADDLE_UNARY), unchanged),
    **dict.fromkeys(_BINARY, _elementwise),
    **dict.fromkeys((f"paddle.{name}" for name in _PADDLE_BINARY), _elementwise),
}
