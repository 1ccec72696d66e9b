# SPDX-License-Identifier: Apache-2.0
"""Conversion of observers to fixed quantizers, and of a model in training to one for deployment."""

from __future__ import annotations

import copy
import pickle
from typing import Any, Optional

import numpy as np
import paddle
from numpy.typing import NDArray
from paddle.nn.quant.format import ConvertibleQuantedLayer
from paddle.quantization.base_observer import BaseObserver

from qslim.functional import TensorStatistics
from qslim.graph import QuantParams
from qslim.logger import logger
from qslim.paddle import framework
from qslim.paddle.tracing import forget_programs, refresh_computed_weights
from qslim.quant import distributed
from qslim.quant.quantizers.activation_quantizers import ActivationQuantizer
from qslim.quant.quantizers.observed_quantizers import (
    FixedActivation,
    FixedWeight,
    GroupWiseWeight,
    ObservedActivation,
    ObservedWeight,
    StoredIntegers,
    Unquantized,
)
from qslim.quant.quantizers.tensors import array_of
from qslim.quant.quantizers.weight_quantizers import WeightQuantizer, output_channel_axis
from qslim.quant.training.configured_quantizers import as_params
from qslim.quant.training.layers import QuantizedLayer, is_quantized

__all__ = ["convert", "finish_calibration"]


@framework.dygraph()
def finish_calibration(model: Any, caller: str) -> None:
    """Replace the observers of `model`, in place, by fixed quantizers from the statistics of all ranks.

    Raises
    ------
    ValueError : no forward pass has reached any of them, or a weight holds NaN or infinite values.
    """
    refresh_computed_weights(model)
    layers = _quantized_layers(model)
    observed = [
        (name, layer)
        for name, layer in layers
        if isinstance(getattr(layer, "_fake_quant_input", None), ObservedActivation)
    ]
    statistics = _of_all_ranks({name: layer._fake_quant_input.statistics for name, layer in observed})
    if statistics and not any(seen.count for seen in statistics.values()):
        raise ValueError(
            f"{caller}: the model is not calibrated: no forward pass has reached any of its {len(observed)} "
            "observed layers; run some batches through it in evaluation mode before"
        )
    for name, layer in observed:
        observer = layer._fake_quant_input
        params = observer.params_for(statistics[name])
        if params is None:
            logger.warning(
                "%s: no calibration batch has passed through %r; its input stays float", caller, name
            )
        else:
            _replace(layer, "_fake_quant_input", FixedActivation(params, observer.quant_bits))
    for _, layer in layers:
        if isinstance(getattr(layer, "_fake_quant_input", None), BaseObserver):
            _fix_input(layer)
        if isinstance(layer, QuantizedLayer):
            quantizer = layer._fake_quant_weight
            if isinstance(quantizer, GroupWiseWeight) and quantizer.is_observing:
                quantizer.calibrate(array_of(layer.weight))
            elif isinstance(quantizer, (ObservedWeight, BaseObserver)):
                _fix_weight(layer)


@framework.dygraph()
def convert(model: Any, inplace: bool, remain_weight: bool, caller: str) -> Any:
    """Convert `model` for deployment: fixed quantizers, evaluation mode, integer weights in float32.

    With `remain_weight` the weights keep their float values.
    """
    if not isinstance(model, paddle.nn.Layer):
        raise ValueError(f"{caller}: expected a paddle.nn.Layer, got {type(model).__name__}")
    if not inplace:
        model = copy.deepcopy(model)
    others = [
        layer for layer in model.sublayers(include_self=True) if isinstance(layer, ConvertibleQuantedLayer)
    ]
    if not _quantized_layers(model) and not others:
        raise ValueError(f"{caller}: the model has no quantized layer; call quantize(model) before")
    finish_calibration(model, caller)
    layers = _quantized_layers(model)
    unseen = [name for name, layer in layers if not _fix_input(layer)]
    if unseen:
        logger.warning(
            "%s: no batch has passed through %d layers, such as %r; their inputs stay float",
            caller, len(unseen), unseen[0],
        )  # fmt: skip
    for _, layer in layers:
        if isinstance(layer, QuantizedLayer):
            _fix_weight(layer)
        layer._is_converted = True
    if not remain_weight:
        _store_integers(layers, _read_as_floats(model, layers, unseen))
    for layer in others:
        if not layer.converted:
            layer._convert(remain_weight=remain_weight)
    model.eval()
    forget_programs(model)
    return model


