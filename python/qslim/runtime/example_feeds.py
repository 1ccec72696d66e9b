# SPDX-License-Identifier: Apache-2.0
"""Inputs for a model where no data are at hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qslim.runtime.session import TensorSpec

__all__ = ["ones_for"]

_OPEN_EXTENT = 224  # of pictures, as the tutorials' programs take it


def ones_for(specs: Sequence[TensorSpec], shapes: Mapping[str, Sequence[int]]) -> dict[str, NDArray[Any]]:
    """Return ones for each of `specs`, of the extents `shapes`, or 1 (the batch) and 224 where they are open.

    Raises
    ------
    ValueError : extents of an input that there is not, or none for one of unknown rank.

    Examples
    --------
    >>> ones_for([TensorSpec("x", "float32", (None, 3))], {})["x"].shape
    (1, 3)
    """
    known = [spec.name for spec in specs]
    for name in shapes:
        if name not in known:
            raise ValueError(f"shapes: the model has no input {name!r}; its inputs are {known}")
    feeds = {}
    for spec in specs:
        extents = shapes.get(spec.name)
        if extents is None:
            if spec.shape is None:
                raise ValueError(f"the model leaves the shape of {spec.name!r} open: give it")
            extents = [
                (_OPEN_EXTENT if axis else 1) if extent is None else extent
                for axis, extent in enumerate(spec.shape)
            ]
        feeds[spec.name] = np.ones(tuple(extents), spec.dtype)
    return feeds
