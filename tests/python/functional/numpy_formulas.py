# SPDX-License-Identifier: Apache-2.0
"""The threshold rules in plain NumPy, on the histogram a TensorStatistics has: slow, short, easy to check.

Where the core integrates over a bin in closed form, these put many points into it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from qslim import functional as F


def magnitudes(statistics: F.TensorStatistics) -> np.ndarray:
    counts = statistics.positive_histogram + statistics.negative_histogram
    return counts[: int(np.flatnonzero(counts)[-1]) + 1].astype(np.float64)


def hist(statistics: F.TensorStatistics, percent: float) -> float:
    counts = magnitudes(statistics)
    first = int(np.argmax(np.cumsum(counts) >= percent * counts.sum()))
    return min((first + 0.5) * statistics.bin_width, statistics.abs_max)


def kl_losses(statistics: F.TensorStatistics, levels: int) -> dict[int, float]:
    """Return the KL divergence of every candidate cut, computed bin by bin."""
    counts = magnitudes(statistics)
    while len(counts) > 2048:
        counts = np.append(counts, np.zeros(len(counts) % 2)).reshape(-1, 2).sum(1)
    losses = {}
    for cut in range(min(max(levels, 2), len(counts)), len(counts) + 1):
        if counts[cut - 1] == 0:
            continue
        p = counts[:cut].copy()
        p[-1] += counts[cut:].sum()
        groups = min(max(levels - 2, 1), max(cut - 2, 0))
        parts = [slice(1 + g * (cut - 2) // groups, 1 + (g + 1) * (cut - 2) // groups) for g in range(groups)]
        q = np.zeros(cut)
        for part in [slice(0, 1), *parts, slice(cut - 1, cut)]:  # the first and the last by themselves
            filled = p[part] > 0
            if filled.any():
                q[part][filled] = counts[:cut][part].sum() / filled.sum()
        kept = p > 0
        p_sum, q_sum = p.sum(), q.sum()
        terms = p[kept] * (np.log(q_sum * p[kept]) - np.log(p_sum * q[kept]))
        losses[cut] = float(terms.sum() / p_sum)
    return losses


def kl_bin_width(statistics: F.TensorStatistics) -> float:
    bins, width = len(magnitudes(statistics)), statistics.bin_width
    while bins > 2048:
        bins, width = math.ceil(bins / 2), 2 * width
    return width


def fractions() -> Iterable[float]:
    return [percent / 100 for percent in range(30, 101, 2)]


def grid_losses(
    statistics: F.TensorStatistics, rule: str, qmax: int, is_unsigned: bool, candidates: Iterable[float]
) -> dict[float, float]:
    """Loss of every candidate threshold by brute force: 16 points in each bin."""
    used = len(magnitudes(statistics))
    points = (np.arange(used)[:, None] + (np.arange(16) + 0.5) / 16) * statistics.bin_width
    positive = np.repeat(statistics.positive_histogram[:used], 16) / 16
    negative = np.repeat(statistics.negative_histogram[:used], 16) / 16
    x = np.concatenate([points.ravel(), -points.ravel()])
    weight = np.concatenate([positive, negative])
    weight = weight / weight.sum()

    def moments(values: np.ndarray) -> tuple[float, float]:
        mean = float(weight @ values)
        return mean, math.sqrt(max(0.0, float(weight @ values**2) - mean**2))

    losses = {}
    for fraction in candidates:
        threshold = fraction * statistics.abs_max
        step = threshold / qmax
        q = np.clip(np.rint(x / step), 0 if is_unsigned else -qmax, qmax) * step
        if rule == "emd":
            mean, deviation = moments(x)
            q_mean, q_deviation = moments(q)
            losses[threshold] = abs(mean - q_mean) + abs(deviation - q_deviation)
        else:
            losses[threshold] = float(weight @ (x - q) ** 2)
    return losses
