# SPDX-License-Identifier: Apache-2.0
"""Gradients of learned quantization parameters: PACT's clipping value, LSQ's scale, LSQ+'s offset.

What is learned is a dimensionless ``factor`` of the calibrated scale s0 (1 at the start), and for LSQ+ an
``offset`` in widths of the range, so that one learning rate fits a weight of 0.01 and an activation of 10,
with SGD and with Adam. For N elements a scale and the largest integer qmax,

    dL/ds = sum of dL/dy * { qmin - z | qmax - z where clipped, rne(x/s) - x/s elsewhere }     LSQ
    dL/ds = qmax * (sum of dL/dy above the threshold - sum below its negative)                PACT
    dL/dfactor = clip(g * dL/ds / s0, -1, 1),   g = 1 / sqrt(N * qmax)

which makes SGD's step on the factor LSQ's own relative step on the scale; the clip bounds a step by the
learning rate, whatever the batch, which is why no learning rate makes them diverge. Under paddle.distributed
dL/ds is the mean over the ranks, taken before it is clipped, and N counts the elements of all ranks' batches.
Sources: Choi et al. 2018 (PACT, arXiv:1805.06085), Esser et al. 2020 (LSQ, arXiv:1902.08153), Bhalgat et al.
2020 (LSQ+, arXiv:2004.09576).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Optional

import numpy as np
import paddle
from numpy.typing import NDArray
from paddle.autograd import PyLayer

from qslim import functional
from qslim.graph import QuantParams
from qslim.paddle import framework
from qslim.quant import distributed
from qslim.quant.quantizers.tensors import array_of, context, fake_quant, is_native

__all__ = ["LearnedParams", "learned_fake_quant"]


@dataclass(frozen=True)
class LearnedParams:
    """The quantization parameters of one forward pass, and how they get their gradient.

    Attributes
    ----------
    params : QuantParams
    initial_scale : ndarray, the shape of ``params.scale``
        The calibrated scale that the factor multiplies.
    rule : {"pact", "lsq"}
    is_learning : bool
        False while the starting values are still being calibrated: gradients are 0 then, not absent, so that
        DataParallel sees every parameter in every step.
    parts : int
        Ranks that hold a part of what is quantized: 1 for a weight, which each of them has whole.
    is_joint : bool
        Whether every rank makes this pass, as they do in training.
    """

    params: QuantParams
    initial_scale: NDArray[np.float32]
    rule: Literal["pact", "lsq"]
    is_learning: bool
    parts: int = 1
    is_joint: bool = True


class _LearnedFakeQuant(PyLayer):  # type: ignore[misc]
    @staticmethod
    def forward(ctx: Any, x: Any, factor: Any, offset: Any, grid: LearnedParams) -> Any:
        ctx.save_for_backward(x)
        ctx.grid = grid
        ctx.factor_shape = list(factor.shape)
        ctx.has_offset = offset is not None
        # Paddle wants None for what needs no gradient: the image, or a parameter that is frozen.
        ctx.needs_gradient = [not t.stop_gradient for t in (x, factor, offset) if t is not None]
        return fake_quant(x, grid.params)

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        (x,) = ctx.saved_tensor()
        grid: LearnedParams = ctx.grid
        dx, d_scale, d_offset = _backward(x, grad, grid)
        if grid.is_learning and grid.is_joint:
            d_scale, d_offset = distributed.all_reduce_mean(np.stack([d_scale, d_offset]))
        count = d_scale.size
        g = 1.0 / np.sqrt(max(1, x.size * grid.parts // count) * float(grid.params.qmax))
        initial = grid.initial_scale.astype(np.float64).reshape(-1)
        relative = g * d_scale / initial
        if ctx.factor_shape == [1]:
            relative = relative.sum(keepdims=True)
        results = [dx, paddle.to_tensor(_bounded(relative, grid), place=x.place)]
        if ctx.has_offset:
            span = float(grid.params.qmax - grid.params.qmin)
            results.append(paddle.to_tensor(_bounded(g * d_offset / (initial * span), grid), place=x.place))
        return tuple(result if needed else None for result, needed in zip(results, ctx.needs_gradient))


def _bounded(relative: NDArray[np.float64], grid: LearnedParams) -> NDArray[np.float32]:
    """At most 1 either way, 0 while calibrating. NaN stays: the forward pass names the layer."""
    if not grid.is_learning:
        return np.zeros(relative.shape, np.float32)
    return np.clip(relative, -1.0, 1.0).astype(np.float32)


def _backward(x: Any, grad: Any, grid: LearnedParams) -> tuple[Any, NDArray[np.float64], NDArray[np.float64]]:
    """Return dL/dx, and for each channel dL/dscale and the sum of `grad` over clipped elements."""
    params = grid.params
    native = is_native(x) and is_native(grad)
    dx = paddle.empty(grad.shape, "float32") if native else None
    out: Any = framework.memory_of(dx) if dx is not None and grad.size else None
    values, upstream = array_of(x), array_of(grad)
    if grid.rule == "pact":
        gradient, d_threshold = functional.pact_backward(
            values,
            upstream,
            params.threshold,
            is_unsigned=params.qmin == 0,
            quant_axis=params.quant_axis,
            out=out,
            context=context(),
        )
        d_scale = np.asarray(d_threshold, np.float64).reshape(-1) * float(params.qmax)
        d_offset = np.zeros_like(d_scale)
    else:
        gradient, scale, offset = functional.lsq_backward(
            values,
            upstream,
            params.scale,
            zero_point=params.zero_point,
            qmin=params.qmin,
            qmax=params.qmax,
            quant_axis=params.quant_axis,
            out=out,
            context=context(),
        )
        d_scale = np.asarray(scale, np.float64).reshape(-1)
        d_offset = np.asarray(offset, np.float64).reshape(-1)
    if dx is None:
        dx = paddle.to_tensor(np.asarray(gradient), place=grad.place).astype(grad.dtype)
    return dx, d_scale, d_offset


def learned_fake_quant(x: Any, factor: Any, offset: Optional[Any], grid: LearnedParams) -> Any:
    """Fake-quantize `x` with `grid`, with gradients for `x`, `factor` and, if there is one, `offset`."""
    if not paddle.in_dynamic_mode() or not paddle.is_grad_enabled():
        return fake_quant(x, grid.params)
    return _LearnedFakeQuant.apply(x, factor, offset, grid)
