# SPDX-License-Identifier: Apache-2.0
"""Rules for operators that compute each element from the elements at its place."""

from __future__ import annotations

import numpy as np

from qslim.importers.onnx.builder import Builder, OnnxNode
from qslim.importers.onnx.rules.rule import Rule, alike, refuse_unless

__all__ = ["ELEMENTWISE"]


def _chain(op_type: str) -> Rule:
    """Combine any number of operands one after the other."""

    def rule(builder: Builder, node: OnnxNode) -> None:
        total = node.inputs[0]
        if len(node.inputs) == 1:
            builder.emit("Identity", [total], node.outputs)
        for index, name in enumerate(node.inputs[1:], 1):
            is_last = index == len(node.inputs) - 1
            total = builder.emit(op_type, [total, name], node.outputs if is_last else None)

    return rule


def _mean(builder: Builder, node: OnnxNode) -> None:
    total = node.inputs[0]
    for name in node.inputs[1:]:
        total = builder.emit("Add", [total, name])
    builder.emit("Div", [total, builder.number(node.inputs[0], len(node.inputs))], node.outputs)


def _clip(builder: Builder, node: OnnxNode) -> None:
    """Bounds were attributes before opset 11."""
    inputs = list(node.inputs)
    for index, name in enumerate(("min", "max"), 1):
        if name in node.attributes:
            inputs += [""] * (index + 1 - len(inputs))
            inputs[index] = builder.number(node.inputs[0], node.attributes[name])
    while inputs and not inputs[-1]:
        inputs.pop()
    builder.emit("Clip" if len(inputs) > 1 else "Identity", inputs, node.outputs)


def _dropout(builder: Builder, node: OnnxNode) -> None:
    trains = builder.value(node.input(2)) if node.input(2) else np.zeros(1)
    is_inference = trains is not None and not trains.any()
    if refuse_unless(
        is_inference and not node.extra_outputs(), builder, node, "training mode and the mask are not there"
    ):
        return
    builder.emit("Identity", node.inputs[:1], node.outputs[:1])


def _cast(builder: Builder, node: OnnxNode) -> None:
    """float16 and bfloat16 are float32 here; the attribute was a name before opset 6."""
    number = {10: 1, 16: 1}.get(int(node.attributes["to"]), int(node.attributes["to"]))
    if refuse_unless(number in (1, 2, 3, 6, 7, 9, 11), builder, node, f"to type {number} is not there"):
        return
    builder.emit("Cast", node.inputs[:1], node.outputs, to=number)


def _cast_like(builder: Builder, node: OnnxNode) -> None:
    numbers = {"float32": 1, "uint8": 2, "int8": 3, "int32": 6, "int64": 7, "bool": 9, "float64": 11}
    dtype = builder.dtype(node.inputs[1])
    if refuse_unless(dtype in numbers, builder, node, f"to {dtype} is not there"):
        return
    builder.emit("Cast", node.inputs[:1], node.outputs, to=numbers[dtype])


def _selu(builder: Builder, node: OnnxNode) -> None:
    alpha = float(node.attributes.get("alpha", 1.67326319217681884765625))
    gamma = float(node.attributes.get("gamma", 1.05070102214813232421875))
    elu = builder.emit("Elu", node.inputs, alpha=alpha)
    builder.emit("Mul", [elu, builder.number(node.inputs[0], gamma)], node.outputs)


def _thresholded_relu(builder: Builder, node: OnnxNode) -> None:
    (x,) = node.inputs
    is_above = builder.emit(
        "Greater", [x, builder.number(x, node.attributes.get("alpha", 1.0))], dtype="bool"
    )
    builder.emit("Where", [is_above, x, builder.number(x, 0)], node.outputs, dtype=builder.dtype(x))


def _softsign(builder: Builder, node: OnnxNode) -> None:
    (x,) = node.inputs
    below = builder.emit("Add", [builder.emit("Abs", [x]), builder.number(x, 1)])
    builder.emit("Div", [x, below], node.outputs)


