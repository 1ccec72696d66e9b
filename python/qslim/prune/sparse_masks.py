# SPDX-License-Identifier: Apache-2.0
"""Masks of a sparse network, over single weights or blocks of weights.

A weight is seen as a matrix [shape[0], rest], cut into blocks of m x n (those at the edges smaller); a
block's score is the mean magnitude of its elements. `ratio` prunes exactly ``round(ratio * blocks)`` blocks,
the least ones; equal scores go in the order of the weights, so ties change no count. `threshold` prunes every
block whose score is below it.
Source: paddleslim 2.6.0, dygraph/prune/unstructured_pruner.py, which keeps or drops all ties together.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["SparseRule", "sparsity", "two_of_four"]

_Array = NDArray[Any]


@dataclass
class SparseRule:
    """Rule by which masks follow from weights.

    Parameters
    ----------
    mode : {"ratio", "threshold"}
    ratio : float in [0, 1)
        Share of the blocks to prune, of all weights together or of each (`local_sparsity`).
    threshold : float >= 0
        Least score that is kept, in mode "threshold"; ``masks`` sets it to the largest one that it pruned
        where `ratio` counts all weights together.
    local_sparsity : bool
    sparse_block : two positive integers

    Raises
    ------
    ValueError : names the parameter, the rule and the value.

    Examples
    --------
    >>> rule = SparseRule("ratio", ratio=0.5)
    >>> rule.masks({"w": np.float32([[1, -2], [2, 3]])})["w"]
    array([[0., 0.],
           [1., 1.]], dtype=float32)
    """

    mode: str
    ratio: float = 0.55
    threshold: float = 0.01
    local_sparsity: bool = False
    sparse_block: Sequence[int] = (1, 1)

    def __post_init__(self) -> None:
        if self.mode not in ("ratio", "threshold"):
            raise ValueError(f"mode must be selected from 'ratio' and 'threshold', got {self.mode!r}")
        if self.local_sparsity and self.mode != "ratio":
            raise ValueError("local_sparsity needs mode 'ratio': a threshold is one for all weights")
        if self.mode == "ratio" and not 0 <= self.ratio < 1:
            raise ValueError(f"ratio must be in [0, 1), got {self.ratio}")
        if self.mode == "threshold" and not self.threshold >= 0:
            raise ValueError(f"threshold must be >= 0, got {self.threshold}")
        block = self.sparse_block
        is_pair = isinstance(block, (list, tuple)) and len(block) == 2
        if not is_pair or any(not isinstance(extent, int) or extent <= 0 for extent in block):
            raise ValueError(f"sparse_block must be two positive integers, got {block!r}")

    def masks(self, weights: Mapping[str, _Array]) -> dict[str, NDArray[np.float32]]:
        """Return masks in the shapes of `weights`: 1 where a weight is kept, 0 where it is pruned."""
        scores = {name: self._scores(weight) for name, weight in weights.items()}
        if self.mode == "threshold":
            kept = {name: score >= self.threshold for name, score in scores.items()}
        elif self.local_sparsity:
            kept = {
                name: ~_least(score.ravel(), self.ratio).reshape(score.shape)
                for name, score in scores.items()
            }
        else:
            together = np.concatenate([score.ravel() for score in scores.values()] or [np.empty(0)])
            pruned = _least(together, self.ratio)
            self.threshold = float(together[pruned].max()) if pruned.any() else 0.0
            parts = np.split(pruned, np.cumsum([score.size for score in scores.values()])[:-1])
            kept = {name: ~part.reshape(scores[name].shape) for name, part in zip(scores, parts)}
        return {name: self._expanded(kept[name], weight.shape) for name, weight in weights.items()}

    def score_at(self, weights: Mapping[str, _Array], ratio: float) -> float:
        """Return the largest score that pruning `ratio` of all blocks together would prune; 0.0 if none."""
        scores = np.concatenate([self._scores(weight).ravel() for weight in weights.values()])
        count = round(ratio * scores.size)
        return float(np.partition(scores, count - 1)[count - 1]) if count else 0.0

    def _scores(self, weight: _Array) -> _Array:
        matrix = np.abs(weight.reshape(weight.shape[0] if weight.ndim else 1, math.prod(weight.shape[1:])))
        rows, columns = self.sparse_block
        if rows == columns == 1:
            return matrix
        sums = _block_sums(matrix.astype(np.float64), rows, columns)
        return sums / _block_sums(np.ones_like(matrix, np.float64), rows, columns)

    def _expanded(self, kept: _Array, shape: tuple[int, ...]) -> NDArray[np.float32]:
        rows, columns = self.sparse_block
        height = shape[0] if shape else 1
        full = np.repeat(np.repeat(kept, rows, axis=0)[:height], columns, axis=1)
        return np.ascontiguousarray(full[:, : math.prod(shape[1:])], np.float32).reshape(shape)


def _block_sums(matrix: _Array, rows: int, columns: int) -> _Array:
    by_row = np.add.reduceat(matrix, np.arange(0, matrix.shape[0], rows), axis=0)
    return np.asarray(np.add.reduceat(by_row, np.arange(0, matrix.shape[1], columns), axis=1))


def _least(scores: _Array, ratio: float) -> NDArray[np.bool_]:
    """Mark exactly round(ratio * size) of `scores` True, none of them above one that is False."""
    count = round(ratio * scores.size)
    if count == 0:
        return np.zeros(scores.shape, np.bool_)
    limit = np.partition(scores, count - 1)[count - 1]
    pruned = scores < limit
    ties = np.flatnonzero(scores == limit)
    pruned[ties[: count - int(np.count_nonzero(pruned))]] = True
    return np.asarray(pruned)


def sparsity(weights: Sequence[_Array]) -> float:
    """Return the share of zeros among all elements; 0.0 of nothing.

    Examples
    --------
    >>> sparsity([np.float32([0, 1]), np.float32([0, 2])])
    0.5
    """
    total = sum(weight.size for weight in weights)
    return 1.0 - sum(int(np.count_nonzero(weight)) for weight in weights) / total if total else 0.0


def two_of_four(weight: _Array, axis: int) -> NDArray[np.float32]:
    """Return the mask that keeps the two largest of each four in a row along `axis`, whose extent is 4 k.

    Of equal magnitudes the first ones stay.
    Source: Mishra et al. 2021, "Accelerating Sparse Deep Neural Networks" (arXiv:2104.08378).

    Examples
    --------
    >>> two_of_four(np.float32([[1, -4, 3, 2, 0, 0, 0, 5]]), axis=1)
    array([[0., 1., 1., 0., 1., 0., 0., 1.]], dtype=float32)
    """
    rows = np.moveaxis(np.abs(weight), axis, -1)
    fours = rows.reshape(*rows.shape[:-1], rows.shape[-1] // 4, 4)
    mask = np.zeros(fours.shape, np.float32)
    np.put_along_axis(mask, np.argsort(-fours, axis=-1, kind="stable")[..., :2], 1.0, axis=-1)
    return np.ascontiguousarray(np.moveaxis(mask.reshape(rows.shape), -1, axis))
