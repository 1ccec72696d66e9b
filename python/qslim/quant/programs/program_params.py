# SPDX-License-Identifier: Apache-2.0
"""Quantization parameters of a trained program for its deployment, the same in both IRs."""

from __future__ import annotations

from typing import Any, Optional

import numpy as np
from numpy.typing import NDArray

from qslim import functional
from qslim.functional.fake_quant import THRESHOLD_FLOOR
from qslim.graph import QuantParams
from qslim.quant.programs.config import StaticQATConfig

__all__ = ["activation_params", "weight_params"]


def weight_params(name: str, value: NDArray[np.float32], bits: int, axis: Optional[int]) -> QuantParams:
    """Return a weight's symmetric parameters by its largest magnitudes; ValueError if not finite."""
    threshold = np.asarray(functional.abs_max(value, quant_axis=axis), np.float32)
    if not np.isfinite(threshold).all():
        raise ValueError(f"convert: weight {name!r} holds NaN or infinite values: the training has diverged")
    return QuantParams.weight(np.maximum(threshold, THRESHOLD_FLOOR), bits, axis)


def activation_params(name: str, threshold: NDArray[Any], bits: int, config: StaticQATConfig) -> QuantParams:
    """Return an activation's parameters; one bit more than `config` asks for means unsigned."""
    value = np.float32(threshold.reshape(-1)[0])
    if not np.isfinite(value) or value < 0:
        raise ValueError(f"convert: the threshold of {name!r} is {value}: the training has diverged")
    is_unsigned = config.uses_unsigned_grid and bits == config.activation_bits + 1
    kept = max(value, THRESHOLD_FLOOR)
    return QuantParams.activation(float(kept), bits - is_unsigned, is_unsigned)
