# SPDX-License-Identifier: Apache-2.0
"""Rules of convolutions and matrix products: the summed channels of both operands are one, others pass.

A product is looked at as its operands laid out over all of its indices, (batch..., M, K, N) for a matrix
product and (N, OC, IC) for a convolution; their factors couple there, then the summed index goes.
"""

from __future__ import annotations

import numpy as np

from qslim.graph import Node
from qslim.prune.channels import Channels, Factors, Shape
from qslim.prune.operators.rule import CannotFollow, Rule

__all__ = ["PRODUCTS"]


def _mat_mul(channels: Channels, node: Node) -> list[Factors]:
    shapes = [channels.shape(name) for name in node.inputs[:2]]
    if len(shapes[1]) > 1:
        channels.add_columns(node.inputs[1], len(shapes[1]) - 1)
    rank = max(2, *(len(shape) for shape in shapes))
    left = _laid_out(channels, node.inputs[0], rank, is_left=True)
    right = _laid_out(channels, node.inputs[1], rank, is_left=False)
    coupled = channels.couple([left, right], f"{node.label} sums over channels that cannot be cut")
    channels.add_cost(node, coupled)
    factors = channels.contract(coupled, rank - 1)
    # A vector's missing axis is not in the result either.
    missing = tuple(axis for axis, shape in ((rank - 2, shapes[0]), (rank - 1, shapes[1])) if len(shape) == 1)
    return [[factor.squeeze(missing) for factor in factors]]


def _laid_out(channels: Channels, name: str, rank: int, is_left: bool) -> tuple[Shape, Factors]:
    """Lay an operand out over (batch..., M, K, N): the left one has no N, the right one no M."""
    shape, factors = channels.shape(name), channels.factors(name)
    if len(shape) == 1 and not is_left:
        shape, factors = (*shape, 1), [factor.reshape(-1, 1) for factor in factors]
    ones = (1,) * (rank - len(shape))

    def over_all(extents: Shape) -> Shape:
        extents = ones + extents
        return (*extents, 1) if is_left else (*extents[:-2], 1, *extents[-2:])

    return over_all(shape), [factor.reshape(over_all(factor.shape)) for factor in factors]


def _conv(channels: Channels, node: Node) -> list[Factors]:
    data, weight = node.inputs[:2]
    shape, filters = channels.shape(data), channels.shape(weight)
    channels.add_columns(weight, 0)
    x, w = _operands(channels, node)
    groups = int(node.attributes.get("group", node.attributes.get("groups", 1)))
    if groups > 1:
        return [_grouped(channels, node, x, w, groups, filters[0])]
    layout = (
        ((shape[0], 1, shape[1]), [factor.reshape(factor.shape[0], 1, factor.shape[1]) for factor in x]),
        ((1, filters[0], filters[1]), [factor.reshape(1, *factor.shape[:2]) for factor in w]),
    )
    coupled = channels.couple(layout, f"{node.label} reads channels that cannot be cut")
    channels.add_cost(node, coupled)
    return [_spread(channels.contract(coupled, 2), len(shape))]


def _conv_transpose(channels: Channels, node: Node) -> list[Factors]:
    """Follow a transposed convolution; the weight is [IC, OC / groups, ...]."""
    data, weight = node.inputs[:2]
    shape, filters = channels.shape(data), channels.shape(weight)
    channels.add_columns(weight, 1)
    x, w = _operands(channels, node)
    groups = int(node.attributes.get("group", node.attributes.get("groups", 1)))
    if groups > 1:
        return [_grouped(channels, node, x, w, groups, filters[1] * groups)]
    layout = (
        ((shape[0], 1, shape[1]), [factor.reshape(factor.shape[0], 1, factor.shape[1]) for factor in x]),
        (
            (1, filters[1], filters[0]),
            [np.swapaxes(factor.reshape(1, *factor.shape[:2]), 1, 2) for factor in w],
        ),
    )
    coupled = channels.couple(layout, f"{node.label} reads channels that cannot be cut")
    channels.add_cost(node, coupled)
    return [_spread(channels.contract(coupled, 2), len(shape))]


def _operands(channels: Channels, node: Node) -> tuple[Factors, Factors]:
    """Return the factors of image and weight; their spatial axes stay whole."""
    if str(node.attributes.get("data_format", "NCHW")).endswith("C"):
        raise CannotFollow("channels come last")
    reason = f"{node.label} sums over a window of it"
    data, weight = node.inputs[:2]
    channels.windows += [factor for factor in channels.factors(weight) if max(factor.shape[:2]) == 1]
    return (
        channels.confine(channels.factors(data), (0, 1), reason),
        channels.confine(channels.factors(weight), (0, 1), reason),
    )


def _grouped(channels: Channels, node: Node, x: Factors, w: Factors, groups: int, outputs: int) -> Factors:
    """Cut groups whole: a group's inputs, filters and outputs are one atom (depthwise: one channel)."""
    filters = [factor for factor in w if factor.shape[0] > 1]
    images = [factor for factor in x if factor.shape[1] > 1]
    if len(w) > len(filters):
        channels.freeze(
            [factor for factor in w if factor.shape[0] == 1], f"{node.label} has groups, which are cut whole"
        )
    if len(filters) != 1 or len(images) != 1 or len(x) != 1 or images[0].shape[0] > 1:
        channels.freeze([*x, *w], f"{node.label} has groups of channels that cannot be cut")
        return []
    image = images[0].reshape(groups, -1)
    if filters[0].shape[1] > 1:
        raise CannotFollow("its weight is computed")
    weight = filters[0].reshape(groups, -1)
    channels.atoms.unite(image, image[:, :1])
    channels.atoms.unite(weight, image[:, :1])
    of_outputs = np.repeat(image[:, 0], outputs // groups)
    channels.add_cost(node, [of_outputs])
    rank = len(channels.shape(node.inputs[0]))
    return [of_outputs.reshape(1, -1, *(1,) * (rank - 2))]


def _spread(factors: Factors, rank: int) -> Factors:
    """Reshape factors of [N, C] to those of an image."""
    return [factor.reshape(*factor.shape, *(1,) * (rank - 2)) for factor in factors]


PRODUCTS: dict[str, Rule] = {
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "MatMul": _mat_mul,
    "paddle.conv2d": _conv,
    "paddle.conv2d_transpose": _conv_transpose,
    "paddle.conv3d": _conv,
    "paddle.conv3d_transpose": _conv_transpose,
    "paddle.depthwise_conv2d": _conv,
    "paddle.depthwise_conv2d_transpose": _conv_transpose,
}
