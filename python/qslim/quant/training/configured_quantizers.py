# SPDX-License-Identifier: Apache-2.0
"""Quantizers of a layer from the factories in a QuantConfig, ours, Paddle's or the user's."""

from __future__ import annotations

from typing import Any, Optional

import numpy as np
from paddle.quantization import BaseQuanter
from paddle.quantization import observers as paddle_observers
from paddle.quantization import quanters as paddle_quanters

from qslim.functional.fake_quant import THRESHOLD_FLOOR
from qslim.graph import QuantParams
from qslim.quant import observers, quanters
from qslim.quant.quantizers.factory import QuantizerFactory
from qslim.quant.quantizers.observed_quantizers import Unquantized

__all__ = ["as_params", "input_quantizer", "weight_quantizer"]


def input_quantizer(factory: Optional[Any], layer: Any) -> Any:
    """Return the quantizer that `factory` makes for the input of `layer`; an identity if it is None."""
    if factory is None:
        return Unquantized()
    factory = _ours(factory)
    return factory.activation_quantizer(layer) if _is_ours(factory) else factory._instance(layer)


def weight_quantizer(factory: Optional[Any], layer: Any) -> Any:
    """Return the quantizer that `factory` makes for the weight of `layer`; an identity if it is None."""
    if factory is None:
        return Unquantized()
    factory = _ours(factory)
    return factory.weight_quantizer(layer) if _is_ours(factory) else factory._instance(layer)


def _is_ours(factory: Any) -> bool:
    return isinstance(factory, QuantizerFactory)


def _ours(factory: Any) -> Any:
    """Return `factory`, or our form of one of Paddle's own, whose rounding no integer kernel shares."""
    known = {
        paddle_quanters.FakeQuanterWithAbsMaxObserver: quanters.FakeQuanterWithAbsMaxObserver,
        paddle_observers.AbsmaxObserver: observers.AbsmaxObserver,
        paddle_observers.GroupWiseWeightObserver: observers.GroupWiseWeightObserver,
    }
    if type(factory) in known:
        return known[type(factory)](*factory.args, **factory.kwargs)
    if not hasattr(factory, "_instance"):
        raise ValueError(
            "QuantConfig: expected factories such as qslim.quant.quanters.FakeQuanterWithAbsMaxObserver(), "
            f"got {factory!r}"
        )
    return factory


def as_params(quanter: Any, is_activation: bool) -> Optional[QuantParams]:
    """Return the quantization parameters of a quanter that is not ours; None if it tells none that we know.

    By Paddle's contract its ``scales`` are symmetric thresholds, one, or one a channel of ``quant_axis``.
    """
    if not isinstance(quanter, BaseQuanter):
        return None
    scales, bits, axis = quanter.scales(), quanter.bit_length(), quanter.quant_axis()
    if scales is None or not isinstance(bits, int):
        return None
    zero_points = quanter.zero_points()
    if zero_points is not None and np.any(np.asarray(zero_points)):
        return None
    threshold = np.maximum(np.asarray(scales, np.float32), THRESHOLD_FLOOR)
    if threshold.size == 1:
        kept = float(threshold.reshape(-1)[0])
        if is_activation:
            return QuantParams.activation(kept, bits, is_unsigned=False)
        return QuantParams.weight(kept, bits, None)
    if is_activation or threshold.ndim != 1 or not isinstance(axis, int) or axis < 0:
        return None
    return QuantParams.weight(threshold, bits, axis)
