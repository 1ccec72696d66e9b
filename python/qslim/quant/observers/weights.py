# SPDX-License-Identifier: Apache-2.0
"""Observers of weights: thresholds for each output channel, or for groups of input channels.

Output channels lie on axis 0 of a Conv2D's weight and on axis 1 of a Linear's and a Conv2DTranspose's (which
PaddleSlim's observers do not take).
"""

from __future__ import annotations

from typing import Any, ClassVar

from qslim.functional.statistics import ThresholdAlgo
from qslim.quant.quantizers.factory import PaddleQuanter, QuantizerFactory, channels_of
from qslim.quant.quantizers.observed_quantizers import GroupWiseWeight, ObservedWeight

__all__ = [
    "AbsMaxChannelWiseWeightObserver",
    "AbsMaxChannelWiseWeightObserverLayer",
    "GroupWiseWeightObserver",
    "GroupWiseWeightObserverLayer",
    "MSEChannelWiseWeightObserver",
    "MSEChannelWiseWeightObserverLayer",
]

_GROUP_SIZES = (64, 128)


class _ChannelWiseObserver(QuantizerFactory):
    algo: ClassVar[ThresholdAlgo]

    def __init__(self, quant_bits: int = 8) -> None:
        super().__init__(quant_bits)

    def weight_quantizer(self, layer: Any) -> ObservedWeight:
        axis, channels = channels_of(layer)
        return ObservedWeight(self.algo, self.quant_bits, axis, axis, channels)


class AbsMaxChannelWiseWeightObserverLayer(PaddleQuanter):
    """The quantizer of an AbsMaxChannelWiseWeightObserver in Paddle's own QAT and PTQ."""


class AbsMaxChannelWiseWeightObserver(_ChannelWiseObserver):
    """The largest magnitude of each output channel.

    Parameters
    ----------
    quant_bits : int, 2 to 16

    Examples
    --------
    >>> from qslim.quant.observers import AbsMaxChannelWiseWeightObserver
    >>> AbsMaxChannelWiseWeightObserver(4)
    AbsMaxChannelWiseWeightObserver(quant_bits=4)
    """

    algo = "abs_max"
    layer_class = AbsMaxChannelWiseWeightObserverLayer


class MSEChannelWiseWeightObserverLayer(PaddleQuanter):
    """The quantizer of a MSEChannelWiseWeightObserver in Paddle's own QAT and PTQ."""


class MSEChannelWiseWeightObserver(_ChannelWiseObserver):
    """The threshold of each output channel with the least squared error, from 0.2 to 1 of the largest."""

    algo = "mse"
    layer_class = MSEChannelWiseWeightObserverLayer


class GroupWiseWeightObserverLayer(PaddleQuanter):
    """The quantizer of a GroupWiseWeightObserver in Paddle's own QAT and PTQ."""


class GroupWiseWeightObserver(QuantizerFactory):
    """The largest magnitude of each `group_size` input channels of each output channel of a Linear.

    Parameters
    ----------
    quant_bits : int, 2 to 16
    group_size : {64, 128}

    Raises
    ------
    ValueError : a weight that is not 2-d, or whose input channels are no multiple of `group_size`.
    """

    layer_class = GroupWiseWeightObserverLayer

    def __init__(self, quant_bits: int = 8, group_size: int = 128) -> None:
        super().__init__(quant_bits, group_size=group_size)
        if group_size not in _GROUP_SIZES:
            raise ValueError(f"GroupWiseWeightObserver: group_size must be 64 or 128, got {group_size!r}")
        self.group_size = group_size

    def weight_quantizer(self, layer: Any) -> GroupWiseWeight:
        shape = [int(extent) for extent in layer.weight.shape]
        if len(shape) != 2 or shape[0] % self.group_size:
            raise ValueError(
                f"GroupWiseWeightObserver: {layer.full_name()} needs a weight [in, out] with in a multiple "
                f"of {self.group_size}, got {shape}"
            )
        return GroupWiseWeight(self.quant_bits, self.group_size, shape)
