# SPDX-License-Identifier: Apache-2.0
"""Products of float data with a constant matrix of integers: weight-only quantization.

    w[k, n] = fl(q[k, n] * scale[k // group_size, n])
    y[m, n] = fma(x[m, K-1], w[K-1, n], ... fma(x[m, 0], w[0, n], +0))           then fl(y + bias) of a Gemm

One chain of fused multiply-adds over rising k, rounded to float32 once a step, is what the engine computes on
every instruction set. NumPy has no such operation; in float64 the product of two floats is exact, and a sum
that is rounded to odd can be rounded once more to float32 as the exact sum would be.
Source: Boldo and Melquiond 2008, Emulation of FMA and correctly rounded sums, IEEE TC 57 (4), theorem 3.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Optional

import numpy as np
from numpy.typing import NDArray

from qslim.graph.graph import Graph, Node
from qslim.graph.integer_operators import channel_axis, find_integer_operator

__all__ = ["is_weight_only", "multiply_weight_only"]

_Array = NDArray[Any]


def is_weight_only(graph: Graph, node: Node) -> bool:
    """Return True if `node` multiplies floats by a constant matrix whose integers stay in memory."""
    if node.domain or node.op_type not in ("MatMul", "Gemm") or len(node.inputs) < 2:
        return False
    weight = graph.tensors[node.inputs[1]]
    params = weight.quantization
    if weight.value is None or weight.value.ndim != 2 or params is None:
        return False
    if (
        params.dtype != np.int8
        or params.zero_point != 0
        or params.quant_axis not in (None, channel_axis(node))
    ):
        return False
    attributes = node.attributes
    if attributes.get("transA", 0) or attributes.get("alpha", 1) != 1 or attributes.get("beta", 1) != 1:
        return False
    return find_integer_operator(graph, node) is None


def multiply_weight_only(node: Node, inputs: Sequence[Optional[_Array]]) -> _Array:
    """Return the result of `node`; its weight is given in real values."""
    x, weight = inputs[:2]
    assert x is not None
    assert weight is not None
    if node.attributes.get("transB", 0):
        weight = weight.T
    if x.shape[-1] != weight.shape[0]:
        raise ValueError(f"{x.shape[-1]} columns against {weight.shape[0]} rows")
    result = _fused_chains(x.reshape(-1, x.shape[-1]), weight).reshape(*x.shape[:-1], weight.shape[1])
    bias = inputs[2] if len(inputs) > 2 else None
    return result if bias is None else result + bias


def _fused_chains(x: NDArray[np.float32], weight: NDArray[np.float32]) -> NDArray[np.float32]:
    acc = np.zeros((len(x), weight.shape[1]), np.float32)
    for column, row in zip(x.T.astype(np.float64), weight.astype(np.float64)):
        acc = _sum_rounded_to_odd(column[:, None] * row, acc.astype(np.float64)).astype(np.float32)
    return acc


def _sum_rounded_to_odd(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a + b; where it is inexact, the one of its two neighbours whose last bit is 1."""
    total = a + b
    part = total - a
    error = (a - (total - part)) + (b - part)  # exact: Knuth's TwoSum
    bits = total.view(np.int64)
    is_even = (bits & 1) == 0
    away = np.where((error > 0) == (total > 0), 1, -1)
    bits += np.where(is_even & ((error > 0) | (error < 0)), away, 0)
    return total
