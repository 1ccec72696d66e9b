# SPDX-License-Identifier: Apache-2.0
"""Rows that compute each element from the elements at its place: activations and arithmetic."""

from __future__ import annotations

import math
from typing import Optional

import numpy as np

from qslim.graph.operators.elementwise import CAST_DTYPES
from qslim.importers.paddle.operators.source_op import ConvertedOp, Converter, SourceOp, dtype_name, renamed

__all__ = ["ELEMENTWISE"]


def _scale(op: SourceOp) -> Optional[ConvertedOp]:
    """Convert scale * x + bias, or scale * (x + bias); leave out a part that does nothing."""
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
    """Convert to what it does outside of training: nothing, or a factor in the mode that scales then."""
    if not op.attributes.get("is_test"):
        return None
    if op.attributes.get("mode") == "upscale_in_train":
        return ConvertedOp("Identity", op.inputs[:1], keeps_first_output=True)
    ratio = op.constant(2)
    if ratio is None:
        return None
    kept = op.new_constant(np.asarray(1 - ratio.reshape(()), np.float32))
    return ConvertedOp("Mul", [op.inputs[0], kept], keeps_first_output=True)


def _square(op: SourceOp) -> ConvertedOp:
    return ConvertedOp("Mul", [op.inputs[0], op.inputs[0]])


def _rsqrt(op: SourceOp) -> ConvertedOp:
    return ConvertedOp("Reciprocal", [op.before("Sqrt", op.inputs[:1], op.dtype(0), op.shape(0))])


def _pow(op: SourceOp) -> ConvertedOp:
    return ConvertedOp("Pow", [op.inputs[0], op.new_constant(np.asarray(op.attributes["y"], op.dtype(0)))])


def _round(op: SourceOp) -> Optional[ConvertedOp]:
    return None if op.attributes.get("decimals", 0) else ConvertedOp("Round", op.inputs)


_NUMBERS = {name: number for number, name in CAST_DTYPES.items()}


def _cast(op: SourceOp) -> Optional[ConvertedOp]:
    number = _NUMBERS.get(dtype_name(op.attributes["dtype"]))
    return None if number is None else ConvertedOp("Cast", op.inputs, {"to": number})


def _add_n(op: SourceOp) -> ConvertedOp:
    total = op.inputs[0]
    for name in op.inputs[1:-1]:
        total = op.before("Add", [total, name], op.dtype(0), op.shape(0))
    if len(op.inputs) == 1:
        return ConvertedOp("Identity", [total])
    return ConvertedOp("Add", [total, op.inputs[-1]])


def _remainder(op: SourceOp) -> ConvertedOp:
    """Convert a remainder with the divisor's sign."""
    x, y = op.inputs[:2]
    if op.dtype(0) in ("int32", "int64"):
        return ConvertedOp("Mod", [x, y])
    dtype = op.dtype(0)
    whole = op.before("Floor", [op.before("Div", [x, y], dtype)], dtype)
    return ConvertedOp("Sub", [x, op.before("Mul", [whole, y], dtype)])


def _floor_divide(op: SourceOp) -> ConvertedOp:
    x, y = op.inputs[:2]
    dtype = op.dtype(0)
    if dtype in ("int32", "int64"):  # ONNX rounds towards zero
        return ConvertedOp("Div", [op.before("Sub", [x, op.before("Mod", [x, y], dtype)], dtype), y])
    return ConvertedOp("Floor", [op.before("Div", [x, y], dtype)])


def _sign(op: SourceOp) -> Optional[ConvertedOp]:
    if op.dtype(0) != "float32":
        return None
    x, zero = op.inputs[0], op.number(0)
    sides = [
        op.like("Cast", [op.before(kind, [x, zero], "bool", op.shape(0))], to=1)
        for kind in ("Greater", "Less")
    ]
    return ConvertedOp("Sub", sides)


def _lerp(op: SourceOp) -> ConvertedOp:
    x, y, weight = op.inputs[:3]
    dtype = op.dtype(0)
    way = op.before("Mul", [weight, op.before("Sub", [y, x], dtype)], dtype)
    return ConvertedOp("Add", [x, way])


