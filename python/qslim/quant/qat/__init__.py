# SPDX-License-Identifier: Apache-2.0
"""Quantization-aware training on paddle.nn.Layer; importing it imports Paddle."""

from qslim.quant.qat.checkpoint import load_checkpoint
from qslim.quant.qat.config import QATConfig
from qslim.quant.qat.qat import QAT
from qslim.quant.qat.report import QATReport

__all__ = ["QAT", "QATConfig", "QATReport", "load_checkpoint"]
