# SPDX-License-Identifier: Apache-2.0
"""Rules of operators that look elements up by index, and of TopK."""

from __future__ import annotations

from qslim.graph import Node
from qslim.prune.channels import Channels, Factors
from qslim.prune.operators.moved_labels import select
from qslim.prune.operators.reductions import without_axes
from qslim.prune.operators.rule import Rule

__all__ = ["SELECTION"]


def _gather(channels: Channels, node: Node) -> list[Factors]:
    data, indices = node.inputs[:2]
    if channels.graph.constant(indices) is not None:
        return select(channels, node)
    axis = int(node.attributes.get("axis", 0)) % len(channels.shape(data))
    if axis == 0 and len(channels.shape(data)) == 2:  # an embedding
        channels.add_columns(data, 1)
    looked_up = [factor for factor in channels.factors(data) if factor.shape[axis] > 1]
    channels.freeze(looked_up, f"{node.label} looks its elements up by their number")
    rank = len(channels.shape(indices))
    passing = [factor for factor in channels.factors(data) if factor.shape[axis] == 1]
    return [
        [factor.reshape(*factor.shape[:axis], *(1,) * rank, *factor.shape[axis + 1 :]) for factor in passing]
    ]


def _top_k(channels: Channels, node: Node) -> list[Factors]:
    rank = len(channels.shape(node.inputs[0]))
    factors = without_axes(channels, node, {int(node.attributes.get("axis", -1)) % rank}, True)
    return [factors, factors]


SELECTION: dict[str, Rule] = {
    "Gather": _gather,
    "TopK": _top_k,
}
