# SPDX-License-Identifier: Apache-2.0
"""Scales of weights for each group of elements of a channel, chosen for the least squared error.

    minimize over s   sum over the group of (w - s * q)^2,   q = clamp(rint(w / s), -qmax, qmax)

For given integers the best scale is <w, q> / <q, q>; for a given scale the best integers are the rounded
ones. Both are done in turn from several parts of max|w| / qmax, and the scale with the least error is kept,
which is never worse than max|w| / qmax itself.
Source: Lloyd's algorithm, as in Banner et al. 2019 (arXiv:1810.05723), section 3, with the scale alone free.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qslim.functional.fake_quant import THRESHOLD_FLOOR
from qslim.graph import QuantParams

__all__ = ["GROUP_SIZES", "group_params"]

# Smaller groups cost more scales than they save error; in larger ones one outlier spoils many weights.
GROUP_SIZES = (32, 64, 128)

# With 8 bits clipping pays nothing: 1 alone is a start then.
_STARTS = (1.0, 0.95, 0.9, 0.85, 0.8, 0.7, 0.6)
_ROUNDS = 2
_BLOCK = 1 << 20  # elements at a time


def group_params(
    weight: NDArray[np.float32], quant_bits: int, quant_axis: int, group_size: int
) -> QuantParams:
    """Return parameters of a matrix with a scale for each `group_size` elements along its other axis.

    Parameters
    ----------
    weight : ndarray of float32, two axes, finite
    quant_axis : 0 or 1, the axis of the output channels
    group_size : int, even; the last group of a channel may be shorter

    Returns
    -------
    QuantParams on [-qmax, qmax], qmax = 2^(quant_bits - 1) - 1.

    Examples
    --------
    >>> weight = np.float32([[7, -7], [3, 1], [0.7, 14], [0, 2]])
    >>> group_params(weight, 4, 1, 2).scale
    array([[1. , 1. ],
           [0.1, 2. ]], dtype=float32)
    """
    qmax = 2 ** (quant_bits - 1) - 1
    channels = weight.T if quant_axis == 1 else weight
    count, length = channels.shape
    groups = -(-length // group_size)
    scale = np.empty((count, groups), np.float32)
    rows = max(1, _BLOCK // max(length, 1))
    for first in range(0, count, rows):
        part = channels[first : first + rows]
        padded = np.zeros((len(part), groups * group_size), np.float32)
        padded[:, :length] = part
        scale[first : first + rows] = _best_scales(padded.reshape(len(part), groups, group_size), qmax)
    return QuantParams(scale.T if quant_axis == 1 else scale, 0, -qmax, qmax, quant_axis, group_size)


def _best_scales(groups: NDArray[np.float32], qmax: int) -> NDArray[np.float32]:
    """Return a scale for each row of the last axis."""
    largest = np.maximum(np.abs(groups).max(-1, initial=0), np.float32(THRESHOLD_FLOOR)) / np.float32(qmax)
    best, least = largest, np.full(largest.shape, np.inf)
    for start in _STARTS if qmax < 127 else _STARTS[:1]:
        scale = largest * np.float32(start)
        for _ in range(_ROUNDS + 1):
            integers = np.clip(np.rint(groups * (np.float32(1) / scale)[..., None]), -qmax, qmax)
            error = ((groups - integers * scale[..., None]).astype(np.float64) ** 2).sum(-1)
            is_better = error < least
            best, least = np.where(is_better, scale, best), np.where(is_better, error, least)
            norm = (integers * integers).sum(-1)
            fitted = (groups * integers).sum(-1) / np.maximum(norm, 1)
            scale = np.where((norm > 0) & (fitted > THRESHOLD_FLOOR / qmax), fitted, scale).astype(np.float32)
    return np.asarray(best, np.float32)
