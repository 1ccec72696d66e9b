# SPDX-License-Identifier: Apache-2.0
"""Atoms: elements that are cut together. A disjoint-set forest over integers, worked on in whole arrays.

Every channel of every parameter starts as an atom of its own; an operator that ties channels to each other
unites their atoms. Unions are collected and resolved together: all edges hook the larger root under the
smaller one, then paths are halved until they are flat, until no edge joins two roots.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["Atoms", "Labels"]

Labels = NDArray[np.int64]


class Atoms:
    """Integers with an equivalence relation.

    Examples
    --------
    >>> atoms = Atoms()
    >>> first, second = atoms.new(3), atoms.new(3)
    >>> atoms.unite(first, second[::-1])
    >>> atoms.resolve(second)
    array([2, 1, 0])
    """

    def __init__(self) -> None:
        self._parent: Labels = np.zeros(0, np.int64)
        self._count = 0
        self._edges: list[tuple[Labels, Labels]] = []

    def new(self, count: int) -> Labels:
        """Make `count` atoms that belong to no class yet."""
        first = self._count
        self._count += count
        return np.arange(first, self._count, dtype=np.int64)

    def unite(self, one: Labels, other: Labels) -> None:
        """Make ``one[i]`` and ``other[i]`` the same, for arrays that broadcast."""
        one, other = np.broadcast_arrays(one, other)
        self._edges.append((one.reshape(-1), other.reshape(-1)))

    def resolve(self, labels: Labels) -> Labels:
        """Return the representative of each label: the smallest atom of its class."""
        self._settle()
        return np.asarray(self._parent[labels])

    def _settle(self) -> None:
        if self._count > self._parent.size:
            added = np.arange(self._parent.size, self._count, dtype=np.int64)
            self._parent = np.concatenate([self._parent, added])
        if not self._edges:
            return
        one, other = (np.concatenate(side) for side in zip(*self._edges))
        self._edges.clear()
        parent = self._parent
        while True:
            roots = parent[one], parent[other]
            differ = roots[0] != roots[1]
            if not differ.any():
                return
            one, other = one[differ], other[differ]
            low, high = np.minimum(*roots)[differ], np.maximum(*roots)[differ]
            np.minimum.at(parent, high, low)
            while True:
                grand = parent[parent]
                if np.array_equal(grand, parent):
                    break
                parent[:] = grand
