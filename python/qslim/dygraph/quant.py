# SPDX-License-Identifier: Apache-2.0
"""PaddleSlim's name for training and calibrating quantized layers: see ``qslim.quant``."""

from __future__ import annotations

from qslim.quant import PTQ, QAT

__all__ = ["PTQ", "QAT"]
