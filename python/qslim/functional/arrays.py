# SPDX-License-Identifier: Apache-2.0
"""Conversion of what users hold (arrays, lists, framework tensors) to the arrays that the core reads.

A C-contiguous float32 array, or a CPU tensor of such, is passed on without a copy; everything else is
converted once. Integers and complex numbers are refused: their quantization would hide a mistake.
"""

from __future__ import annotations

from typing import Any, Optional, Union, overload

import numpy as np
from numpy.typing import NDArray


def as_array(x: Any, function: str, name: str) -> NDArray[Any]:
    """Return `x` as a NumPy array that shares its memory, if it can be shared."""
    if isinstance(x, np.ndarray):
        return x
    if hasattr(x, "__dlpack__") and hasattr(x, "__dlpack_device__"):
        try:
            return np.from_dlpack(x)
        except (BufferError, RuntimeError, TypeError, ValueError) as error:
            raise ValueError(
                f"{function}: {name} ({type(x).__name__}) cannot be read in place: {error}. "
                "It must be a dense CPU tensor that needs no gradient; try x.detach().cpu()"
            ) from error
    return np.asarray(x)


def as_float32(x: Any, function: str, name: str = "x") -> NDArray[np.float32]:
    """Return `x` as a C-contiguous float32 array; convert float16 and float64."""
    array = as_array(x, function, name)
    if array.dtype.kind != "f":
        raise TypeError(f"{function}: {name} must hold floating-point numbers, got {array.dtype}")
    # ascontiguousarray would turn a 0-d array into a 1-d one.
    return np.asarray(array, dtype=np.float32, order="C")


def as_bytes(q: Any, function: str, name: str = "q") -> NDArray[Any]:
    """Return `q` as a C-contiguous int8 or uint8 array."""
    array = as_array(q, function, name)
    if array.dtype not in (np.int8, np.uint8):
        raise TypeError(f"{function}: {name} must be an int8 or uint8 array, got {array.dtype}")
    return np.asarray(array, order="C")


@overload
def as_parameter(
    value: Any, dtype: type[np.float32], function: str, name: str, quant_axis: Optional[int]
) -> Union[float, NDArray[np.float32]]: ...
@overload
def as_parameter(
    value: Any, dtype: type[np.int32], function: str, name: str, quant_axis: Optional[int]
) -> Union[int, NDArray[np.int32]]: ...
def as_parameter(value: Any, dtype: Any, function: str, name: str, quant_axis: Optional[int]) -> Any:
    """Return a quantization parameter as the core takes it: a number, or an array of one per channel.

    Numbers are float32 numbers if `dtype` says so; without `quant_axis` any array of one element is a number.
    """
    if isinstance(value, float) and dtype is np.float32 and quant_axis is None:
        return float(np.float32(value))
    if dtype is np.int32 and type(value) is int and abs(value) < 2**31:
        return value
    array = as_array(value, function, name)
    if dtype is np.int32 and array.dtype.kind not in "iu":
        raise TypeError(f"{function}: {name} must hold integers, got {array.dtype}")
    if array.dtype.kind not in "fiu":
        raise TypeError(f"{function}: {name} must hold numbers, got {array.dtype}")
    if dtype is np.int32 and array.size and not -(2**31) <= array.min() <= array.max() < 2**31:
        raise ValueError(f"{function}: {name} must fit 32 bits, got {array.min()} to {array.max()}")
    array = np.asarray(array, dtype=dtype, order="C")
    if quant_axis is not None:
        # The core takes one zero point for all channels, but a scale or threshold for each.
        return np.atleast_1d(array) if dtype is np.float32 or array.ndim else array.item()
    if array.size != 1:
        raise ValueError(f"{function}: {name} has {array.size} elements, so quant_axis must name its axis")
    return array.item()
