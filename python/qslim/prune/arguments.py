# SPDX-License-Identifier: Apache-2.0
"""Checks of the arguments of pruners, before anything is changed."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import Any, Optional, Union

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "check_align",
    "check_apply",
    "check_axis",
    "check_names",
    "check_pruned_flops",
    "check_ratio",
    "check_scores",
]


def check_names(names: Iterable[str], known: Iterable[str], where: str) -> None:
    """Check that every one of `names` is among `known`.

    Raises
    ------
    ValueError : names the one that is not, and the nearest that is.
    """
    known = list(known)
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(str(name), known, 1, 0)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ValueError(f"{where} has no parameter {name!r}{hint}")


def check_ratio(ratio: Any, what: str) -> float:
    """Return `ratio` as a float in [0, 1); a string is no ratio."""
    try:
        if isinstance(ratio, (str, bytes, bool)):
            raise TypeError
        value = float(ratio)
    except (TypeError, ValueError):
        raise ValueError(f"{what}: expected a ratio in [0, 1), got {ratio!r}") from None
    if not 0 <= value < 1:
        hint = "; it would leave the layer empty" if value >= 1 else ""
        raise ValueError(f"{what}: expected a ratio in [0, 1), got {ratio!r}{hint}")
    return value


def check_scores(scores: Any, name: str) -> NDArray[Any]:
    """Return `scores` of the channels of `name`, none of them NaN; inf keeps a channel, -inf cuts it."""
    array = np.asarray(scores)
    if array.dtype.kind not in "fiub" or np.isnan(array).any():
        found = "NaN" if array.dtype.kind == "f" else f"dtype {array.dtype}"
        raise ValueError(f"scores of {name!r}: expected a number for each channel, got {found}")
    return array


def check_axis(axis: Union[int, Sequence[int]], shapes: dict[str, Sequence[int]]) -> int:
    """Return `axis`, an int or a list of one, which each of `shapes` must have."""
    if isinstance(axis, (list, tuple)) and len(axis) == 1:
        axis = axis[0]
    if isinstance(axis, bool) or not isinstance(axis, (int, np.integer)):
        raise ValueError(f"axis: expected an int or a list of one int, got {axis!r}")
    for name, shape in shapes.items():
        if not 0 <= axis < len(shape):
            raise ValueError(f"axis: {name!r} has shape {list(shape)} and no axis {axis}")
    return int(axis)


def check_apply(apply: Any) -> Optional[str]:
    """Return `apply`: "imperative", which PaddleSlim spells "impretive", "lazy" or None."""
    if apply not in ("impretive", "imperative", "lazy", None):
        raise ValueError(f"apply: expected 'imperative', 'lazy' or None, got {apply!r}")
    return "imperative" if apply == "impretive" else apply


def check_align(align: Any) -> Optional[int]:
    """Return `align`, a positive int or None."""
    if align is None:
        return None
    if isinstance(align, bool) or not isinstance(align, (int, np.integer)) or align < 1:
        raise ValueError(f"align: expected a positive int or None, got {align!r}")
    return int(align)


def check_pruned_flops(pruned_flops: Any) -> float:
    """Return `pruned_flops`, a part of the FLOPs in (0, 1)."""
    is_number = isinstance(pruned_flops, (int, float, np.floating)) and not isinstance(pruned_flops, bool)
    if not is_number or not 0 < pruned_flops < 1:
        raise ValueError(f"pruned_flops: expected a part of the FLOPs in (0, 1), got {pruned_flops!r}")
    return float(pruned_flops)
