# SPDX-License-Identifier: Apache-2.0
"""Batch normalization in quantization-aware training: folding into convolutions, and freezing.

A pair is a Conv2D and the BatchNorm registered right behind it with as many channels. Registration says
nothing about the data, so the first forward pass checks that the normalization gets the very tensor that the
convolution returned; a pair that fails is undone with a warning.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Optional

import paddle
from paddle import nn

from qslim.logger import logger
from qslim.quant.options import choose
from qslim.quant.quantizers.weight_quantizers import WeightQuantizer
from qslim.quant.training.layers import QuantizedLayer

__all__ = ["fold_behind_convolutions", "fold_named", "set_batch_norm_frozen"]

_NORMS = (nn.BatchNorm, nn.BatchNorm2D, nn.SyncBatchNorm)


def fold_behind_convolutions(model: Any) -> int:
    """Let every quantized convolution know the normalization behind it; return their number."""
    pairs = 0
    previous: Optional[Any] = None
    for name, layer in model.named_sublayers(include_self=True):
        if isinstance(layer, nn.Conv2D) and isinstance(layer, QuantizedLayer):
            previous = (name, layer)
        elif isinstance(layer, _NORMS) and previous is not None:
            conv_name, conv = previous
            pairs += _fold(conv_name, conv, name, layer)
            previous = None
        elif not list(layer.children()) and not name.rpartition(".")[2].startswith("_"):
            previous = None
    return pairs


def fold_named(model: Any, names: Sequence[Sequence[str]]) -> int:
    """Fold the pairs of `names` alone: [[convolution, normalization], ...], by their places.

    Raises
    ------
    ValueError : a name that no layer has, or that of a layer which is neither.
    """
    layers = dict(model.named_sublayers())
    for pair in names:
        if isinstance(pair, str) or len(pair) != 2:
            raise ValueError(f"fuse_list: expected pairs like ['conv1', 'bn1'], got {pair!r}")
        conv_name, norm_name = pair
        for name in pair:
            choose("fuse_list", name, layers)
        conv, norm = layers[conv_name], layers[norm_name]
        is_pair = isinstance(conv, nn.Conv2D) and isinstance(norm, _NORMS)
        if not is_pair or (isinstance(conv, QuantizedLayer) and not _fold(conv_name, conv, norm_name, norm)):
            raise ValueError(
                f"fuse_list: expected a Conv2D and the batch normalization of its channels, got {pair!r}: "
                f"{type(conv).__name__} and {type(norm).__name__}"
            )
    return len(names)


def _fold(conv_name: str, conv: Any, norm_name: str, norm: Any) -> bool:
    """Let `conv` know `norm`, if their channels agree and its quantizer can use it."""
    quantizer = conv._fake_quant_weight
    fits = norm.weight is not None and list(conv.weight.shape)[:1] == list(norm.weight.shape)
    if not fits or not isinstance(quantizer, WeightQuantizer):
        return False
    quantizer.fold(norm)
    _Check(conv_name, conv, norm_name, norm)
    return True


class _Check:
    """Compares once what the convolution returned with what the normalization is given."""

    def __init__(self, conv_name: str, conv: Any, norm_name: str, norm: Any) -> None:
        self._names = conv_name, norm_name
        self._conv = conv
        self._output: Optional[Any] = None
        self._hooks = [
            conv.register_forward_post_hook(self._returned),
            norm.register_forward_pre_hook(self._given),
        ]

    def _returned(self, layer: Any, inputs: Any, output: Any) -> None:
        if paddle.in_dynamic_mode():
            self._output = output

    def _given(self, layer: Any, inputs: Any) -> None:
        if not paddle.in_dynamic_mode():  # symbols of a trace tell nothing
            return
        for hook in self._hooks:
            hook.remove()
        if inputs[0] is not self._output:
            self._conv._fake_quant_weight.fold(None)
            logger.warning(
                "fuse_conv_bn: layer %r does not feed %r directly; its weight is quantized unfolded",
                *self._names,
            )
        self._output = None


def set_batch_norm_frozen(model: Any, frozen: bool) -> int:
    """Let every normalization use (and stop updating) its running statistics; return their number."""
    count = 0
    for layer in model.sublayers(include_self=True):
        if isinstance(layer, _NORMS):
            if frozen:
                layer.__dict__.setdefault("_use_global_stats_unfrozen", layer._use_global_stats)
                layer._use_global_stats = True
            elif "_use_global_stats_unfrozen" in layer.__dict__:
                layer._use_global_stats = layer.__dict__.pop("_use_global_stats_unfrozen")
            count += 1
    return count