def _kron(op: SourceOp) -> Optional[ConvertedOp]:
    a, b = op.shape(0), op.shape(1)
    if a is None or b is None or len(a) != len(b) or None in a or None in b:
        return None
    rank = len(a)
    wide = [
        op.before(
            "Unsqueeze", [name, op.new_ints(range(first, 2 * rank, 2))], op.dtype(0), (None,) * (2 * rank)
        )
        for name, first in zip(op.inputs, (1, 0))
    ]
    product = op.before("Mul", wide, op.dtype(0), (None,) * (2 * rank))
    return ConvertedOp("Reshape", [product, op.new_ints(np.multiply(a, b))])  # type: ignore[arg-type]


def _logit(op: SourceOp) -> ConvertedOp:
    x, eps = op.inputs[0], float(op.attributes.get("eps", 0.0))
    if eps > 0:
        x = op.like("Clip", [x, op.number(eps), op.number(1 - eps)])
    return ConvertedOp("Log", [op.like("Div", [x, op.like("Sub", [op.number(1), x])])])


def _exp_less_one(op: SourceOp) -> ConvertedOp:
    return ConvertedOp("Sub", [op.like("Exp", op.inputs[:1]), op.number(1)])


def _log_of_one_more(op: SourceOp) -> ConvertedOp:
    return ConvertedOp("Log", [op.like("Add", [op.inputs[0], op.number(1)])])


def _log_of_base(base: float) -> Converter:
    def converter(op: SourceOp) -> ConvertedOp:
        return ConvertedOp("Mul", [op.like("Log", op.inputs[:1]), op.number(np.float32(1 / math.log(base)))])

    return converter


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


def _selu(op: SourceOp) -> ConvertedOp:
    curved = op.like("Elu", op.inputs[:1], alpha=float(op.attributes["alpha"]))
    return ConvertedOp("Mul", [curved, op.number(op.attributes["scale"])])


def _soft_shrink(op: SourceOp) -> ConvertedOp:
    """Convert x - clip(x, -threshold, threshold)."""
    x, threshold = op.inputs[0], float(op.attributes["threshold"])
    return ConvertedOp("Sub", [x, op.like("Clip", [x, op.number(-threshold), op.number(threshold)])])


def _log_sigmoid(op: SourceOp) -> ConvertedOp:
    return ConvertedOp("Neg", [op.like("Softplus", [op.like("Neg", op.inputs[:1])])])


def _softplus(op: SourceOp) -> ConvertedOp:
    """Convert log(1 + exp(beta * x)) / beta, and x itself where beta * x passes the threshold."""
    x = op.inputs[0]
    beta, threshold = float(op.attributes.get("beta", 1.0)), float(op.attributes.get("threshold", 20.0))
    is_linear_anyway = threshold >= 15  # in float32
    if beta == 1.0 and is_linear_anyway:
        return ConvertedOp("Softplus", op.inputs[:1])
    scaled = x if beta == 1.0 else op.like("Mul", [x, op.number(beta)])
    soft = op.like("Softplus", [scaled])
    if is_linear_anyway:
        return ConvertedOp("Div", [soft, op.number(beta)])
    curved = op.like("Div", [soft, op.number(beta)])
    is_linear = op.before("Greater", [scaled, op.number(threshold)], "bool", op.shape(0))
    return ConvertedOp("Where", [is_linear, x, curved])


def _softsign(op: SourceOp) -> ConvertedOp:
    x = op.inputs[0]
    return ConvertedOp("Div", [x, op.like("Add", [op.like("Abs", [x]), op.number(1)])])


def _tanh_shrink(op: SourceOp) -> ConvertedOp:
    return ConvertedOp("Sub", [op.inputs[0], op.like("Tanh", op.inputs[:1])])


def _stanh(op: SourceOp) -> ConvertedOp:
    inner = op.like("Tanh", [op.like("Mul", [op.inputs[0], op.number(op.attributes["scale_a"])])])
    return ConvertedOp("Mul", [inner, op.number(op.attributes["scale_b"])])


