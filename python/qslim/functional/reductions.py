# SPDX-License-Identifier: Apache-2.0
"""abs_max, min_max, sum, sum_of_squares and histogram.

Every result has the same bits on every instruction set and for any number of threads: sums are doubles, added
in an order fixed by the shape alone. One number for the whole tensor, or an array with one per channel.
"""

from __future__ import annotations

from typing import Any, Optional, Union

import numpy as np
from numpy.typing import NDArray

from qslim import _core
from qslim.functional.arrays import as_float32


def abs_max(
    x: Any, *, quant_axis: Optional[int] = None, context: Optional[_core.Context] = None
) -> Union[float, NDArray[np.float32]]:
    """Return the largest magnitude; NaN where there is a NaN, 0 where there is nothing.

    Examples
    --------
    >>> import numpy as np
    >>> from qslim.functional import abs_max
    >>> abs_max(np.float32([[1, -7], [2, 3]]))
    7.0
    >>> abs_max(np.float32([[1, -7], [2, 3]]), quant_axis=0)
    array([7., 3.], dtype=float32)
    """
    array = as_float32(x, "abs_max")
    if quant_axis is None:
        return _core.abs_max(array, None, context)
    return _core.abs_max(array, quant_axis, context)


def min_max(
    x: Any, *, quant_axis: Optional[int] = None, context: Optional[_core.Context] = None
) -> Union[tuple[float, float], tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """Return the least and the largest element; both NaN where there is a NaN. `x` must not be empty.

    Examples
    --------
    >>> import numpy as np
    >>> from qslim.functional import min_max
    >>> min_max(np.float32([1, -7, 2]))
    (-7.0, 2.0)
    """
    array = as_float32(x, "min_max")
    if quant_axis is None:
        return _core.min_max(array, None, context)
    return _core.min_max(array, quant_axis, context)


def sum(
    x: Any, *, quant_axis: Optional[int] = None, context: Optional[_core.Context] = None
) -> Union[float, NDArray[np.float64]]:
    """Return the sum in double precision.

    Examples
    --------
    >>> import numpy as np
    >>> from qslim.functional import sum
    >>> sum(np.ones((2, 3), np.float32))
    6.0
    >>> sum(np.ones((2, 3), np.float32), quant_axis=1)
    array([2., 2., 2.])
    """
    array = as_float32(x, "sum")
    if quant_axis is None:
        return _core.sum(array, None, context)
    return _core.sum(array, quant_axis, context)


def sum_of_squares(
    x: Any, *, quant_axis: Optional[int] = None, context: Optional[_core.Context] = None
) -> Union[float, NDArray[np.float64]]:
    """Return the sum of squares in double precision.

    Examples
    --------
    >>> import numpy as np
    >>> from qslim.functional import sum_of_squares
    >>> sum_of_squares(np.float32([3, 4]))
    25.0
    """
    array = as_float32(x, "sum_of_squares")
    if quant_axis is None:
        return _core.sum_of_squares(array, None, context)
    return _core.sum_of_squares(array, quant_axis, context)


def histogram(
    x: Any, bins: int, lo: float, hi: float, *, context: Optional[_core.Context] = None
) -> tuple[NDArray[np.uint64], NDArray[np.float32]]:
    """Count the elements in `bins` bins of equal width on [lo, hi]; return counts and the bins' edges.

    Parameters
    ----------
    x : array of floats, any shape
    bins : int in [1, 2**24]
    lo, hi : float, lo < hi
        What lies outside is left out, as is NaN.

    Returns
    -------
    counts : ndarray of uint64, shape (bins,); as numpy.histogram counts float32 data
    edges : ndarray of float32, shape (bins + 1,)

    Examples
    --------
    >>> import numpy as np
    >>> from qslim.functional import histogram
    >>> counts, edges = histogram(np.float32([0.0, 0.1, 0.6, 1.0, 7.0]), 2, 0.0, 1.0)
    >>> counts.tolist(), edges.tolist()
    ([2, 2], [0.0, 0.5, 1.0])
    """
    return _core.histogram(as_float32(x, "histogram"), bins, lo, hi, context)
