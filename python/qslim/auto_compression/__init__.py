# SPDX-License-Identifier: Apache-2.0
"""AutoCompression: saved models pruned and quantized by a configuration, and the loaders of its scripts."""

from __future__ import annotations

from qslim.auto_compression.analysis import analysis_prune
from qslim.auto_compression.compression import AutoCompression
from qslim.auto_compression.loading import load_config
from qslim.auto_compression.report import CompressionReport
from qslim.auto_compression.strategies import (
    ASPPrune,
    ChannelPrune,
    Distillation,
    HyperParameterOptimization,
    MultiTeacherDistillation,
    QuantAware,
    QuantPost,
    UnstructurePrune,
)
from qslim.auto_compression.train_config import TrainConfig

__all__ = [
    "ASPPrune",
    "AutoCompression",
    "ChannelPrune",
    "CompressionReport",
    "Distillation",
    "HyperParameterOptimization",
    "MultiTeacherDistillation",
    "QuantAware",
    "QuantPost",
    "TrainConfig",
    "UnstructurePrune",
    "analysis_prune",
    "load_config",
]
