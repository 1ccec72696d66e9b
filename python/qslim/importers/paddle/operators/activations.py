# SPDX-License-Identifier: Apache-2.0
"""Rows of activations that are made of simpler operators."""

from __future__ import annotations

import math
from typing import Optional

import numpy as np

from qslim.importers.paddle.operators.source_op import ConvertedOp, Converter, SourceOp

__all__ = ["ACTIVATIONS"]


def _celu(op: SourceOp) -> ConvertedOp:
    """alpha * (exp(x / alpha) - 1) below 0."""
    alpha = float(op.attributes["alpha"])
    if alpha == 1.0:
        return ConvertedOp("Elu", op.inputs, {"alpha": 1.0})
    curved = op.like("Elu", [op.like("Div", [op.inputs[0], op.number(alpha)])], alpha=1.0)
    return ConvertedOp("Mul", [curved, op.number(alpha)])


def _selu(op: SourceOp) -> ConvertedOp:
    curved = op.like("Elu", op.inputs[:1], alpha=float(op.attributes["alpha"]))
    return ConvertedOp("Mul", [curved, op.number(op.attributes["scale"])])


def _hard_shrink(op: SourceOp) -> ConvertedOp:
    x, threshold = op.inputs[0], op.number(op.attributes["threshold"])
    is_kept = op.before("Greater", [op.like("Abs", [x]), threshold], "bool", op.shape(0))
    return ConvertedOp("Where", [is_kept, x, op.number(0)])


def _soft_shrink(op: SourceOp) -> ConvertedOp:
    """x less what lies within the threshold."""
    x, threshold = op.inputs[0], float(op.attributes["threshold"])
    return ConvertedOp("Sub", [x, op.like("Clip", [x, op.number(-threshold), op.number(threshold)])])


def _thresholded_relu(op: SourceOp) -> ConvertedOp:
    x = op.inputs[0]
    is_kept = op.before("Greater", [x, op.number(op.attributes["threshold"])], "bool", op.shape(0))
    return ConvertedOp("Where", [is_kept, x, op.number(op.attributes.get("value", 0.0))])


def _log_sigmoid(op: SourceOp) -> ConvertedOp:
    return ConvertedOp("Neg", [op.like("Softplus", [op.like("Neg", op.inputs[:1])])])


def _softplus(op: SourceOp) -> ConvertedOp:
    """log(1 + exp(beta * x)) / beta, and x itself where beta * x passes the threshold."""
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
    """silu(x) * y; without y the last axis holds both halves."""
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


def _maxout(op: SourceOp) -> Optional[ConvertedOp]:
    """The largest of each `groups` neighbouring channels."""
    shape, groups = op.shape(0), int(op.attributes["groups"])
    if shape is None:
        return None
    axis = int(op.attributes["axis"]) % len(shape)
    channels = shape[axis]
    if channels is None or None in shape[axis + 1 :] or shape[:axis].count(None) > 1:
        return None
    extents = [-1 if extent is None else extent for extent in shape]
    parted = [*extents[:axis], channels // groups, groups, *extents[axis + 1 :]]
    split = op.before("Reshape", [op.inputs[0], op.new_ints(parted)], op.dtype(0), (None,) * len(parted))
    return ConvertedOp("ReduceMax", [split, op.new_ints([axis + 1])], {"keepdims": 0})


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


ACTIVATIONS: dict[str, Converter] = {
    "celu": _celu,
    "expm1": _exp_less_one,
    "hard_shrink": _hard_shrink,
    "hardshrink": _hard_shrink,
    "log10": _log_of_base(10.0),
    "log1p": _log_of_one_more,
    "log2": _log_of_base(2.0),
    "logit": _logit,
    "logsigmoid": _log_sigmoid,
    "maxout": _maxout,
    "rrelu": _rrelu,
    "selu": _selu,
    "silu": _swish,
    "softplus": _softplus,
    "softshrink": _soft_shrink,
    "softsign": _softsign,
    "stanh": _stanh,
    "swiglu": _swiglu,
    "swish": _swish,
    "tanh_shrink": _tanh_shrink,
    "thresholded_relu": _thresholded_relu,
}
