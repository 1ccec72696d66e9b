# SPDX-License-Identifier: Apache-2.0
"""AutoCompression: quantization of saved models by a configuration, and the loaders of its scripts."""

from __future__ import annotations

from qslim.auto_compression.compression import AutoCompression
from qslim.auto_compression.loading import load_config
from qslim.auto_compression.strategies import Distillation, QuantAware, QuantPost, TrainConfig

__all__ = ["AutoCompression", "Distillation", "QuantAware", "QuantPost", "TrainConfig", "load_config"]
