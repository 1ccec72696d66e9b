# SPDX-License-Identifier: Apache-2.0
"""Operators that sum, average or compare along axes, and the normalizations."""

from __future__ import annotations

from typing import Any, Callable

import numpy as np

from qslim.graph.operators.types import Array, Attributes, OperatorFunction, input_or_none

__all__ = ["REDUCTIONS"]


def _reduce(function: Callable[..., Any]) -> OperatorFunction:
    def operator(attributes: Attributes, inputs: list[Array]) -> list[Array]:
        x, axes = inputs[0], input_or_none(inputs, 1)
        axis = None if axes is None or not axes.size else tuple(int(value) for value in axes.reshape(-1))
        wide = x.astype(np.float64) if x.dtype.kind == "f" else x
        keepdims = bool(attributes.get("keepdims", 1))
        return [np.asarray(function(wide, axis=axis, keepdims=keepdims)).astype(x.dtype)]

    return operator


def _arg_max(attributes: Attributes, inputs: list[Array]) -> list[Array]:
    keepdims = bool(attributes.get("keepdims", 1))
    return [np.asarray(np.argmax(inputs[0], axis=attributes.get("axis", 0), keepdims=keepdims), np.int64)]


def _top_k(attributes: Attributes, inputs: list[Array]) -> list[Array]:
    """Of equal values the one with the lower index comes first."""
    x, k = inputs[0], int(inputs[1].reshape(-1)[0])
    axis = attributes.get("axis", -1)
    key = -x if attributes.get("largest", 1) else x  # a NaN sorts last either way
    order = np.take(np.argsort(key, axis=axis, kind="stable"), np.arange(k), axis=axis)
    return [np.take_along_axis(x, order, axis), order.astype(np.int64)]


def _cumulative_sum(attributes: Attributes, inputs: list[Array]) -> list[Array]:
    """One addition after the other, in the dtype of the input."""
    x, axis = inputs[0], int(inputs[1].reshape(-1)[0])
    turned = np.flip(x, axis) if attributes.get("reverse", 0) else x
    sums = np.cumsum(turned, axis=axis, dtype=x.dtype)
    if attributes.get("exclusive", 0):
        sums = np.roll(sums, 1, axis)
        sums[(slice(None),) * (axis % x.ndim) + (0,)] = 0
    return [np.flip(sums, axis) if attributes.get("reverse", 0) else sums]


def _softmax(attributes: Attributes, inputs: list[Array]) -> list[Array]:
    x = inputs[0].astype(np.float64)
    axis = attributes.get("axis", -1)
    exponentials = np.exp(x - x.max(axis=axis, keepdims=True))
    return [(exponentials / exponentials.sum(axis=axis, keepdims=True)).astype(inputs[0].dtype)]


def _matmul(_: Attributes, inputs: list[Array]) -> list[Array]:
    a, b = inputs
    return [np.asarray(np.matmul(a.astype(np.float64), b.astype(np.float64)), a.dtype)]


def _gemm(attributes: Attributes, inputs: list[Array]) -> list[Array]:
    a, b = (x.astype(np.float64) for x in inputs[:2])
    a = a.T if attributes.get("transA", 0) else a
    b = b.T if attributes.get("transB", 0) else b
    result = attributes.get("alpha", 1.0) * (a @ b)
    bias = input_or_none(inputs, 2)
    if bias is not None:
        result = result + attributes.get("beta", 1.0) * bias.astype(np.float64)
    return [result.astype(inputs[0].dtype)]


def _along_channels(values: Array, ndim: int) -> Array:
    return np.asarray(values.astype(np.float64).reshape([-1 if axis == 1 else 1 for axis in range(ndim)]))


def _batch_normalization(attributes: Attributes, inputs: list[Array]) -> list[Array]:
    x = inputs[0]
    scale, offset, mean, variance = (_along_channels(value, x.ndim) for value in inputs[1:5])
    factor = scale / np.sqrt(variance + attributes.get("epsilon", 1e-5))
    return [((x - mean) * factor + offset).astype(x.dtype)]


def _normalize(x: Array, axes: tuple[int, ...], epsilon: float) -> Array:
    wide = x.astype(np.float64)
    centred = wide - wide.mean(axis=axes, keepdims=True)
    variance = np.square(centred).mean(axis=axes, keepdims=True)
    return np.asarray(centred / np.sqrt(variance + epsilon))


def _layer_normalization(attributes: Attributes, inputs: list[Array]) -> list[Array]:
    x, scale, offset = inputs[0], inputs[1], input_or_none(inputs, 2)
    axes = tuple(range(attributes.get("axis", -1) % x.ndim, x.ndim))
    y = _normalize(x, axes, attributes.get("epsilon", 1e-5)) * scale
    return [(y if offset is None else y + offset).astype(x.dtype)]


def _instance_normalization(attributes: Attributes, inputs: list[Array]) -> list[Array]:
    x = inputs[0]
    scale, offset = (_along_channels(value, x.ndim) for value in inputs[1:3])
    y = _normalize(x, tuple(range(2, x.ndim)), attributes.get("epsilon", 1e-5))
    return [(y * scale + offset).astype(x.dtype)]


def _group_normalization(attributes: Attributes, inputs: list[Array]) -> list[Array]:
    x, groups = inputs[0], attributes["num_groups"]
    scale, offset = (_along_channels(value, x.ndim) for value in inputs[1:3])
    grouped = x.reshape(x.shape[0], groups, -1)
    y = _normalize(grouped, (2,), attributes.get("epsilon", 1e-5)).reshape(x.shape)
    return [(y * scale + offset).astype(x.dtype)]


REDUCTIONS: dict[str, OperatorFunction] = {
    "ArgMax": _arg_max,
    "BatchNormalization": _batch_normalization,
    "CumSum": _cumulative_sum,
    "Gemm": _gemm,
    "GroupNormalization": _group_normalization,
    "InstanceNormalization": _instance_normalization,
    "LayerNormalization": _layer_normalization,
    "MatMul": _matmul,
    "ReduceMax": _reduce(np.max),
    "ReduceMean": _reduce(np.mean),
    "ReduceMin": _reduce(np.min),
    "ReduceProd": _reduce(np.prod),
    "ReduceSum": _reduce(np.sum),
    "Softmax": _softmax,
    "TopK": _top_k,
}
