# SPDX-License-Identifier: Apache-2.0
"""Quantization-aware training of PIR programs: what ``legacy.py`` does, on values in place of names.

A program is changed in place: the user's handles (the loss that is fetched) belong to it, and those of a
program mean nothing in its clone. Thresholds are parameters called <weight>.input.<what> after the weight
that the activation meets first, so that a program for evaluation that is built with the same parameter names
finds those of training.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, Optional

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qslim.exporters.paddle.pir import Rewriter
from qslim.exporters.paddle.plan import WeightRewrite
from qslim.importers.paddle.operators.source_op import dtype_name
from qslim.paddle import framework
from qslim.quant.op_types import CONVOLUTIONS, MATRIX_PRODUCTS
from qslim.quant.programs.config import StaticQATConfig
from qslim.quant.programs.operator_rules import never_negative_values, skips
from qslim.quant.programs.program_params import activation_params, weight_params

__all__ = ["convert_pir", "quantize_pir"]

_FAKE_ACTIVATION = "pd_op.fake_quantize_dequantize_moving_average_abs_max"
_FAKE_WEIGHT = "pd_op.fake_quantize_dequantize_abs_max"
_FAKE_WEIGHT_CHANNELS = "pd_op.fake_channel_wise_quantize_dequantize_abs_max"
_SCALE = ".scale"
_FED = ("pd_op.data", "pd_op.feed")


def quantize_pir(
    program: Any,
    config: StaticQATConfig,
    scope: Any,
    place: Any,
    for_test: bool,
    thresholds: dict[str, float],
) -> Any:
    """Add fake quantizers to `program`, as ``quantize_legacy``. `thresholds` go by <weight>.input."""
    ops = program.global_block().ops
    if any("fake_" in op.name() or "quantize_linear" in op.name() for op in ops):
        raise ValueError("quant_aware: the program is quantized already")
    has_gradients = any(op.name().rstrip("_").endswith("_grad") for op in ops)
    if for_test and has_gradients:
        raise ValueError(
            "quant_aware: for_test=True expects a program for evaluation, but this one holds gradients; "
            "build the network again, in evaluation mode, each time under paddle.utils.unique_name.guard()"
        )
    with framework.pir_ir(), framework.quiet():
        unsigned = never_negative_values(program) if config.uses_unsigned_grid else set()
        _Quantizer(program, config, scope, place, for_test, unsigned, thresholds).run()
    return program


def convert_pir(program: Any, config: StaticQATConfig, scope: Any, storage: str) -> Any:
    """Convert `program`, as ``quantize_pir(..., for_test=True)`` left it, to integer weights."""
    paddle = framework.paddle_module()
    with framework.pir_ir(), framework.quiet():
        rewriter = Rewriter(paddle, program, {}, scope, set())
        for op in list(program.global_block().ops):
            if op.name() in (_FAKE_WEIGHT, _FAKE_WEIGHT_CHANNELS):
                _convert_weight(rewriter, op, scope, storage)
            elif op.name() == _FAKE_ACTIVATION:
                name = _parameter_name(op.operand_source(1))
                assert name is not None
                threshold = _value(scope, name)
                params = activation_params(name, threshold, op.attrs()["bit_length"], config)
                rewriter.set_value(name, op.result(0))
                rewriter.quantize_activation(name, params)
            else:
                continue
            program.global_block().remove_op(op)
    return program


def _convert_weight(rewriter: Rewriter, op: Any, scope: Any, storage: str) -> None:
    name = _parameter_name(op.operand_source(0))
    assert name is not None
    value, attributes = _value(scope, name), op.attrs()
    axis = attributes["quant_axis"] if op.name() == _FAKE_WEIGHT_CHANNELS else None
    params = weight_params(name, value, attributes["bit_length"], axis)
    integers = params.quantize(value)
    rewriter.set_value(name, op.result(0))
    rewriter.quantize_weight(
        WeightRewrite(name, integers.astype(np.float32) if storage == "float32" else integers, params)
    )


def _value(scope: Any, name: str) -> NDArray[Any]:
    variable = scope.find_var(name)
    if variable is None or not variable.get_tensor()._is_initialized():
        raise ValueError(
            f"convert: {name!r} has no value in the scope; run the startup program, train, and pass the "
            "scope that was trained in"
        )
    return np.array(variable.get_tensor())


class _Quantizer:
    def __init__(
        self,
        program: Any,
        config: StaticQATConfig,
        scope: Any,
        place: Any,
        for_test: bool,
        unsigned: set[int],
        thresholds: dict[str, float],
    ) -> None:
        self._paddle = framework.paddle_module()
        self._pir = framework.pir_core()
        self._program = program
        self._startup = self._paddle.static.Program()
        self._config = config
        self._scope = scope
        self._place = place
        self._for_test = for_test
        self._unsigned = unsigned
        self._thresholds = thresholds
        self._done: dict[tuple[int, int], Any] = {}
        self._counts: Counter[str] = Counter()
        # Values that depend on parameters and literals alone: a bias that was reshaped, say.
        self._constants: set[int] = set()

    def run(self) -> None:
        ops = list(self._program.global_block().ops)
        gradients = [op for op in ops if op.name().rstrip("_").endswith("_grad")]
        # What comes behind the first gradient is gradients and the optimizer's arithmetic.
        forward = ops[: ops.index(gradients[0])] if gradients else ops
        count = 0
        for op in forward:
            self._note_constants(op)
            kind = op.name().split(".", 1)[1].rstrip("_")
            if kind not in self._config.op_types:
                continue
            sources = [op.operand_source(index) for index in range(op.num_operands())]
            read = [name for name in map(_parameter_name, sources) if name]
            if skips(self._config.not_quant_pattern, str(op.attrs().get("struct_name", "")), read):
                continue
            operands = self._operands(op, kind, sources)
            readers = [op, *(g for g in gradients if _is_gradient(g, kind, sources))]
            for index, axis in operands.items():
                self._quantize(op, kind, sources, index, axis, readers)
            count += bool(operands)
        if not count:
            raise ValueError(
                "quant_aware: the program holds no operator to quantize: none is among quantize_op_types "
                f"({', '.join(self._config.quantize_op_types)}), or all are skipped"
            )

    def _note_constants(self, op: Any) -> None:
        sources = (op.operand_source(index) for index in range(op.num_operands()))
        if op.name() not in _FED and all(not s.initialized() or s.id in self._constants for s in sources):
            self._constants.update(op.result(index).id for index in range(op.num_results()))

    def _operands(self, op: Any, kind: str, sources: list[Any]) -> dict[int, int]:
        """Return the positions of operands to quantize, with a weight's axis of output channels, else -1."""
        is_product = kind in CONVOLUTIONS or kind in MATRIX_PRODUCTS
        found: dict[int, int] = {}
        for index, source in enumerate(sources[:2]):
            is_dense = source.initialized() and source.is_dense_tensor_type()
            if not is_dense or dtype_name(source.dtype) != "float32":
                continue
            if source.id not in self._constants:
                found[index] = -1
            elif _parameter_name(source) is None:
                continue
            elif is_product and index == 1:
                found[index] = _channel_axis(op, kind)
        if kind in CONVOLUTIONS and len(found) < 2:
            return {}  # its weight is computed at run time
        return found

    def _quantize(
        self, op: Any, kind: str, sources: list[Any], index: int, axis: int, readers: list[Any]
    ) -> None:
        source = sources[index]
        key = (source.id, axis)
        if key not in self._done:
            with self._paddle.static.program_guard(self._program, self._startup):
                self._pir.set_insertion_point(op)
                if axis >= 0:
                    self._done[key] = self._fake_quantize_weight(source, axis)
                else:
                    self._done[key] = self._fake_quantize_activation(source, self._name(kind, sources, index))
        for reader in readers:
            for slot in range(reader.num_operands()):
                operand = reader.operand_source(slot)
                if operand.initialized() and operand.is_same(source):
                    reader.operand(slot).set_source(self._done[key])

    def _name(self, kind: str, sources: list[Any], index: int) -> str:
        weight = _parameter_name(sources[1]) if len(sources) > 1 and sources[1].initialized() else None
        if weight is None:
            self._counts[kind] += 1
            weight = f"{kind}_{self._counts[kind] - 1}"
        name = f"{weight}.input" if index == 0 else f"{weight}.input_{index}"
        self._counts[name] += 1  # a weight may meet several activations
        return name if self._counts[name] == 1 else f"{name}.{self._counts[name]}"

    def _fake_quantize_weight(self, source: Any, axis: int) -> Any:
        bits, ops = self._config.weight_bits, framework.operators()
        if self._config.weight_quantize_type == "channel_wise_abs_max":
            results = ops.fake_channel_wise_quantize_dequantize_abs_max(source, bits, 0, axis)
        else:
            results = ops.fake_quantize_dequantize_abs_max(source, bits, 0)
        return _first(results)

    def _fake_quantize_activation(self, source: Any, name: str) -> Any:
        config, ops = self._config, framework.operators()
        known = self._thresholds.get(name)
        if known is not None:
            # It stands for as many batches as the average ever remembers.
            remembered = 1 / (1 - config.moving_rate)
            for part, value in ((_SCALE, known), (".state", remembered), (".accum", known * remembered)):
                self._set(name + part, np.full(1, value, np.float32))
        scale = self._state(name + _SCALE, 0.001)
        bits = config.activation_bits + (source.id in self._unsigned)
        is_learning = not self._for_test and config.scale_trainable
        fake_quantize = ops.fake_quantize_dequantize_moving_average_abs_max
        current = scale
        if is_learning and config.activation_quantize_type == "moving_average_abs_max":
            state = self._state(name + ".state", 1.0)
            accum = self._state(name + ".accum", 1.0)
            # By hand: the kernel's own results would be new values, and these update the old ones.
            ops.assign_out_(accum * config.moving_rate + self._largest(source), accum)
            ops.assign_out_(state * config.moving_rate + 1.0, state)
            current = ops.assign_out_(accum / state, scale)
        elif is_learning and config.activation_quantize_type == "range_abs_max":
            window = self._state(name + ".window", np.zeros(config.window_size, np.float32))
            moved = (
                self._paddle.concat([self._largest(source), window[:-1]])
                if config.window_size > 1
                else (self._largest(source))
            )
            ops.assign_out_(moved, window)
            current = ops.assign_out_(self._paddle.max(moved, axis=0, keepdim=True), scale)
        elif is_learning:
            current = self._largest(source)
            ops.assign_out_(self._paddle.maximum(scale, current), scale)
        return _first(fake_quantize(source, current, None, None, config.moving_rate, bits, True, 0))

    def _largest(self, source: Any) -> Any:
        """Return max |x| of the batch, [1]; no gradient goes through it."""
        largest = self._paddle.max(self._paddle.abs(source)).reshape([1])
        largest.stop_gradient = True
        return largest

    def _state(self, name: str, value: ArrayLike) -> Any:
        """Add a parameter that nobody trains; what the scope has already is kept."""
        array = np.atleast_1d(np.asarray(value, np.float32))
        parameter = framework.pir_parameter(name, "float32", list(array.shape))
        variable = self._scope.find_var(name)
        if variable is None or not variable.get_tensor()._is_initialized():
            self._set(name, array)
        return parameter

    def _set(self, name: str, value: NDArray[np.float32]) -> None:
        self._scope.var(name).get_tensor().set(value, self._place)


def _is_gradient(op: Any, kind: str, sources: list[Any]) -> bool:
    """Return True if `op` is the gradient of an operator `kind` that reads `sources`."""
    if op.name().split(".", 1)[1].rstrip("_") != kind + "_grad":
        return False
    return all(
        op.operand_source(index).is_same(source)
        for index, source in enumerate(sources[:2])
        if source.initialized()
    )


def _channel_axis(op: Any, kind: str) -> int:
    if kind in MATRIX_PRODUCTS:
        return 0 if op.attrs().get("transpose_y") else 1
    return 1 if kind.endswith("transpose") else 0


def _parameter_name(value: Any) -> Optional[str]:
    if not value.initialized():
        return None
    producer = value.get_defining_op()
    if producer is None or producer.name() != "builtin.parameter":
        return None
    return str(producer.attrs()["parameter_name"])


def _first(results: Any) -> Any:
    return results[0] if isinstance(results, (list, tuple)) else results
