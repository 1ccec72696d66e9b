# SPDX-License-Identifier: Apache-2.0
"""Selection of the atoms to cut: those with the smallest scores, as many as the ratio says."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Optional

import numpy as np
from numpy.typing import NDArray

from qslim.prune.groups import Groups

__all__ = ["masked_atoms", "pruned_count", "select_atoms"]


def pruned_count(units: int, channels: int, ratio: float, align: Optional[int] = None) -> int:
    """Return the number of `units` to cut: round(units * ratio), ties to even, and never all of them.

    With `align` the channels that stay (each unit has channels / units of them) are the multiple of it
    nearest to what the ratio leaves, at least one multiple; where that is more than there are, and where the
    ratio is 0, all stay.

    Examples
    --------
    >>> pruned_count(5, 5, 0.5), pruned_count(4, 4, 0.99), pruned_count(100, 100, 0.3, align=16)
    (2, 3, 36)
    >>> pruned_count(6, 6, 0.05, align=4), pruned_count(7, 7, 0.05, align=4)
    (2, 0)
    """
    count = max(min(units - 1, round(units * ratio)), 0)
    if align is None or ratio <= 0:
        return count
    size = channels / units
    kept = max(align, round((1 - ratio) * channels / align) * align)
    return min(units - 1, round(max(channels - kept, 0) / size))


def select_atoms(
    groups: Groups,
    parameter: str,
    axis: int,
    scores: NDArray[Any],
    ratio: float,
    align: Optional[int] = None,
    removed: Iterable[int] = (),
) -> list[int]:
    """Choose the atoms to cut from a parameter axis.

    Parameters
    ----------
    scores : ndarray, one for each present channel; an atom's score is the mean of its channels'
    removed : atoms that are chosen already; they are not chosen again, and no member may lose its last
        channel

    Returns
    -------
    list of atoms, the smallest scores first; of equal scores the one that comes first.
    """
    atoms = groups.current(parameter, axis)
    if atoms is None or len(atoms) != len(scores):
        raise ValueError(f"select_atoms: {len(scores)} scores do not fit {parameter!r} axis {axis}")
    units, first, index = np.unique(atoms, return_index=True, return_inverse=True)
    index = index.reshape(-1)
    means = np.bincount(index, np.asarray(scores, np.float64)) / np.bincount(index)
    in_order = np.argsort(first)  # units as they first appear, so that ties go to the first channel
    order = in_order[np.argsort(means[in_order], kind="stable")]
    gone = set(removed)
    count = pruned_count(len(units), len(atoms), ratio, align)
    if count == 0:
        return []
    numbers = np.full(groups.alive.size, len(units), np.int64)
    numbers[units] = np.arange(len(units))
    stays = groups.alive.copy()
    stays[list(gone)] = False
    held = [numbers[member.atoms[stays[member.atoms]]] for member in groups.touched(units)]
    holds = np.stack([np.bincount(numbers_of, minlength=len(units) + 1) for numbers_of in held])
    left = holds.sum(1)
    chosen: list[int] = []
    for unit in order:
        if len(chosen) == count:
            break
        atom, loss = int(units[unit]), holds[:, unit]
        if atom in gone or atom in groups.reasons or ((loss > 0) & (loss >= left)).any():
            continue
        left = left - loss
        chosen.append(atom)
    return chosen


def masked_atoms(
    groups: Groups, parameter: str, axis: int, mask: Any, removed: Iterable[int] = ()
) -> list[int]:
    """Return the atoms that `mask` prunes whole, of those that can be cut.

    Parameters
    ----------
    mask : array of 0 and 1, one for each present channel; an atom goes if none of its channels stays
    removed : as for ``select_atoms``

    Raises
    ------
    ValueError : a mask of another length, or one that keeps nothing.
    """
    atoms = groups.current(parameter, axis)
    kept = np.asarray(mask).reshape(-1) != 0
    if atoms is None or kept.shape != atoms.shape or not kept.any():
        expected = 0 if atoms is None else len(atoms)
        raise ValueError(
            f"cal_mask: expected a mask of {expected} entries for {parameter!r} axis {axis} that keeps some, "
            f"got {int(kept.sum())} kept of {len(kept)}"
        )
    units = np.unique(atoms)
    gone = set(units.tolist()) - set(atoms[kept].tolist())
    scores = np.isin(atoms, list(gone), invert=True)
    chosen = select_atoms(groups, parameter, axis, scores, len(gone) / len(units), removed=removed)
    return [atom for atom in chosen if atom in gone]
