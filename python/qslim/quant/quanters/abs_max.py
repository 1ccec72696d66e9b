# SPDX-License-Identifier: Apache-2.0
"""Quanters whose thresholds are largest magnitudes, under PaddleSlim's names."""

from __future__ import annotations

from typing import Any, Optional

from qslim.quant.options import choose
from qslim.quant.quantizers.activation_quantizers import MovingAverageAbsMax
from qslim.quant.quantizers.factory import PaddleQuanter, QuantizerFactory, channels_of
from qslim.quant.quantizers.weight_quantizers import AbsMaxWeight, TrackedWeight

__all__ = [
    "FakeQuanterChannelWiseAbsMaxObserver",
    "FakeQuanterChannelWiseAbsMaxObserverLayer",
    "FakeQuanterWithAbsMaxObserver",
    "FakeQuanterWithAbsMaxObserverLayer",
]


class FakeQuanterWithAbsMaxObserverLayer(PaddleQuanter):
    """The quantizer of a FakeQuanterWithAbsMaxObserver in Paddle's own QAT."""


class FakeQuanterWithAbsMaxObserver(QuantizerFactory):
    """The moving average of each training batch's largest magnitude, for inputs and for weights.

    Parameters
    ----------
    moving_rate : float in [0, 1)
    bit_length : int, 2 to 16
    dtype : {"float32"}
    name : str, optional
        Accepted as Paddle's; nothing is named after it.

    Examples
    --------
    >>> from qslim.quant.quanters import FakeQuanterWithAbsMaxObserver
    >>> FakeQuanterWithAbsMaxObserver(moving_rate=0.99)
    FakeQuanterWithAbsMaxObserver(quant_bits=8,moving_rate=0.99)
    """

    layer_class = FakeQuanterWithAbsMaxObserverLayer

    def __init__(
        self,
        moving_rate: float = 0.9,
        bit_length: int = 8,
        dtype: str = "float32",
        name: Optional[str] = None,
    ) -> None:
        super().__init__(bit_length, moving_rate=moving_rate)
        choose("dtype", dtype, ("float32",))
        if not isinstance(moving_rate, float) or not 0 <= moving_rate < 1:
            raise ValueError(
                f"FakeQuanterWithAbsMaxObserver: moving_rate must be a float in [0, 1), got {moving_rate!r}"
            )
        self.moving_rate = moving_rate

    def activation_quantizer(self, layer: Any) -> MovingAverageAbsMax:
        return MovingAverageAbsMax(self.quant_bits, self.moving_rate)

    def weight_quantizer(self, layer: Any) -> TrackedWeight:
        return TrackedWeight(self.quant_bits, channels_of(layer)[0], self.moving_rate)


class FakeQuanterChannelWiseAbsMaxObserverLayer(PaddleQuanter):
    """The quantizer of a FakeQuanterChannelWiseAbsMaxObserver in Paddle's own QAT."""


class FakeQuanterChannelWiseAbsMaxObserver(QuantizerFactory):
    """The largest magnitude of each output channel of a weight, in every forward pass.

    Parameters
    ----------
    bit_length : int, 2 to 16
    dtype, name : as in FakeQuanterWithAbsMaxObserver
    """

    layer_class = FakeQuanterChannelWiseAbsMaxObserverLayer

    def __init__(self, bit_length: int = 8, dtype: str = "float32", name: Optional[str] = None) -> None:
        super().__init__(bit_length)
        choose("dtype", dtype, ("float32",))

    def weight_quantizer(self, layer: Any) -> AbsMaxWeight:
        axis, channels = channels_of(layer)
        return AbsMaxWeight(self.quant_bits, axis, axis, channels)
