# SPDX-License-Identifier: Apache-2.0
"""Operators that look elements up by index, and the largest elements with theirs."""

from __future__ import annotations

import numpy as np

from qslim.graph.operators.operator import Array, Attributes, Movement, Operator, if_first_is, table

__all__ = ["SELECTION"]


def _gather(attributes: Attributes, inputs: list[Array]) -> list[Array]:
    return [np.asarray(np.take(inputs[0], inputs[1], axis=attributes.get("axis", 0)))]


def _gather_elements(attributes: Attributes, inputs: list[Array]) -> list[Array]:
    x, indices = inputs
    axis = attributes.get("axis", 0) % x.ndim
    part = tuple(slice(None) if i == axis else slice(extent) for i, extent in enumerate(indices.shape))
    return [np.take_along_axis(x[part], indices, axis)]


def _gather_nd(_: Attributes, inputs: list[Array]) -> list[Array]:
    x, indices = inputs
    return [np.asarray(x[tuple(np.moveaxis(indices, -1, 0))])]


def _top_k(attributes: Attributes, inputs: list[Array]) -> list[Array]:
    """Return the k largest or least elements and their indices; of equal values the lower index is first."""
    x, k = inputs[0], int(inputs[1].reshape(-1)[0])
    axis = attributes.get("axis", -1)
    key = -x if attributes.get("largest", 1) else x  # a NaN sorts last either way
    order = np.take(np.argsort(key, axis=axis, kind="stable"), np.arange(k), axis=axis)
    return [np.take_along_axis(x, order, axis), order.astype(np.int64)]


SELECTION = table(
    Operator("Gather", _gather, 11, movement=Movement.PICK),
    Operator("GatherElements", _gather_elements, 11, non_negative=if_first_is),
    Operator("GatherND", _gather_nd, 12, non_negative=if_first_is),
    Operator("TopK", _top_k, 11, non_negative=if_first_is),
)
