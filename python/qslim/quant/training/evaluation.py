# SPDX-License-Identifier: Apache-2.0
"""Quantized layers in evaluation mode: the integers of deployment, in float32 tensors.

    acc = sum of (qx - zx) * qw         integers: exact in float32 in any order while |acc| < 2^24
    y   = acc * (sx * sw[c]) + bias[c]

which is what the engine computes (docs/engine.md), operation by operation, so evaluated accuracy is deployed
accuracy to the bit. A batch normalization that is given such a y computes its folded form from acc:

    y'  = acc * sign(f[c]) * (sx * (sw[c] * |f[c]|)) + ((bias[c] - mean[c]) * f[c] + beta[c]),
    f   = gamma / sqrt(variance + epsilon)

Training multiplies x and w by their scales before the sum instead, which rounds every product.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Optional

import numpy as np
import paddle
from numpy.typing import NDArray
from paddle import nn
from paddle.autograd import PyLayer

from qslim.graph import QuantParams
from qslim.graph.passes.fold_batch_norm import folded_bias, folded_scale, norm_factor
from qslim.paddle import framework
from qslim.quant.quantizers.activation_quantizers import ActivationQuantizer
from qslim.quant.quantizers.tensors import array_of, fake_quant
from qslim.quant.quantizers.weight_quantizers import WeightQuantizer

__all__ = ["computes_integers", "evaluate", "fold_norms_in_evaluation"]

_fallback, _RECURSIVELY = framework.capture_fallback()
_set_eval_frame = framework.eval_frame_setter()

_NORMS = (nn.BatchNorm, nn.BatchNorm1D, nn.BatchNorm2D, nn.SyncBatchNorm)
# Their forward is linear in input and weight, and adds the bias last.
_LINEAR = (nn.Conv2D.forward, nn.Conv2DTranspose.forward, nn.Linear.forward)


@dataclass(frozen=True)
class _Product:
    """The facts about a layer that the normalization behind it needs."""

    acc: Any
    x_scale: NDArray[np.float32]
    weight: QuantParams
    bias: Optional[NDArray[np.float32]]
    axis: int


class _Steps(PyLayer):  # type: ignore[misc]
    """x / scale rounded to whole numbers, with the gradient of x / scale."""

    @staticmethod
    def forward(ctx: Any, x: Any, params: QuantParams) -> Any:
        scale = paddle.to_tensor(params.broadcast_scale(len(x.shape)), place=x.place)
        ctx.save_for_backward(scale)
        # A multiple of the scale over the scale is an integer but for the last bit.
        return paddle.round(fake_quant(x, params) / scale)

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        (scale,) = ctx.saved_tensor()
        return grad / scale


def computes_integers(layer: Any, x: Any) -> bool:
    """Return True if `layer`, a QuantizedLayer, can evaluate `x` in integers."""
    quantizers = layer._fake_quant_input, layer._fake_quant_weight
    return bool(
        not layer.training
        and paddle.in_dynamic_mode()
        and layer._float_class.forward in _LINEAR
        and "_own_forward" not in layer.__dict__
        and isinstance(quantizers[0], ActivationQuantizer)
        and isinstance(quantizers[1], WeightQuantizer)
        and quantizers[0].quant_params() is not None
        and max(quantizer.quant_bits for quantizer in quantizers) <= 8
        and x.dtype == paddle.float32
    )


def evaluate(layer: Any, x: Any) -> Any:
    """Return the output of `layer` for `x`, which is not quantized yet."""
    weight = layer.preprocessed_weight()
    x_params = layer._fake_quant_input.quant_params()
    w_params = layer._fake_quant_weight.weight_params(array_of(weight))
    with layer.replaced(weight=_Steps.apply(weight, w_params), bias=None):
        acc = layer._float_class.forward(layer, _Steps.apply(x, x_params))
    axis = _channel_axis(layer, len(acc.shape))
    bias = getattr(layer, "bias", None)
    y = acc * _along(x_params.scale * w_params.scale, acc, axis)
    if bias is not None:
        y = y + bias.reshape(_shape(len(acc.shape), axis))
    y._qslim_product = _Product(acc, x_params.scale, w_params, None if bias is None else array_of(bias), axis)
    return y


def fold_norms_in_evaluation(model: Any) -> None:
    """Let the normalizations of `model` compute their folded form where their input allows it."""
    for layer in model.sublayers(include_self=True):
        # A normalization whose own input is quantized does not see the convolution's sums.
        is_plain = isinstance(layer, _NORMS) and not hasattr(layer, "_fake_quant_input")
        if is_plain and layer.weight is not None and layer.bias is not None:
            layer.register_forward_post_hook(_folded_norm)


def _folded_norm(norm: Any, inputs: Any, output: Any) -> Any:
    if norm.training or not paddle.in_dynamic_mode():
        return None
    _fallback(**_RECURSIVELY)  # where paddle.jit.to_static captures bytecode; otherwise it does nothing
    capture = _set_eval_frame(None)
    try:
        return _fold(norm, inputs)
    finally:
        _set_eval_frame(capture)


def _fold(norm: Any, inputs: Any) -> Any:
    product: Optional[_Product] = getattr(inputs[0], "_qslim_product", None)
    if product is None:
        return None
    factor = norm_factor(array_of(norm.weight), array_of(norm._variance), norm._epsilon)
    bias = np.zeros(factor.shape) if product.bias is None else product.bias
    scale = folded_scale(product.weight.scale, factor)
    multiplier = np.sign(factor).astype(np.float32) * (product.x_scale * scale)
    added = folded_bias(bias, factor, array_of(norm._mean), array_of(norm.bias))
    axis = product.axis
    y = product.acc * _along(multiplier, product.acc, axis) + _along(added, product.acc, axis)
    act = getattr(norm, "_act", None)  # of nn.BatchNorm, which applies it itself
    return y if act is None else getattr(nn.functional, act)(y)


def _channel_axis(layer: Any, rank: int) -> int:
    """Return the axis of the output channels in the output."""
    data_format = getattr(layer, "_data_format", "")
    return 1 if data_format.startswith("NC") else rank - 1


def _shape(rank: int, axis: int) -> list[int]:
    return [-1 if at == axis else 1 for at in range(rank)]


def _along(values: NDArray[np.float32], like: Any, axis: int) -> Any:
    """Reshape `values`, one or one a channel (of a group), to broadcast along `axis` of `like`."""
    values = np.asarray(values, np.float32).reshape(-1)
    channels = int(like.shape[axis])
    if values.size not in (1, channels):  # a grouped transposed convolution's scales are those of one group
        values = np.tile(values, channels // values.size)
    return paddle.to_tensor(values.reshape(_shape(len(like.shape), axis)), place=like.place)
