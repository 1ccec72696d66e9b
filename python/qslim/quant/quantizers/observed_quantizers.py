# SPDX-License-Identifier: Apache-2.0
"""Quantizers that only observe, and quantizers with fixed parameters.

A calibration runs the float network: ObservedActivation collects statistics, ObservedWeight waits. Converting
puts FixedActivation and FixedWeight in their place; those keep their parameters in training mode too, and
they can be traced by ``paddle.jit.save``, as no data decide about them.
"""

from __future__ import annotations

from typing import Any, Optional

import numpy as np
import paddle
from numpy.typing import NDArray
from paddle import nn

from qslim.functional import TensorStatistics, find_threshold, least_squares_threshold
from qslim.functional.fake_quant import THRESHOLD_FLOOR
from qslim.functional.statistics import ThresholdAlgo
from qslim.graph import QuantParams
from qslim.quant.quantizers.activation_quantizers import ActivationQuantizer
from qslim.quant.quantizers.quantizer import Quantizer
from qslim.quant.quantizers.recompute import once_a_batch
from qslim.quant.quantizers.tensors import array_of, as_constant, context, round_to_grid, straight_through
from qslim.quant.quantizers.weight_quantizers import WeightQuantizer

__all__ = [
    "FixedActivation",
    "FixedWeight",
    "GroupWiseWeight",
    "ObservedActivation",
    "ObservedWeight",
    "StoredIntegers",
    "Unquantized",
]


class Unquantized(nn.Identity):  # type: ignore[misc]
    """An identity in place of a quantizer that the configuration leaves out."""


class ObservedActivation(ActivationQuantizer):
    """Passes its input on and remembers its statistics.

    Parameters
    ----------
    algo : as in ``find_threshold``
    quant_bits : int
    is_signed : bool or None
        None: unsigned integers if the input was never negative.
    is_symmetric : bool
        False: the range ends at the least and the largest value kept.
    bins : int
        Histogram bins for each sign.
    hist_percent : float
    """

    def __init__(
        self,
        algo: ThresholdAlgo,
        quant_bits: int = 8,
        is_signed: Optional[bool] = None,
        is_symmetric: bool = True,
        bins: int = 4096,
        hist_percent: float = 0.9999,
    ) -> None:
        super().__init__(quant_bits, is_signed)
        self.statistics = TensorStatistics(bins)
        self.may_see_training = True
        self._algo = algo
        self._is_signed = is_signed
        self._is_symmetric = is_symmetric
        self._hist_percent = hist_percent

    def forward(self, x: Any) -> Any:
        if self._marker is None and paddle.in_dynamic_mode():
            if self.training and not self.may_see_training:
                raise ValueError(
                    f"PTQ: layer {self.layer_name!r} is being calibrated in training mode, where batch "
                    "normalization and dropout do not do what they do in deployment; call model.eval() before"
                )
            try:
                once_a_batch(self, lambda: self.statistics.update(array_of(x), context()))
            except ValueError as error:
                raise ValueError(f"the {self.role} of layer {self.layer_name!r}: {error}") from error
        return x

    def params_for(self, statistics: TensorStatistics) -> Optional[QuantParams]:
        """Return the quantization parameters for these statistics; None if they have seen nothing."""
        if statistics.count == 0:
            return None
        is_unsigned = statistics.min >= 0 if self._is_signed is None else not self._is_signed
        threshold = max(
            np.float32(
                find_threshold(
                    statistics,
                    self._algo,
                    quant_bits=self.quant_bits,
                    is_unsigned=is_unsigned,
                    hist_percent=self._hist_percent,
                )
            ),
            THRESHOLD_FLOOR,
        )
        if self._is_symmetric:
            return QuantParams.activation(float(threshold), self.quant_bits, is_unsigned)
        low = np.float32(min(0.0, max(statistics.min, -threshold)))
        high = np.float32(max(0.0, min(statistics.max, threshold)))
        qmax = 2**self.quant_bits - 1
        scale = max(high - low, THRESHOLD_FLOOR) / np.float32(qmax)
        return QuantParams(np.asarray(scale), int(np.clip(np.rint(-low / scale), 0, qmax)), 0, qmax)


class FixedActivation(ActivationQuantizer):
    """Fake-quantizes an activation with the fixed parameters `params`.

    ``_step`` is its scale, ``_bounds`` its first and last integer, counted from the zero point.
    """

    def __init__(self, params: QuantParams, quant_bits: int) -> None:
        super().__init__(quant_bits, params.qmin < 0)
        bounds = [params.qmin - params.zero_point, params.qmax - params.zero_point]
        self._state_buffer("_step", params.scale.reshape(1))
        self._state_buffer("_bounds", bounds)
        self._state_buffer("_zero_point", [params.zero_point])
        self._write("_scale", params.threshold.reshape(1))
        self._count_batch()

    def forward(self, x: Any) -> Any:
        if self._marker is not None:
            return ActivationQuantizer.forward(self, x)  # not super(), see LearnedActivation
        if not paddle.in_dynamic_mode():
            # The buffers are variables of the traced program, and are saved with it.
            return round_to_grid(x, self._step, 1.0 / self._step, self._bounds[0], self._bounds[1])
        return straight_through(x, self.quant_params())

    def quant_params(self) -> QuantParams:
        zero_point = round(float(self._read("_zero_point")[0]))
        qmin, qmax = (round(float(bound)) + zero_point for bound in self._read("_bounds"))
        return QuantParams(np.asarray(self._read("_step")[0]), zero_point, qmin, qmax)


