# SPDX-License-Identifier: Apache-2.0
"""Operators that sum or compare along axes."""

from __future__ import annotations

from typing import Any, Callable

import numpy as np

from qslim.graph.operators.operator import (
    Array,
    Attributes,
    Operator,
    OperatorFunction,
    first_shape,
    if_first_is,
    input_or_none,
    table,
)

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


def _cumulative_sum(attributes: Attributes, inputs: list[Array]) -> list[Array]:
    """Add one element after the other, in the dtype of the input."""
    x, axis = inputs[0], int(inputs[1].reshape(-1)[0])
    turned = np.flip(x, axis) if attributes.get("reverse", 0) else x
    sums = np.cumsum(turned, axis=axis, dtype=x.dtype)
    if attributes.get("exclusive", 0):
        sums = np.roll(sums, 1, axis)
        sums[(slice(None),) * (axis % x.ndim) + (0,)] = 0
    return [np.flip(sums, axis) if attributes.get("reverse", 0) else sums]


REDUCTIONS = table(
    Operator("ArgMax", _arg_max, 13),
    Operator("CumSum", _cumulative_sum, 11, first_shape, non_negative=if_first_is),
    Operator("ReduceMax", _reduce(np.max), 18, non_negative=if_first_is),
    Operator("ReduceMean", _reduce(np.mean), 18, non_negative=if_first_is),
    Operator("ReduceMin", _reduce(np.min), 18, non_negative=if_first_is),
    Operator("ReduceProd", _reduce(np.prod), 18, non_negative=if_first_is),
    Operator("ReduceSum", _reduce(np.sum), 13, non_negative=if_first_is),
)
