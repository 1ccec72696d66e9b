# SPDX-License-Identifier: Apache-2.0
"""Calibration: statistics of a tensor over many batches, and the threshold that follows from them.

Statistics are exact: the order of the batches, how they are split and which process saw them change no bit,
so partial statistics of several machines merge into what one machine would have.
"""

from __future__ import annotations

from typing import Any, Literal, Optional, Union

import numpy as np
from numpy.typing import NDArray

from qslim import _core
from qslim.functional.arrays import as_float32
from qslim.functional.fake_quant import THRESHOLD_FLOOR, fake_quant
from qslim.functional.reductions import abs_max, sum_of_squares

ThresholdAlgo = Literal["abs_max", "avg", "hist", "KL", "mse", "emd", "ptf", "min_max"]

# Of the largest magnitude: the candidates of PaddleSlim's observers that weigh a weight's squared error.
_FRACTIONS = np.linspace(0.2, 1.0, 41, dtype=np.float32)


class TensorStatistics(_core.TensorStatistics):
    """Range, mean largest magnitude and histogram of a tensor, in memory that no batch adds to.

    Parameters
    ----------
    bins : int, default=4096
        Histogram bins for each sign: a power of two in [64, 16384]. More than half of them lie below abs_max.

    Examples
    --------
    >>> import numpy as np
    >>> from qslim.functional import TensorStatistics, find_threshold
    >>> statistics = TensorStatistics()
    >>> for batch in np.float32([[[1.0, -2.0], [3.0, 0.5]], [[0.1, 0.2], [-4.0, 1.0]]]):
    ...     statistics.update(batch)
    >>> statistics.count, statistics.samples, statistics.abs_max, round(statistics.average_abs_max, 6)
    (8, 4, 4.0, 2.3)
    >>> find_threshold(statistics, "abs_max")
    4.0
    """

    def update(self, x: Any, context: Optional[_core.Context] = None) -> None:
        """Take in a batch; axis 0 of `x` counts its samples, a 0-d or 1-d array is one sample.

        Raises
        ------
        ValueError : if `x` holds NaN or infinity; it names how many and where, and nothing has changed.
        """
        super().update(as_float32(x, "TensorStatistics.update"), context)

    @staticmethod
    def from_bytes(data: bytes) -> TensorStatistics:
        """Read what `to_bytes` wrote; anything else is a FormatError, which is a ValueError."""
        statistics = _core.TensorStatistics.from_bytes(data)
        result = TensorStatistics(statistics.bins)
        result.merge(statistics)
        return result


def find_threshold(
    statistics: _core.TensorStatistics,
    algo: ThresholdAlgo,
    *,
    quant_bits: int = 8,
    is_unsigned: bool = False,
    hist_percent: float = 0.9999,
) -> float:
    """Return the largest magnitude to keep.

    Parameters
    ----------
    statistics : TensorStatistics
    algo : {"abs_max", "avg", "hist", "KL", "mse", "emd", "ptf", "min_max"}
        As in PaddleSlim's `quant_post_static`; every rule weighs all batches together.
    quant_bits : int in [2, 16], default=8
    is_unsigned : bool, default=False
        Judge candidates for integers from 0 to 2**quant_bits - 1.
    hist_percent : float in (0, 1], default=0.9999
        For "hist": the share of the elements to keep.

    Returns
    -------
    float > 0; 1e-8 for a tensor of zeros.

    Raises
    ------
    ValueError : "find_threshold: algo must be one of abs_max, avg, .., min_max, got 'kl'".

    References
    ----------
    cpp/qslim/quant/threshold_search/threshold_search.h lists the formulas and where they mend PaddleSlim's.

    Examples
    --------
    >>> import numpy as np
    >>> from qslim.functional import TensorStatistics, find_threshold
    >>> statistics = TensorStatistics()
    >>> statistics.update(np.linspace(-1, 1, 100001, dtype=np.float32))
    >>> find_threshold(statistics, "mse")
    1.0
    """
    return _core.find_threshold(statistics, algo, quant_bits, is_unsigned, hist_percent)


def quantization_error(
    statistics: _core.TensorStatistics, scale: float, zero_point: int, qmin: int, qmax: int
) -> float:
    """Return the mean squared error that quantization makes on what `statistics` have seen.

    Of x it makes scale * (clamp(round(x / scale) + zero_point, qmin, qmax) - zero_point). Within a bin of the
    histogram the density counts as uniform.

    Raises
    ------
    ValueError : no data was seen, scale is not positive, or the zero point lies outside of [qmin, qmax].

    Examples
    --------
    >>> import numpy as np
    >>> from qslim.functional import TensorStatistics, quantization_error
    >>> statistics = TensorStatistics()
    >>> statistics.update(np.linspace(0, 1, 100001, dtype=np.float32))
    >>> round(quantization_error(statistics, 0.1, 0, 0, 10) / (0.1**2 / 12), 2)
    1.0
    """
    return _core.quantization_error(statistics, scale, zero_point, qmin, qmax)


def least_squares_threshold(
    x: Any,
    quant_bits: int = 8,
    *,
    quant_axis: Optional[int] = None,
    context: Optional[_core.Context] = None,
) -> Union[np.float32, NDArray[np.float32]]:
    """Return the threshold with the least squared error on the elements of `x` themselves.

    ``find_threshold`` with "mse" works on a histogram, for data that no memory holds; here `x` is a weight,
    whose channels have few elements.

    Parameters
    ----------
    x : array of floats, any shape
    quant_bits : int in [2, 16], default=8
    quant_axis : int or None, default=None (one threshold for all of `x`)
    context : qslim Context or None, default=None (one thread, the best instruction set)

    Returns
    -------
    float32, or ndarray of float32, shape (x.shape[quant_axis],)
        Of 0.20, 0.22, .. 1.00 times the largest magnitude the best; ties go to the smaller one. At least
        1e-8; NaN or infinity where `x` holds one.

    Examples
    --------
    >>> import numpy as np
    >>> from qslim.functional import least_squares_threshold
    >>> weight = np.float32([[1, 1, 1, 1], [1, 1, 1, 0.1]])
    >>> weight[1, 3] = 2.5
    >>> least_squares_threshold(weight, quant_bits=2, quant_axis=0)
    array([1.  , 1.35], dtype=float32)
    """
    array = as_float32(x, "least_squares_threshold")
    largest = np.asarray(abs_max(array, quant_axis=quant_axis, context=context), np.float32)
    largest = np.maximum(largest, THRESHOLD_FLOOR)
    is_finite = np.isfinite(largest)
    best, least = largest, np.full(largest.shape, np.inf)
    rounded = np.empty_like(array)
    for fraction in _FRACTIONS:
        candidate = np.where(is_finite, largest * fraction, THRESHOLD_FLOOR)
        fake_quant(
            array, candidate, quant_bits=quant_bits, quant_axis=quant_axis, out=rounded, context=context
        )
        np.subtract(rounded, array, out=rounded)
        error = np.asarray(sum_of_squares(rounded, quant_axis=quant_axis, context=context))
        best = np.where(is_finite & (error < least), candidate, best)
        least = np.minimum(error, least)
    return np.float32(best) if quant_axis is None else np.asarray(best, np.float32)
