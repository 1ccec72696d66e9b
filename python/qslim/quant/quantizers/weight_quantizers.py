# SPDX-License-Identifier: Apache-2.0
"""Quantizers of a layer's weight, with the range [-qmax, qmax], qmax = 2^(bits-1) - 1.

    abs_max                        threshold = max |w|, of each forward pass
    channel_wise_abs_max           the same for every output channel
    moving_average_abs_max, range_abs_max
                                   as for activations (activations.py)
    lsq_weight, channel_wise_lsq_weight
                                   the scale is learned from the one with the least squared error
    PACT before any of the first two
                                   threshold = min(max |w|, alpha), one alpha for the tensor, learned

With a normalization behind the layer (fuse_conv_bn) the weight is quantized as w * f, f = gamma /
sqrt(variance + epsilon) per output channel and without a gradient, and divided by f again: what deployment
folds is then what training has seen (Krishnamoorthi 2018, arXiv:1806.08342, section 3.2.2).
"""

from __future__ import annotations

from typing import Any, Literal, Optional

import numpy as np
from numpy.typing import NDArray
from paddle import nn

from qslim import functional
from qslim.functional.fake_quant import THRESHOLD_FLOOR
from qslim.graph import QuantParams
from qslim.quant.quantizers.learned import LearnedParams, learned_fake_quant
from qslim.quant.quantizers.learned_activations import FACTOR_RANGE, learned_parameter
from qslim.quant.quantizers.quantizer import Quantizer
from qslim.quant.quantizers.recompute import once_a_batch
from qslim.quant.quantizers.tensors import array_of, context, straight_through

__all__ = [
    "AbsMaxWeight",
    "LearnedWeight",
    "PACTWeight",
    "TrackedWeight",
    "WeightQuantizer",
    "needs_values",
    "output_channel_axis",
]


class WeightQuantizer(Quantizer):
    """Fake-quantizes a weight. ``_scale`` is the threshold, of the tensor or of each output channel.

    Parameters
    ----------
    quant_bits : int
    quant_axis : int or None
        The axis of the output channels; None for one threshold for the whole weight.
    channel_axis, channels : int
        Where the output channels lie, and how many there are, also if ``quant_axis`` is None.
    """

    role = "weight"

    def __init__(self, quant_bits: int, quant_axis: Optional[int], channel_axis: int, channels: int) -> None:
        super().__init__(quant_bits)
        self.quant_axis = quant_axis
        self.channel_axis = channel_axis
        self._norm: Optional[Any] = None
        self._state_buffer("_scale", [0.001] if quant_axis is None else np.zeros(channels, np.float32))

    def fold(self, norm: Optional[Any]) -> None:
        """Quantize the weight as it will be with `norm` folded in; None undoes it."""
        # Not as a sublayer: it has its place in the model already.
        object.__setattr__(self, "_norm", norm)

    def forward(self, weight: Any) -> Any:
        values = array_of(weight)
        if self.training:
            params = once_a_batch(self, lambda: self._take_in(values))
        else:
            params = self.weight_params(values)
        return self._quantize(weight, params)

    def _take_in(self, values: NDArray[np.float32]) -> QuantParams:
        """Update the state with the weight of a training step; return the parameters that quantize it."""
        params = self._params_for_training(values)
        self._count_batch()
        return params

    def _params_for_training(self, values: NDArray[np.float32]) -> QuantParams:
        factor = self._fold_factor()
        threshold = self._threshold(self._folded(values, factor))
        self.check_finite(bool(np.isfinite(threshold).all()), f"the {self.role}")
        self._write("_scale", np.atleast_1d(threshold))
        return self._params(threshold, factor)

    def _quantize(self, weight: Any, params: QuantParams) -> Any:
        return straight_through(weight, params)

    def weight_params(self, values: NDArray[np.float32]) -> QuantParams:
        """Return the quantization parameters for a weight of these values; change nothing."""
        factor = self._fold_factor()
        return self._params(self._threshold(self._folded(values, factor)), factor)

    def quant_params(self) -> Optional[QuantParams]:
        if self.batches == 0:
            return None
        threshold = self._read("_scale")
        return self._params(threshold if self.quant_axis is not None else threshold[0], self._fold_factor())

    def _threshold(self, values: NDArray[np.float32]) -> Any:
        """Largest magnitude kept of `values`, float32, a number or one a channel."""
        return np.asarray(
            functional.abs_max(values, quant_axis=self.quant_axis, context=context()), np.float32
        )

    def _params(self, threshold: Any, factor: Optional[NDArray[np.float32]]) -> QuantParams:
        kept = np.maximum(np.asarray(threshold, np.float32), THRESHOLD_FLOOR)
        if factor is None:
            return QuantParams.weight(kept, self.quant_bits, self.quant_axis)
        return QuantParams.weight(kept / factor, self.quant_bits, self.channel_axis)

    def _fold_factor(self) -> Optional[NDArray[np.float32]]:
        """Return |gamma| / sqrt(variance + epsilon) of each output channel; integers take the sign."""
        if self._norm is None:
            return None
        gamma, variance = array_of(self._norm.weight), array_of(self._norm._variance)
        factor = np.abs(gamma) / np.sqrt(variance + np.float32(self._norm._epsilon))
        return np.asarray(np.maximum(factor, THRESHOLD_FLOOR), np.float32)

    def _folded(self, values: NDArray[np.float32], factor: Optional[NDArray[np.float32]]) -> Any:
        if factor is None:
            return values
        shape = [1] * values.ndim
        shape[self.channel_axis] = -1
        return values * factor.reshape(shape)


