# SPDX-License-Identifier: Apache-2.0
"""Samples of what each layer's weight multiplies, kept while calibration runs.

A patch is what one output pixel of a convolution reads, or a row of a matrix product's operand. Of all
patches of all batches those with the least hash are kept, a sample that is even over the data. The hash is of
the picture and of the patch's place, so neither the order of the batches, nor their size, nor the process
that saw them changes the sample; merging takes the least hashes of both.
"""

from __future__ import annotations

import copy
from typing import Any, Optional

import numpy as np
from numpy.typing import NDArray

from qslim.graph import Graph, Node
from qslim.graph.operators.geometry import window_extent
from qslim.graph.operators.products import pixel_patches_at
from qslim.quant.post_training.operator_selection import Selection, weight_input

__all__ = ["LayerSamples", "layer_samples", "products"]

# Elements kept of each layer: 2 MB; of short patches no more than tell a layer's errors well.
_MOST_ELEMENTS = 2**19
_MOST_PATCHES, _FEWEST_PATCHES = 1024, 64
# A solution for a row of weights needs several times as many patches as the row has factors, within 16 MB.
_PATCHES_PER_FACTOR, _FEWEST_TO_SOLVE, _MOST_TO_SOLVE = 8, 256, 4096
_MOST_ELEMENTS_TO_SOLVE = 2**22
# Patches of each picture that are looked at, evenly spread.
_PATCHES_PER_SAMPLE = 256