def _store_integers(layers: list[tuple[str, Any]], read_as_floats: set[int]) -> None:
    """Store weights with fixed parameters as integers, and dequantize them in each forward pass.

    `read_as_floats` are the ids of parameters that are also read where nothing multiplies them.
    """
    stored: dict[int, NDArray[np.float32]] = {}  # by weight: layers may share one
    for name, layer in layers:
        quantizer = getattr(layer, "_fake_quant_weight", None)
        if not isinstance(quantizer, (FixedWeight, GroupWiseWeight)) or quantizer.is_on_grid:
            continue
        if id(layer.weight) in read_as_floats or layer._parameters.get("weight") is None:
            continue  # or a hook computes it anew in every pass
        weight, step = layer.weight, quantizer.steps(len(layer.weight.shape))
        if id(weight) not in stored:
            stored[id(weight)] = step
            weight.set_value(np.rint(array_of(layer.quantized_weight()) / step))
        elif not np.array_equal(stored[id(weight)], step):
            raise ValueError(
                f"convert: layer {name!r} shares its weight with a layer that quantizes it differently; "
                "use remain_weight=True"
            )
        quantizer.is_on_grid = True
        layer._weight_preprocess = StoredIntegers(quantizer)


def _read_as_floats(model: Any, layers: list[tuple[str, Any]], unseen: list[str]) -> set[int]:
    """Return ids of weights that layers without quantizers share, or layers that are never called."""
    quantized = {id(layer) for _, layer in layers}
    others = [layer for layer in model.sublayers(include_self=True) if id(layer) not in quantized]
    uncalled = [
        layer
        for name, layer in layers
        if name in unseen or isinstance(getattr(layer, "_fake_quant_input", None), ObservedActivation)
    ]
    return {id(parameter) for layer in (*others, *uncalled) for parameter in layer._parameters.values()}


def _fix_input(layer: Any) -> bool:
    """Replace an input quantizer that has parameters by a fixed one.

    False if it has seen nothing to make one of: then an identity stands there.
    """
    quantizer = getattr(layer, "_fake_quant_input", None)
    if quantizer is None or isinstance(quantizer, (FixedActivation, ObservedActivation)):
        return True  # an observer that is left has seen nothing, and the calibration said so
    if isinstance(quantizer, ActivationQuantizer):
        quantizer.eval()
        params = quantizer.quant_params()
        bits = quantizer.quant_bits
        if params is None:
            _replace(layer, "_fake_quant_input", Unquantized())
            return False
    else:
        params = as_params(quantizer, is_activation=True)
        bits = quantizer.bit_length() if params is not None else 0
    if params is not None:
        _replace(layer, "_fake_quant_input", FixedActivation(params, bits))
    return True


def _fix_weight(layer: Any) -> None:
    """Replace a weight quantizer that has parameters by a fixed one."""
    quantizer = layer._fake_quant_weight
    if isinstance(quantizer, FixedWeight):
        return
    if isinstance(quantizer, WeightQuantizer):
        quantizer.eval()
        params: Optional[QuantParams] = quantizer.weight_params(array_of(layer.preprocessed_weight()))
        bits = quantizer.quant_bits
    else:
        params = as_params(quantizer, is_activation=False)
        bits = quantizer.bit_length() if params is not None else 0
    if params is not None:
        fixed = FixedWeight(params, bits, output_channel_axis(layer))
        _replace(layer, "_fake_quant_weight", fixed)


def _replace(layer: Any, attribute: str, quantizer: Any) -> None:
    before = getattr(layer, attribute)
    quantizer.layer_name = getattr(before, "layer_name", "")
    quantizer.training = layer.training
    setattr(layer, attribute, quantizer)


def _of_all_ranks(own: dict[str, TensorStatistics]) -> dict[str, TensorStatistics]:
    if not own:  # ranks may save, or not, on their own
        return own
    with distributed.together("calibration") as parts:
        parts.own = pickle.dumps({name: statistics.to_bytes() for name, statistics in own.items()})
    if len(parts.all) < 2:
        return own
    merged = {name: TensorStatistics(statistics.bins) for name, statistics in own.items()}
    for part in parts.all:
        for name, data in pickle.loads(part).items():
            if name not in merged:
                raise ValueError(f"calibration: another rank observes {name!r}, this one does not")
            merged[name].merge(TensorStatistics.from_bytes(data))
    return merged


def _quantized_layers(model: Any) -> list[tuple[str, Any]]:
    return [(name, layer) for name, layer in model.named_sublayers(include_self=True) if is_quantized(layer)]
