# SPDX-License-Identifier: Apache-2.0
"""Thresholds of weights, and the correction of what rounding does to their mean and spread.

Weights with no bias behind them that could take the correction (bias_correction.py) are corrected themselves,
per output channel c, before the integers are taken (paddleslim 2.6.0,
quant/post_training_quantization, its broadcasting mended):

    w'_c = (dq(w)_c + mean(w_c - dq(w)_c)) * std(w_c) / (std(dq(w)_c) + 1e-8)
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Any, Optional

import numpy as np
from numpy.typing import NDArray

from qslim import functional
from qslim.functional.fake_quant import THRESHOLD_FLOOR
from qslim.graph import Graph, QuantParams
from qslim.quant.post_training.group_scales import group_params
from qslim.quant.post_training.layer_samples import LayerSamples
from qslim.quant.post_training.post_training_report import WeightReport

__all__ = ["LESS_THRESHOLD", "keep_mean", "quantize_weights"]


def quantize_weights(
    graph: Graph,
    axes: Mapping[str, Optional[int]],
    quant_bits: int,
    corrected: Collection[str] = (),
    searched: Mapping[str, LayerSamples] = MappingProxyType({}),
    group_size: Optional[int] = None,
) -> list[WeightReport]:
    """Annotate the constants that `axes` names, each along its channel axis (None: one scale for all).

    Parameters
    ----------
    corrected : names of those whose values keep their mean and spread
    searched : layers by their weights' names; such a weight takes the threshold of least squared error where
        that lowers the error of the layer's output, channel by channel
    group_size : int, optional
        Matrices get a scale for each so many elements of a channel; see ``group_scales``.

    Raises
    ------
    ValueError : a weight holds NaN or infinite values.
    """
    reports = []
    for name, axis in axes.items():
        tensor = graph.tensors[name]
        value = tensor.value
        assert value is not None
        if not np.isfinite(value).all():
            raise ValueError(
                f"parameter {name!r} holds NaN or infinite values and cannot be quantized: "
                "the training that made it has diverged"
            )
        is_less = False
        if group_size is not None and value.ndim == 2 and axis is not None:
            params = group_params(value, quant_bits, axis, group_size)
        else:
            threshold = np.maximum(functional.abs_max(value, quant_axis=axis), THRESHOLD_FLOOR)
            if name in searched:
                threshold, is_less = _searched_threshold(value, threshold, quant_bits, axis, searched[name])
            params = QuantParams.weight(threshold, quant_bits, axis)
        tensor.quantization = params
        if name in corrected:
            tensor.value = value = keep_mean(value, params)
        methods = (LESS_THRESHOLD,) if is_less else ()
        reports.append(WeightReport(name, params, value, methods))
    return reports


LESS_THRESHOLD = "with thresholds below the largest weight"
_MOST_JUDGED = 512


def _searched_threshold(
    value: NDArray[np.float32],
    abs_max: Any,
    quant_bits: int,
    axis: Optional[int],
    layer: LayerSamples,
) -> tuple[Any, bool]:
    """Return the thresholds with the lesser error of the output, and True if one is below `abs_max`."""
    patches = layer.patches[:_MOST_JUDGED]
    less = functional.least_squares_threshold(value, quant_bits, quant_axis=axis)
    if len(patches) == 0 or np.array_equal(less, abs_max):
        return abs_max, False
    errors = []
    for threshold in (abs_max, less):
        params = QuantParams.weight(threshold, quant_bits, axis)
        difference = layer.outputs(patches, params.fake_quantize(value) - value)
        errors.append(np.square(difference).sum(axis=None if axis is None else 0))
    is_less = errors[1] < errors[0]
    return np.where(is_less, less, abs_max), bool(is_less.any())


def keep_mean(value: NDArray[np.float32], params: QuantParams) -> NDArray[np.float32]:
    """Return `value` moved so that its quantized form keeps each channel's mean and standard deviation."""
    dequantized = params.fake_quantize(value).astype(np.float64)
    axes: Any = None
    if params.quant_axis is not None:
        axes = tuple(axis for axis in range(value.ndim) if axis != params.quant_axis)
    error = (value - dequantized).mean(axis=axes, keepdims=True)
    ratio = value.astype(np.float64).std(axis=axes, keepdims=True) / (
        dequantized.std(axis=axes, keepdims=True) + 1e-8
    )
    return np.asarray((dequantized + error) * ratio, np.float32)
