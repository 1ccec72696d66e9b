# SPDX-License-Identifier: Apache-2.0
"""What a rule is, and the operands that rules read."""

from __future__ import annotations

from typing import Callable, Optional

from qslim.graph import Node
from qslim.prune.channels import Channels, Factors

__all__ = ["CannotFollow", "Rule", "constant_ints", "unchanged"]

Rule = Callable[[Channels, Node], list[Factors]]


class CannotFollow(ValueError):
    """This operator does something to its channels that cannot be undone by cutting parameters."""


def constant_ints(channels: Channels, node: Node, index: int) -> Optional[list[int]]:
    """Input `index` of `node` as integers; None if it is absent."""
    name = node.inputs[index] if index < len(node.inputs) else ""
    if not name:
        return None
    value = channels.graph.constant(name)
    if value is None:
        raise CannotFollow("its extents are computed")
    return [int(item) for item in value.reshape(-1)]


def unchanged(channels: Channels, node: Node) -> list[Factors]:
    """Each element of the result comes from the one element of the first operand at its place."""
    return [channels.factors(node.inputs[0])]
