# SPDX-License-Identifier: Apache-2.0
"""Layers that compute with quantized operands: the user's own layer objects, given another class.

    conv.__class__: Conv2D  ->  QuantizedConv2D(QuantizedLayer, Conv2D)

The object stays: its parameters, hooks, name and place in the model, so ``state_dict`` keeps the float
model's keys and a float checkpoint loads before or after. The float class's own ``forward`` runs, also one
that a user's subclass overrides; it only sees another ``weight``.
"""

from __future__ import annotations

import inspect
from typing import Any, Optional

import paddle

from qslim.graph import QuantParams
from qslim.paddle import framework
from qslim.quant.quantizers.tensors import array_of, as_constant, fake_quant_by_operators
from qslim.quant.quantizers.weight_quantizers import needs_values
from qslim.quant.training.evaluation import computes_integers, evaluate

__all__ = [
    "QuantizedInput",
    "QuantizedLayer",
    "QuantizedOutput",
    "give_quantizers",
    "is_quantized",
    "quantized_class",
]

_fallback, _RECURSIVELY = framework.capture_fallback()
_set_eval_frame = framework.eval_frame_setter()


class _Dynamic:
    """Keeps paddle.jit.to_static from tracing a layer: kernels and quantizers' state are not in a program.

    What to_static captures from bytecode, its default, runs dynamically then. A full graph has the parameters
    of evaluation as constants; in training mode it is an error, but for a layer that was converted, whose
    quantizers are operators like others.
    """

    _is_exporting: Any = None  # what counts the calls while the network is traced for an export
    _is_converted = False
    training: bool
    _float_class: Any  # super() would be this mixin again once Paddle's dy2static has rewritten forward

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        if not args:
            args = _first_argument(self, kwargs)
        _fallback(**_RECURSIVELY)  # where bytecode is captured; otherwise it does nothing
        if paddle.in_dynamic_mode():
            capture = _set_eval_frame(None)
            try:
                return self._forward(*args, **kwargs)
            finally:
                _set_eval_frame(capture)
        if self.training and self._is_exporting is None and not self._is_converted:
            _refuse_to_trace(self)
        return self._forward(*args, **kwargs)

    def _forward(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError

    def _float_forward(self, *args: Any, **kwargs: Any) -> Any:
        """Compute what the layer computed before it was quantized."""
        own = self.__dict__.get("_own_forward")
        return self._float_class.forward(self, *args, **kwargs) if own is None else own(*args, **kwargs)


@paddle.jit.not_to_static  # type: ignore[untyped-decorator]
def _first_argument(layer: Any, kwargs: dict[str, Any]) -> tuple[Any, ...]:
    """Take the quantized argument out of `kwargs`: ``linear(input=x)``."""
    own = layer.__dict__.get("_own_forward")
    parameters = list(inspect.signature(layer._float_class.forward if own is None else own).parameters)
    name = parameters[1 if own is None else 0]
    return (kwargs.pop(name),) if name in kwargs else ()


@paddle.jit.not_to_static  # type: ignore[untyped-decorator]
def _refuse_to_trace(layer: Any) -> None:
    framework.forget_failed_traces()
    raise RuntimeError(
        f"{type(layer).__name__} cannot be traced into a program in training mode, where its quantizers "
        "learn: train it in dygraph mode (paddle.jit.to_static with full_graph=False runs it so), or call "
        "eval() before paddle.jit.to_static or paddle.jit.save to trace it with its parameters as they are; "
        "save_quantized_model writes the trained network with integer weights"
    )


class QuantizedLayer(_Dynamic):
    """Mixin for layers with a ``weight`` and one input.

    ``_fake_quant_input`` and ``_fake_quant_weight`` quantize, after ``_act_preprocess`` and
    ``_weight_preprocess`` where the user gave such layers. An exporter gives a layer whose weight others read
    too a parameter of its own, ``_own_weight``.
    """

    _fake_quant_input: Any
    _fake_quant_weight: Any
    weight: Any
    _sub_layers: Any
    _parameters: Any
    _own_weight: Any
    _act_preprocess: Any
    _weight_preprocess: Any

    def _forward(self, x: Any, *args: Any, **kwargs: Any) -> Any:
        preprocess = getattr(self, "_act_preprocess", None)
        if preprocess is not None:
            x = preprocess(x)
        if not args and not kwargs and computes_integers(self, x):
            return evaluate(self, x)
        x = self._fake_quant_input(x)
        if self._is_exporting is not None:
            return self._exported(x, *args, **kwargs)
        with self.replaced(weight=self.quantized_weight()):
            return self._float_forward(x, *args, **kwargs)

    def _exported(self, x: Any, *args: Any, **kwargs: Any) -> Any:
        """Run the float layer: the exporter quantizes the parameter itself."""
        self._is_exporting.count(self)
        own = self.weight if self._parameters.get("_own_weight") is None else self._own_weight
        with self.replaced(weight=own):
            return self._float_forward(x, *args, **kwargs)

    def quantized_weight(self) -> Any:
        """Return the weight as the layer computes with it, a fake-quantized float tensor."""
        quantizer = self._fake_quant_weight
        if paddle.in_dynamic_mode() or not needs_values(quantizer):
            return quantizer(self.preprocessed_weight())
        return fake_quant_by_operators(self.preprocessed_weight(), as_constant(self._weight_params))

    def _weight_params(self) -> QuantParams:
        """Return the weight's quantization parameters in evaluation."""
        params: QuantParams = self._fake_quant_weight.weight_params(array_of(self.preprocessed_weight()))
        return params

    def preprocessed_weight(self) -> Any:
        """Return the tensor that is quantized: the parameter, or the user's preprocessing of it."""
        preprocess = getattr(self, "_weight_preprocess", None)
        return self.weight if preprocess is None else preprocess(self.weight)

    def replaced(self, **parameters: Any) -> _Replaced:
        """Return a context with other tensors in place of the layer's parameters."""
        return _Replaced(self, parameters)


class _Replaced:
    """A context manager, but no generator: Paddle's dy2static would take that apart."""

    def __init__(self, layer: Any, parameters: dict[str, Any]) -> None:
        self._attributes, self._parameters = layer.__dict__, parameters
        # nn.Layer looks parameters up where an instance has no attribute of that name; a bias that was never
        # made is such an attribute, None.
        self._before = {name: self._attributes[name] for name in parameters if name in self._attributes}

    def __enter__(self) -> None:
        self._attributes.update(self._parameters)

    def __exit__(self, *error: Any) -> None:
        for name in self._parameters:
            del self._attributes[name]
        self._attributes.update(self._before)


class QuantizedOutput(_Dynamic):
    """Mixin for paddle.nn.quant.add and its like: what they return is quantized."""

    _fake_quant_output: Any

    def _forward(self, *args: Any, **kwargs: Any) -> Any:
        return self._fake_quant_output(self._float_forward(*args, **kwargs))


class QuantizedInput(_Dynamic):
    """Mixin for any other layer: what it is given first is quantized."""

    _fake_quant_input: Any

    def _forward(self, x: Any, *args: Any, **kwargs: Any) -> Any:
        return self._float_forward(self._fake_quant_input(x), *args, **kwargs)


_CLASSES: dict[tuple[type, type], type] = {}


def quantized_class(float_class: type, mixin: type = QuantizedLayer) -> type:
    """Return `float_class` with `mixin` in front of it; the same class each time."""
    key = (float_class, mixin)
    if key not in _CLASSES:
        members = {"__module__": __name__, "_float_class": float_class}
        _CLASSES[key] = type(f"Quantized{float_class.__name__}", (mixin, float_class), members)
    return _CLASSES[key]


def give_quantizers(layer: Any, name: str, mixin: type, **quantizers: Any) -> None:
    """Turn `layer`, called `name` in the model, into its quantized class with these quantizers."""
    label = f"{name or type(layer).__name__} ({layer.full_name()})"
    own = _own_forward(layer)
    layer.__class__ = quantized_class(type(layer), mixin)
    if own is not None:
        layer.__dict__["_own_forward"] = own
    for attribute, quantizer in quantizers.items():
        quantizer.layer_name = label
        quantizer.training = layer.training
        setattr(layer, attribute, quantizer)


def _own_forward(layer: Any) -> Optional[Any]:
    """Return the `forward` set on `layer` itself, not its class; None if there is none.

    It is taken away. Paddle leaves the class's own one there after it has captured the layer's bytecode.
    """
    own = layer.__dict__.pop("forward", None)
    layer._original_funcs.pop("forward", None)
    if isinstance(own, framework.static_function_class()):
        own = own.dygraph_function
    return None if own is None or getattr(own, "__func__", own) is type(layer).forward else own


def is_quantized(layer: Any) -> bool:
    return isinstance(layer, (QuantizedLayer, QuantizedOutput, QuantizedInput))
