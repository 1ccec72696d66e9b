# SPDX-License-Identifier: Apache-2.0
"""From what users hold (arrays, lists, framework tensors) to the arrays the core reads.

A C-contiguous float32 array, or a CPU tensor of such, is passed on without a copy; everything else is
converted once. Integers and complex numbers are refused: their quantization would hide a mistake.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def as_array(x: Any, function: str, name: str) -> NDArray[Any]:
    """`x` as a NumPy array, sharing its memory where it can be shared."""
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
    """`x` as a C-contiguous float32 array; float16 and float64 are converted."""
    array = as_array(x, function, name)
    if array.dtype.kind != "f":
        raise TypeError(f"{function}: {name} must hold floating-point numbers, got {array.dtype}")
    # ascontiguousarray would turn a 0-d array into a 1-d one.
    return np.asarray(array, dtype=np.float32, order="C")


def as_bytes(q: Any, function: str, name: str = "q") -> NDArray[Any]:
    """`q` as a C-contiguous int8 or uint8 array."""
    array = as_array(q, function, name)
    if array.dtype not in (np.int8, np.uint8):
        raise TypeError(f"{function}: {name} must be an int8 or uint8 array, got {array.dtype}")
    return np.asarray(array, order="C")
