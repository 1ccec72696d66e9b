# SPDX-License-Identifier: Apache-2.0
"""Trained legacy programs as they are deployed: fake quantizers become quantize_linear and dequantize_linear.

    weight:      integers -> dequantize_linear(thresholds)
    activation:  quantize_linear(threshold) -> dequantize_linear(threshold)

the form that ``qslim.exporters.paddle`` writes. The scope keeps the float weights: integers get variables of
their own, so that training can go on.
"""

from __future__ import annotations

from typing import Any, Optional

import numpy as np
from numpy.typing import NDArray

from qslim.exporters.paddle.legacy import pair_attributes
from qslim.graph import QuantParams
from qslim.paddle import framework
from qslim.quant.programs.config import StaticQATConfig
from qslim.quant.programs.legacy import LegacyState
from qslim.quant.programs.program_params import activation_params, weight_params

__all__ = ["convert_legacy"]

_WEIGHT = ("fake_quantize_dequantize_abs_max", "fake_channel_wise_quantize_dequantize_abs_max")
_ACTIVATION = "fake_quantize_dequantize_moving_average_abs_max"


def convert_legacy(program: Any, config: StaticQATConfig, scope: Any, place: Any, storage: str) -> Any:
    """Return a copy of `program`, which ``quantize_legacy(..., for_test=True)`` made, with integer weights.

    Parameters
    ----------
    storage : {"int8", "float32"}
        How weights of at most 8 bits are stored; wider ones are float32 that holds integers.
    """
    with framework.legacy_ir(), framework.quiet():
        converted = program.clone()
        _Converter(converted.global_block(), config, scope, place, storage).run()
    return converted


class _Converter:
    def __init__(self, block: Any, config: StaticQATConfig, scope: Any, place: Any, storage: str) -> None:
        self._block = block
        self._config = config
        self._scope = scope
        self._state = LegacyState(block, scope, place)
        self._place = place
        self._storage = storage

    def run(self) -> None:
        block = self._block
        for op in list(block.ops):
            if op.type in _WEIGHT:
                self._convert_weight(op)
            elif op.type == _ACTIVATION:
                self._convert_activation(op)
        read = {name for op in block.ops for name in (*op.input_arg_names, *op.output_arg_names)}
        for name, variable in list(block.vars.items()):
            if name not in read and not variable.is_data:
                block._remove_var(name)

    def _convert_weight(self, op: Any) -> None:
        name, axis = op.input("X")[0], None
        if op.type == _WEIGHT[1]:
            axis = op.attr("quant_axis")
        value = self._value(name) if self._block.var(name).persistable else self._computed(name)
        params = weight_params(name, value, op.attr("bit_length"), axis)
        integers = params.quantize(value)
        if self._storage == "float32" or integers.dtype != np.int8:
            integers = integers.astype(np.float32)
        stored = name + ".quantized"
        self._constant(stored, integers)
        self._pair(op, name, params, stored)

    def _convert_activation(self, op: Any) -> None:
        name = op.input("X")[0]
        threshold = self._value(op.input("InScale")[0])
        params = activation_params(name, threshold, op.attr("bit_length"), self._config)
        self._pair(op, name, params, None)

    def _pair(self, op: Any, name: str, params: QuantParams, stored: Optional[str]) -> None:
        """Put the operators of one tensor where `op` is; `stored` are its integers if they are known."""
        scale = {
            "Scale": self._constant(name + "@scale", np.atleast_1d(params.threshold)),
            "ZeroPoint": self._constant(name + "@zero_point", np.zeros(params.scale.size, np.int32)),
            "InAccum": self._constant(name + "@step", np.atleast_1d(params.scale)),
        }
        position, result = self._block.ops.index(op), op.output("Out")
        self._block._remove_op(position)
        attributes = pair_attributes(params)
        if stored is None:
            stored = name + ".quantized"
            self._block.create_var(name=stored, shape=self._block.var(name).shape, dtype="float32")
            self._block._insert_op(
                position,
                type="quantize_linear",
                inputs={"X": [name], **scale},
                outputs={"Y": [stored]},
                attrs=attributes,
            )
            position += 1
        self._block._insert_op(
            position,
            type="dequantize_linear",
            inputs={"X": [stored], **scale},
            outputs={"Y": result},
            attrs=attributes,
        )

    def _value(self, name: str) -> NDArray[Any]:
        variable = self._scope.find_var(name)
        if variable is None or not variable.get_tensor()._is_initialized():
            raise ValueError(
                f"convert: {name!r} has no value in the scope; run the startup program, train, and pass the "
                "scope that was trained in"
            )
        return np.array(variable.get_tensor())

    def _computed(self, name: str) -> NDArray[Any]:
        """Return the value of a weight that a function has preprocessed, computed from parameters alone."""
        paddle = framework.paddle_module()
        pruned = self._block.program._prune([self._block.var(name)])
        with paddle.static.scope_guard(self._scope):
            (value,) = framework.executor(self._place).run(pruned, fetch_list=[name])
        return np.asarray(value)

    def _constant(self, name: str, value: NDArray[Any]) -> list[str]:
        self._state.add(name, value, str(value.dtype))
        self._state.set(name, value)
        return [name]
