# SPDX-License-Identifier: Apache-2.0
"""Quantizers of a layer's input with learned parameters: PACT, LSQ and LSQ+.

The first ``calibration_batches`` training batches give the starting value: the mean of the thresholds with
the least squared error on each batch (over all ranks together). After them the optimizer moves ``factor``,
and with LSQ+ ``offset``; see learned.py for their gradients. PACT's clipping value is the threshold,
so what training clips is what the integers clip.
"""

from __future__ import annotations

from typing import Any, Literal, Optional

import numpy as np
import paddle
from numpy.typing import NDArray

from qslim.functional import TensorStatistics, find_threshold
from qslim.functional.fake_quant import THRESHOLD_FLOOR
from qslim.graph import QuantParams
from qslim.quant import distributed
from qslim.quant.quantizers.activation_quantizers import ActivationQuantizer
from qslim.quant.quantizers.learned import LearnedParams, learned_fake_quant
from qslim.quant.quantizers.recompute import once_a_batch
from qslim.quant.quantizers.tensors import array_of, context, fake_quant

__all__ = ["FACTOR_RANGE", "LearnedActivation", "learned_parameter"]

# No further from the calibrated scale than this, so that a parameter gone astray can come back.
FACTOR_RANGE = (np.float32(1 / 32), np.float32(32))


def learned_parameter(
    layer: Any, shape: list[int], value: float, learning_rate: float, weight_decay: float
) -> Any:
    """Add a parameter to `layer`, with a learning-rate factor and a decay of its own."""
    attribute = paddle.ParamAttr(
        initializer=paddle.nn.initializer.Constant(value),
        learning_rate=learning_rate,
        regularizer=paddle.regularizer.L2Decay(weight_decay),
    )
    return layer.create_parameter(shape, attr=attribute, dtype="float32")


