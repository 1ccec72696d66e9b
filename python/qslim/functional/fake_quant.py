# SPDX-License-Identifier: Apache-2.0
"""Symmetric quantization by threshold: fake_quant, its gradient, quantize and dequantize.

``scale = threshold / qmax``, zero point 0, range ``[-(2**(b-1) - 1), 2**(b-1) - 1]`` or, for tensors
that are never negative, ``[0, 2**b - 1]``. A threshold of 0 (a channel of zeros) counts as 1e-8, so zeros
stay zeros.
`fake_quant_affine` takes any scale, zero point and range; `qslim._core` has them for the other functions too.
"""

from __future__ import annotations

import math
from typing import Any, Literal, NamedTuple, Optional, Union

import numpy as np
from numpy.typing import NDArray

from qslim import _core
from qslim.functional.arrays import as_bytes, as_float32, as_parameter

Rounding = Literal["ties_to_even", "ties_away"]
THRESHOLD_FLOOR = np.float32(1e-8)


class _Params(NamedTuple):
    scale: Union[float, NDArray[np.float32]]
    qmin: int
    qmax: int


def _params(
    function: str,
    threshold: Any,
    quant_bits: int,
    quant_axis: Optional[int],
    is_unsigned: bool,
    most_bits: int,
) -> _Params:
    if not 2 <= quant_bits <= most_bits:
        raise ValueError(f"{function}: quant_bits must be in [2, {most_bits}], got {quant_bits}")
    qmax = 2**quant_bits - 1 if is_unsigned else 2 ** (quant_bits - 1) - 1
    qmin = 0 if is_unsigned else -qmax
    kept = as_parameter(threshold, np.float32, function, "threshold", quant_axis)
    if isinstance(kept, float):
        if not 0 <= kept < math.inf:
            raise ValueError(f"{function}: threshold must be finite and >= 0, got {kept}")
        return _Params(float(np.float32(max(kept, THRESHOLD_FLOOR)) / np.float32(qmax)), qmin, qmax)
    least, largest = _core.min_max(kept) if kept.size else (0.0, 0.0)
    if not 0 <= least <= largest < math.inf:
        bad = kept[~(np.isfinite(kept) & (kept >= 0))]
        raise ValueError(f"{function}: threshold must be finite and >= 0, got {bad[0]}")
    return _Params(np.maximum(kept, THRESHOLD_FLOOR) / np.float32(qmax), qmin, qmax)


def fake_quant(
    x: Any,
    threshold: Any,
    *,
    quant_bits: int = 8,
    quant_axis: Optional[int] = None,
    is_unsigned: bool = False,
    rounding: Rounding = "ties_to_even",
    out: Optional[NDArray[np.float32]] = None,
    context: Optional[_core.Context] = None,
) -> NDArray[np.float32]:
    """Quantize and dequantize `x`: return the floats that an integer kernel would see.

    Parameters
    ----------
    x : array of floats, any shape
    threshold : float or array of shape (x.shape[quant_axis],)
        Largest magnitude kept, in the units of `x`; finite, >= 0. Paddle calls this "scale".
    quant_bits : int in [2, 16], default=8
    quant_axis : int or None, default=None (one threshold for all of `x`); 0 for conv weights (OC, IC, KH, KW)
    is_unsigned : bool, default=False
        Use the integers from 0 to 2**quant_bits - 1: twice the resolution for what is never negative.
    rounding : {"ties_to_even", "ties_away"}, default="ties_to_even"
        Paddle's training kernels round ties away from zero.
    out : ndarray of float32, the shape of `x`, or None; may be `x` itself
    context : qslim Context or None, default=None (one thread, the best instruction set)

    Returns
    -------
    ndarray of float32, the shape of `x`. NaN stays NaN, infinities clamp.

    Raises
    ------
    ValueError : "fake_quant: threshold must be finite and >= 0, got -1.0".

    References
    ----------
    paddleslim 2.6.0, quant/quanters/channel_wise_abs_max.py (formula).

    Examples
    --------
    >>> import numpy as np
    >>> from qslim.functional import fake_quant
    >>> fake_quant(np.float32([0.042, -0.31]), 0.07, quant_bits=4)
    array([ 0.04, -0.07], dtype=float32)
    >>> fake_quant(np.float32([[1.0, 2.0], [10.0, 20.0]]), [2.0, 20.0], quant_bits=2, quant_axis=0)
    array([[ 0.,  2.],
           [ 0., 20.]], dtype=float32)
    """
    array = as_float32(x, "fake_quant")
    params = _params("fake_quant", threshold, quant_bits, quant_axis, is_unsigned, 16)
    return _core.fake_quant(
        array, params.scale, 0, params.qmin, params.qmax, quant_axis, rounding, out, context
    )