class LayerSamples:
    """Patches of one operator with a constant weight.

    Attributes
    ----------
    tensor, weight : str
        The operator's data input and its weight.
    node : Node
    axis : int
        The weight's axis of output channels.
    groups, size : int
        A patch has so many elements in all, a group of channels after the other.
    """

    def __init__(self, graph: Graph, node: Node, weight: str, axis: int, to_solve: bool = False) -> None:
        value = graph.tensors[weight].value
        assert value is not None
        self.tensor, self.weight, self.node, self.axis = node.inputs[0], weight, node, axis
        is_convolution = node.op_type == "Conv"
        self._kernel = value.shape[2:] if is_convolution else ()
        self.groups = int(node.attributes.get("group", 1)) if is_convolution else 1
        self.size = value.size // value.shape[axis] * self.groups
        most = min(_MOST_ELEMENTS // self.size, _MOST_PATCHES)
        if to_solve:
            wanted = max(_PATCHES_PER_FACTOR * self.size // self.groups, _FEWEST_TO_SOLVE)
            most = max(most, min(wanted, _MOST_ELEMENTS_TO_SOLVE // self.size, _MOST_TO_SOLVE))
        self._most = int(max(most, _FEWEST_PATCHES))
        self._start()

    def _start(self) -> None:
        # Every hash up to this one may still be among the least.
        self._bound: Optional[np.uint64] = None
        self._hashes = [np.zeros(0, np.uint64)]
        self._patches: list[NDArray[np.float32]] = [np.zeros((0, self.size), np.float32)]

    @property
    def patches(self) -> NDArray[np.float32]:
        """The patches, [patches, groups * K], in the order of their hashes: any leading part is a sample."""
        self._drop_most()
        return self._patches[0]

    def empty(self) -> LayerSamples:
        """Return samples of the same layer that have seen nothing."""
        other = copy.copy(self)
        other._start()
        return other

    def has_patches_of(self, other: LayerSamples) -> bool:
        """Return True if each of the patches comes from the place of the same one of `other`."""
        self._drop_most()
        other._drop_most()
        return np.array_equal(self._hashes[0], other._hashes[0])

    def update(self, x: NDArray[np.float32], digests: NDArray[np.uint64]) -> None:
        """Look at one batch, whose pictures have `digests`."""
        rows, extent = self._rows(x)
        if rows == 0:
            return
        pictures = len(digests) if len(x) == len(digests) else 1
        each = rows // pictures
        places = np.arange(0, each, -(-each // _PATCHES_PER_SAMPLE), dtype=np.int64)
        own = digests if pictures > 1 or len(digests) == 1 else np.bitwise_xor.reduce(digests, keepdims=True)
        hashes = _mixed(own[:, None] + places.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)).reshape(-1)
        places = (np.arange(pictures)[:, None] * each + places).reshape(-1)
        if self._bound is not None:
            is_less = hashes < self._bound
            hashes, places = hashes[is_less], places[is_less]
        if len(hashes) > 0:
            self._add(hashes, self._patches_at(x, places, extent))

    def merge(self, other: LayerSamples) -> None:
        """Keep the least hashes of both."""
        patches = other.patches
        self._add(other._hashes[0], patches)

    def channels(self, graph: Graph) -> int:
        """Return the number of output channels."""
        value = graph.tensors[self.weight].value
        assert value is not None
        return int(value.shape[self.axis])

    def group_rows(self, weight: NDArray[Any]) -> NDArray[Any]:
        """Return `weight` as [groups, channels of a group, K], the factors of each group of a patch."""
        rows = np.moveaxis(weight, self.axis, 0)
        return rows.reshape(self.groups, len(rows) // self.groups, -1)

    def from_group_rows(self, rows: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
        """Return the weight of `shape` of which ``group_rows`` has made `rows`."""
        moved = (shape[self.axis], *shape[: self.axis], *shape[self.axis + 1 :])
        return np.moveaxis(rows.reshape(moved), 0, self.axis)

    @property
    def input_channels(self) -> int:
        """The number of channels that the layer reads."""
        return int(self.size // np.prod(self._kernel, dtype=int))

    def spread(self, factors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the number of each input channel for each element of a patch, [groups * K]."""
        return np.repeat(factors, self.size // len(factors))

    def divided(self, patches: NDArray[np.float32], factors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return `patches` with each input channel divided by its factor."""
        return patches / self.spread(factors)

    def divide_channels(self, factors: NDArray[np.float32]) -> None:
        """Divide the input channels of the samples by `factors`, as the network now does."""
        self._patches = [self.divided(patches, factors) for patches in self._patches]

    def channel_maxima(self, patches: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the largest magnitude of each input channel in `patches`."""
        return np.asarray(np.abs(patches).max(axis=0).reshape(self.input_channels, -1).max(axis=1))

    def outputs(self, patches: NDArray[np.float32], weight: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return what the operator makes of `patches`, [patches, output channels]."""
        return products(patches, self.group_rows(weight))

    def _rows(self, x: NDArray[np.float32]) -> tuple[int, tuple[int, ...]]:
        """Return the number of patches in `x`, and the extents that they are counted along."""
        if not self._kernel:
            return x.size // x.shape[-1], x.shape[:-1]
        attributes = self.node.attributes
        extent = [window_extent(attributes, i, x.shape[2 + i], self._kernel[i]) for i in (0, 1)]
        return len(x) * extent[0] * extent[1], (len(x), *extent)

    def _patches_at(
        self, x: NDArray[np.float32], places: NDArray[np.int64], extent: tuple[int, ...]
    ) -> NDArray[np.float32]:
        if not self._kernel:
            return x.reshape(-1, x.shape[-1])[places]
        image, row, column = np.unravel_index(places, extent)
        return pixel_patches_at(x, self._kernel, self.node.attributes, image, row, column)

    def _add(self, hashes: NDArray[np.uint64], patches: NDArray[np.float32]) -> None:
        self._hashes.append(hashes)
        self._patches.append(patches)
        if sum(map(len, self._hashes)) >= 2 * self._most:
            self._drop_most()

    def _drop_most(self) -> None:
        """Keep one patch of each of the least hashes, sorted."""
        if len(self._hashes) == 1:
            return
        hashes, first = np.unique(np.concatenate(self._hashes), return_index=True)
        self._hashes = [hashes[: self._most]]
        self._patches = [np.concatenate(self._patches)[first[: self._most]]]
        if len(hashes) >= self._most:
            self._bound = hashes[self._most - 1]


def products(patches: NDArray[np.float32], rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the products of `patches` and `rows` [groups, channels of a group, K], [patches, channels]."""
    groups = patches.reshape(len(patches), len(rows), -1)
    if len(rows) == 1:
        return np.asarray(np.matmul(patches, rows[0].T))
    if rows.shape[1] == 1:  # depthwise
        return np.asarray(np.einsum("ngk,gk->ng", groups, rows[:, 0]))
    product = np.matmul(groups.transpose(1, 0, 2), rows.transpose(0, 2, 1))
    return np.asarray(product.transpose(1, 0, 2).reshape(len(patches), -1))


def _mixed(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return a hash of each number, one to one.

    Source: SplitMix64 of Steele, Lea and Flood 2014, doi 10.1145/2660193.2660195.
    """
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(x ^ (x >> np.uint64(31)))


def layer_samples(graph: Graph, selection: Selection, to_solve: bool = False) -> list[LayerSamples]:
    """Return empty samples of the layers whose patches can be told, in the order of the Graph's nodes.

    Those are convolutions of images and products of rows, on an activation to calibrate, whose weight no
    other operator reads; transposed convolutions are not among them. `to_solve` keeps as many patches as a
    solution for the layer's weights needs.
    """
    readers: dict[str, list[tuple[Node, int]]] = {}
    for decision in selection.decisions:
        found = weight_input(graph, decision.node) if decision.is_quantized else None
        if found is not None:
            readers.setdefault(found[0], []).append((decision.node, found[1]))
    layers = [
        LayerSamples(graph, nodes[0][0], weight, nodes[0][1], to_solve)
        for weight, nodes in readers.items()
        if len(nodes) == 1 and _has_patches(graph, nodes[0][0], weight, selection)
    ]
    place = {id(node): number for number, node in enumerate(graph.nodes)}
    return sorted(layers, key=lambda layer: place[id(layer.node)])


def _has_patches(graph: Graph, node: Node, weight: str, selection: Selection) -> bool:
    rank = len(graph.tensors[weight].shape or ())
    is_image = node.op_type == "Conv" and node.inputs[1] == weight and rank == 4
    return node.inputs[0] in selection.activations and (is_image or (node.op_type == "MatMul" and rank == 2))
