# SPDX-License-Identifier: Apache-2.0
"""Quanters for a ``paddle.quantization.QuantConfig``, by PaddleSlim's names: they quantize in training."""

from qslim.quant.quanters.abs_max import (
    FakeQuanterChannelWiseAbsMaxObserver,
    FakeQuanterWithAbsMaxObserver,
)
from qslim.quant.quanters.learned import ActLSQplusQuanter, PACTQuanter, WeightLSQplusQuanter

__all__ = [
    "ActLSQplusQuanter",
    "FakeQuanterChannelWiseAbsMaxObserver",
    "FakeQuanterWithAbsMaxObserver",
    "PACTQuanter",
    "WeightLSQplusQuanter",
]