def _swish(op: SourceOp) -> ConvertedOp:
    x, beta = op.inputs[0], float(op.attributes.get("beta", 1.0))
    scaled = x if beta == 1.0 else op.like("Mul", [x, op.number(beta)])
    return ConvertedOp("Mul", [x, op.like("Sigmoid", [scaled])])


def _swiglu(op: SourceOp) -> Optional[ConvertedOp]:
    """Convert silu(x) * y; without y the last axis holds both halves."""
    names, shape = [name for name in op.inputs if name], op.shape(0)
    if len(names) == 1:
        extent = shape[-1] if shape else None
        if shape is None or extent is None or extent % 2:
            return None
        half = (*shape[:-1], extent // 2)
        names = []
        for start in (0, extent // 2):
            bounds = [op.new_ints([start]), op.new_ints([start + extent // 2]), op.new_ints([len(shape) - 1])]
            names.append(op.before("Slice", [op.inputs[0], *bounds], op.dtype(0), half))
        shape = half
    gate = op.before("Sigmoid", names[:1], op.dtype(0), shape)
    return ConvertedOp("Mul", [op.before("Mul", [names[0], gate], op.dtype(0), shape), names[1]])


def _rrelu(op: SourceOp) -> Optional[ConvertedOp]:
    if not op.attributes.get("is_test"):
        return None
    slope = (float(op.attributes["lower"]) + float(op.attributes["upper"])) / 2
    return ConvertedOp("LeakyRelu", op.inputs[:1], {"alpha": slope}, keeps_first_output=True)


ELEMENTWISE: dict[str, Converter] = {
    "abs": renamed("Abs"),
    "add": renamed("Add"),
    "add_n": _add_n,
    "cast": _cast,
    "ceil": renamed("Ceil"),
    "celu": renamed("Celu", alpha="alpha"),
    "clip": _clip,
    "cos": renamed("Cos"),
    "divide": renamed("Div"),
    "dropout": _dropout,
    "elementwise_pow": renamed("Pow"),
    "elu": renamed("Elu", alpha="alpha"),
    "erf": renamed("Erf"),
    "exp": renamed("Exp"),
    "expm1": _exp_less_one,
    "floor": renamed("Floor"),
    "floor_divide": _floor_divide,
    "fmax": renamed("Max"),
    "fmin": renamed("Min"),
    "gelu": _gelu,
    "hardsigmoid": renamed("HardSigmoid", alpha="slope", beta="offset"),
    "hardswish": _hard_swish,
    "hardtanh": _hardtanh,
    "kron": _kron,
    "leaky_relu": renamed("LeakyRelu", alpha="negative_slope"),
    "lerp": _lerp,
    "log": renamed("Log"),
    "log10": _log_of_base(10.0),
    "log1p": _log_of_one_more,
    "log2": _log_of_base(2.0),
    "logit": _logit,
    "logsigmoid": _log_sigmoid,
    "maximum": renamed("Max"),
    "minimum": renamed("Min"),
    "mish": renamed("Mish"),
    "multiply": renamed("Mul"),
    "pow": _pow,
    "prelu": _prelu,
    "reciprocal": renamed("Reciprocal"),
    "relu": renamed("Relu"),
    "relu6": _clip_to(0.0, 6.0),
    "remainder": _remainder,
    "round": _round,
    "rrelu": _rrelu,
    "rsqrt": _rsqrt,
    "scale": _scale,
    "selu": _selu,
    "sigmoid": renamed("Sigmoid"),
    "sign": _sign,
    "silu": _swish,
    "sin": renamed("Sin"),
    "softplus": _softplus,
    "softshrink": _soft_shrink,
    "softsign": _softsign,
    "sqrt": renamed("Sqrt"),
    "square": _square,
    "stanh": _stanh,
    "subtract": renamed("Sub"),
    "swiglu": _swiglu,
    "swish": _swish,
    "tanh": renamed("Tanh"),
    "tanh_shrink": _tanh_shrink,
}
