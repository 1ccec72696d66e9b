# SPDX-License-Identifier: Apache-2.0
"""Rules of operators that move elements: the operator itself moves the labels.

Extents that the network's code gives survive a cut only if they are computed from the shapes of tensors,
which a traced graph does not tell: a trial does (``prune/trial.py``). What takes a part of the channels by
their numbers is noted for it.
"""

from __future__ import annotations

from typing import Optional

import numpy as np

from qslim.graph import Node
from qslim.graph.operators import Movement, Operator
from qslim.prune.atoms import Labels
from qslim.prune.channels import Channels, Factors, spanned, thin
from qslim.prune.operators.moved_labels import moved_labels, select, take
from qslim.prune.operators.rule import CannotFollow, Rule, constant_ints

__all__ = ["MOVEMENT", "default_rule"]


def default_rule(row: Operator) -> Optional[Rule]:
    """Return the rule that follows from an operator's record, if it moves all or picks some elements."""
    if row.movement in (Movement.VIEW, Movement.PERMUTE):
        return _move
    return select if row.movement is Movement.PICK else None


def _move(channels: Channels, node: Node) -> list[Factors]:
    """Follow an operator that keeps every element; squeezing, flattening and transposing follow shapes."""
    moved = [moved_labels(channels, node, factor)[0] for factor in channels.factors(node.inputs[0])]
    joined: Factors = []
    for factor in moved:  # two axes that became one
        if any(spanned(factor) & spanned(other) for other in joined):
            raise CannotFollow("it merges two axes that are both cut")
        joined.append(factor)
    return [joined]


def _reshape(channels: Channels, node: Node) -> list[Factors]:
    target = channels.graph.constant(node.inputs[1])
    if target is None:
        return [_reshape_to_result(channels, node)]
    results = _move(channels, node)
    if node.source_op == "reshape":
        channels.literal += [
            factor for factor in results[0] if any(target[axis] > 0 for axis in spanned(factor))
        ]
    return results


def _reshape_to_result(channels: Channels, node: Node) -> Factors:
    """Reshape by the shape of the result, where the network computes the extents."""
    source, shape = channels.shape(node.inputs[0]), channels.shape(node.outputs[0])
    return [
        thin(np.broadcast_to(factor, source).reshape(shape)) for factor in channels.factors(node.inputs[0])
    ]


def _split(channels: Channels, node: Node) -> list[Factors]:
    """Cut the same places in each part of one extent."""
    results: list[Factors] = [[] for _ in node.outputs]
    axis = int(node.attributes.get("axis", 0)) % len(channels.shape(node.inputs[0]))
    for factor in channels.factors(node.inputs[0]):
        if factor.shape[axis] == 1:
            for result in results:
                result.append(factor)
            continue
        parts = moved_labels(channels, node, np.asarray(factor))
        first = parts[0]
        if all(part.shape == first.shape for part in parts):
            for part in parts[1:]:
                channels.atoms.unite(part, first)
        if node.source_op == "split":
            channels.literal.append(factor)
        for result, part in zip(results, parts):
            take(channels, node, factor, part)
            result.append(part)
    return results


def _concat(channels: Channels, node: Node) -> list[Factors]:
    shapes = [channels.shape(name) for name in node.inputs]
    rank = len(shapes[0])
    axis = int(node.attributes["axis"]) % rank
    along, across = [], []
    for name, shape in zip(node.inputs, shapes):
        factors = channels.factors(name)
        along.append([factor for factor in factors if factor.shape[axis] > 1])
        others = [factor for factor in factors if factor.shape[axis] == 1]
        across.append((tuple(1 if at == axis else extent for at, extent in enumerate(shape)), others))
    results = channels.couple(across, f"{node.label} puts it beside a tensor that cannot be cut")
    if any(along):
        parts = [_one_factor(channels, node, mine, shape, axis) for mine, shape in zip(along, shapes)]
        extents = [max(part.shape[at] for part in parts) for at in range(rank)]
        for at, part in enumerate(parts):
            parts[at] = np.broadcast_to(part, [*extents[:axis], part.shape[axis], *extents[axis + 1 :]])
        whole = thin(np.concatenate(parts, axis))
        if any(spanned(whole) & spanned(other) for other in results):
            raise CannotFollow("it puts tensors together that are cut in different ways")
        results.append(whole)
    return [results]


def _one_factor(
    channels: Channels, node: Node, factors: Factors, shape: tuple[int, ...], axis: int
) -> Labels:
    """Return the labels of one part of a concatenation along `axis`; a part without any stays whole."""
    if not factors:
        atom = channels.frozen_atom(f"{node.label} puts it beside a tensor that cannot be cut")
        return np.broadcast_to(
            atom.reshape((1,) * len(shape)), [n if at == axis else 1 for at, n in enumerate(shape)]
        )
    first = factors[0]
    for other in factors[1:]:
        channels.atoms.unite(first, other)
    return first


def _pad(channels: Channels, node: Node) -> list[Factors]:
    """Follow a Pad: elements around an image belong to its channels; channels that are added stay."""
    pads = constant_ints(channels, node, 1)
    rank = len(channels.shape(node.inputs[0]))
    if pads is None or len(node.inputs) > 3 or node.attributes.get("mode", "constant") != "constant":
        reason = f"{node.label} repeats elements of it"
        return [channels.confine(channels.factors(node.inputs[0]), (0, 1), reason)]
    results = []
    for factor in channels.factors(node.inputs[0]):
        for axis in spanned(factor):
            widths = [(0, 0)] * rank
            widths[axis] = (pads[axis], pads[rank + axis])
            if min(widths[axis]) < 0:
                raise CannotFollow("it takes channels away by their number")
            if max(widths[axis]) > 0:
                atom = channels.frozen_atom(f"{node.label} adds it")
                factor = np.pad(factor, widths, constant_values=atom[0])
        results.append(factor)
    return [results]


MOVEMENT: dict[str, Rule] = {
    "Concat": _concat,
    "Pad": _pad,
    "Reshape": _reshape,
    "Split": _split,
    "Tile": _move,
}
