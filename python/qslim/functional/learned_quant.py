# SPDX-License-Identifier: Apache-2.0
"""Gradients of quantizers that learn their range: PACT's threshold, LSQ's scale and offset.

The sums over elements are doubles in the order of `qslim.functional.sum`: the same bits on every instruction
set and for any number of threads. What the gradient of a parameter is multiplied with (LSQ's g, weight decay)
is left to the caller.
"""

from __future__ import annotations

from typing import Any, Optional, Union

import numpy as np
from numpy.typing import NDArray

from qslim import _core
from qslim.functional.arrays import as_float32, as_parameter

_Sum = Union[float, NDArray[np.float64]]


def pact_backward(
    x: Any,
    grad: Any,
    threshold: Any,
    *,
    is_unsigned: bool = False,
    quant_axis: Optional[int] = None,
    out: Optional[NDArray[np.float32]] = None,
    context: Optional[_core.Context] = None,
) -> tuple[NDArray[np.float32], _Sum]:
    """Return the gradient of ``clip(x, -threshold, threshold)``, or of ``clip(x, 0, threshold)``.

    Parameters
    ----------
    x : array of floats, any shape
    grad : array of floats, the shape of `x`
        Gradient with respect to the clipped tensor.
    threshold : float or array of shape (x.shape[quant_axis],); finite, >= 0
    is_unsigned : bool, default=False
    quant_axis : int or None, default=None (one threshold for all of `x`)
    out : ndarray of float32, the shape of `x`, or None; may be `grad` or `x` itself
    context : qslim Context or None, default=None (one thread, the best instruction set)

    Returns
    -------
    dx : ndarray of float32, the shape of `x`
        `grad` where `x` was not clipped (both ends of the range count as inside), else 0.
    dthreshold : float, or ndarray of float64, shape (x.shape[quant_axis],)
        ``sum(grad[x > threshold]) - sum(grad[x < -threshold])``; below 0 nothing flows to the threshold of
        an unsigned range. NaN in `x` passes nothing.

    Raises
    ------
    ValueError : "pact_backward: threshold must be finite and >= 0, got -1".

    References
    ----------
    Choi et al. 2018, PACT: parameterized clipping activation (arXiv:1805.06085).

    Examples
    --------
    >>> import numpy as np
    >>> from qslim.functional import pact_backward
    >>> dx, dthreshold = pact_backward(np.float32([-3, -1, 0, 2]), np.float32([1, 2, 4, 8]), 1.0)
    >>> dx, dthreshold
    (array([0., 2., 4., 0.], dtype=float32), 7.0)
    """
    name = "pact_backward"
    array, upstream = as_float32(x, name), as_float32(grad, name, "grad")
    kept = as_parameter(threshold, np.float32, name, "threshold", quant_axis)
    if quant_axis is None:
        return _core.pact_backward(array, upstream, kept, is_unsigned, None, out, context)
    return _core.pact_backward(array, upstream, kept, is_unsigned, quant_axis, out, context)


def lsq_backward(
    x: Any,
    grad: Any,
    scale: Any,
    *,
    qmin: int,
    qmax: int,
    zero_point: Any = 0,
    quant_axis: Optional[int] = None,
    out: Optional[NDArray[np.float32]] = None,
    context: Optional[_core.Context] = None,
) -> tuple[NDArray[np.float32], _Sum, _Sum]:
    """Return the gradient of `fake_quant_affine` with respect to `x`, its scale and an offset of `x`.

    With ``v = x / scale`` and ``r = round(v) + zero_point``:

    ====================  ======  ===============================  =========
    element               dx      adds to dscale                   doffset
    ====================  ======  ===============================  =========
    qmin <= r <= qmax     grad    ``(round(v) - v) * grad``        0
    r < qmin              0       ``(qmin - zero_point) * grad``   grad
    r > qmax              0       ``(qmax - zero_point) * grad``   grad
    ====================  ======  ===============================  =========

    Parameters
    ----------
    x, scale, qmin, qmax, zero_point, quant_axis, context : as in `fake_quant_affine`
    grad : array of floats, the shape of `x`
        Gradient with respect to the result of `fake_quant_affine`.
    out : ndarray of float32, the shape of `x`, or None; may be `grad` or `x` itself

    Returns
    -------
    dx : ndarray of float32, the shape of `x`
    dscale, doffset : float, or ndarray of float64, shape (x.shape[quant_axis],)
        Without LSQ's gradient scale ``g = 1 / sqrt(x.size * qmax)``: the caller multiplies. `doffset` belongs
        to the offset b of LSQ+, ``fake_quant(x - b) + b``. NaN in `x` passes nothing.

    References
    ----------
    Esser et al. 2020, Learned step size quantization (arXiv:1902.08153); Bhalgat et al. 2020, LSQ+
    (arXiv:2004.09576).

    Examples
    --------
    >>> import numpy as np
    >>> from qslim.functional import lsq_backward
    >>> lsq_backward(np.float32([-9, 0.25, 9]), np.float32([1, 2, 4]), 1.0, qmin=-3, qmax=3)
    (array([0., 2., 0.], dtype=float32), 8.5, 5.0)
    """
    name = "lsq_backward"
    array, upstream = as_float32(x, name), as_float32(grad, name, "grad")
    step = as_parameter(scale, np.float32, name, "scale", quant_axis)
    zero = as_parameter(zero_point, np.int32, name, "zero_point", quant_axis)
    if quant_axis is None:
        return _core.lsq_backward(array, upstream, step, zero, qmin, qmax, None, out, context)
    return _core.lsq_backward(array, upstream, step, zero, qmin, qmax, quant_axis, out, context)
