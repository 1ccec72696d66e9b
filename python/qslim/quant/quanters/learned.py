# SPDX-License-Identifier: Apache-2.0
"""Quanters that learn: PACT's clipping value, LSQ's scale, LSQ+'s scale and offset.

The learned parameter is a factor on a calibrated start, for inputs and weights alike
(qslim/quant/quantizers/learned.py).
"""

from __future__ import annotations

from typing import Any, Optional, Union

import numpy as np

from qslim.quant.options import choose
from qslim.quant.quantizers.factory import PaddleQuanter, QuantizerFactory, channels_of
from qslim.quant.quantizers.learned_activations import LearnedActivation
from qslim.quant.quantizers.weight_quantizers import LearnedWeight, PACTWeight

__all__ = [
    "ActLSQplusQuanter",
    "ActLSQplusQuanterLayer",
    "PACTQuanter",
    "PACTQuanterLayer",
    "WeightLSQplusQuanter",
    "WeightLSQplusQuanterLayer",
]

# PaddleSlim's default, which there multiplies the gradient of a threshold that starts at 100. Ours is that of
# a factor near 1, for which the optimizer's own rate is right.
_PADDLESLIM_LEARNING_RATE = 1000.0

_INNER_QUANTERS = (
    "FakeQuanterWithAbsMaxObserver",
    "FakeQuanterChannelWiseAbsMaxObserver",
    "ActLSQplusQuanter",
    "WeightLSQplusQuanter",
)


class PACTQuanterLayer(PaddleQuanter):
    """The quantizer of a PACTQuanter in Paddle's own QAT."""


class PACTQuanter(QuantizerFactory):
    """Learns where to clip, and quantizes what is left.

    Parameters
    ----------
    quanter : FakeQuanterWithAbsMaxObserver, FakeQuanterChannelWiseAbsMaxObserver or an LSQ quanter
        Gives the bits, and for a weight whether each output channel has a scale. The clipping value is the
        threshold, so there is nothing else to learn. The class of its quantizers will do, for 8 bits.
    init_value : float > 0
        The clipping value starts where the first batches have the least squared error, and not above this.
    learning_rate : float >= 0
        1000 learns at the optimizer's own rate, 100 at a tenth of it. PaddleSlim's start of 100 with a
        thousandfold rate does not converge.
    dtype : {"float32"}
    name : str, optional

    References
    ----------
    Choi et al. 2018, PACT (arXiv:1805.06085).

    Examples
    --------
    >>> from paddle.quantization import QuantConfig
    >>> from qslim.quant.quanters import FakeQuanterWithAbsMaxObserver, PACTQuanter
    >>> clipped = PACTQuanter(FakeQuanterWithAbsMaxObserver(bit_length=4))
    >>> config = QuantConfig(activation=clipped, weight=FakeQuanterWithAbsMaxObserver())
    """

    layer_class = PACTQuanterLayer

    def __init__(
        self,
        quanter: Any,
        init_value: float = 100.0,
        learning_rate: float = 1000.0,
        dtype: str = "float32",
        name: Optional[str] = None,
    ) -> None:
        options = getattr(quanter, "kwargs", {})
        bits = options.get("quant_bits", options.get("bit_length", 8))  # the latter is Paddle's own quanter
        super().__init__(bits, quanter=quanter, init_value=init_value, learning_rate=learning_rate)
        choose("dtype", dtype, ("float32",))
        kind = (quanter if isinstance(quanter, type) else type(quanter)).__name__
        if kind.endswith("Layer"):
            kind = kind[: -len("Layer")]
        if kind not in _INNER_QUANTERS or options.get("symmetric") is False:  # one of them is Paddle's, too
            raise ValueError(
                f"PACTQuanter: quanter must be one of {', '.join(_INNER_QUANTERS)}, with a symmetric range, "
                f"got {quanter!r}"
            )
        if not 0 < init_value < float("inf"):
            raise ValueError(f"PACTQuanter: init_value must be finite and > 0, got {init_value!r}")
        if not 0 <= learning_rate < float("inf"):
            raise ValueError(f"PACTQuanter: learning_rate must be finite and >= 0, got {learning_rate!r}")
        self._is_channel_wise = kind == "FakeQuanterChannelWiseAbsMaxObserver" or bool(
            options.get("per_channel")
        )
        self._init_value = np.float32(init_value)
        self._learning_rate = learning_rate / _PADDLESLIM_LEARNING_RATE

    def activation_quantizer(self, layer: Any) -> _PACTActivation:
        if self._is_channel_wise:
            raise ValueError(f"PACTQuanter: {self.kwargs['quanter']!r} quantizes weights only")
        return _PACTActivation(self._init_value, self.quant_bits, self._learning_rate)

    def weight_quantizer(self, layer: Any) -> _PACTWeight:
        axis, channels = channels_of(layer)
        weight = _PACTWeight(
            self.quant_bits, axis if self._is_channel_wise else None, axis, channels, self._learning_rate
        )
        weight.most = self._init_value
        return weight


