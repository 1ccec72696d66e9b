# SPDX-License-Identifier: Apache-2.0
"""Rewrite a PIR program with quantize/dequantize and save it.

    weight:      int8 parameter -> cast to float32 -> multiply by the step
    activation:  multiply by 1 / step -> quantize_linear(qmax, qmax) -> multiply by the step
    with a zero point z, or unsigned for a tensor that may be negative:
                 ... -> quantize_linear(qmax, qmax) -> clip(-z, qmax - z) -> multiply by the step
    a product of two such operands, the second a weight:
                 conv2d(integers of x, integers of w) -> multiply by step_x * step_w

The product of integers is exact in float32, in any order, so Paddle's executor gives the bits of the engine
and of the simulation; the operators that read x for something else read it dequantized.

``dequantize_linear`` is not used: in PIR its builder makes an operator that quantizes (Paddle 3.3.1: 1
becomes 50 for scale 2.55). ``quantize_linear`` computes clip(rne(qmax * (1 / threshold) * x), -qmax - 1,
qmax), whose factor is another float than 1 / step; with a threshold of qmax it is 1.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Optional

import numpy as np
from numpy.typing import NDArray

from qslim.exporters.paddle.plan import RewritePlan, WeightRewrite
from qslim.graph import QuantParams
from qslim.graph.passes import non_negative_tensors
from qslim.paddle import framework
from qslim.paddle.marks import is_pir_mark
from qslim.paddle.program import PaddleProgram

__all__ = ["Rewriter", "uses_of", "write_pir"]


def write_pir(source: PaddleProgram, plan: RewritePlan, path_prefix: str) -> None:
    """Save a rewritten copy of `source` as `path_prefix`.json and .pdiparams, in ``source.active()``."""
    paddle = framework.paddle_module()
    mapping = framework.ir_mapping()
    program = source.program.clone(mapping)
    values = {name: mapping.look_up(value) for name, value in source.values.items()}
    feeds = [values[name] for name in source.feed_names]
    fetch_names = source.graph.outputs
    scope = _copied_scope(paddle, source, plan)
    with paddle.static.scope_guard(scope):
        rewriter = Rewriter(paddle, program, values, scope, non_negative_tensors(source.graph))
        for weight in plan.weights:
            rewriter.quantize_weight(weight)
        for item in plan.folded:
            rewriter.replace_batch_norm(item.conv_output, item.norm_output, item.bias, plan.biases[item.bias])
        for name, params in plan.activations.items():
            rewriter.quantize_activation(name, params)
        rewriter.multiply_integers()
        rewriter.remove_marks()
        rewriter.remove_unread_parameters()
        paddle.static.save_inference_model(
            path_prefix,
            feeds,
            [values[name] for name in fetch_names],
            framework.executor(),
            program=program,
        )


def _copied_scope(paddle: Any, source: PaddleProgram, plan: RewritePlan) -> Any:
    """Return a scope with the parameters that stay in float, so that the loaded model stays as it is."""
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


class Rewriter:
    """Puts quantizers into a program, in place.

    Parameters
    ----------
    values : dict of tensor name to Value of `program`
    scope : where the program's parameters get their values
    never_negative : names of tensors that need no clipping at zero
    """

    def __init__(
        self, paddle: Any, program: Any, values: dict[str, Any], scope: Any, never_negative: set[str]
    ) -> None:
        self._paddle = paddle
        self._pir = framework.pir_core()
        self._program = program
        self._startup = paddle.static.Program()
        self._values = values
        self._scope = scope
        self._never_negative = never_negative
        # By the id of a dequantized value: the integers that it stands for, and their parameters.
        self._integers: dict[str, tuple[Any, QuantParams]] = {}

    def set_value(self, name: str, value: Any) -> None:
        """Call `value` `name` from here on."""
        self._values[name] = value

    def quantize_weight(self, weight: WeightRewrite) -> None:
        users = uses_of(self._values[weight.name])
        shape, params = weight.stored.shape, weight.params
        # The name of the float parameter is taken until the program is saved, which drops what nobody reads.
        integers = self._parameter(weight.name + ".quantized", weight.stored)
        steps = params.scale if params.group_size is not None else params.scale_of(shape)
        step = self._parameter(weight.name + ".scale", np.atleast_1d(steps))
        group = None
        if params.group_size is not None:
            group = self._parameter(weight.name + ".group", params.group_of_each(shape))
        with self._paddle.static.program_guard(self._program, self._startup):
            # New parameters go in front of the older ones, so `step` stands before `integers`.
            self._pir.set_insertion_point_after(integers.get_defining_op())
            data = integers if weight.stored.dtype == np.float32 else self._paddle.cast(integers, "float32")
            if group is not None:
                step = self._paddle.gather(step, group, axis=params.group_axis)
            real = self._paddle.multiply(data, step)
        self._integers[real.id] = data, weight.params
        self._redirect(users, real)

    def quantize_activation(self, name: str, params: QuantParams) -> None:
        value = self._values[name]
        users = [(op, index) for op, index in uses_of(value) if op.name() != "pd_op.fetch"]
        paddle = self._paddle
        producer = value.get_defining_op()
        if is_pir_mark(producer) or "fake_quantize_dequantize" in producer.name():
            value = producer.operand_source(0)
        with paddle.static.program_guard(self._program, self._startup):
            self._pir.set_insertion_point_after(producer)
            zero, one, qmax = (
                paddle.full([1], number, "float32") for number in (0.0, 1.0, float(params.qmax))
            )
            inverse = paddle.full([1], float(np.float32(1) / params.scale), "float32")
            step = paddle.full([1], float(params.scale), "float32")
            # Step and qmin are for whoever reads the file; in inference the kernel looks at neither.
            quantized = framework.operators().quantize_linear(
                paddle.multiply(value, inverse),
                *(qmax, zero, step, one, -1, 8, params.qmin, params.qmax, 0, True, False),
            )
            integers = quantized[0] if isinstance(quantized, (list, tuple)) else quantized
            if params.zero_point or (params.qmin == 0 and name not in self._never_negative):
                low, high = params.qmin - params.zero_point, params.qmax - params.zero_point
                integers = paddle.clip(integers, float(low), float(high))
            real = paddle.multiply(integers, step)
        self._integers[real.id] = integers, params
        self._redirect(users, real)

    def multiply_integers(self) -> None:
        """Let products multiply integers, and their results by both steps."""
        count = 0
        for op in self._program.global_block().ops:
            axes = _channel_axes(op)
            operands = [op.operand_source(index) for index in range(2)] if axes is not None else []
            if axes is None or not all(operand.id in self._integers for operand in operands):
                continue
            (x, x_params), (weight, w_params) = (self._integers[operand.id] for operand in operands)
            if w_params.group_size is not None:
                continue
            # Wider integers could leave the range where float32 holds every integer.
            if w_params.quant_axis not in (None, axes.weight) or max(x_params.qmax, w_params.qmax) > 255:
                continue
            result = op.result(0)
            users = uses_of(result)
            op.operand(0).set_source(x)
            op.operand(1).set_source(weight)
            shape = [1] * len(result.shape)
            shape[axes.output] = -1
            count += 1
            weight_step = self._parameter(
                f"product_{count}.scale",
                w_params.scale.reshape([1] if w_params.quant_axis is None else shape),
            )
            with self._paddle.static.program_guard(self._program, self._startup):
                self._pir.set_insertion_point_after(op)
                step = self._paddle.full([1], float(x_params.scale), "float32")
                scaled = self._paddle.multiply(result, self._paddle.multiply(step, weight_step))
            self._redirect(users, scaled)
            for name in [name for name, value in self._values.items() if value.is_same(result)]:
                self._values[name] = scaled  # it may be an output of the model

    def remove_marks(self) -> None:
        """Let the readers of marks read what is marked."""
        block = self._program.global_block()
        for op in [op for op in block.ops if is_pir_mark(op)]:
            self._redirect(uses_of(op.result(0)), op.operand_source(0))
            block.remove_op(op)

    def remove_unread_parameters(self) -> None:
        """Take out the parameters that others replace; Paddle 3.0 saves whatever the program declares."""
        block = self._program.global_block()
        for op in [op for op in block.ops if op.name() == "builtin.parameter"]:
            if op.result(0).use_empty():
                block.remove_op(op)

    def replace_batch_norm(
        self, conv_output: str, norm_output: str, bias_name: str, bias: NDArray[np.float32]
    ) -> None:
        old, conv = self._values[norm_output], self._values[conv_output]
        users = uses_of(old)
        parameter = self._parameter(bias_name, bias.reshape(1, -1, 1, 1))
        with self._paddle.static.program_guard(self._program, self._startup):
            self._pir.set_insertion_point_after(old.get_defining_op())
            added = self._paddle.add(conv, parameter)
        self._redirect(users, added)
        self._values[norm_output] = added

    def _parameter(self, name: str, value: NDArray[Any]) -> Any:
        with self._paddle.static.program_guard(self._program, self._startup):
            parameter = framework.pir_parameter(name, str(value.dtype), list(value.shape))
        _set(self._paddle, self._scope, name, value)
        return parameter

    @staticmethod
    def _redirect(users: list[tuple[Any, int]], value: Any) -> None:
        for op, index in users:
            op.operand(index).set_source(value)


class _Axes(NamedTuple):
    """The axes of a product's output channels."""

    weight: int
    output: int


def _channel_axes(op: Any) -> Optional[_Axes]:
    """Return the axes of the output channels if `op` multiplies by a weight on its right, else None."""
    name, attributes = op.name().rstrip("_"), op.attrs()
    channel_last = str(attributes.get("data_format", "NCHW")).endswith("C")
    output = len(op.result(0).shape) - 1 if channel_last else 1
    if name in ("pd_op.conv2d", "pd_op.conv3d", "pd_op.depthwise_conv2d"):
        return _Axes(0, output)
    if name == "pd_op.conv2d_transpose" and attributes.get("groups", 1) == 1:
        return _Axes(1, output)
    if name == "pd_op.matmul" and not attributes.get("transpose_x") and len(op.operand_source(1).shape) == 2:
        return _Axes(0 if attributes.get("transpose_y") else 1, len(op.result(0).shape) - 1)
    return None


def uses_of(value: Any) -> list[tuple[Any, int]]:
    """Return every operand slot that reads `value`."""
    return [
        (op, index)
        for op in value.all_used_ops()
        for index in range(op.num_operands())
        if op.operand_source(index).initialized() and op.operand_source(index).is_same(value)
    ]
