# SPDX-License-Identifier: Apache-2.0
"""Factories: what stands in a QuantConfig, and makes one quantizer for each layer.

Paddle's factories do not know whether a layer's input or its weight is to be quantized; ours are asked for
one or the other. Where Paddle's own QAT and PTQ ask them, PaddleQuanter speaks for the same quantizer.
"""

from __future__ import annotations

from typing import Any, ClassVar, Optional

import numpy as np
import paddle
from paddle.quantization import BaseQuanter
from paddle.quantization import observers as paddle_observers
from paddle.quantization import quanters as paddle_quanters
from paddle.quantization.factory import QuanterFactory

from qslim.graph import QuantParams
from qslim.quant.config_style.quantizers import GroupWiseWeight, ObservedActivation, Unquantized
from qslim.quant.qat.layers import output_channel_axis
from qslim.quant.qat.quantizer import THRESHOLD_FLOOR
from qslim.quant.qat.tensors import array_of
from qslim.quant.qat.weights import WeightQuantizer

__all__ = [
    "PaddleQuanter",
    "QuantizerFactory",
    "as_params",
    "channels_of",
    "check_bits",
    "input_quantizer",
    "weight_quantizer",
]


class PaddleQuanter(BaseQuanter):  # type: ignore[misc]
    """A quantizer of ours as Paddle's own QAT and PTQ know them; ``scales`` are thresholds.

    Each factory has a class of its own, of PaddleSlim's name, which tells its quantizers in a model apart.
    """

    def __init__(self, quantizer: Any) -> None:
        super().__init__()
        self.quantizer = quantizer
        self._last: Optional[Any] = None

    def forward(self, x: Any) -> Any:
        if paddle.in_dynamic_mode() and isinstance(self.quantizer, (WeightQuantizer, GroupWiseWeight)):
            self.__dict__["_last"] = x  # not an attribute: the weight would become a parameter of this layer
        return self.quantizer(x)

    def scales(self) -> Any:
        if isinstance(self.quantizer, GroupWiseWeight):
            seen = self._last
            return None if seen is None else paddle.to_tensor(self.quantizer.thresholds(array_of(seen)))
        params = self._params()
        return None if params is None else paddle.to_tensor(params.threshold.reshape(-1))

    def zero_points(self) -> Any:
        scales = self.scales()
        if scales is None:
            return None
        params = self._params()
        return paddle.full_like(scales, params.zero_point if params is not None else 0)

    def quant_axis(self) -> int:
        params = self._params()
        return -1 if params is None or params.quant_axis is None else params.quant_axis

    def bit_length(self) -> int:
        return int(self.quantizer.quant_bits)

    def _params(self) -> Optional[QuantParams]:
        quantizer = self.quantizer
        if isinstance(quantizer, GroupWiseWeight):
            return None
        if isinstance(quantizer, ObservedActivation):
            return quantizer.params_for(quantizer.statistics)
        if isinstance(quantizer, WeightQuantizer) and self._last is not None:
            return quantizer.weight_params(array_of(self._last))
        params: Optional[QuantParams] = quantizer.quant_params()
        return params


class QuantizerFactory(QuanterFactory):  # type: ignore[misc]
    """Makes quantizers for inputs, for weights, or for both.

    Parameters
    ----------
    quant_bits : int, 2 to 16
    **options
        What ``repr`` shows beside it.
    """

    layer_class: ClassVar[type[PaddleQuanter]] = PaddleQuanter

    def __init__(self, quant_bits: int, **options: Any) -> None:
        super().__init__(quant_bits=quant_bits, **options)
        self.quant_bits = quant_bits
        check_bits(type(self).__name__, quant_bits)

    def activation_quantizer(self, layer: Any) -> Any:
        """A quantizer for the input of `layer`."""
        raise ValueError(f"{type(self).__name__} quantizes weights, and was given for an activation")

    def weight_quantizer(self, layer: Any) -> Any:
        """A quantizer for the weight of `layer`."""
        raise ValueError(f"{type(self).__name__} quantizes activations, and was given for a weight")

    def _get_class(self) -> type:
        return self.layer_class

    def _instance(self, layer: Any) -> Any:
        """For Paddle's own QAT and PTQ."""
        is_for_weights = type(self).activation_quantizer is QuantizerFactory.activation_quantizer
        return self.layer_class(
            self.weight_quantizer(layer) if is_for_weights else self.activation_quantizer(layer)
        )


def check_bits(factory: str, quant_bits: Any) -> None:
    if isinstance(quant_bits, bool) or not isinstance(quant_bits, int) or not 2 <= quant_bits <= 16:
        raise ValueError(f"{factory}: quant_bits must be an int from 2 to 16, got {quant_bits!r}")


def channels_of(layer: Any) -> tuple[int, int]:
    """The axis of the output channels in the weight of `layer`, and how many there are."""
    axis = output_channel_axis(layer)
    return axis, int(layer.weight.shape[axis])


def input_quantizer(factory: Optional[Any], layer: Any) -> Any:
    """What `factory`, ours or not, makes for the input of `layer`; of None an identity."""
    if factory is None:
        return Unquantized()
    factory = _ours(factory)
    return factory.activation_quantizer(layer) if _is_ours(factory) else factory._instance(layer)


def weight_quantizer(factory: Optional[Any], layer: Any) -> Any:
    """What `factory`, ours or not, makes for the weight of `layer`; of None an identity."""
    if factory is None:
        return Unquantized()
    factory = _ours(factory)
    return factory.weight_quantizer(layer) if _is_ours(factory) else factory._instance(layer)


def _is_ours(factory: Any) -> bool:
    return isinstance(factory, QuantizerFactory)


def _ours(factory: Any) -> Any:
    """`factory`, or our form of Paddle's own, whose rounding no integer kernel shares."""
    from qslim.quant import observers, quanters

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
    """The grid of a quanter that is not ours, by Paddle's contract; None if it tells none that we know.

    Its ``scales`` are thresholds of a symmetric grid, one or one a channel along ``quant_axis``.
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
