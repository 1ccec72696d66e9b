# SPDX-License-Identifier: Apache-2.0
"""Observers with one threshold for a tensor, mostly for activations.

The range is [-2^(bits-1), 2^(bits-1) - 1]; an activation that was never negative takes [0, 2^bits - 1].
Source of names and defaults: paddleslim 2.6.0, quant/observers. Its formulas are mended: a later batch cannot
undo the best threshold of MSEObserver, EMDObserver looks at negative values too, KLObserver's histogram is
one of magnitudes, and every rule weighs all batches together.
"""

from __future__ import annotations

from typing import Any, ClassVar, Optional

from qslim.functional import TensorStatistics
from qslim.functional.statistics import ThresholdAlgo
from qslim.quant.quantizers.factory import PaddleQuanter, QuantizerFactory, channels_of
from qslim.quant.quantizers.observed_quantizers import ObservedActivation, ObservedWeight

__all__ = [
    "AVGObserver",
    "AVGObserverLayer",
    "AbsmaxObserver",
    "AbsmaxObserverLayer",
    "EMDObserver",
    "EMDObserverLayer",
    "HistObserver",
    "KLObserver",
    "KLObserverLayer",
    "MSEObserver",
    "MSEObserverLayer",
    "MinMaxObserver",
    "MinMaxObserverLayer",
    "Observer",
    "PercentHistObserverLayer",
]


class Observer(QuantizerFactory):
    """An observer with the threshold rule ``algo``; for a weight, one threshold for all of it."""

    algo: ClassVar[ThresholdAlgo]

    def __init__(
        self,
        quant_bits: int = 8,
        *,
        bins: int = 4096,
        hist_percent: float = 0.9999,
        is_signed: Optional[bool] = None,
        is_symmetric: bool = True,
        **options: Any,
    ) -> None:
        super().__init__(quant_bits, **options)
        TensorStatistics(bins)  # raises what is wrong with the bins here, not in the first batch
        if not 0 < hist_percent <= 1:
            raise ValueError(f"{type(self).__name__}: percent must be in (0, 1], got {hist_percent!r}")
        self._histogram: dict[str, Any] = {"bins": bins, "hist_percent": hist_percent}
        self._grid: dict[str, Any] = {"is_signed": is_signed, "is_symmetric": is_symmetric}

    def activation_quantizer(self, layer: Any) -> ObservedActivation:
        return ObservedActivation(self.algo, self.quant_bits, **self._grid, **self._histogram)

    def weight_quantizer(self, layer: Any) -> ObservedWeight:
        return ObservedWeight(self.algo, self.quant_bits, None, *channels_of(layer), **self._histogram)


class AbsmaxObserverLayer(PaddleQuanter):
    """The quantizer of an AbsmaxObserver in Paddle's own QAT and PTQ."""


class AbsmaxObserver(Observer):
    """The largest magnitude of all batches.

    Parameters
    ----------
    quant_bits : int, 2 to 16

    Examples
    --------
    >>> import paddle
    >>> from paddle.quantization import QuantConfig
    >>> import qslim as slim
    >>> from qslim.quant.observers import AbsmaxObserver
    >>> net = paddle.nn.Sequential(paddle.nn.Conv2D(1, 4, 3), paddle.nn.ReLU())
    >>> _ = net.eval()
    >>> ptq = slim.PTQ(QuantConfig(activation=AbsmaxObserver(), weight=AbsmaxObserver()))
    >>> quantized = ptq.quantize(net)
    >>> _ = quantized(paddle.full([1, 1, 8, 8], 2.0))
    >>> ptq.convert(quantized)[0]._fake_quant_input.threshold
    2.0
    """

    algo = "abs_max"
    layer_class = AbsmaxObserverLayer

    def __init__(self, quant_bits: int = 8) -> None:
        super().__init__(quant_bits)


class AVGObserverLayer(PaddleQuanter):
    """The quantizer of an AVGObserver in Paddle's own QAT and PTQ."""


