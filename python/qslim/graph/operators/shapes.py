# SPDX-License-Identifier: Apache-2.0
"""Operators that make or describe shapes: integers that other operators read."""

from __future__ import annotations

import numpy as np

from qslim.graph.operators.operator import Array, Attributes, Operator, table

__all__ = ["SHAPES"]


def _range(_: Attributes, inputs: list[Array]) -> list[Array]:
    start, limit, step = (value.reshape(-1)[0] for value in inputs)
    return [np.arange(start, limit, step, dtype=inputs[0].dtype)]


def _shape(attributes: Attributes, inputs: list[Array]) -> list[Array]:
    return [np.asarray(inputs[0].shape[attributes.get("start", 0) : attributes.get("end")], np.int64)]


def _constant_of_shape(attributes: Attributes, inputs: list[Array]) -> list[Array]:
    """Fill integers; ``value`` is one number here, a tensor of one element in ONNX."""
    shape = [int(extent) for extent in inputs[0].reshape(-1)]
    return [np.full(shape, attributes.get("value", 0), np.int64)]


SHAPES = table(
    Operator("ConstantOfShape", _constant_of_shape, 9),
    Operator("Range", _range, 11),
    Operator("Shape", _shape, 15),
)
