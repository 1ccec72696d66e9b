# SPDX-License-Identifier: Apache-2.0
"""Rows of operators that work element by element."""

from __future__ import annotations

from typing import Optional

import numpy as np

from qslim.importers.paddle.operators.source_op import ConvertedOp, Converter, SourceOp, dtype_name, renamed

__all__ = ["ARITHMETIC", "ONNX_DTYPES"]

# TensorProto.DataType of ONNX, which Cast names its target by.
ONNX_DTYPES = {
    "float32": 1, "uint8": 2, "int8": 3, "uint16": 4, "int16": 5, "int32": 6, "int64": 7, "bool": 9,
    "float16": 10, "float64": 11, "uint32": 12,
}  # fmt: skip


def _scale(op: SourceOp) -> Optional[ConvertedOp]:
    """scale * x + bias, or scale * (x + bias); a part that does nothing is left out."""
    scale, dtype = op.constant(1), op.dtype(0)
    if scale is None or dtype not in ("float32", "float64", "int32", "int64"):
        return None
    factor, bias = np.asarray(scale.reshape(()), dtype), np.asarray(op.attributes["bias"], dtype)
    if dtype.startswith("int") and (factor != scale.reshape(()) or bias != op.attributes["bias"]):
        return None
    steps = [(kind, value) for kind, value in (("Mul", factor), ("Add", bias)) if value != (kind == "Mul")]
    if not op.attributes.get("bias_after_scale", True):
        steps.reverse()
    name = op.inputs[0]
    if not steps:
        return ConvertedOp("Identity", [name])
    for kind, value in steps[:-1]:
        name = op.before(kind, [name, op.new_constant(value)], dtype, op.shape(0))
    return ConvertedOp(steps[-1][0], [name, op.new_constant(steps[-1][1])])


def _clip_to(low: float, high: float) -> Converter:
    def converter(op: SourceOp) -> Optional[ConvertedOp]:
        names = [op.new_constant(np.asarray(value, np.float32)) for value in (low, high)]
        return ConvertedOp("Clip", [op.inputs[0], *names])

    return converter


def _hardtanh(op: SourceOp) -> Optional[ConvertedOp]:
    return _clip_to(op.attributes["t_min"], op.attributes["t_max"])(op)


def _clip(op: SourceOp) -> ConvertedOp:
    low, high = op.constant(1), op.constant(2)
    if low is None or high is None:  # a bound that is computed
        return ConvertedOp("Min", [op.like("Max", op.inputs[:2]), op.inputs[2]])
    names = [op.new_constant(value.reshape(()).astype(op.dtype(0))) for value in (low, high)]
    return ConvertedOp("Clip", [op.inputs[0], *names])


def _dropout(op: SourceOp) -> Optional[ConvertedOp]:
    """Outside of training nothing, or the mode that scales at inference."""
    if not op.attributes.get("is_test"):
        return None
    if op.attributes.get("mode") == "upscale_in_train":
        return ConvertedOp("Identity", op.inputs[:1], keeps_first_output=True)
    ratio = op.constant(2)
    if ratio is None:
        return None
    kept = op.new_constant(np.asarray(1 - ratio.reshape(()), np.float32))
    return ConvertedOp("Mul", [op.inputs[0], kept], keeps_first_output=True)


def _gelu(op: SourceOp) -> ConvertedOp:
    kind = "tanh" if op.attributes.get("approximate") else "none"
    return ConvertedOp("Gelu", op.inputs[:1], {"approximate": kind})


def _hard_swish(op: SourceOp) -> ConvertedOp:
    return ConvertedOp("HardSwish", op.inputs[:1])


def _prelu(op: SourceOp) -> Optional[ConvertedOp]:
    slope, rank = op.constant(1), op.rank(0)
    if slope is None or rank is None or op.attributes.get("data_format", "NCHW") != "NCHW":
        return None
    if slope.size == 1 or op.attributes["mode"] == "all":
        return ConvertedOp("PRelu", op.inputs[:2])
    if op.attributes["mode"] != "channel":
        return None
    extents = [slope.size] + [1] * (rank - 2)
    shaped = op.before("Reshape", [op.inputs[1], op.new_ints(extents)], shape=tuple(extents))
    return ConvertedOp("PRelu", [op.inputs[0], shaped])


def _square(op: SourceOp) -> ConvertedOp:
    return ConvertedOp("Mul", [op.inputs[0], op.inputs[0]])


def _rsqrt(op: SourceOp) -> ConvertedOp:
    return ConvertedOp("Reciprocal", [op.before("Sqrt", op.inputs[:1], op.dtype(0), op.shape(0))])


def _pow(op: SourceOp) -> ConvertedOp:
    return ConvertedOp("Pow", [op.inputs[0], op.new_constant(np.asarray(op.attributes["y"], op.dtype(0)))])


def _round(op: SourceOp) -> Optional[ConvertedOp]:
    return None if op.attributes.get("decimals", 0) else ConvertedOp("Round", op.inputs)


def _cast(op: SourceOp) -> Optional[ConvertedOp]:
    number = ONNX_DTYPES.get(dtype_name(op.attributes["dtype"]))
    return None if number is None else ConvertedOp("Cast", op.inputs, {"to": number})


def _add_n(op: SourceOp) -> ConvertedOp:
    total = op.inputs[0]
    for name in op.inputs[1:-1]:
        total = op.before("Add", [total, name], op.dtype(0), op.shape(0))
    if len(op.inputs) == 1:
        return ConvertedOp("Identity", [total])
    return ConvertedOp("Add", [total, op.inputs[-1]])


ARITHMETIC: dict[str, Converter] = {
    "abs": renamed("Abs"),
    "add": renamed("Add"),
    "add_n": _add_n,
    "assign": renamed("Identity"),
    "cast": _cast,
    "ceil": renamed("Ceil"),
    "clip": _clip,
    "cos": renamed("Cos"),
    "divide": renamed("Div"),
    "dropout": _dropout,
    "elementwise_pow": renamed("Pow"),
    "elu": renamed("Elu", alpha="alpha"),
    "erf": renamed("Erf"),
    "exp": renamed("Exp"),
    "floor": renamed("Floor"),
    "fmax": renamed("Max"),
    "fmin": renamed("Min"),
    "gelu": _gelu,
    "hardsigmoid": renamed("HardSigmoid", alpha="slope", beta="offset"),
    "hardswish": _hard_swish,
    "hardtanh": _hardtanh,
    "leaky_relu": renamed("LeakyRelu", alpha="negative_slope"),
    "log": renamed("Log"),
    "maximum": renamed("Max"),
    "minimum": renamed("Min"),
    "mish": renamed("Mish"),
    "multiply": renamed("Mul"),
    "pow": _pow,
    "prelu": _prelu,
    "reciprocal": renamed("Reciprocal"),
    "relu": renamed("Relu"),
    "relu6": _clip_to(0.0, 6.0),
    "round": _round,
    "rsqrt": _rsqrt,
    "scale": _scale,
    "share_data": renamed("Identity"),
    "sin": renamed("Sin"),
    "sigmoid": renamed("Sigmoid"),
    "sqrt": renamed("Sqrt"),
    "square": _square,
    "subtract": renamed("Sub"),
    "tanh": renamed("Tanh"),
}