def _sign(builder: Builder, node: OnnxNode) -> None:
    """1, -1, or the element itself: 0 and NaN."""
    (x,) = node.inputs
    zero, dtype = builder.number(x, 0), builder.dtype(x)
    negative = builder.emit("Less", [x, zero], dtype="bool")
    rest = builder.emit("Where", [negative, builder.number(x, -1), x], dtype=dtype)
    positive = builder.emit("Greater", [x, zero], dtype="bool")
    builder.emit("Where", [positive, builder.number(x, 1), rest], node.outputs, dtype=dtype)


def _shrink(builder: Builder, node: OnnxNode) -> None:
    (x,) = node.inputs
    bias, width = node.attributes.get("bias", 0.0), node.attributes.get("lambd", 0.5)
    dtype = builder.dtype(x)
    above = builder.emit("Greater", [x, builder.number(x, width)], dtype="bool")
    below = builder.emit("Less", [x, builder.number(x, -width)], dtype="bool")
    lower = builder.emit("Add", [x, builder.number(x, bias)])
    upper = builder.emit("Sub", [x, builder.number(x, bias)])
    rest = builder.emit("Where", [below, lower, builder.number(x, 0)], dtype=dtype)
    builder.emit("Where", [above, upper, rest], node.outputs, dtype=dtype)


def _tan(builder: Builder, node: OnnxNode) -> None:
    sine, cosine = (builder.emit(name, node.inputs) for name in ("Sin", "Cos"))
    builder.emit("Div", [sine, cosine], node.outputs)


def _half_sum(sign: str) -> Rule:
    """Sinh and Cosh, of exp(x) and exp(-x)."""

    def rule(builder: Builder, node: OnnxNode) -> None:
        (x,) = node.inputs
        parts = [builder.emit("Exp", [x]), builder.emit("Exp", [builder.emit("Neg", [x])])]
        builder.emit("Mul", [builder.emit(sign, parts), builder.number(x, 0.5)], node.outputs)

    return rule


def _is_nan(builder: Builder, node: OnnxNode) -> None:
    equal = builder.emit("Equal", [node.inputs[0], node.inputs[0]], dtype="bool")
    builder.emit("Not", [equal], node.outputs)


def _mod(builder: Builder, node: OnnxNode) -> None:
    is_integer = np.dtype(builder.dtype(node.inputs[0])).kind in "iu"
    if refuse_unless(
        is_integer and not node.attributes.get("fmod", 0),
        builder,
        node,
        "only remainders of integers are there",
    ):
        return
    builder.emit("Mod", node.inputs, node.outputs)


_SAME = (
    "Abs", "Add", "And", "Ceil", "Celu", "Cos", "Div", "Elu", "Equal", "Erf", "Exp", "Floor", "Gelu",
    "Greater", "GreaterOrEqual", "HardSigmoid", "HardSwish", "Identity", "LeakyRelu", "Less", "LessOrEqual",
    "Log", "Mish", "Mul", "Neg", "Not", "Or", "PRelu", "Pow", "Reciprocal", "Relu", "Round", "Sigmoid", "Sin",
    "Softplus", "Sqrt", "Sub", "Tanh", "Where", "Xor",
)  # fmt: skip

ELEMENTWISE: dict[str, Rule] = {
    **alike(_SAME),
    "Cast": _cast,
    "CastLike": _cast_like,
    "Clip": _clip,
    "Cosh": _half_sum("Add"),
    "Dropout": _dropout,
    "IsNaN": _is_nan,
    "Max": _chain("Max"),
    "Mean": _mean,
    "Min": _chain("Min"),
    "Mod": _mod,
    "Selu": _selu,
    "Shrink": _shrink,
    "Sign": _sign,
    "Sinh": _half_sum("Sub"),
    "Softsign": _softsign,
    "Sum": _chain("Add"),
    "Tan": _tan,
    "ThresholdedRelu": _thresholded_relu,
}
