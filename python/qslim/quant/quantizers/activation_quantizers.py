# SPDX-License-Identifier: Apache-2.0
"""Quantizers of a layer's input: thresholds that follow the data of training and stand still in evaluation.

With c the largest magnitude of the batch:

    moving_average_abs_max   accum <- rate * accum + c;  state <- rate * state + 1;  threshold = accum / state
                             (accum = state = 1 at the start)
    range_abs_max            threshold = the largest c of the last window_size batches
    abs_max                  in training c itself; in evaluation the largest c of training

Under paddle.distributed c is the largest over all ranks, so every rank has the threshold that one process
with the whole batch would have. An input that was never negative in training takes the range [0, 2^bits - 1],
any other [-2^(bits-1), 2^(bits-1) - 1].
Source: paddle 3.3.1, fake_quantize_dequantize_moving_average_abs_max and fake_quantize_range_abs_max.
"""

from __future__ import annotations

from typing import Any, Optional

import numpy as np
import paddle

from qslim.functional.fake_quant import THRESHOLD_FLOOR
from qslim.graph import QuantParams
from qslim.quant import distributed
from qslim.quant.quantizers.quantizer import Quantizer
from qslim.quant.quantizers.recompute import once_a_batch
from qslim.quant.quantizers.tensors import as_constant, min_and_max, straight_through

__all__ = ["AbsMax", "ActivationQuantizer", "MovingAverageAbsMax", "RangeAbsMax"]


class ActivationQuantizer(Quantizer):
    """Watches its input in training and fake-quantizes it; passes it on until it has seen a batch.

    ``_scale`` is the threshold (Paddle's word), ``_signed`` whether the input was ever negative.
    """

    def __init__(self, quant_bits: int, is_signed: Optional[bool] = None) -> None:
        super().__init__(quant_bits)
        self._may_be_unsigned = is_signed is None
        self._marker: Optional[str] = None
        self._state_buffer("_scale", [0.001])
        self._state_buffer("_signed", [1.0 if is_signed else 0.0])

    def forward(self, x: Any) -> Any:
        if self._marker is not None:
            return paddle.static.Print(x, message=self._marker)
        if self.training and paddle.in_dynamic_mode():
            return straight_through(x, once_a_batch(self, lambda: self._take_in(x)))
        return straight_through(x, as_constant(self.quant_params))

    def _take_in(self, x: Any) -> Optional[QuantParams]:
        """Update the statistics with a training batch and return the parameters that quantize it."""
        abs_max, _ = self._observe(x)
        self._update(abs_max)
        self._count_batch()
        return self._params_of_batch()

    def _observe(self, x: Any) -> tuple[np.float32, np.float32]:
        """Largest magnitude and least element of the batch, over all ranks."""
        least, most = min_and_max(x)
        # Checked after the exchange: every rank stops, none waits for one that has stopped.
        seen = distributed.all_reduce_max(np.array([np.maximum(-least, most), -least], np.float32))
        self.check_finite(bool(np.isfinite(seen).all()), f"the {self.role}")
        if seen[1] > 0 and self._may_be_unsigned:
            self._write("_signed", [1.0])
        return np.float32(seen[0]), np.float32(-seen[1])

    def take_over(self, threshold: float, is_signed: bool) -> None:
        super().take_over(threshold, is_signed)
        self._write("_signed", [1.0 if is_signed or not self._may_be_unsigned else 0.0])

    def _update(self, abs_max: np.float32) -> None:
        """Take in the largest magnitude of a training batch."""
        raise NotImplementedError

    @property
    def is_signed(self) -> bool:
        return bool(self._read("_signed")[0] != 0)

    @property
    def threshold(self) -> float:
        """Largest magnitude kept, in the input's units."""
        return float(self._read("_scale")[0])

    def quant_params(self) -> Optional[QuantParams]:
        return None if self.batches == 0 else self._grid(np.float32(self.threshold))

    def _params_of_batch(self) -> Optional[QuantParams]:
        """Return the quantization parameters for the training batch just observed."""
        return self.quant_params()

    def _grid(self, threshold: np.float32) -> QuantParams:
        kept = max(threshold, THRESHOLD_FLOOR)
        return QuantParams.activation(float(kept), self.quant_bits, not self.is_signed)


class MovingAverageAbsMax(ActivationQuantizer):
    def __init__(
        self, quant_bits: int = 8, moving_rate: float = 0.9, is_signed: Optional[bool] = None
    ) -> None:
        super().__init__(quant_bits, is_signed)
        self._rate = np.float32(moving_rate)
        self._state_buffer("_state", [1.0])
        self._state_buffer("_accum", [1.0])

    def _update(self, abs_max: np.float32) -> None:
        accum = self._rate * self._read("_accum") + abs_max
        state = self._rate * self._read("_state") + np.float32(1)
        self._write("_accum", accum)
        self._write("_state", state)
        self._write("_scale", accum / state)


class RangeAbsMax(ActivationQuantizer):
    def __init__(
        self, quant_bits: int = 8, window_size: int = 10000, is_signed: Optional[bool] = None
    ) -> None:
        super().__init__(quant_bits, is_signed)
        self._state_buffer("_window", np.zeros(window_size, np.float32))

    def _update(self, abs_max: np.float32) -> None:
        window = self._read("_window").copy()
        window[self.batches % window.size] = abs_max
        self._write("_window", window)
        self._write("_scale", window[: self.batches + 1].max(keepdims=True))


class AbsMax(ActivationQuantizer):
    def __init__(self, quant_bits: int = 8, is_signed: Optional[bool] = None) -> None:
        super().__init__(quant_bits, is_signed)
        self._batch_threshold = np.float32(0)

    def _update(self, abs_max: np.float32) -> None:
        self._batch_threshold = abs_max
        seen = abs_max if self.batches == 0 else max(np.float32(self.threshold), abs_max)
        self._write("_scale", [seen])

    def _params_of_batch(self) -> Optional[QuantParams]:
        return self._grid(self._batch_threshold)
