# SPDX-License-Identifier: Apache-2.0
"""Calibration: statistics of a tensor over many batches, and the threshold that follows from them.

Statistics are exact: the order of the batches, how they are split and which process saw them change no bit,
so partial statistics of several machines merge into what one machine would have.
"""

from __future__ import annotations

from typing import Any, Literal, Optional

from qslim import _core
from qslim.functional.arrays import as_float32

ThresholdAlgo = Literal["abs_max", "avg", "hist", "KL", "mse", "emd", "ptf", "min_max"]


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
