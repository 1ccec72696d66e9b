# SPDX-License-Identifier: Apache-2.0
"""Scores of the filters of a weight by which pruning orders them, smallest first."""

from __future__ import annotations

from typing import Any, Literal, Optional

import numpy as np
from numpy.typing import NDArray

from qslim import _core
from qslim.functional.arrays import as_float32

SaliencyCriterion = Literal["l1_norm", "l2_norm", "fpgm", "taylor"]


def filter_saliency(
    weight: Any,
    criterion: SaliencyCriterion,
    *,
    axis: int = 0,
    gradient: Optional[Any] = None,
    context: Optional[_core.Context] = None,
) -> NDArray[np.float32]:
    """Score every filter of `weight`.

    ==========  ==================================================================================
    criterion   score of filter i
    ==========  ==================================================================================
    "l1_norm"   mean of ``|w|``
    "l2_norm"   square root of the sum of ``w**2``
    "fpgm"      sum over all filters j of the Euclidean distance between filter i and filter j
    "taylor"    ``(sum of w * gradient)**2``
    ==========  ==================================================================================

    Parameters
    ----------
    weight : array of floats
    criterion : {"l1_norm", "l2_norm", "fpgm", "taylor"}
    axis : int, default=0
        What counts the filters: 0 for convolutions (OC, IC, KH, KW), 1 for linear weights (in, out).
    gradient : array of floats, the shape of `weight`
        Gradient of the loss with respect to `weight`; for "taylor", which needs it.
    context : qslim Context or None, default=None (one thread, the best instruction set)

    Returns
    -------
    ndarray of float32, shape (weight.shape[axis],). Computed in float64 and rounded once.

    Raises
    ------
    ValueError : "filter_saliency: criterion must be one of l1_norm, l2_norm, fpgm, taylor, got 'l3'".

    References
    ----------
    He et al. 2019, Filter pruning via geometric median (arXiv:1811.00250); Molchanov et al. 2019, Importance
    estimation for neural network pruning (arXiv:1906.10771).

    Examples
    --------
    >>> import numpy as np
    >>> from qslim.functional import filter_saliency
    >>> weight = np.float32([[3, -4], [0, 0], [3, 0]])
    >>> filter_saliency(weight, "l1_norm")
    array([3.5, 0. , 1.5], dtype=float32)
    >>> filter_saliency(weight, "fpgm")
    array([9., 8., 7.], dtype=float32)
    """
    name = "filter_saliency"
    array = as_float32(weight, name, "weight")
    if not -array.ndim <= axis < array.ndim:
        raise ValueError(
            f"{name}: axis must be in [{-array.ndim}, {array.ndim - 1}] for a weight of shape {array.shape}, "
            f"got {axis}"
        )
    slopes = None if gradient is None else as_float32(gradient, name, "gradient")
    if criterion == "taylor" and slopes is None:
        raise ValueError(f"{name}: criterion 'taylor' needs the gradient of the loss; give gradient=")
    if criterion != "taylor":
        slopes = None
    return _core.filter_saliency(array, criterion, axis, slopes, context)
