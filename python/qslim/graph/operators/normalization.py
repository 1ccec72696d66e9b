# SPDX-License-Identifier: Apache-2.0
"""Operators that scale a tensor by statistics of its own."""

from __future__ import annotations

import numpy as np

from qslim.graph.operators.operator import (
    Array,
    Attributes,
    Operator,
    always,
    first_shape,
    input_or_none,
    table,
)

__all__ = ["NORMALIZATION"]


def _softmax(attributes: Attributes, inputs: list[Array]) -> list[Array]:
    x = inputs[0].astype(np.float64)
    axis = attributes.get("axis", -1)
    exponentials = np.exp(x - x.max(axis=axis, keepdims=True))
    return [(exponentials / exponentials.sum(axis=axis, keepdims=True)).astype(inputs[0].dtype)]


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


NORMALIZATION = table(
    Operator("BatchNormalization", _batch_normalization, 14, first_shape),
    Operator("GroupNormalization", _group_normalization, 21, first_shape),
    Operator("InstanceNormalization", _instance_normalization, 6, first_shape),
    Operator("LayerNormalization", _layer_normalization, 17, first_shape),
    Operator("Softmax", _softmax, 13, first_shape, non_negative=always),
)
