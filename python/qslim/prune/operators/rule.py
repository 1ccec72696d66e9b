# SPDX-License-Identifier: Apache-2.0
"""The type of a rule, and the operands that rules read."""

from __future__ import annotations

from typing import Callable, Optional

from qslim.graph import Node
from qslim.prune.channels import Channels, Factors

__all__ = ["CannotFollow", "Rule", "constant_ints", "unchanged"]

Rule = Callable[[Channels, Node], list[Factors]]


class CannotFollow(ValueError):
    """Raised by a rule whose operator does with its channels what cutting parameters cannot follow."""


def constant_ints(channels: Channels, node: Node, index: int) -> Optional[list[int]]:
    """Return input `index` of `node` as integers; None if it is absent."""
    name = node.inputs[index] if index < len(node.inputs) else ""
    if not name:
        return None
    value = channels.graph.constant(name)
    if value is None:
        raise CannotFollow("its extents are computed")
    return [int(item) for item in value.reshape(-1)]


def unchanged(channels: Channels, node: Node) -> list[Factors]:
    """Follow an operator whose result has each element at the place of the first operand's."""
    return [channels.factors(node.inputs[0])]