def fake_quant_affine(
    x: Any,
    scale: Any,
    *,
    qmin: int,
    qmax: int,
    zero_point: Any = 0,
    quant_axis: Optional[int] = None,
    rounding: Rounding = "ties_to_even",
    out: Optional[NDArray[np.float32]] = None,
    context: Optional[_core.Context] = None,
) -> NDArray[np.float32]:
    """Quantize and dequantize `x` with a given scale, zero point and range.

    ``(clip(round(x / scale) + zero_point, qmin, qmax) - zero_point) * scale``

    Parameters
    ----------
    x, quant_axis, rounding, out, context : as in `fake_quant`
    scale : float or array of shape (x.shape[quant_axis],)
        Real value of one step, in [2**-126, 2**126].
    qmin, qmax : int in [-131072, 131072], qmin < qmax
    zero_point : int or array of int, default=0; in [qmin, qmax]
        One for all channels or one per channel.

    Returns
    -------
    ndarray of float32, the shape of `x`. NaN stays NaN, infinities clamp.

    Raises
    ------
    ValueError : "fake_quant: scale must be finite and > 0 (at least 2^-126, at most 2^126), got 0".

    Examples
    --------
    >>> import numpy as np
    >>> from qslim.functional import fake_quant_affine
    >>> fake_quant_affine(np.float32([-1.0, 0.3, 9.0]), 0.5, zero_point=1, qmin=0, qmax=7)
    array([-0.5,  0.5,  3. ], dtype=float32)
    """
    name = "fake_quant_affine"
    array = as_float32(x, name)
    step = as_parameter(scale, np.float32, name, "scale", quant_axis)
    zero = as_parameter(zero_point, np.int32, name, "zero_point", quant_axis)
    return _core.fake_quant(array, step, zero, qmin, qmax, quant_axis, rounding, out, context)


def fake_quant_backward(
    x: Any,
    grad: Any,
    threshold: Any,
    *,
    quant_bits: int = 8,
    quant_axis: Optional[int] = None,
    is_unsigned: bool = False,
    gradient: Literal["clipped", "straight_through"] = "clipped",
    rounding: Rounding = "ties_to_even",
    out: Optional[NDArray[np.float32]] = None,
    context: Optional[_core.Context] = None,
) -> NDArray[np.float32]:
    """Return the gradient of `fake_quant` with respect to `x`.

    Parameters
    ----------
    x, threshold, quant_bits, quant_axis, is_unsigned, rounding, context : as in `fake_quant`
    grad : array of floats, the shape of `x`
        Gradient with respect to the result of `fake_quant`.
    gradient : {"clipped", "straight_through"}, default="clipped"
        "clipped" passes `grad` where `x` was not clipped and 0 elsewhere; "straight_through", Paddle's
        choice, passes it everywhere.
    out : ndarray of float32, the shape of `x`, or None; may be `grad` or `x` itself

    Returns
    -------
    ndarray of float32, the shape of `x`. Where `x` is NaN, the clipped gradient is 0.

    References
    ----------
    Bengio et al. 2013, Estimating or propagating gradients through stochastic neurons (arXiv:1308.3432).

    Examples
    --------
    >>> import numpy as np
    >>> from qslim.functional import fake_quant_backward
    >>> fake_quant_backward(np.float32([-3.0, 0.5, 3.0]), np.ones(3, np.float32), 1.0)
    array([0., 1., 0.], dtype=float32)
    """
    array = as_float32(x, "fake_quant_backward")
    upstream = as_float32(grad, "fake_quant_backward", "grad")
    params = _params("fake_quant_backward", threshold, quant_bits, quant_axis, is_unsigned, 16)
    return _core.fake_quant_backward(
        array,
        upstream,
        params.scale,
        0,
        params.qmin,
        params.qmax,
        quant_axis,
        gradient,
        rounding,
        out,
        context,
    )


def quantize(
    x: Any,
    threshold: Any,
    *,
    quant_bits: int = 8,
    quant_axis: Optional[int] = None,
    is_unsigned: bool = False,
    rounding: Rounding = "ties_to_even",
    context: Optional[_core.Context] = None,
) -> Union[NDArray[np.int8], NDArray[np.uint8]]:
    """Quantize `x` symmetrically by `threshold`.

    Parameters
    ----------
    x, threshold, quant_axis, is_unsigned, rounding, context : as in `fake_quant`
    quant_bits : int in [2, 8], default=8

    Returns
    -------
    ndarray of int8, or of uint8 if `is_unsigned`; the shape of `x`. NaN becomes the least integer.

    Examples
    --------
    >>> import numpy as np
    >>> from qslim.functional import quantize
    >>> quantize(np.float32([-9.0, -0.5, 0.25, 1.0]), 1.0)
    array([-127,  -64,   32,  127], dtype=int8)
    >>> quantize(np.float32([0.0, 0.4, 1.0]), 1.0, is_unsigned=True)
    array([  0, 102, 255], dtype=uint8)
    """
    array = as_float32(x, "quantize")
    params = _params("quantize", threshold, quant_bits, quant_axis, is_unsigned, 8)
    out = np.empty(array.shape, np.uint8) if is_unsigned else np.empty(array.shape, np.int8)
    return _core.quantize(
        array, params.scale, 0, params.qmin, params.qmax, quant_axis, rounding, out, context
    )


def dequantize(
    q: Any,
    threshold: Any,
    *,
    quant_bits: int = 8,
    quant_axis: Optional[int] = None,
    context: Optional[_core.Context] = None,
) -> NDArray[np.float32]:
    """Return the real numbers that `q` stands for.

    Parameters
    ----------
    q : array of int8 or uint8, any shape
    threshold, quant_bits, quant_axis, context : as given to `quantize`

    Returns
    -------
    ndarray of float32, the shape of `q`; `dequantize(quantize(x, t), t)` is `fake_quant(x, t)` to the bit.

    Examples
    --------
    >>> import numpy as np
    >>> from qslim.functional import dequantize
    >>> dequantize(np.int8([-127, 0, 127]), 2.0)
    array([-2.,  0.,  2.], dtype=float32)
    """
    array = as_bytes(q, "dequantize")
    params = _params("dequantize", threshold, quant_bits, quant_axis, array.dtype == np.uint8, 8)
    return _core.dequantize(array, params.scale, 0, quant_axis, None, context)
