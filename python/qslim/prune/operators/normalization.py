# SPDX-License-Identifier: Apache-2.0
"""Normalizations. Per channel, cutting is exact; across channels the statistics change with what is cut."""

from __future__ import annotations

from qslim.graph import Node
from qslim.prune.channels import Channels, Factors, Shape
from qslim.prune.operators.rule import CannotFollow, Rule

__all__ = ["NORMALIZATION"]


def _per_channel(channels: Channels, node: Node) -> list[Factors]:
    """Follow BatchNormalization and InstanceNormalization: x [N, C, ...], parameters [C]."""
    return [_with_parameters(channels, node, channels.factors(node.inputs[0]))]


def _with_parameters(channels: Channels, node: Node, factors: Factors) -> Factors:
    """Couple `factors` of x with the parameters of its channels, its axis 1."""
    data, *parameters = (name for name in node.inputs if name)
    shape = channels.shape(data)
    operands: list[tuple[Shape, Factors]] = [(shape, factors)]
    for name in parameters:
        extents = (1, channels.shape(name)[0], *(1,) * (len(shape) - 2))
        operands.append((extents, [factor.reshape(extents) for factor in channels.factors(name)]))
    return channels.couple(operands, f"{node.label} normalizes channels that cannot be cut")


def _group_norm(channels: Channels, node: Node) -> list[Factors]:
    """Cut groups of channels whole, which leaves the statistics of the others alone."""
    data = node.inputs[0]
    groups, extent = int(node.attributes["num_groups"]), channels.shape(data)[1]
    factors = channels.confine(channels.factors(data), (0, 1), f"{node.label} averages over it")
    for factor in factors:
        if factor.shape[1] == 1:
            continue
        if groups == 1:
            channels.inexact.append(factor)
        elif factor.shape[0] > 1 or extent % groups:
            raise CannotFollow("its groups are no groups of channels")
        else:
            blocks = factor.reshape(groups, -1)
            channels.atoms.unite(blocks, blocks[:, :1])
    return [_with_parameters(channels, node, factors)]


def _layer_norm(channels: Channels, node: Node) -> list[Factors]:
    data = node.inputs[0]
    rank = len(channels.shape(data))
    first = int(node.attributes["axis"]) % rank
    normalized = set(range(first, rank))
    for factor in channels.factors(data):
        if any(factor.shape[axis] > 1 for axis in normalized):
            channels.inexact.append(factor)
    names = [name for name in node.inputs if name]
    return [channels.couple_tensors(names, rank, f"{node.label} normalizes what cannot be cut")]


def _softmax(channels: Channels, node: Node) -> list[Factors]:
    factors = channels.factors(node.inputs[0])
    rank = len(channels.shape(node.inputs[0]))
    axis = int(node.attributes.get("axis", -1)) % rank
    channels.freeze(
        [factor for factor in factors if factor.shape[axis] > 1], f"{node.label} sums over these channels"
    )
    return [factors]


NORMALIZATION: dict[str, Rule] = {
    "BatchNormalization": _per_channel,
    "GroupNormalization": _group_norm,
    "InstanceNormalization": _per_channel,
    "LayerNormalization": _layer_norm,
    "Softmax": _softmax,
}