def needs_values(quantizer: Any) -> bool:
    """Return True if `quantizer` computes its parameters from the weight, which has no values in a trace."""
    return isinstance(quantizer, WeightQuantizer) and type(quantizer).forward is WeightQuantizer.forward


class AbsMaxWeight(WeightQuantizer):
    """abs_max and channel_wise_abs_max."""


class TrackedWeight(WeightQuantizer):
    """moving_average_abs_max and range_abs_max of a weight; evaluation keeps the threshold of training."""

    def __init__(
        self, quant_bits: int, channel_axis: int, moving_rate: Optional[float], window_size: int = 1
    ) -> None:
        super().__init__(quant_bits, None, channel_axis, 1)
        self._rate = None if moving_rate is None else np.float32(moving_rate)
        if moving_rate is None:
            self._state_buffer("_window", np.zeros(window_size, np.float32))
        else:
            self._state_buffer("_state", [1.0])
            self._state_buffer("_accum", [1.0])

    def _params_for_training(self, values: NDArray[np.float32]) -> QuantParams:
        factor = self._fold_factor()
        abs_max = super()._threshold(self._folded(values, factor))
        self.check_finite(bool(np.isfinite(abs_max)), f"the {self.role}")
        if self._rate is None:
            window = self._read("_window").copy()
            window[self.batches % window.size] = abs_max
            self._write("_window", window)
            self._write("_scale", [window.max()])
        else:
            accum = self._rate * self._read("_accum") + abs_max
            state = self._rate * self._read("_state") + np.float32(1)
            self._write("_accum", accum)
            self._write("_state", state)
            self._write("_scale", accum / state)
        return self._params(self._read("_scale")[0], factor)

    def _threshold(self, values: NDArray[np.float32]) -> Any:
        return super()._threshold(values) if self.batches == 0 else self._read("_scale")[0]


