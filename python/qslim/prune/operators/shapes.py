# SPDX-License-Identifier: Apache-2.0
"""Rules of operators that describe shapes, and of those that make elements in a given shape."""

from __future__ import annotations

from qslim.graph import Node
from qslim.prune.channels import Channels, Factors
from qslim.prune.operators.rule import Rule

__all__ = ["SHAPES"]


def _random(channels: Channels, node: Node) -> list[Factors]:
    """Follow random elements; there are as many as the network computes, or as its code says."""
    shape = channels.shape(node.outputs[0])
    labels = [(axis, channels.atoms.new(extent)) for axis, extent in enumerate(shape) if extent > 1]
    factors = [atoms.reshape([-1 if at == axis else 1 for at in range(len(shape))]) for axis, atoms in labels]
    if channels.graph.constant(node.inputs[0]) is not None:
        channels.freeze(factors, f"{node.label} has its extents as numbers")
    return [factors]


def _nothing(channels: Channels, node: Node) -> list[Factors]:
    """Return no factors: extents follow what is cut."""
    return []


SHAPES: dict[str, Rule] = {
    "Range": _nothing,
    "Shape": _nothing,
    "paddle.gaussian": _random,
    "paddle.uniform": _random,
}
