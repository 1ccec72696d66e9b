# SPDX-License-Identifier: Apache-2.0
"""Adaptive rounding: each weight goes to the integer below or above it, so that its layer's output stays.

Of one output channel, with its error d = integers * scale - weights and the layer's float inputs x, patch by
patch over the calibration data, the error of the output is

    E[(d . x)^2] = d^T E[x x^T] d

a quadratic problem in binary choices (Nagel et al. 2020, "Up or Down? Adaptive Rounding for Post-Training
Quantization", arXiv:2004.10568, equation 13). They relax the choices and learn them with Adam; here the form
itself is lowered:

- rows of up to 9 elements, those of 3x3 depthwise convolutions, try every choice;
- for longer ones a first pass rounds one element after the other and lets those that are still free take up
  the error, at the optimum of the form (GPTQ, Frantar et al. 2022, arXiv:2210.17323, without leaving the two
  neighbours), and a second flips elements to their other neighbour as long as that lowers the form.

No step sizes, the same result each time, and the data is seen once: a layer needs its E[x x^T] alone.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qslim.graph import Graph, Node, QuantParams
from qslim.graph.operators.products import pixel_patches
from qslim.quant.post_training.layer_samples import LayerSamples, sampled_layers
from qslim.quant.post_training.operator_selection import Selection

__all__ = ["InputMoments", "input_moments", "moments_of_samples", "round_adaptively"]

# Longer patches are cut into blocks, whose inputs count as uncorrelated: E[x x^T] has as many rows.
_LONGEST_BLOCK = 2048
# Of a layer's patches, evenly spread, so many of each batch: neighbours tell little more.
_PATCHES_PER_BATCH = 1024
# Of the mean of the diagonal, added to it: directions that the data hardly shows keep to the nearest.
_DAMPING = 0.01
_MOST_SWEEPS = 50
# Rows so short are rounded in every way: those of 3x3 depthwise convolutions.
_LONGEST_TRIED = 9


class InputMoments:
    """The sum of x x^T over the patches that one operator's weight multiplies.

    Attributes
    ----------
    tensor, weight : str
        The operator's data input and its weight.
    sums : array [blocks, K, K], float32
        Of consecutive blocks of a weight row's elements; each group of a convolution has blocks of its own.
    """

    def __init__(self, graph: Graph, node: Node, weight: str, axis: int) -> None:
        value = graph.tensors[weight].value
        assert value is not None
        self.tensor, self.weight = node.inputs[0], weight
        self._node, self._axis = node, axis
        self._is_convolution = node.op_type == "Conv"
        self._kernel = value.shape[2:] if self._is_convolution else ()
        self._groups = int(node.attributes.get("group", 1)) if self._is_convolution else 1
        row = value.size // value.shape[axis]
        channels = row // int(np.prod(self._kernel, dtype=int))
        pieces = next(n for n in range(1, channels + 1) if channels % n == 0 and row // n <= _LONGEST_BLOCK)
        self._pieces, block = pieces, row // pieces
        self.sums: NDArray[np.float32] = np.zeros((self._groups * pieces, block, block), np.float32)

    def update(self, x: NDArray[np.float32]) -> None:
        """Count the patches of one batch in."""
        if self._is_convolution:
            patches = pixel_patches(x, self._kernel, self._node.attributes, _PATCHES_PER_BATCH)
        else:
            patches = x.reshape(-1, x.shape[-1])
            patches = patches[:: -(-len(patches) // _PATCHES_PER_BATCH)]
        self.add_patches(patches)

    def add_patches(self, patches: NDArray[np.float32]) -> None:
        """Count patches in, [patches, groups * K]."""
        blocks = patches.reshape(len(patches), *self.sums.shape[:2]).transpose(1, 0, 2)
        self.sums += np.matmul(blocks.transpose(0, 2, 1), blocks)

    def merge(self, other: InputMoments) -> None:
        self.sums += other.sums

    def rows(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return a weight as [blocks, rows, K], the factors of each block of a patch."""
        blocks, size = self.sums.shape[:2]
        rows = np.moveaxis(values, self._axis, 0).reshape(self._groups, -1, self._pieces, size)
        return np.asarray(rows.transpose(0, 2, 1, 3).reshape(blocks, -1, size))

    def values(self, rows: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
        """Return the weight of `shape` of which ``rows`` has made `rows`."""
        moved = (shape[self._axis], *shape[: self._axis], *shape[self._axis + 1 :])
        parts = rows.reshape(self._groups, self._pieces, -1, self.sums.shape[1]).transpose(0, 2, 1, 3)
        return np.moveaxis(parts.reshape(moved), 0, self._axis)


def input_moments(graph: Graph, selection: Selection) -> list[InputMoments]:
    """Return empty moments for each of ``sampled_layers``; other weights are rounded to nearest."""
    return [InputMoments(graph, *layer) for layer in sampled_layers(graph, selection)]


def moments_of_samples(graph: Graph, layer: LayerSamples) -> InputMoments:
    """Return the moments of the patches that `layer` has kept."""
    moments = InputMoments(graph, layer.node, layer.weight, layer.axis)
    moments.add_patches(layer.patches)
    return moments


def round_adaptively(
    value: NDArray[np.float32], params: QuantParams, moments: InputMoments
) -> NDArray[np.float32]:
    """Return `value` fake-quantized with `params`, each element rounded down or up by the layer's error."""
    scale = params.broadcast_scale(value.ndim).astype(np.float64)
    steps = moments.rows(value / scale)
    sums = moments.sums.astype(np.float64)
    size = sums.shape[1]
    diagonal = np.arange(size)
    mean = np.mean(sums[:, diagonal, diagonal], axis=1, keepdims=True)
    sums[:, diagonal, diagonal] += _DAMPING * mean + np.finfo(np.float32).tiny
    low = np.clip(np.floor(steps), params.qmin, params.qmax)
    high = np.clip(np.ceil(steps), params.qmin, params.qmax)
    if size <= _LONGEST_TRIED:
        integers = _try_all(steps, low, high, sums)
    else:
        integers = _round_in_turn(steps, low, high, sums)
        _flip(integers, steps, low + high, sums)
    nearest = moments.rows(params.quantize(value)).astype(np.float64)
    is_worse = _form(integers - steps, sums) > _form(nearest - steps, sums)
    integers = np.where(is_worse[:, :, None], nearest, integers)
    return params.dequantize(moments.values(integers, value.shape).astype(params.dtype))


def _form(error: NDArray[np.float64], sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return d^T S d of each row d, [blocks, rows]."""
    return np.asarray((np.matmul(error, sums) * error).sum(axis=2))


def _try_all(
    steps: NDArray[np.float64], low: NDArray[np.float64], high: NDArray[np.float64], sums: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the best of all choices between `low` and `high`."""
    size = steps.shape[2]
    choices = np.arange(2**size)[:, None] >> np.arange(size) & 1
    best = np.empty_like(steps)
    for row in range(steps.shape[1]):  # one, of a depthwise convolution
        below, above, target = (part[:, row, None] for part in (low, high, steps))
        tried = below + choices * (above - below)
        least = np.argmin(_form(tried - target, sums), axis=1)
        best[:, row] = np.take_along_axis(tried, least[:, None, None], axis=1)[:, 0]
    return best


def _round_in_turn(
    steps: NDArray[np.float64], low: NDArray[np.float64], high: NDArray[np.float64], sums: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Round each element of a row to `low` or `high`, and move those after it to where the form is least."""
    # With S^-1 = U^T U, U triangular, an error e of element k moves the later ones by -e U[k] / U[k, k].
    upper = np.linalg.cholesky(np.linalg.inv(sums)).transpose(0, 2, 1)
    left = np.array(steps)
    for k in range(steps.shape[2]):
        rounded = np.clip(np.rint(left[:, :, k]), low[:, :, k], high[:, :, k])
        error = (left[:, :, k] - rounded) / upper[:, k, k, None]
        left[:, :, k + 1 :] -= error[:, :, None] * upper[:, k, None, k + 1 :]
        left[:, :, k] = rounded
    return left


def _flip(
    integers: NDArray[np.float64],
    steps: NDArray[np.float64],
    neighbours: NDArray[np.float64],
    sums: NDArray[np.float64],
) -> None:
    """Change `integers` in place, each to ``neighbours - integers`` and back, until none lowers the form."""
    slope = np.matmul(integers - steps, sums)
    for _ in range(_MOST_SWEEPS):
        is_done = True
        for k in range(integers.shape[2]):
            flip = neighbours[:, :, k] - 2 * integers[:, :, k]
            change = flip * (2 * slope[:, :, k] + flip * sums[:, k, k, None])
            block, row = np.nonzero(change < 0)
            if len(block) == 0:
                continue
            is_done = False
            step = flip[block, row]
            integers[block, row, k] += step
            slope[block, row] += step[:, None] * sums[block, k]
        if is_done:
            return
