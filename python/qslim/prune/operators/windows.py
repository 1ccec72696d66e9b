# SPDX-License-Identifier: Apache-2.0
"""Rules of operators over windows of an image: channels pass, the axes of the image stay whole."""

from __future__ import annotations

from qslim.graph import Node
from qslim.prune.channels import Channels, Factors
from qslim.prune.operators.rule import CannotFollow, Rule

__all__ = ["WINDOWS"]


def _window(channels: Channels, node: Node) -> list[Factors]:
    """Follow pooling and resizing of [N, C, ...]: channels pass."""
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


# Paddle's own, in NCHW like all that the importer does not turn; another data format is frozen.
_PADDLE_WINDOWS = (
    "bicubic_interp", "bilinear_interp", "linear_interp", "max_pool2d_with_index", "max_pool3d_with_index",
    "nearest_interp", "pool2d", "pool3d", "trilinear_interp",
)  # fmt: skip

WINDOWS: dict[str, Rule] = {
    **dict.fromkeys(("AveragePool", "GlobalAveragePool", "GlobalMaxPool", "MaxPool"), _window),
    **dict.fromkeys((f"paddle.{name}" for name in _PADDLE_WINDOWS), _window),
    "Resize": _resize,
}
