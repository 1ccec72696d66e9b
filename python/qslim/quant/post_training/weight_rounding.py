# SPDX-License-Identifier: Apache-2.0
"""Thresholds of weights, and the correction of what rounding does to their mean and spread.

Weights with no bias behind them that could take the correction (bias_correction.py) are corrected themselves,
per output channel c, before the integers are taken (paddleslim 2.6.0,
quant/post_training_quantization, its broadcasting mended):

    w'_c = (dq(w)_c + mean(w_c - dq(w)_c)) * std(w_c) / (std(dq(w)_c) + 1e-8)
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Optional

import numpy as np
from numpy.typing import NDArray

from qslim import functional
from qslim.functional.fake_quant import THRESHOLD_FLOOR
from qslim.graph import Graph, QuantParams, Tensor
from qslim.quant.post_training.adaptive_rounding import InputMoments, round_adaptively
from qslim.quant.post_training.group_scales import group_params
from qslim.quant.post_training.post_training_report import WeightReport

__all__ = ["correct_bias", "quantize_weights"]


def quantize_weights(
    graph: Graph,
    axes: Mapping[str, Optional[int]],
    quant_bits: int,
    corrected: Collection[str] = (),
    moments: Sequence[InputMoments] = (),
    group_size: Optional[int] = None,
) -> list[WeightReport]:
    """Annotate the constants that `axes` names, each along its channel axis (None: one scale for all).

    With a `group_size` matrices get a scale for each so many elements of a channel (``group_scales.py``).

    Those that have `moments` are rounded adaptively, which keeps the mean of the output; the values of the
    other ones among `corrected` keep their mean and spread.

    Raises
    ------
    ValueError : a weight holds NaN or infinite values.
    """
    reports = []
    moments_of = {each.weight: each for each in moments}
    for name, axis in axes.items():
        tensor = graph.tensors[name]
        is_corrected = name in corrected and name not in moments_of
        params = _quantize_weight(tensor, quant_bits, axis, is_corrected, group_size)
        assert tensor.value is not None
        if name in moments_of:
            tensor.value = round_adaptively(tensor.value, params, moments_of[name])
        reports.append(WeightReport(name, params, tensor.value))
    return reports


def _quantize_weight(
    tensor: Tensor,
    quant_bits: int,
    quant_axis: Optional[int],
    is_corrected: bool,
    group_size: Optional[int] = None,
) -> QuantParams:
    value = tensor.value
    assert value is not None
    if not np.isfinite(value).all():
        raise ValueError(
            f"parameter {tensor.name!r} holds NaN or infinite values and cannot be quantized: "
            "the training that made it has diverged"
        )
    if group_size is not None and value.ndim == 2 and quant_axis is not None:
        tensor.quantization = group_params(value, quant_bits, quant_axis, group_size)
        return tensor.quantization
    threshold = np.maximum(functional.abs_max(value, quant_axis=quant_axis), THRESHOLD_FLOOR)
    params = QuantParams.weight(threshold, quant_bits, quant_axis)
    tensor.quantization = params
    if is_corrected:
        tensor.value = correct_bias(value, params)
    return params


def correct_bias(value: NDArray[np.float32], params: QuantParams) -> NDArray[np.float32]:
    """Return `value` moved so that its quantized form keeps each channel's mean and standard deviation."""
    dequantized = params.dequantize(params.quantize(value)).astype(np.float64)
    axes: Any = None
    if params.quant_axis is not None:
        axes = tuple(axis for axis in range(value.ndim) if axis != params.quant_axis)
    error = (value - dequantized).mean(axis=axes, keepdims=True)
    ratio = value.astype(np.float64).std(axis=axes, keepdims=True) / (
        dequantized.std(axis=axes, keepdims=True) + 1e-8
    )
    return np.asarray((dequantized + error) * ratio, np.float32)
