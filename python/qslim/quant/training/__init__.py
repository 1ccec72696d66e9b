# SPDX-License-Identifier: Apache-2.0
"""Quantization-aware training of a paddle.nn.Layer; importing it imports Paddle.

qat.py          QAT, which hands the work to one of two strategies:
by_options.py   a dict of PaddleSlim's options (config.py, option_quantizers.py)
by_config.py    a paddle.quantization.QuantConfig (assign.py, configured_quantizers.py, convert.py)
slim.py         SlimQAT and SlimQuantConfig, a QuantConfig with constraints
layers.py, evaluation.py, batch_norm.py            quantized layers in training and in evaluation
checkpoint.py, export.py, qat_report.py            loading, writing, and what was written
"""

from qslim.quant.training.checkpoint import load_checkpoint
from qslim.quant.training.config import QATConfig
from qslim.quant.training.qat import QAT
from qslim.quant.training.qat_report import QATReport

__all__ = ["QAT", "QATConfig", "QATReport", "load_checkpoint"]
