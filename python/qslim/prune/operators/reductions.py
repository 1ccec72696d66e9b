# SPDX-License-Identifier: Apache-2.0
"""Operators over windows and whole axes. Windows lie in space; what is summed cannot lose a part."""

from __future__ import annotations

from qslim.graph import Node
from qslim.prune.channels import Channels, Factors
from qslim.prune.operators.rule import CannotFollow, Rule, constant_ints

__all__ = ["REDUCTIONS"]


def _window(channels: Channels, node: Node) -> list[Factors]:
    """Pooling and resizing of [N, C, ...]: channels pass."""
    if str(node.attributes.get("data_format", "NCHW")).endswith("C"):
        raise CannotFollow("channels come last")
    reason = f"{node.label} combines its elements"
    factors = channels.confine(channels.factors(node.inputs[0]), (0, 1), reason)
    return [factors for _ in node.outputs]


def _resize(channels: Channels, node: Node) -> list[Factors]:
    rank = len(channels.shape(node.inputs[0]))
    resized = {int(axis) % rank for axis in node.attributes.get("axes", range(rank))}
    kept = set(range(rank)) - resized
    reason = f"{node.label} combines its elements"
    return [channels.confine(channels.factors(node.inputs[0]), kept, reason)]


def _reduce(channels: Channels, node: Node) -> list[Factors]:
    rank = len(channels.shape(node.inputs[0]))
    axes = constant_ints(channels, node, 1)
    if axes is None:
        axes = node.attributes.get("axes") or list(range(rank))
    return [
        _without(channels, node, {axis % rank for axis in axes}, bool(node.attributes.get("keepdims", 1)))
    ]


def _arg_max(channels: Channels, node: Node) -> list[Factors]:
    rank = len(channels.shape(node.inputs[0]))
    axis = int(node.attributes.get("axis", 0)) % rank
    return [_without(channels, node, {axis}, bool(node.attributes.get("keepdims", 1)))]


def _top_k(channels: Channels, node: Node) -> list[Factors]:
    rank = len(channels.shape(node.inputs[0]))
    factors = _without(channels, node, {int(node.attributes.get("axis", -1)) % rank}, True)
    return [factors, factors]


def _without(channels: Channels, node: Node, axes: set[int], keeps: bool) -> Factors:
    """Factors after something over `axes`; a factor along one of them is frozen."""
    result = []
    for factor in channels.factors(node.inputs[0]):
        if any(factor.shape[axis] > 1 for axis in axes):
            channels.freeze([factor], f"{node.label} reduces over these channels")
            factor = factor[
                tuple(slice(0, 1) if axis in axes else slice(None) for axis in range(factor.ndim))
            ]
        result.append(factor if keeps else factor.squeeze(tuple(axes)))
    return result


# Paddle's own, in NCHW like all that the importer does not turn; another data format is frozen.
_PADDLE_WINDOWS = (
    "bicubic_interp", "bilinear_interp", "linear_interp", "max_pool2d_with_index", "max_pool3d_with_index",
    "nearest_interp", "pool2d", "pool3d", "trilinear_interp",
)  # fmt: skip

REDUCTIONS: dict[str, Rule] = {
    **dict.fromkeys(("AveragePool", "GlobalAveragePool", "GlobalMaxPool", "MaxPool"), _window),
    **dict.fromkeys((f"paddle.{name}" for name in _PADDLE_WINDOWS), _window),
    "ArgMax": _arg_max,
    "Resize": _resize,
    **dict.fromkeys(("ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum"), _reduce),
    "TopK": _top_k,
}
