# SPDX-License-Identifier: Apache-2.0
"""Assignment of quantizers to a model's layers by a QuantConfig.

A setting of the layer's own (by layer, full name, then type) goes before that of its parent, and that before
the global one. Conv2D, Linear, Conv2DTranspose and the parallel linears are quantized, input and weight, by
any of them; ``paddle.nn.quant.Stub`` too. Other leaves are quantized at their input by a setting of their own
or as customized leaves, and not, as by Paddle, by the global setting as well: that would round between a
convolution and its normalization, where deployment computes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Callable, Optional

from paddle import nn
from paddle.distributed.fleet.layers.mpu.mp_layers import ColumnParallelLinear, RowParallelLinear

from qslim.paddle.tracing import forget_programs
from qslim.quant.training.configured_quantizers import input_quantizer, weight_quantizer
from qslim.quant.training.evaluation import fold_norms_in_evaluation
from qslim.quant.training.layers import QuantizedInput, QuantizedLayer, give_quantizers, is_quantized

__all__ = ["quantize_by_config"]

_WITH_WEIGHT = (nn.Conv2D, nn.Linear, nn.Conv2DTranspose, ColumnParallelLinear, RowParallelLinear)


@dataclass(frozen=True)
class _Assignment:
    """A layer, where it is, and its SingleLayerConfig. ``is_own``: meant for it, not inherited."""

    name: str
    parent: Optional[Any]
    layer: Any
    setting: Any
    is_own: bool


def quantize_by_config(model: Any, config: Any, caller: str) -> int:
    """Quantize the layers of `model` in place as `config` says; return their number.

    Raises
    ------
    ValueError : quantized already, or nothing in it that `config` quantizes.
    """
    if any(is_quantized(layer) for layer in model.sublayers(include_self=True)):
        raise ValueError(f"{caller}: the model is quantized already")
    assignments = list(_assignments("", None, model, config.global_config, config, set()))
    # Every quantizer is made, and may refuse its layer, before any layer changes.
    changes = [change for change in (_change(assignment, config) for assignment in assignments) if change]
    if not changes:
        raise ValueError(
            f"{caller}: the QuantConfig quantizes no layer of {type(model).__name__}; it says\n{config}"
        )
    for change in changes:
        change()
    fold_norms_in_evaluation(model)
    forget_programs(model)
    return len(changes)


def _assignments(
    name: str, parent: Optional[Any], layer: Any, inherited: Any, config: Any, seen: set[int]
) -> Iterator[_Assignment]:
    if id(layer) in seen:
        return
    seen.add(id(layer))
    own = config._prefix2config.get(layer.full_name(), config._type2config.get(type(layer)))
    setting = inherited if own is None else own
    is_leaf = type(layer) in config.customized_leaves
    yield _Assignment(name, parent, layer, setting, own is not None or is_leaf)
    if is_leaf or type(layer) in config._customized_qat_layer_mapping:
        return
    for child_name, child in layer.named_children():
        path = f"{name}.{child_name}" if name else child_name
        yield from _assignments(path, layer, child, setting, config, seen)


def _change(assignment: _Assignment, config: Any) -> Optional[Callable[[], None]]:
    """Return a function that quantizes the layer; None if nothing is to be done."""
    name, layer, setting = assignment.name, assignment.layer, assignment.setting
    activation = setting.activation if setting is not None else None
    weight = setting.weight if setting is not None else None
    if isinstance(layer, nn.quant.Stub):
        activation = layer._observer or activation
    if getattr(layer, "skip_quant", False) is True or (activation is None and weight is None):
        return None
    if type(layer) in config._customized_qat_layer_mapping and assignment.parent is not None:
        substitute = config._customized_qat_layer_mapping[type(layer)](layer, setting)
        children = assignment.parent._sub_layers
        return partial(children.__setitem__, name.rpartition(".")[2], substitute)
    if isinstance(layer, _WITH_WEIGHT):
        quantizers = {
            "_fake_quant_input": input_quantizer(activation, layer),
            "_fake_quant_weight": weight_quantizer(weight, layer),
        }
        return partial(give_quantizers, layer, name, QuantizedLayer, **quantizers)
    is_leaf = not list(layer.children()) or type(layer) in config.customized_leaves
    if activation is not None and (isinstance(layer, nn.quant.Stub) or (assignment.is_own and is_leaf)):
        quantizer = input_quantizer(activation, layer)
        return partial(give_quantizers, layer, name, QuantizedInput, _fake_quant_input=quantizer)
    return None
