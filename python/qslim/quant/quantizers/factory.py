# SPDX-License-Identifier: Apache-2.0
"""Factories: what stands in a QuantConfig, and makes one quantizer for each layer.

Paddle's factories do not know whether a layer's input or its weight is to be quantized; ours are asked for
one or the other. Where Paddle's own QAT and PTQ ask them, PaddleQuanter speaks for the same quantizer.
"""

from __future__ import annotations

from typing import Any, ClassVar, Optional

import paddle
from paddle.quantization import BaseQuanter
from paddle.quantization.factory import QuanterFactory

from qslim.graph import QuantParams
from qslim.quant.quantizers.observed_quantizers import GroupWiseWeight, ObservedActivation
from qslim.quant.quantizers.tensors import array_of
from qslim.quant.quantizers.weight_quantizers import WeightQuantizer, output_channel_axis

__all__ = [
    "PaddleQuanter",
    "QuantizerFactory",
    "channels_of",
    "check_bits",
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
        """Return a quantizer for the input of `layer`."""
        raise ValueError(f"{type(self).__name__} quantizes weights, and was given for an activation")

    def weight_quantizer(self, layer: Any) -> Any:
        """Return a quantizer for the weight of `layer`."""
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
    """Return the axis of the output channels in the weight of `layer`, and how many there are."""
    axis = output_channel_axis(layer)
    return axis, int(layer.weight.shape[axis])
