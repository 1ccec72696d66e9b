# SPDX-License-Identifier: Apache-2.0
"""Quantization arithmetic on plain arrays: arrays in, NumPy arrays out.

Inputs are NumPy arrays, anything NumPy can turn into one, or CPU tensors of Paddle and Torch, whose memory is
read in place through DLPack. Neither framework is imported.
"""

from __future__ import annotations

from qslim.functional.fake_quant import (
    dequantize,
    fake_quant,
    fake_quant_affine,
    fake_quant_backward,
    quantize,
)
from qslim.functional.learned_quant import lsq_backward, pact_backward
from qslim.functional.reductions import abs_max, histogram, min_max, sum, sum_of_squares
from qslim.functional.saliency import filter_saliency
from qslim.functional.statistics import (
    TensorStatistics,
    find_threshold,
    least_squares_threshold,
    quantization_error,
)

__all__ = [
    "TensorStatistics",
    "abs_max",
    "dequantize",
    "fake_quant",
    "fake_quant_affine",
    "fake_quant_backward",
    "filter_saliency",
    "find_threshold",
    "histogram",
    "least_squares_threshold",
    "lsq_backward",
    "min_max",
    "pact_backward",
    "quantization_error",
    "quantize",
    "sum",
    "sum_of_squares",
]
