# SPDX-License-Identifier: Apache-2.0
"""Compressor: quantization, pruning and distillation of static programs, by a YAML file's strategies."""

from __future__ import annotations

from qslim.compressor.compressor import Compressor
from qslim.compressor.distillation import (
    DistillationStrategy,
    FSPDistiller,
    L2Distiller,
    SoftLabelDistiller,
)
from qslim.compressor.network import Network
from qslim.compressor.pruning import SensitivePruneStrategy, StructurePruner, UniformPruneStrategy
from qslim.compressor.quantization import QuantizationStrategy
from qslim.compressor.strategy import Strategy

__all__ = [
    "Compressor",
    "DistillationStrategy",
    "FSPDistiller",
    "L2Distiller",
    "Network",
    "QuantizationStrategy",
    "SensitivePruneStrategy",
    "SoftLabelDistiller",
    "Strategy",
    "StructurePruner",
    "UniformPruneStrategy",
]
