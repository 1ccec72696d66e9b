# SPDX-License-Identifier: Apache-2.0
"""Observers for a ``paddle.quantization.QuantConfig``, by PaddleSlim's names.

An observer lets the float network run, and gives quantization parameters when the network is converted.
Statistics are exact (qslim.functional.TensorStatistics): all batches together decide, in whatever order they
came.
"""

from qslim.quant.observers.activations import (
    AbsmaxObserver,
    AVGObserver,
    EMDObserver,
    HistObserver,
    KLObserver,
    MinMaxObserver,
    MSEObserver,
)
from qslim.quant.observers.weights import (
    AbsMaxChannelWiseWeightObserver,
    GroupWiseWeightObserver,
    MSEChannelWiseWeightObserver,
)

__all__ = [
    "AVGObserver",
    "AbsMaxChannelWiseWeightObserver",
    "AbsmaxObserver",
    "EMDObserver",
    "GroupWiseWeightObserver",
    "HistObserver",
    "KLObserver",
    "MSEChannelWiseWeightObserver",
    "MSEObserver",
    "MinMaxObserver",
]
