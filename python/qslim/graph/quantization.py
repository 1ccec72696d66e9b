# SPDX-License-Identifier: Apache-2.0
"""Quantization parameters of one tensor.

    q = clamp(round_half_even(x / scale) + zero_point, qmin, qmax)      x ~= scale * (q - zero_point)

``scale`` is the real value of one integer step; the threshold (the largest magnitude kept, which Paddle
calls "scale") is ``scale * qmax`` where the zero point is 0. Weights use [-qmax, qmax]; activations use
[-qmax - 1, qmax], or [0, 2^bits - 1] where the tensor cannot be negative.

The weight of a linear layer, or the table of an embedding, may have a scale for each ``group_size`` elements
of an output channel, or of a row: weight[k, n] ~= scale[k // group_size, n] * q[k, n] for quant_axis 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Optional

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qslim import _core

__all__ = ["QuantParams", "packed_in_halves", "stored_shape", "unpacked_halves"]

# 1 / scale must stay finite in float32.
_SMALLEST_SCALE = np.float32(1e-10)


@dataclass(frozen=True)
class QuantParams:
    """Quantization parameters of one tensor.

    Attributes
    ----------
    scale : ndarray of float32, shape () or (channels,)
        Real value of one integer step; > 0. With groups it has the shape of the matrix, but for the axis that
        is not ``quant_axis``, which counts groups.
    zero_point : int
    qmin, qmax : int
        Smallest and largest integer used.
    quant_axis : int or None
        The axis that ``scale`` runs along; None for one scale for the whole tensor.
    group_size : int or None
        Of a matrix: so many elements along its other axis, an even number, have one scale; the last group may
        be shorter. None: all of them.
    """

    scale: NDArray[np.float32]
    zero_point: int
    qmin: int
    qmax: int
    quant_axis: Optional[int] = None
    group_size: Optional[int] = None

    def __post_init__(self) -> None:
        scale = np.asarray(self.scale, np.float32)
        object.__setattr__(self, "scale", scale)
        if self.group_size is not None and (
            self.group_size < 2 or self.group_size % 2 or self.quant_axis not in (0, 1)
        ):
            raise ValueError(
                "QuantParams: groups need an even group_size > 0 and quant_axis 0 or 1, got "
                f"group_size={self.group_size} and quant_axis={self.quant_axis}"
            )
        ndim = 0 if self.quant_axis is None else 1 if self.group_size is None else 2
        if scale.ndim != ndim:
            raise ValueError(
                f"QuantParams: quant_axis={self.quant_axis} needs a scale of "
                f"{ndim} dimension{'' if ndim == 1 else 's'}, got shape {scale.shape}"
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

    def as_unsigned(self) -> QuantParams:
        """Return parameters for the same real values with unsigned integers."""
        offset = -min(self.qmin, 0)
        return replace(
            self, zero_point=self.zero_point + offset, qmin=self.qmin + offset, qmax=self.qmax + offset
        )

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

    @property
    def fits_half_a_byte(self) -> bool:
        """True if all integers are in [-8, 7] and some may be negative: .qslim files hold two in a byte."""
        return -8 <= self.qmin < 0 and self.qmax <= 7

    def fits_shape(self, shape: Sequence[Optional[int]]) -> bool:
        """Return True if a tensor of `shape`, None where an extent is open, can have these scales."""
        axis = self.quant_axis
        if axis is None:
            return True
        if self.group_size is None:
            return axis < len(shape) and shape[axis] in (None, self.scale.size)
        if len(shape) != 2 or None in shape:
            return False
        groups = -(-(shape[1 - axis] or 0) // self.group_size)
        return (self.scale.shape[axis], self.scale.shape[1 - axis]) == (shape[axis], groups)

    @property
    def group_axis(self) -> int:
        """The axis of a matrix that is cut into groups."""
        assert self.quant_axis is not None
        return 1 - self.quant_axis

    def group_of_each(self, shape: tuple[int, ...]) -> NDArray[np.int32]:
        """Return the number of the group of each element of ``group_axis`` of a matrix of `shape`."""
        assert self.group_size is not None
        return np.asarray(np.arange(shape[self.group_axis]) // self.group_size, np.int32)

    def scale_of(self, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """Return ``scale`` shaped to broadcast against a tensor of `shape`."""
        if self.group_size is None:
            return self.broadcast_scale(len(shape))
        return np.take(self.scale, self.group_of_each(shape), self.group_axis)

    def broadcast_scale(self, ndim: int) -> NDArray[np.float32]:
        """Return ``scale``, without groups, shaped to broadcast against a tensor of `ndim` dimensions."""
        if self.group_size is not None:
            raise ValueError("QuantParams: scales of groups are shaped by the tensor's extents, not its rank")
        if self.quant_axis is None:
            return self.scale
        shape = [1] * ndim
        shape[self.quant_axis] = -1
        return self.scale.reshape(shape)

    def quantize(self, values: NDArray[np.float32]) -> NDArray[Any]:
        """Return `values` as integers of ``dtype``; ties round to even."""
        values = np.ascontiguousarray(values, np.float32)
        if self.dtype.itemsize == 1 and self.group_size is None:
            scale = float(self.scale) if self.quant_axis is None else self.scale
            return _core.quantize(values, scale, self.zero_point, self.qmin, self.qmax, self.quant_axis)
        # More bits and groups have no kernel; the operations and their order are the kernel's.
        steps = np.rint(values * (np.float32(1) / self.scale_of(values.shape)))
        integers = steps + np.float32(self.zero_point)
        return np.asarray(np.clip(integers, self.qmin, self.qmax).astype(self.dtype))

    def dequantize(self, integers: NDArray[Any]) -> NDArray[np.float32]:
        """Return the real values that `integers` stand for."""
        if self.dtype.itemsize == 1 and self.group_size is None:
            scale = float(self.scale) if self.quant_axis is None else self.scale
            return _core.dequantize(np.ascontiguousarray(integers), scale, self.zero_point, self.quant_axis)
        centred = integers.astype(np.float32) - np.float32(self.zero_point)
        return np.asarray(centred * self.scale_of(integers.shape), np.float32)

    def fake_quantize(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the real values of the integers that `values` become."""
        return self.dequantize(self.quantize(values))


def stored_shape(shape: tuple[int, ...], params: QuantParams) -> tuple[int, ...]:
    """Return the shape of the integers of a constant of `shape` in a .qslim file.

    A matrix of integers of 4 bits has two of them in a byte, so that its rows have half as many.
    """
    if len(shape) == 2 and params.fits_half_a_byte:
        return shape[0], (shape[1] + 1) // 2
    return shape


def packed_in_halves(integers: NDArray[np.int8]) -> NDArray[np.uint8]:
    """Return the rows of a matrix of integers in [-8, 7], two in a byte, the lower half first."""
    halves = np.zeros((len(integers), integers.shape[1] + integers.shape[1] % 2), np.uint8)
    halves[:, : integers.shape[1]] = integers.view(np.uint8) & 15
    return np.asarray(halves[:, ::2] | halves[:, 1::2] << 4, np.uint8)


def unpacked_halves(stored: NDArray[np.uint8]) -> NDArray[np.int8]:
    """Return the rows that ``packed_in_halves`` packed, of twice as many integers as bytes."""
    halves = np.stack([stored & 15, stored >> 4], -1).reshape(len(stored), 2 * stored.shape[1])
    return np.asarray((halves ^ 8).astype(np.int8) - 8, np.int8)
