# SPDX-License-Identifier: Apache-2.0
"""Rewrite a PIR program with quantize/dequantize and save it.

    weight:      int8 parameter -> cast to float32 -> multiply by the step
    activation:  quantize_linear(threshold, qmax) -> multiply by the step
    with a zero point z, on [0, qmax]:
                 relu(x + z * step) -> quantize_linear(threshold, qmax) -> subtract z -> multiply by the step

``dequantize_linear`` is not used: in PIR its builder makes an operator that quantizes (Paddle 3.3.1: 1
becomes 50 for scale 2.55). ``quantize_linear`` computes clip(rne(x * qmax / threshold), -qmax - 1, qmax), so
qmax = 255 is the unsigned 8-bit grid for a tensor that is never negative.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qslim.exporters.paddle.plan import RewritePlan, WeightRewrite
from qslim.graph import QuantParams
from qslim.importers.paddle import PaddleProgram, framework
from qslim.importers.paddle.marks import is_pir_mark

__all__ = ["write_pir"]


def write_pir(source: PaddleProgram, plan: RewritePlan, path_prefix: str) -> None:
    """Save a rewritten copy of `source` as `path_prefix`.json and .pdiparams, in ``source.active()``."""
    paddle = framework.paddle_module()
    mapping = paddle.pir.IrMapping()
    program = source.program.clone(mapping)
    values = {name: mapping.look_up(value) for name, value in source.values.items()}
    feeds = [values[name] for name in source.feed_names]
    fetch_names = source.graph.outputs
    scope = _copied_scope(paddle, source, plan)
    with paddle.static.scope_guard(scope):
        rewriter = _Rewriter(paddle, program, values, scope)
        for weight in plan.weights:
            rewriter.quantize_weight(weight)
        for item in plan.folded:
            rewriter.replace_batch_norm(item.conv_output, item.norm_output, item.bias, plan.biases[item.bias])
        for name, params in plan.activations.items():
            rewriter.quantize_activation(name, params)
        rewriter.remove_marks()
        paddle.static.save_inference_model(
            path_prefix,
            feeds,
            [values[name] for name in fetch_names],
            framework.executor(),
            program=program,
        )


def _copied_scope(paddle: Any, source: PaddleProgram, plan: RewritePlan) -> Any:
    """A scope with the parameters that stay in float, so that the loaded model stays as it is."""
    scope = paddle.static.Scope()
    stored = {weight.name for weight in plan.weights}
    for op in source.program.global_block().ops:
        if op.name() == "builtin.parameter":
            name = op.attrs()["parameter_name"]
            if name not in stored:
                value = plan.float_weights.get(name)
                _set(paddle, scope, name, source.parameter(name) if value is None else value)
    return scope


def _set(paddle: Any, scope: Any, name: str, value: NDArray[Any]) -> None:
    scope.var(name).get_tensor().set(np.ascontiguousarray(value), paddle.CPUPlace())


class _Rewriter:
    def __init__(self, paddle: Any, program: Any, values: dict[str, Any], scope: Any) -> None:
        self._paddle = paddle
        self._pir = paddle.base.libpaddle.pir
        self._program = program
        self._startup = paddle.static.Program()
        self._values = values
        self._scope = scope

    def quantize_weight(self, weight: WeightRewrite) -> None:
        users = _uses(self._values[weight.name])
        # The name of the float parameter is taken until the program is saved, which drops what nobody reads.
        integers = self._parameter(weight.name + ".quantized", weight.stored)
        step = self._parameter(
            weight.name + ".scale", np.atleast_1d(weight.params.broadcast_scale(weight.stored.ndim))
        )
        with self._paddle.static.program_guard(self._program, self._startup):
            # New parameters go in front of the older ones, so `step` stands before `integers`.
            self._pir.set_insertion_point_after(integers.get_defining_op())
            data = integers if weight.stored.dtype == np.float32 else self._paddle.cast(integers, "float32")
            self._redirect(users, self._paddle.multiply(data, step))

    def quantize_activation(self, name: str, params: QuantParams) -> None:
        value = self._values[name]
        users = [(op, index) for op, index in _uses(value) if op.name() != "pd_op.fetch"]
        paddle = self._paddle
        producer = value.get_defining_op()
        if is_pir_mark(producer):
            value = producer.operand_source(0)
        with paddle.static.program_guard(self._program, self._startup):
            self._pir.set_insertion_point_after(producer)
            if params.zero_point:
                value = paddle.nn.functional.relu(value + float(params.scale) * params.zero_point)
            threshold = paddle.full([1], float(params.threshold), "float32")
            zero, one = (paddle.full([1], constant, "float32") for constant in (0.0, 1.0))
            quantized = paddle._C_ops.quantize_linear(
                value, threshold, zero, one, one, -1, 8, -params.qmax - 1, params.qmax, 0, True, False
            )
            integers = quantized[0] if isinstance(quantized, (list, tuple)) else quantized
            if params.zero_point:
                integers = integers - float(params.zero_point)
            step = paddle.full([1], float(params.scale), "float32")
            self._redirect(users, paddle.multiply(integers, step))

    def remove_marks(self) -> None:
        """Let the readers of marks read what is marked."""
        block = self._program.global_block()
        for op in [op for op in block.ops if is_pir_mark(op)]:
            self._redirect(_uses(op.result(0)), op.operand_source(0))
            block.remove_op(op)

    def replace_batch_norm(
        self, conv_output: str, norm_output: str, bias_name: str, bias: NDArray[np.float32]
    ) -> None:
        old, conv = self._values[norm_output], self._values[conv_output]
        users = _uses(old)
        parameter = self._parameter(bias_name, bias.reshape(1, -1, 1, 1))
        with self._paddle.static.program_guard(self._program, self._startup):
            self._pir.set_insertion_point_after(old.get_defining_op())
            added = self._paddle.add(conv, parameter)
        self._redirect(users, added)
        self._values[norm_output] = added

    def _parameter(self, name: str, value: NDArray[Any]) -> Any:
        with self._paddle.static.program_guard(self._program, self._startup):
            parameter = self._paddle.pir.core.create_parameter(
                str(value.dtype),
                list(value.shape),
                name=name,
                initializer=self._paddle.nn.initializer.Constant(0),
                trainable=False,
            )
        _set(self._paddle, self._scope, name, value)
        return parameter

    @staticmethod
    def _redirect(users: list[tuple[Any, int]], value: Any) -> None:
        for op, index in users:
            op.operand(index).set_source(value)


def _uses(value: Any) -> list[tuple[Any, int]]:
    """Every operand slot that reads `value`."""
    return [
        (op, index)
        for op in value.all_used_ops()
        for index in range(op.num_operands())
        if op.operand_source(index).initialized() and op.operand_source(index).is_same(value)
    ]
