# SPDX-License-Identifier: Apache-2.0
"""Adaptive rounding: each weight goes to the integer below or above it, so that its layer's output stays.

Of one output channel with weights w, the layer's float inputs x and its inputs x^ in the quantized network,
the integers n with scale s keep

    E[(s n . x^ - w . x)^2]

small, which is a quadratic form in n - v / s around the least-squares solution v for the inputs x^ (Nagel et
al. 2020, "Up or Down? Adaptive Rounding for Post-Training Quantization", arXiv:2004.10568, equations 13 and
25: with x^ in place of x the layer takes up errors of those before it). They relax the choices and learn them
with Adam; here the form itself is lowered:

- rows of up to 9 elements, those of 3x3 depthwise convolutions, try every choice;
- longer ones are rounded by ``_core.round_rows``: one element after the other, then single flips.

No step sizes, and the same result each time. A quarter of the patches judges: channels that nearest rounding
serves better on them keep it.
"""

from __future__ import annotations

from typing import Any, Optional

import numpy as np
from numpy.typing import NDArray

from qslim import _core
from qslim.graph import QuantParams
from qslim.quant.post_training.layer_samples import LayerSamples, products
from qslim.threads import default_threads

__all__ = ["round_adaptively"]

# Longer rows are cut into blocks, whose inputs count as uncorrelated: E[x x^T] has as many rows.
_LONGEST_BLOCK = 2048
# Of the mean of the diagonal, added to it: directions that the data hardly shows keep to the nearest.
_DAMPING = 0.01
# Further ones lower the form by a percent.
_MOST_SWEEPS = 4
# Rows so short are rounded in every way: those of 3x3 depthwise convolutions.
_LONGEST_TRIED = 9
# With fewer patches none is kept back to judge.
_FEWEST_TO_JUDGE = 256

_Matrices = NDArray[np.float64]


def round_adaptively(
    value: NDArray[np.float32],
    params: QuantParams,
    layer: LayerSamples,
    seen: Optional[NDArray[np.float32]] = None,
) -> tuple[NDArray[np.float32], bool]:
    """Return `value` fake-quantized with `params`, each element rounded by the layer's error.

    Parameters
    ----------
    value, params : the weight of `layer`, and its quantization parameters
    seen : array [patches, groups * K], optional
        The layer's inputs in the quantized network, for each of ``layer.patches``; None: the float inputs.

    Returns
    -------
    array, bool
        False if nearest rounding serves every channel better.
    """
    inputs = layer.patches
    fitted = len(inputs) - len(inputs) // 4 if len(inputs) >= _FEWEST_TO_JUDGE else len(inputs)
    judged = slice(fitted if fitted < len(inputs) else 0, None)
    rows = layer.group_rows(value)
    scale = layer.group_rows(np.broadcast_to(params.broadcast_scale(value.ndim), value.shape))[:, :, :1]
    own = None if seen is None else seen[:fitted]
    integers = _rounded(rows, scale, params, inputs[:fitted], own)
    nearest = layer.group_rows(params.quantize(value))
    expected = products(inputs[judged], rows)
    errors = [
        np.square(products((inputs if seen is None else seen)[judged], form * scale) - expected).sum(axis=0)
        for form in (integers.astype(np.float32), nearest.astype(np.float32))
    ]
    is_better = (errors[0] <= errors[1]).reshape(*rows.shape[:2], 1)
    chosen = np.where(is_better, integers, nearest).astype(params.dtype)
    return params.dequantize(layer.from_group_rows(chosen, value.shape)), bool(is_better.any())


def _rounded(
    rows: NDArray[np.float32],
    scale: NDArray[np.float32],
    params: QuantParams,
    inputs: NDArray[np.float32],
    seen: Optional[NDArray[np.float32]],
) -> _Matrices:
    """Return the integers for weights `rows` [groups, channels, K]."""
    groups, channels, size = rows.shape
    pieces = next(n for n in range(1, size + 1) if size % n == 0 and size // n <= _LONGEST_BLOCK)

    def blocks_of_rows(values: NDArray[Any]) -> _Matrices:
        parts = values.astype(np.float64).reshape(groups, channels, pieces, -1).transpose(0, 2, 1, 3)
        return np.ascontiguousarray(parts.reshape(groups * pieces, channels, -1))

    def blocks_of_patches(patches: NDArray[np.float32]) -> NDArray[np.float32]:
        blocks = patches.reshape(len(patches), groups * pieces, -1)
        return np.asarray(blocks.transpose(1, 0, 2))

    weights, step = blocks_of_rows(rows), blocks_of_rows(np.broadcast_to(scale, rows.shape))
    x = blocks_of_patches(inputs if seen is None else seen)
    sums = np.matmul(x.transpose(0, 2, 1), x).astype(np.float64)
    diagonal = np.arange(sums.shape[1])
    mean = np.mean(sums[:, diagonal, diagonal], axis=1, keepdims=True)
    sums[:, diagonal, diagonal] += _DAMPING * mean + np.finfo(np.float32).tiny
    upper = np.stack([_core.inverse_factor(block) for block in sums])
    if seen is not None:
        # Of v x^ = w x in the least squares, near w: v = w + w E[(x - x^) x^T] E[x^ x^T]^-1.
        lost = np.matmul((blocks_of_patches(inputs) - x).transpose(0, 2, 1), x).astype(np.float64)
        weights = weights + np.matmul(np.matmul(np.matmul(weights, lost), upper.transpose(0, 2, 1)), upper)
    targets = weights / step
    low = np.clip(np.floor(targets), params.qmin, params.qmax)
    high = np.clip(np.ceil(targets), params.qmin, params.qmax)
    if targets.shape[2] <= _LONGEST_TRIED:
        integers = _try_all(targets, low, high, sums)
    else:
        context = _core.Context(num_threads=default_threads())
        blocks = zip(targets, low, high, sums, upper)
        integers = np.stack([_core.round_rows(*block, _MOST_SWEEPS, context) for block in blocks])
    parts = integers.reshape(groups, pieces, channels, -1).transpose(0, 2, 1, 3)
    return np.asarray(parts.reshape(rows.shape))


def _try_all(targets: _Matrices, low: _Matrices, high: _Matrices, sums: _Matrices) -> _Matrices:
    """Return the best of all choices between `low` and `high`."""
    size = targets.shape[2]
    choices = np.arange(2**size)[:, None] >> np.arange(size) & 1
    best = np.empty_like(targets)
    for row in range(targets.shape[1]):  # one, of a depthwise convolution
        below, above, target = (part[:, row, None] for part in (low, high, targets))
        tried = below + choices * (above - below)
        error = tried - target
        least = np.argmin((np.matmul(error, sums) * error).sum(axis=2), axis=1)
        best[:, row] = np.take_along_axis(tried, least[:, None, None], axis=1)[:, 0]
    return best
