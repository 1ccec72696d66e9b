# SPDX-License-Identifier: Apache-2.0
"""Quantizers for a configuration."""

from __future__ import annotations

from typing import Any, Literal

from qslim.quant.quantizers.activation_quantizers import (
    AbsMax,
    ActivationQuantizer,
    MovingAverageAbsMax,
    RangeAbsMax,
)
from qslim.quant.quantizers.learned_activations import LearnedActivation
from qslim.quant.quantizers.weight_quantizers import (
    AbsMaxWeight,
    LearnedWeight,
    PACTWeight,
    TrackedWeight,
    WeightQuantizer,
)
from qslim.quant.training.config import QATConfig

__all__ = ["activation_quantizer", "weight_quantizer"]

_LEARNED: dict[str, Literal["lsq", "lsqplus"]] = {"lsq_act": "lsq", "lsqplus_act": "lsqplus"}


def activation_quantizer(config: QATConfig) -> ActivationQuantizer:
    """Return a quantizer for one layer's input."""
    bits, is_signed, kind = (
        config.activation_bits,
        config.activation_is_signed,
        config.activation_quantize_type,
    )
    if config.activation_preprocess_type == "PACT" or kind in _LEARNED:
        return LearnedActivation(
            _LEARNED.get(kind, "pact"),
            bits,
            is_signed,
            config.calibration_batches,
            config.learned_scale_learning_rate,
            config.learned_scale_weight_decay,
        )
    if kind == "moving_average_abs_max":
        return MovingAverageAbsMax(bits, config.moving_rate, is_signed)
    if kind == "range_abs_max":
        return RangeAbsMax(bits, config.window_size, is_signed)
    return AbsMax(bits, is_signed)


def weight_quantizer(config: QATConfig, weight: Any, channel_axis: int) -> WeightQuantizer:
    """Return a quantizer for `weight`, whose output channels lie on `channel_axis`."""
    kind, bits = config.weight_quantize_type, config.weight_bits
    channels = int(weight.shape[channel_axis])
    if kind in ("moving_average_abs_max", "range_abs_max"):
        rate = config.moving_rate if kind == "moving_average_abs_max" else None
        return TrackedWeight(bits, channel_axis, rate, config.window_size)
    axis = channel_axis if kind.startswith("channel_wise") else None
    if config.weight_preprocess_type == "PACT" or kind.endswith("lsq_weight"):
        learned = PACTWeight if config.weight_preprocess_type == "PACT" else LearnedWeight
        return learned(
            bits,
            axis,
            channel_axis,
            channels,
            config.learned_scale_learning_rate,
            config.learned_scale_weight_decay,
        )
    return AbsMaxWeight(bits, axis, channel_axis, channels)
