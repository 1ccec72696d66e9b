# SPDX-License-Identifier: Apache-2.0
"""Quantization-aware training by a dict of PaddleSlim's options."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Optional

import paddle
from paddle import nn

from qslim.logger import logger
from qslim.paddle.tracing import forget_programs
from qslim.quant.quantizers.weight_quantizers import output_channel_axis
from qslim.quant.training.batch_norm import fold_behind_convolutions
from qslim.quant.training.checkpoint import quiet_set_state_dict
from qslim.quant.training.config import QATConfig
from qslim.quant.training.evaluation import fold_norms_in_evaluation
from qslim.quant.training.layers import QuantizedLayer, QuantizedOutput, give_quantizers, is_quantized
from qslim.quant.training.option_quantizers import activation_quantizer, weight_quantizer

__all__ = ["OptionsStrategy"]


class OptionsStrategy:
    """Quantize the layers of the types that a QATConfig names, all in the same way.

    Parameters
    ----------
    config : QATConfig
    replacements : dict
        Classes of ``QAT``'s arguments weight_preprocess, act_preprocess, weight_quantize and act_quantize,
        None where the built-in one serves.
    """

    works_in_place = True  # unless the caller says otherwise

    def __init__(self, config: QATConfig, replacements: Mapping[str, Optional[type]]) -> None:
        self.config = config
        self._weight_preprocess = replacements["weight_preprocess"]
        self._act_preprocess = replacements["act_preprocess"]
        self._weight_quantize = replacements["weight_quantize"]
        self._act_quantize = replacements["act_quantize"]
        # A preprocessing layer of the user's takes the place of PACT.
        self._activations = (
            replace(config, activation_preprocess_type=None) if self._act_preprocess else config
        )
        self._weights = replace(config, weight_preprocess_type=None) if self._weight_preprocess else config

    def quantize(self, model: Any, inplace: bool) -> Any:
        """Give the chosen layers of `model`, or of a copy, quantizers, and return it."""
        layers = dict(model.named_sublayers(include_self=True)) if isinstance(model, nn.Layer) else {}
        chosen = self._chosen(model, layers)
        if not inplace:
            model = copy.deepcopy(model)
            layers = dict(model.named_sublayers(include_self=True))
        for name in chosen:
            self._quantize_layer(name, layers[name])
        fold_norms_in_evaluation(model)
        outputs = [item for item in layers.items() if isinstance(item[1], _functional_layers())]
        for name, layer in outputs:
            self._quantize_output(name, layer)
        quiet_set_state_dict(model)
        forget_programs(model)
        pairs = fold_behind_convolutions(model) if self.config.fuse_conv_bn else 0
        logger.info(
            "quantized %d layers for training%s%s",
            len(chosen),
            f" and the outputs of {len(outputs)}" if outputs else "",
            f", {pairs} with the normalization behind them" if pairs else "",
        )
        return model

    def end_calibration(self, model: Any) -> None:
        """Do nothing: quantizers that train have no calibration to end."""

    def _chosen(self, model: Any, layers: Mapping[str, Any]) -> list[str]:
        """Return the names of the layers to quantize; raise ValueError if there are none."""
        if not isinstance(model, nn.Layer):
            raise ValueError(f"QAT.quantize: expected a paddle.nn.Layer, got {type(model).__name__}")
        if not paddle.in_dynamic_mode():
            raise ValueError(
                "QAT.quantize: the process is in static-graph mode; call paddle.disable_static() before"
            )
        if any(is_quantized(layer) for layer in layers.values()):
            raise ValueError(
                "QAT.quantize: the model is quantized already; to change its configuration, quantize a new "
                "model and load this one's state_dict into it"
            )
        kinds = self._layer_types()
        chosen = [name for name, layer in layers.items() if _is_chosen(layer, kinds)]
        if not chosen and "TranslatedLayer" in type(model).__name__:
            raise ValueError(
                "QAT.quantize: the network was loaded by paddle.jit.load, which gives a program and no "
                "Layers to quantize; build it from its code and load its weights, or quantize the saved "
                "model by quant.quant_post_static"
            )
        if not chosen:
            raise ValueError(
                f"QAT.quantize: {type(model).__name__} has no layer of the types "
                f"{', '.join(self.config.quantizable_layer_type)} without skip_quant"
            )
        return chosen

    def _layer_types(self) -> tuple[type, ...]:
        return tuple(kind for name in self.config.quantizable_layer_type for kind in _types_named(name))

    def _quantize_layer(self, name: str, layer: Any) -> None:
        activations = self._act_quantize or (lambda: activation_quantizer(self._activations))
        axis = output_channel_axis(layer)
        weights = self._weight_quantize or (lambda: weight_quantizer(self._weights, layer.weight, axis))
        give_quantizers(
            layer, name, QuantizedLayer, _fake_quant_input=activations(), _fake_quant_weight=weights()
        )
        if self._act_preprocess is not None:
            layer._act_preprocess = self._act_preprocess()
        if self._weight_preprocess is not None:
            layer._weight_preprocess = self._weight_preprocess()

    def _quantize_output(self, name: str, layer: Any) -> None:
        quantizer = activation_quantizer(self._activations)
        quantizer.role = "output"
        give_quantizers(layer, name, QuantizedOutput, _fake_quant_output=quantizer)


def _is_chosen(layer: Any, kinds: tuple[type, ...]) -> bool:
    return isinstance(layer, kinds) and getattr(layer, "skip_quant", False) is not True


def _types_named(name: str) -> tuple[type, ...]:
    if name in ("ColumnParallelLinear", "RowParallelLinear"):
        from paddle.distributed.fleet.layers.mpu import mp_layers

        return (getattr(mp_layers, name),)
    return (getattr(nn, name),)


def _functional_layers() -> tuple[type, ...]:
    """Return the classes of Paddle's layers for +, -, *, / and matmul, whose outputs can be quantized."""
    from paddle.nn import quant

    names = ("add", "subtract", "multiply", "divide", "matmul")
    return tuple(getattr(quant, name) for name in names if isinstance(getattr(quant, name, None), type))