class ObservedWeight(WeightQuantizer):
    """Passes the weight on; its parameters follow from the weight when they are asked for.

    Parameters
    ----------
    algo : as in ``find_threshold``
        With a `quant_axis` "abs_max" or "mse".
    quant_bits, quant_axis, channel_axis, channels : as in WeightQuantizer
    bins, hist_percent : as in ObservedActivation
    """

    def __init__(
        self,
        algo: ThresholdAlgo,
        quant_bits: int,
        quant_axis: Optional[int],
        channel_axis: int,
        channels: int,
        bins: int = 4096,
        hist_percent: float = 0.9999,
    ) -> None:
        super().__init__(quant_bits, quant_axis, channel_axis, channels)
        self._algo = algo
        self._bins = bins
        self._hist_percent = hist_percent

    def forward(self, weight: Any) -> Any:
        return weight

    def _threshold(self, values: NDArray[np.float32]) -> Any:
        if self._algo == "abs_max":
            return super()._threshold(values)
        if self._algo == "mse":
            return least_squares_threshold(
                values, self.quant_bits, quant_axis=self.quant_axis, context=context()
            )
        statistics = TensorStatistics(self._bins)
        statistics.update(np.ascontiguousarray(values), context())
        return np.float32(
            find_threshold(
                statistics, self._algo, quant_bits=self.quant_bits, hist_percent=self._hist_percent
            )
        )


class FixedWeight(WeightQuantizer):
    """Fake-quantizes a weight with the fixed `params`; passes one on that ``is_on_grid`` already."""

    is_on_grid = False

    def __init__(self, params: QuantParams, quant_bits: int, channel_axis: int) -> None:
        super().__init__(quant_bits, params.quant_axis, channel_axis, params.scale.size)
        self._qmin, self._qmax = params.qmin, params.qmax
        self._state_buffer("_step", params.scale.reshape(-1))
        self._write("_scale", params.threshold.reshape(-1))
        self._count_batch()

    def forward(self, weight: Any) -> Any:
        if self.is_on_grid:
            return weight
        if not paddle.in_dynamic_mode():
            shape = [-1 if axis == self.quant_axis else 1 for axis in range(len(weight.shape))]
            step = self._step.reshape(shape)
            return round_to_grid(weight, step, 1.0 / step, float(self._qmin), float(self._qmax))
        return straight_through(weight, self.quant_params())

    def weight_params(self, values: NDArray[np.float32]) -> QuantParams:
        return self.quant_params()

    def quant_params(self) -> QuantParams:
        step = self._read("_step").copy()
        return QuantParams(
            step[0] if self.quant_axis is None else step, 0, self._qmin, self._qmax, self.quant_axis
        )

    def steps(self, ndim: int) -> NDArray[np.float32]:
        """Return the real value of one integer step, to broadcast against a weight of `ndim` dimensions."""
        return self.quant_params().broadcast_scale(ndim)


class GroupWiseWeight(Quantizer):
    """One scale for each `group_size` input channels of each output channel, of a weight [in, out].

    ``_scale`` are the thresholds, [in / group_size, out]; while ``is_observing`` the weight passes on
    unchanged. No integer kernel runs such weights: they are exported as fake-quantized floats.
    """

    role = "weight"
    is_on_grid = False

    def __init__(self, quant_bits: int, group_size: int, shape: list[int]) -> None:
        super().__init__(quant_bits)
        self.group_size = group_size
        self.is_observing = True
        self._state_buffer("_scale", np.zeros((shape[0] // group_size, shape[1]), np.float32))

    def forward(self, weight: Any) -> Any:
        if self.is_observing or self.is_on_grid:
            return weight
        groups, channels = self._scale.shape
        rows = weight.reshape([groups, self.group_size, channels]).transpose([0, 2, 1])
        rows = rows.reshape([groups * channels, self.group_size])
        if paddle.in_dynamic_mode():
            params = QuantParams.weight(self._read("_scale").reshape(-1), self.quant_bits, 0)
            rows = straight_through(rows, params)
        else:
            qmax = float(2 ** (self.quant_bits - 1) - 1)
            step = self._scale.reshape([groups * channels, 1]) / qmax
            rows = round_to_grid(rows, step, 1.0 / step, -qmax, qmax)
        quantized = rows.reshape([groups, channels, self.group_size])
        return quantized.transpose([0, 2, 1]).reshape(weight.shape)

    def calibrate(self, values: NDArray[np.float32]) -> None:
        """Take the thresholds of a weight of these values, and fake-quantize from now on."""
        self._write("_scale", self.thresholds(values))
        self._count_batch()
        self.is_observing = False

    def thresholds(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Largest magnitude of each group, [in / group_size, out]."""
        grouped = np.abs(values).reshape(-1, self.group_size, values.shape[1])
        self.check_finite(bool(np.isfinite(grouped).all()), f"the {self.role}")
        return np.asarray(np.maximum(grouped.max(axis=1), THRESHOLD_FLOOR), np.float32)

    def steps(self, ndim: int = 2) -> NDArray[np.float32]:
        """Return the real value of one integer step for each element of the weight."""
        step = self._read("_scale") / np.float32(2 ** (self.quant_bits - 1) - 1)
        return np.repeat(step, self.group_size, axis=0)


class StoredIntegers(nn.Layer):  # type: ignore[misc]
    """Dequantizes a weight that is stored as integers: times the scale of `quantizer`."""

    def __init__(self, quantizer: Any) -> None:
        super().__init__()
        # Not as a sublayer: it has its place in the model already. Its step may be loaded anew.
        object.__setattr__(self, "_quantizer", quantizer)

    def forward(self, integers: Any) -> Any:
        ndim = len(integers.shape)
        return integers * paddle.to_tensor(as_constant(lambda: self._quantizer.steps(ndim)))
