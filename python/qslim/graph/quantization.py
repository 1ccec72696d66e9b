# SPDX-License-Identifier: Apache-2.0
"""Quantization parameters of one tensor.

    q = clamp(round_half_even(x / scale) + zero_point, qmin, qmax)      x ~= scale * (q - zero_point)

``scale`` is the real value of one integer step; the threshold (the largest magnitude kept, which Paddle
calls "scale") is ``scale * qmax`` where the zero point is 0. Weights use [-qmax, qmax]; activations use
[-qmax - 1, qmax], or [0, 2^bits - 1] where the tensor cannot be negative.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Optional

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qslim import _core

__all__ = ["QuantParams"]

# 1 / scale must stay finite in float32.
_SMALLEST_SCALE = np.float32(1e-10)


@dataclass(frozen=True)
class QuantParams:
    """Quantization parameters of one tensor.

    Attributes
    ----------
    scale : ndarray of float32, shape () or (channels,)
        Real value of one integer step; > 0.
    zero_point : int
    qmin, qmax : int
        Smallest and largest integer used.
    quant_axis : int or None
        The axis that ``scale`` runs along; None for one scale for the whole tensor.
    """

    scale: NDArray[np.float32]
    zero_point: int
    qmin: int
    qmax: int
    quant_axis: Optional[int] = None

    def __post_init__(self) -> None:
        scale = np.asarray(self.scale, np.float32)
        object.__setattr__(self, "scale", scale)
        if scale.ndim != (0 if self.quant_axis is None else 1):
            raise ValueError(
                f"QuantParams: quant_axis={self.quant_axis} needs a scale of "
                f"{'0 dimensions' if self.quant_axis is None else '1 dimension'}, got shape {scale.shape}"
            )
        if not (np.isfinite(scale).all() and (scale > 0).all()):
            raise ValueError(f"QuantParams: scale must be finite and > 0, got {scale}")
        if not self.qmin <= self.zero_point <= self.qmax:
            raise ValueError(
                f"QuantParams: zero_point {self.zero_point} lies outside [{self.qmin}, {self.qmax}]"
            )

    @classmethod
    def weight(cls, threshold: ArrayLike, quant_bits: int, quant_axis: Optional[int]) -> QuantParams:
        """Return the symmetric parameters of weights, on [-qmax, qmax] with qmax = 2^(bits-1) - 1."""
        qmax = 2 ** (quant_bits - 1) - 1
        return cls(np.asarray(threshold, np.float32) / np.float32(qmax), 0, -qmax, qmax, quant_axis)

    @classmethod
    def activation(cls, threshold: float, quant_bits: int, is_unsigned: bool) -> QuantParams:
        """Return parameters of activations, unsigned with qmax = 2^bits - 1, or signed of the same width."""
        qmax = 2**quant_bits - 1 if is_unsigned else 2 ** (quant_bits - 1) - 1
        scale = np.float32(threshold) / np.float32(qmax)
        return cls(np.asarray(scale), 0, 0 if is_unsigned else -qmax - 1, qmax)

    @classmethod
    def affine(cls, low: float, high: float, quant_bits: int) -> QuantParams:
        """Return unsigned parameters with a zero point that cover [min(low, 0), max(high, 0)]."""
        qmax = 2**quant_bits - 1
        low, high = min(float(low), 0.0), max(float(high), 0.0)
        scale = np.float32(max((high - low) / qmax, float(_SMALLEST_SCALE)))
        zero_point = int(np.clip(np.rint(-low / float(scale)), 0, qmax))
        return cls(np.asarray(scale), zero_point, 0, qmax)

    @property
    def threshold(self) -> NDArray[np.float32]:
        """Largest magnitude kept, in the tensor's units (Paddle's "scale"); the shape of ``scale``."""
        return np.asarray(self.scale * np.float32(self.qmax), np.float32)

    @property
    def dtype(self) -> np.dtype[Any]:
        """The smallest integer type that holds qmin to qmax, unsigned if qmin is not negative."""
        candidates = (np.int8, np.int16, np.int32) if self.qmin < 0 else (np.uint8, np.uint16, np.uint32)
        for candidate in candidates:
            info = np.iinfo(candidate)
            if info.min <= self.qmin and self.qmax <= info.max:
                return np.dtype(candidate)
        raise ValueError(f"QuantParams: no integer type holds [{self.qmin}, {self.qmax}]")

    def broadcast_scale(self, ndim: int) -> NDArray[np.float32]:
        """Return ``scale`` shaped to broadcast against a tensor of `ndim` dimensions."""
        if self.quant_axis is None:
            return self.scale
        shape = [1] * ndim
        shape[self.quant_axis] = -1
        return self.scale.reshape(shape)

    def quantize(self, values: NDArray[np.float32]) -> NDArray[Any]:
        """Return `values` as integers of ``dtype``; ties round to even."""
        values = np.ascontiguousarray(values, np.float32)
        if self.dtype.itemsize == 1:
            scale = float(self.scale) if self.quant_axis is None else self.scale
            return _core.quantize(values, scale, self.zero_point, self.qmin, self.qmax, self.quant_axis)
        # More bits are simulation only and have no kernel; the operations and their order are the kernel's.
        steps = np.rint(values * (np.float32(1) / self.broadcast_scale(values.ndim)))
        integers = steps + np.float32(self.zero_point)
        return np.asarray(np.clip(integers, self.qmin, self.qmax).astype(self.dtype))

    def dequantize(self, integers: NDArray[Any]) -> NDArray[np.float32]:
        """Return the real values that `integers` stand for."""
        if self.dtype.itemsize == 1:
            scale = float(self.scale) if self.quant_axis is None else self.scale
            return _core.dequantize(np.ascontiguousarray(integers), scale, self.zero_point, self.quant_axis)
        centred = integers.astype(np.float32) - np.float32(self.zero_point)
        return np.asarray(centred * self.broadcast_scale(integers.ndim), np.float32)

    def fake_quantize(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the real values of the integers that `values` become."""
        return self.dequantize(self.quantize(values))
