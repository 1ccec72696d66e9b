# SPDX-License-Identifier: Apache-2.0
"""Fake quantization of Paddle tensors, forward and backward.

float32 tensors on the CPU are read and written in place by the C++ kernels (DLPack, no copies). Tensors on
other devices, of other types, and tensors of a program that is being traced go through Paddle's own
operators, which give the same numbers:

    q = clamp(rne(x * (1 / scale)) + zero_point, qmin, qmax)        y = (q - zero_point) * scale
"""

from __future__ import annotations

import functools
from typing import Any, Callable, Optional, TypeVar

import numpy as np
import paddle
from numpy.typing import NDArray
from paddle.autograd import PyLayer

from qslim import _core, functional
from qslim.graph import QuantParams
from qslim.paddle import framework
from qslim.threads import default_threads

__all__ = [
    "array_of",
    "as_constant",
    "context",
    "fake_quant",
    "is_native",
    "min_and_max",
    "round_to_grid",
    "straight_through",
]

_Value = TypeVar("_Value")

# x + c - c rounds |x| <= 2**22 to the nearest even integer in float32, on any device.
_ROUNDING = 1.5 * 2.0**23


@functools.cache
def context() -> _core.Context:
    """Return the kernels' context, with ``default_threads`` threads."""
    return _core.Context(default_threads())


def is_native(x: Any) -> bool:
    """Return True if the kernels can work on the memory of `x` itself."""
    return bool(paddle.in_dynamic_mode() and x.place.is_cpu_place() and x.dtype == paddle.float32)


def array_of(x: Any) -> NDArray[Any]:
    """Return the elements of the tensor `x`: its own memory if it is a dense CPU tensor, else a copy."""
    if is_native(x) and x.size:
        return framework.memory_of(x.detach())
    if x.dtype in (paddle.float16, paddle.bfloat16):
        x = x.astype("float32")
    return np.asarray(x.detach().numpy())


def min_and_max(x: Any) -> tuple[float, float]:
    """Return the least and the largest element; NaN if there is one, (0, 0) of an empty tensor."""
    if not x.size:
        return 0.0, 0.0
    if is_native(x):
        least, most = functional.min_max(np.from_dlpack(x.detach()), context=context())
        return float(least), float(most)
    wide = x.detach().astype("float32")
    least, most = float(wide.min()), float(wide.max())
    # Paddle's reductions may pass over NaN; a sum does not.
    return (least, most) if np.isfinite(float(wide.sum())) else _exact_extremes(wide)


def _exact_extremes(x: Any) -> tuple[float, float]:
    array = x.numpy()
    return float(array.min()), float(array.max())


def fake_quant(x: Any, params: QuantParams) -> Any:
    """Return `x` fake-quantized with `params`, as a tensor that no gradient flows through."""
    if is_native(x):
        y = paddle.empty(x.shape, "float32")
        if x.size:
            scale = float(params.scale) if params.quant_axis is None else params.scale
            _core.fake_quant(
                np.ascontiguousarray(np.from_dlpack(x.detach())),
                scale,
                params.zero_point,
                params.qmin,
                params.qmax,
                params.quant_axis,
                "ties_to_even",
                array_of(y),
                context(),
            )
        return y
    return fake_quant_by_operators(x, params)


def fake_quant_by_operators(x: Any, params: QuantParams) -> Any:
    """Fake-quantize by Paddle's operators: on other devices, in other types, in traced programs."""
    wide = x if x.dtype == paddle.float32 else x.astype("float32")
    scale = _constant(params.broadcast_scale(len(x.shape)), wide)
    inverse = _constant(np.float32(1) / params.broadcast_scale(len(x.shape)), wide)
    low, high = params.qmin - params.zero_point, params.qmax - params.zero_point
    y = round_to_grid(wide, scale, inverse, float(low), float(high))
    return y if x.dtype == paddle.float32 else y.astype(x.dtype)


def round_to_grid(x: Any, scale: Any, inverse: Any, low: Any, high: Any) -> Any:
    """Return ``scale * rne(clamp(x * inverse, low, high))``; any of them may be a float32 tensor."""
    # Clamped first: rounding by addition holds up to 2**22, and the bounds are integers.
    steps = paddle.clip(x * inverse, low, high)
    return ((steps + _ROUNDING) - _ROUNDING) * scale


def _constant(value: NDArray[np.float32], like: Any) -> Any:
    if value.ndim == 0:
        return float(value)
    tensor = paddle.to_tensor(value)
    return tensor if not paddle.in_dynamic_mode() else tensor.to(like.place)


class _StraightThrough(PyLayer):  # type: ignore[misc]
    @staticmethod
    def forward(ctx: Any, x: Any, params: QuantParams) -> Any:
        return fake_quant(x, params)

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        return grad


@paddle.jit.not_to_static  # type: ignore[untyped-decorator]
def as_constant(values: Callable[[], _Value]) -> _Value:
    """Return the result of `values`, computed from tensors as they are now, also during a trace."""
    if paddle.in_dynamic_mode():
        return values()
    with framework.dygraph_inside_a_trace():
        return values()


def straight_through(x: Any, params: Optional[QuantParams]) -> Any:
    """Fake-quantize with the identity as gradient (arXiv:1308.3432); None as `params` returns `x`."""
    if params is None:
        return x
    if not paddle.in_dynamic_mode() or x.stop_gradient or not paddle.is_grad_enabled():
        return fake_quant(x, params)
    return _StraightThrough.apply(x, params)