class LearnedActivation(ActivationQuantizer):
    """PACT ("pact"), LSQ ("lsq") or LSQ+ ("lsqplus").

    ``_initial`` holds the calibrated threshold, ``alpha`` the factor on it that is learned and ``_scale``
    their product, so that a network quantized without PACT, as PaddleClas exports, finds the trained
    threshold in a checkpoint. LSQ+ also has ``_zero_point``, calibrated, and ``beta``, the learned shift in
    widths of the range.
    """

    def __init__(
        self,
        rule: Literal["pact", "lsq", "lsqplus"],
        quant_bits: int = 8,
        is_signed: Optional[bool] = None,
        calibration_batches: int = 4,
        learning_rate: float = 1.0,
        weight_decay: float = 1e-4,
    ) -> None:
        super().__init__(quant_bits, is_signed)
        self._rule = rule
        self._calibration_batches = calibration_batches
        self.alpha = learned_parameter(self, [1], 1.0, learning_rate, weight_decay)
        self._state_buffer("_initial", [0.001])
        # Apart from _batches: in a checkpoint of plain training nothing was calibrated.
        self._state_buffer("_calibrated", [0])
        self.register_state_dict_hook(self._keep_scale)
        self.beta = None
        if rule == "lsqplus":
            self.beta = learned_parameter(self, [1], 0.0, learning_rate, 0.0)
            self._state_buffer("_zero_point", [0.0])

    def forward(self, x: Any) -> Any:
        if self._marker is not None or not paddle.in_dynamic_mode():
            # Not super(): traced by Paddle, that would be this class again in a class derived from it.
            return ActivationQuantizer.forward(self, x)
        if self.training:
            params, is_learning = once_a_batch(self, lambda: self._learn_from(x))
            return self._learn(x, params, is_learning)
        kept = self.quant_params()
        if kept is None:
            return x
        return fake_quant(x, kept) if not paddle.is_grad_enabled() else self._learn(x, kept, True)

    def _learn_from(self, x: Any) -> tuple[QuantParams, bool]:
        """Observe a training batch; return the parameters that quantize it, and whether they learn."""
        is_learning = self.calibrated >= self._calibration_batches
        self._observe(x)
        if is_learning:
            self._keep_in_range()
        else:
            self._calibrate(x)
        self._count_batch()
        params = self.quant_params()
        assert params is not None  # one batch gives it a starting value
        return params, is_learning

    def _learn(self, x: Any, params: QuantParams, is_learning: bool) -> Any:
        initial = np.asarray(params.scale / self._factor(), np.float32)
        rule: Literal["pact", "lsq"] = "pact" if self._rule == "pact" else "lsq"
        parts = distributed.world_size() if self.training else 1
        grid = LearnedParams(params, initial, rule, is_learning, parts, is_joint=self.training)
        return learned_fake_quant(x, self.alpha, self.beta, grid)

    def _calibrate(self, x: Any) -> None:
        statistics = TensorStatistics()
        statistics.update(array_of(x), context())
        if distributed.world_size() > 1:
            parts = distributed.all_gather_bytes(statistics.to_bytes())
            statistics = TensorStatistics()
            for part in parts:
                statistics.merge(TensorStatistics.from_bytes(part))
        threshold = find_threshold(
            statistics, "mse", quant_bits=self.quant_bits, is_unsigned=not self.is_signed
        )
        seen = np.float32(self.calibrated)
        if self._rule == "lsqplus":
            threshold, zero_point = self._asymmetric(statistics, threshold)
            self._write("_zero_point", (self._read("_zero_point") * seen + zero_point) / (seen + 1))
        self._write("_initial", (self._read("_initial") * seen + np.float32(threshold)) / (seen + 1))
        self._write("_calibrated", [self.calibrated + 1])

    def _asymmetric(self, statistics: TensorStatistics, threshold: float) -> tuple[float, np.float32]:
        """Return the range's width and zero point for data on [min, max], clipped as the symmetric one."""
        kept = min(1.0, threshold / max(statistics.abs_max, float(THRESHOLD_FLOOR)))
        low, high = min(0.0, statistics.min * kept), max(0.0, statistics.max * kept)
        span = max(high - low, float(THRESHOLD_FLOOR))
        return span, np.float32(-low / span * (2**self.quant_bits - 1))

    def take_over(self, threshold: float, is_signed: bool) -> None:
        super().take_over(threshold, is_signed)
        if self.beta is not None:
            self.beta.set_value(np.zeros(1, np.float32))
            self._write("_zero_point", [2.0 ** (self.quant_bits - 1) if self.is_signed else 0.0])
            threshold *= 2 if self.is_signed else 1
        self._write("_initial", [threshold])
        self._write("_calibrated", [self._calibration_batches])
        self.alpha.set_value(np.ones(1, np.float32))
        self._keep_scale()

    def _keep_in_range(self) -> None:
        factor = array_of(self.alpha)
        self.check_finite(bool(np.isfinite(factor).all()), f"the learned clipping value of the {self.role}")
        if not FACTOR_RANGE[0] <= factor[0] <= FACTOR_RANGE[1]:
            self.alpha.set_value(np.clip(factor, *FACTOR_RANGE))
        if self.beta is not None:
            offset = array_of(self.beta)
            self.check_finite(bool(np.isfinite(offset).all()), f"the learned offset of the {self.role}")

    def _keep_scale(self, state: Any = None) -> None:
        """Update ``_scale``, which a checkpoint holds, to the learned threshold."""
        is_tracing = self._marker is not None or not paddle.in_dynamic_mode()
        if not is_tracing and self.calibrated > 0:
            self._write("_scale", [self.threshold])

    def _factor(self) -> np.float32:
        low, high = FACTOR_RANGE
        return min(max(np.float32(array_of(self.alpha)[0]), low), high)

    @property
    def calibrated(self) -> int:
        """Batches that the starting value comes from."""
        return self._counted("_calibrated")

    @property
    def threshold(self) -> float:
        """Largest magnitude kept (LSQ+: the width of the range), in the input's units."""
        return float(np.float32(self._read("_initial")[0]) * self._factor())

    def quant_params(self) -> Optional[QuantParams]:
        if self.calibrated == 0:
            return None
        threshold = max(np.float32(self.threshold), THRESHOLD_FLOOR)
        if self._rule != "lsqplus":
            return QuantParams.activation(float(threshold), self.quant_bits, not self.is_signed)
        qmax = 2**self.quant_bits - 1
        # beta counts in widths of the range: at -1/4 a quarter of it more lies below zero.
        zero_point = self._read("_zero_point")[0] - array_of(self.beta)[0] * np.float32(qmax)
        rounded = int(np.clip(np.rint(zero_point), 0, qmax)) if np.isfinite(zero_point) else 0
        scale: NDArray[np.float32] = np.asarray(threshold / np.float32(qmax), np.float32)
        return QuantParams(scale, rounded, 0, qmax)
