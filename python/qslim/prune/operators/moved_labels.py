# SPDX-License-Identifier: Apache-2.0
"""Labels of a result that holds elements of operand 0: the operator itself runs on the labels."""

from __future__ import annotations

import numpy as np

from qslim.graph import Node
from qslim.graph.operators import OPERATORS
from qslim.prune.atoms import Labels
from qslim.prune.channels import Channels, Factors, thin
from qslim.prune.operators.rule import CannotFollow

__all__ = ["moved_labels", "select", "take"]


def moved_labels(channels: Channels, node: Node, factor: Labels) -> list[Labels]:
    """Return `factor` moved as the elements of the first input are, one array for each output."""
    inputs = [np.broadcast_to(factor, channels.shape(node.inputs[0]))]
    for name in node.inputs[1:]:
        constant = channels.graph.constant(name) if name else None
        if name and constant is None:
            raise CannotFollow("its extents are computed")
        inputs.append(constant)  # type: ignore[arg-type]
    return [thin(result) for result in OPERATORS[node.op_type].compute(node.attributes, inputs)]


def select(channels: Channels, node: Node) -> list[Factors]:
    """Follow Slice, Expand or Gather with known indices: they take elements of an axis by literal numbers."""
    results: Factors = []
    for factor in channels.factors(node.inputs[0]):
        (part,) = moved_labels(channels, node, factor)
        if part.size == factor.size and (part.reshape(-1) == factor.reshape(-1)).all():
            if node.op_type == "Expand":
                channels.literal.append(factor)
            results.append(part)  # another axis is cut
            continue
        take(channels, node, factor, part)
        results.append(part)
    return [results]


def take(channels: Channels, node: Node, factor: Labels, part: Labels) -> None:
    """Note that `node` takes `part` of `factor` by literal numbers; a single channel has to stay."""
    channels.selected.append((factor, part))
    if part.size == 1:
        channels.freeze([factor], f"{node.label} takes one of these channels by its number")
