# SPDX-License-Identifier: Apache-2.0
"""Rules of reductions: an axis that is summed or compared cannot lose a part."""

from __future__ import annotations

from qslim.graph import Node
from qslim.prune.channels import Channels, Factors
from qslim.prune.operators.rule import Rule, constant_ints

__all__ = ["REDUCTIONS", "without_axes"]


def _reduce(channels: Channels, node: Node) -> list[Factors]:
    rank = len(channels.shape(node.inputs[0]))
    axes = constant_ints(channels, node, 1)
    if axes is None:
        axes = node.attributes.get("axes") or list(range(rank))
    return [
        without_axes(channels, node, {axis % rank for axis in axes}, bool(node.attributes.get("keepdims", 1)))
    ]


def _arg_max(channels: Channels, node: Node) -> list[Factors]:
    rank = len(channels.shape(node.inputs[0]))
    axis = int(node.attributes.get("axis", 0)) % rank
    return [without_axes(channels, node, {axis}, bool(node.attributes.get("keepdims", 1)))]


def without_axes(channels: Channels, node: Node, axes: set[int], keeps: bool) -> Factors:
    """Return the factors after a reduction over `axes`; freeze a factor along one of them."""
    result = []
    for factor in channels.factors(node.inputs[0]):
        if any(factor.shape[axis] > 1 for axis in axes):
            channels.freeze([factor], f"{node.label} reduces over these channels")
            factor = factor[
                tuple(slice(0, 1) if axis in axes else slice(None) for axis in range(factor.ndim))
            ]
        result.append(factor if keeps else factor.squeeze(tuple(axes)))
    return result


REDUCTIONS: dict[str, Rule] = {
    "ArgMax": _arg_max,
    **dict.fromkeys(("ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum"), _reduce),
}