class _PACTActivation(LearnedActivation):
    """With an upper bound on where the clipping value starts."""

    def __init__(self, most: np.float32, quant_bits: int, learning_rate: float) -> None:
        super().__init__("pact", quant_bits, learning_rate=learning_rate)
        self._most = most

    def _calibrate(self, x: Any) -> None:
        super()._calibrate(x)
        self._write("_initial", np.minimum(self._read("_initial"), self._most))


class _PACTWeight(PACTWeight):
    most = np.float32(np.inf)

    def _initial(self, values: Any) -> Any:
        return np.minimum(super()._initial(values), self.most)


class ActLSQplusQuanterLayer(PaddleQuanter):
    """The quantizer of an ActLSQplusQuanter in Paddle's own QAT."""


class ActLSQplusQuanter(QuantizerFactory):
    """LSQ for activations, and LSQ+ where the range is asymmetric.

    Parameters
    ----------
    quant_bits : int, 2 to 16
    sign : bool or None
        True, PaddleSlim's default, takes a range with negative integers; False one without; None the one that
        fits what training has seen.
    symmetric : bool
        False learns the offset too (LSQ+).
    per_channel : {False}
        Scales of an activation's channels do not leave the integer sums.
    batch_init : int > 0
        Training batches that calibrate the start.
    quant_linear : bool
    reduce_type : str, optional
        Accepted as PaddleSlim's: the layer says where its channels lie, and all ranks have the same scales.
    dtype : {"float32"}
    name : str, optional

    References
    ----------
    Esser et al. 2020, LSQ (arXiv:1902.08153); Bhalgat et al. 2020, LSQ+ (arXiv:2004.09576).
    """

    layer_class = ActLSQplusQuanterLayer

    def __init__(
        self,
        quant_bits: int = 8,
        sign: Optional[bool] = True,
        symmetric: bool = True,
        per_channel: bool = False,
        batch_init: int = 20,
        quant_linear: bool = False,
        reduce_type: Optional[str] = None,
        dtype: str = "float32",
        name: Optional[str] = None,
    ) -> None:
        super().__init__(quant_bits, sign=sign, symmetric=symmetric, batch_init=batch_init)
        choose("dtype", dtype, ("float32",))
        if per_channel:
            raise ValueError(
                "ActLSQplusQuanter: per_channel must be False: an integer sum over channels cannot have a "
                "scale for each of them"
            )
        _check_batch_init(self, batch_init)
        self._sign, self._symmetric, self._batch_init = sign, symmetric, batch_init

    def activation_quantizer(self, layer: Any) -> LearnedActivation:
        rule: Any = "lsq" if self._symmetric else "lsqplus"
        return LearnedActivation(rule, self.quant_bits, self._sign, self._batch_init)


class WeightLSQplusQuanterLayer(PaddleQuanter):
    """The quantizer of a WeightLSQplusQuanter in Paddle's own QAT."""


class WeightLSQplusQuanter(QuantizerFactory):
    """LSQ for weights, with the symmetric range [-qmax, qmax].

    Parameters
    ----------
    quant_bits : int, 2 to 16
    sign, symmetric : {True}
        The integer kernels take symmetric weights only.
    per_channel : bool
        A scale for each output channel.
    batch_init : int > 0
        Accepted as PaddleSlim's: a weight's start is the scale of least squared error in the first batch.
    channel_num : int, optional
        The layer's output channels; checked if given.
    quant_linear, reduce_type, dtype, name : as in ActLSQplusQuanter
    """

    layer_class = WeightLSQplusQuanterLayer

    def __init__(
        self,
        quant_bits: int = 8,
        sign: bool = True,
        symmetric: bool = True,
        per_channel: bool = False,
        batch_init: int = 20,
        quant_linear: bool = False,
        channel_num: Optional[int] = None,
        reduce_type: Optional[str] = None,
        dtype: str = "float32",
        name: Optional[str] = None,
    ) -> None:
        super().__init__(quant_bits, per_channel=per_channel, channel_num=channel_num)
        choose("dtype", dtype, ("float32",))
        for argument, value in (("sign", sign), ("symmetric", symmetric)):
            if value is not True:
                raise ValueError(f"WeightLSQplusQuanter: {argument} must be True, got {value!r}")
        _check_batch_init(self, batch_init)
        self._per_channel, self._channel_num = per_channel, channel_num

    def weight_quantizer(self, layer: Any) -> LearnedWeight:
        axis, channels = channels_of(layer)
        if self._channel_num not in (None, channels):
            raise ValueError(
                f"WeightLSQplusQuanter: channel_num is {self._channel_num}, but {layer.full_name()} has "
                f"{channels} output channels"
            )
        return LearnedWeight(self.quant_bits, axis if self._per_channel else None, axis, channels)


def _check_batch_init(factory: Union[ActLSQplusQuanter, WeightLSQplusQuanter], batch_init: Any) -> None:
    if isinstance(batch_init, bool) or not isinstance(batch_init, int) or batch_init < 1:
        raise ValueError(f"{type(factory).__name__}: batch_init must be an int > 0, got {batch_init!r}")
