# SPDX-License-Identifier: Apache-2.0
"""Operators that move elements move their labels the same way: the operator itself runs on the labels.

Extents that the network's code gives survive a cut only if they are computed from the shapes of tensors,
which a traced graph does not tell: a trial does (``prune/trial.py``). What takes a part of the channels by
their numbers is noted for it.
"""

from __future__ import annotations

import numpy as np

from qslim.graph import Node
from qslim.graph.operators import OPERATORS
from qslim.prune.atoms import Labels
from qslim.prune.channels import Channels, Factors, spanned, thin
from qslim.prune.operators.rule import CannotFollow, Rule, constant_ints

__all__ = ["MOVEMENT"]


def _moved(channels: Channels, node: Node, factor: Labels) -> list[Labels]:
    """`factor` where the elements of the first input go, one array for each output."""
    inputs = [np.broadcast_to(factor, channels.shape(node.inputs[0]))]
    for name in node.inputs[1:]:
        constant = channels.graph.constant(name) if name else None
        if name and constant is None:
            raise CannotFollow("its extents are computed")
        inputs.append(constant)  # type: ignore[arg-type]
    return [thin(result) for result in OPERATORS[node.op_type].compute(node.attributes, inputs)]


def _move(channels: Channels, node: Node) -> list[Factors]:
    """Every element stays; squeezing, flattening and transposing follow the shapes of tensors."""
    moved = [_moved(channels, node, factor)[0] for factor in channels.factors(node.inputs[0])]
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
    """The extents are computed by the network, and known here from the result's shape."""
    source, shape = channels.shape(node.inputs[0]), channels.shape(node.outputs[0])
    return [
        thin(np.broadcast_to(factor, source).reshape(shape)) for factor in channels.factors(node.inputs[0])
    ]


def _select(channels: Channels, node: Node) -> list[Factors]:
    """Slice, Gather with known indices, Expand: some elements of an axis, by numbers written down."""
    results: Factors = []
    for factor in channels.factors(node.inputs[0]):
        (moved,) = _moved(channels, node, factor)
        if moved.size == factor.size and (moved.reshape(-1) == factor.reshape(-1)).all():
            if node.op_type == "Expand":
                channels.literal.append(factor)
            results.append(moved)  # another axis is cut
            continue
        _take(channels, node, factor, moved)
        results.append(moved)
    return [results]


def _take(channels: Channels, node: Node, factor: Labels, part: Labels) -> None:
    """Note that `node` takes `part` of `factor` by literal numbers; a single channel has to stay."""
    channels.selected.append((factor, part))
    if part.size == 1:
        channels.freeze([factor], f"{node.label} takes one of these channels by its number")


def _gather(channels: Channels, node: Node) -> list[Factors]:
    data, indices = node.inputs[:2]
    if channels.graph.constant(indices) is not None:
        return _select(channels, node)
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


def _split(channels: Channels, node: Node) -> list[Factors]:
    """Parts of one extent stay so: the same places are cut in each."""
    results: list[Factors] = [[] for _ in node.outputs]
    axis = int(node.attributes.get("axis", 0)) % len(channels.shape(node.inputs[0]))
    for factor in channels.factors(node.inputs[0]):
        if factor.shape[axis] == 1:
            for result in results:
                result.append(factor)
            continue
        parts = _moved(channels, node, np.asarray(factor))
        first = parts[0]
        if all(part.shape == first.shape for part in parts):
            for part in parts[1:]:
                channels.atoms.unite(part, first)
        if node.source_op == "split":
            channels.literal.append(factor)
        for result, part in zip(results, parts):
            _take(channels, node, factor, part)
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
    """The labels of one part of a concatenation along `axis`; what has none of its own stays whole."""
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
    """Elements around an image belong to its channels; channels that are added stay."""
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


def _random(channels: Channels, node: Node) -> list[Factors]:
    """Each element is drawn by itself; there are as many as the network computes, or as its code says."""
    shape = channels.shape(node.outputs[0])
    labels = [(axis, channels.atoms.new(extent)) for axis, extent in enumerate(shape) if extent > 1]
    factors = [atoms.reshape([-1 if at == axis else 1 for at in range(len(shape))]) for axis, atoms in labels]
    if channels.graph.constant(node.inputs[0]) is not None:
        channels.freeze(factors, f"{node.label} has its extents as numbers")
    return [factors]


def _nothing(channels: Channels, node: Node) -> list[Factors]:
    """Extents, not elements: they follow what is cut."""
    return []


MOVEMENT: dict[str, Rule] = {
    "Concat": _concat,
    "DepthToSpace": _move,
    "Expand": _select,
    "Flatten": _move,
    "Gather": _gather,
    "Pad": _pad,
    "paddle.gaussian": _random,
    "paddle.uniform": _random,
    "Range": _nothing,
    "Reshape": _reshape,
    "Shape": _nothing,
    "Slice": _select,
    "Split": _split,
    "Squeeze": _move,
    "Tile": _move,
    "Transpose": _move,
    "Unsqueeze": _move,
}