class LearnedWeight(WeightQuantizer):
    """lsq_weight and channel_wise_lsq_weight; ``_scale`` is where it started, ``alpha`` the factor on it."""

    rule: Literal["pact", "lsq"] = "lsq"

    def __init__(
        self,
        quant_bits: int,
        quant_axis: Optional[int],
        channel_axis: int,
        channels: int,
        learning_rate: float = 1.0,
        weight_decay: float = 1e-4,
    ) -> None:
        super().__init__(quant_bits, quant_axis, channel_axis, channels)
        shape = [1] if quant_axis is None or self.rule == "pact" else [channels]
        self.alpha = learned_parameter(self, shape, 1.0, learning_rate, weight_decay)

    def _params_for_training(self, values: NDArray[np.float32]) -> QuantParams:
        factor = self._fold_factor()
        folded = self._folded(values, factor)
        self._start(folded)
        learned = array_of(self.alpha)
        self.check_finite(bool(np.isfinite(learned).all()), f"the learned scale of the {self.role}")
        if learned.min() < FACTOR_RANGE[0] or learned.max() > FACTOR_RANGE[1]:
            self.alpha.set_value(np.clip(learned, *FACTOR_RANGE))
        threshold = self._threshold(folded)
        self.check_finite(bool(np.isfinite(threshold).all()), f"the {self.role}")
        self._keep(threshold)
        return self._params(threshold, factor)

    def _quantize(self, weight: Any, params: QuantParams) -> Any:
        # A model-parallel layer has another part of the weight on every rank, with factors of its own.
        is_joint = self.training and not getattr(weight, "is_distributed", False)
        initial = params.scale / self._learned_factor()
        grid = LearnedParams(params, initial, self.rule, is_learning=True, is_joint=is_joint)
        return learned_fake_quant(weight, self.alpha, None, grid)

    def _start(self, folded: NDArray[np.float32]) -> None:
        if self.batches == 0:
            initial = self._initial(folded)
            self.check_finite(bool(np.isfinite(initial).all()), f"the {self.role}")
            self._write("_scale", np.atleast_1d(initial))

    def _keep(self, threshold: Any) -> None:
        """Note the threshold of this step; here it follows from ``_scale`` and ``alpha``."""

    def quant_params(self) -> Optional[QuantParams]:
        if self.batches == 0:
            return None
        return self._params(self._shaped(self._read("_scale")) * self._learned_factor(), self._fold_factor())

    def _threshold(self, values: NDArray[np.float32]) -> Any:
        initial = self._initial(values) if self.batches == 0 else self._shaped(self._read("_scale"))
        return initial * self._learned_factor()

    def _learned_factor(self) -> Any:
        return self._shaped(np.clip(array_of(self.alpha), *FACTOR_RANGE))

    @staticmethod
    def _shaped(state: NDArray[np.float32]) -> Any:
        """Return a number if there is one, else one a channel."""
        return np.float32(state[0]) if state.size == 1 else state.copy()

    def _initial(self, values: NDArray[np.float32]) -> Any:
        """Return the threshold with the least squared error on `values`."""
        return functional.least_squares_threshold(
            values, self.quant_bits, quant_axis=self.quant_axis, context=context()
        )


class PACTWeight(LearnedWeight):
    """The weight clipped at ``alpha`` times ``_clip``, one for the tensor, then abs_max of what is left.

    ``_clip`` is the largest of the channels' thresholds of least squared error.
    """

    rule = "pact"

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._state_buffer("_clip", [0.0])

    def _start(self, folded: NDArray[np.float32]) -> None:
        if self._read("_clip")[0] == 0:
            initial = np.max(self._initial(folded))
            self.check_finite(bool(np.isfinite(initial)), f"the {self.role}")
            self._write("_clip", np.reshape(initial, (1,)))

    def quant_params(self) -> Optional[QuantParams]:
        return WeightQuantizer.quant_params(self)  # of the last step: alpha is in _scale

    def _keep(self, threshold: Any) -> None:
        self._write("_scale", np.atleast_1d(threshold))

    def _threshold(self, values: NDArray[np.float32]) -> Any:
        clip = self._read("_clip")[0] or np.max(self._initial(values))
        return np.minimum(WeightQuantizer._threshold(self, values), clip * self._learned_factor())


def output_channel_axis(layer: Any) -> int:
    """Return the axis of a quantizable layer's weight that runs over its output channels."""
    return 0 if isinstance(layer, nn.Conv2D) else 1