class AVGObserver(Observer):
    """The mean over all samples of a sample's largest magnitude."""

    algo = "avg"
    layer_class = AVGObserverLayer

    def __init__(self, quant_bits: int = 8) -> None:
        super().__init__(quant_bits)


class MSEObserverLayer(PaddleQuanter):
    """The quantizer of a MSEObserver in Paddle's own QAT and PTQ."""


class MSEObserver(Observer):
    """The threshold with the least squared error."""

    algo = "mse"
    layer_class = MSEObserverLayer

    def __init__(self, quant_bits: int = 8) -> None:
        super().__init__(quant_bits)


class EMDObserverLayer(PaddleQuanter):
    """The quantizer of an EMDObserver in Paddle's own QAT and PTQ."""


class EMDObserver(Observer):
    """The threshold that changes mean and standard deviation least."""

    algo = "emd"
    layer_class = EMDObserverLayer

    def __init__(self, quant_bits: int = 8) -> None:
        super().__init__(quant_bits)


class PercentHistObserverLayer(PaddleQuanter):
    """The quantizer of a HistObserver in Paddle's own QAT and PTQ."""


class HistObserver(Observer):
    """The threshold that keeps a share of the elements.

    Parameters
    ----------
    quant_bits : int, 2 to 16
    bins_count : int
        Histogram bins for each sign: a power of two from 64 to 16384.
    percent : float in (0, 1]
        The share that is kept.
    sign : bool or None
        True, PaddleSlim's default, takes a range with negative integers; False one without, which cuts
        negative values off; None the one that fits what was seen.
    symmetric : bool
        False: the range ends at the least and the largest value kept, with a zero point.
    """

    algo = "hist"
    layer_class = PercentHistObserverLayer

    def __init__(
        self,
        quant_bits: int = 8,
        bins_count: int = 2048,
        percent: float = 0.999,
        sign: Optional[bool] = True,
        symmetric: bool = True,
    ) -> None:
        super().__init__(
            quant_bits,
            bins=bins_count,
            hist_percent=percent,
            is_signed=sign,
            is_symmetric=symmetric,
            bins_count=bins_count,
            percent=percent,
            sign=sign,
            symmetric=symmetric,
        )


class KLObserverLayer(PaddleQuanter):
    """The quantizer of a KLObserver in Paddle's own QAT and PTQ."""


class KLObserver(Observer):
    """The threshold with the least Kullback-Leibler divergence of the quantized histogram."""

    algo = "KL"
    layer_class = KLObserverLayer

    def __init__(self, quant_bits: int = 8, bins_count: int = 2048) -> None:
        super().__init__(quant_bits, bins=bins_count, bins_count=bins_count)


class MinMaxObserverLayer(PaddleQuanter):
    """The quantizer of a MinMaxObserver for Paddle's own QAT and PTQ."""


class MinMaxObserver(Observer):
    """The least and the largest value of all batches as the ends of the range, with a zero point.

    Parameters
    ----------
    quant_bits : int, 2 to 16

    Examples
    --------
    >>> import paddle
    >>> from paddle.quantization import QuantConfig
    >>> import qslim as slim
    >>> from qslim.quant.observers import MinMaxObserver
    >>> ptq = slim.PTQ(QuantConfig(activation=MinMaxObserver(), weight=None))
    >>> net = paddle.nn.Sequential(paddle.nn.Linear(2, 2))
    >>> _ = net.eval()
    >>> quantized = ptq.quantize(net)
    >>> _ = quantized(paddle.to_tensor([[-1.0, 1.55]]))
    >>> params = ptq.convert(quantized)[0]._fake_quant_input.quant_params()
    >>> round(float(params.scale), 4), params.zero_point - params.qmin
    (0.01, 100)
    """

    algo = "hist"
    layer_class = MinMaxObserverLayer

    def __init__(self, quant_bits: int = 8) -> None:
        super().__init__(quant_bits, hist_percent=1.0, is_symmetric=False)
