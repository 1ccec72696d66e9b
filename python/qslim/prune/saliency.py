# SPDX-License-Identifier: Apache-2.0
"""How much each filter matters, by its weights (or weights and gradients)."""

from __future__ import annotations

from typing import Any, Optional

import numpy as np
from numpy.typing import NDArray

__all__ = ["filter_saliency"]


def filter_saliency(
    weight: NDArray[Any], criterion: str, axis: int = 0, gradient: Optional[NDArray[Any]] = None
) -> NDArray[np.float32]:
    rows = np.moveaxis(np.asarray(weight), axis, 0).reshape(weight.shape[axis], -1).astype(np.float64)
    if criterion == "l1_norm":
        scores = np.abs(rows).sum(1)
    elif criterion == "l2_norm":
        scores = np.sqrt((rows * rows).sum(1))
    elif criterion == "fpgm":
        squares = (rows * rows).sum(1)
        distances = squares[:, None] + squares[None] - 2 * rows @ rows.T
        scores = np.sqrt(np.maximum(distances, 0)).sum(1)
    elif criterion == "taylor":
        grads = np.moveaxis(np.asarray(gradient), axis, 0).reshape(rows.shape)
        scores = np.abs((rows * grads).sum(1))
    else:
        raise ValueError(f"unknown criterion {criterion!r}")
    return scores.astype(np.float32)
