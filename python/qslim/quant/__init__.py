# SPDX-License-Identifier: Apache-2.0
"""Quantization: PaddleSlim's calls on today's Paddle."""

from qslim.quant.post_dynamic import quant_post_dynamic, quant_post_only_weight
from qslim.quant.post_static import quant_post, quant_post_static
from qslim.quant.report import QuantizationReport

__all__ = [
    "QuantizationReport",
    "quant_post",
    "quant_post_dynamic",
    "quant_post_only_weight",
    "quant_post_static",
]
