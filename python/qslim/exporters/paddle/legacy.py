# SPDX-License-Identifier: Apache-2.0
"""Rewrite a legacy program with quantize_linear / dequantize_linear and save it.

    weight:      int8 variable -> dequantize_linear(thresholds, quant_axis)
    with groups: int8 variable -> cast -> multiply by gather(steps, group of each element of the axis)
    activation:  quantize_linear(threshold) -> dequantize_linear(threshold)
    an unsigned one that may be negative:
                 relu before the pair
    with a zero point z, on [0, qmax]:
                 add z * step -> relu -> the pair -> subtract z * step

The pairs are what Paddle Lite, TensorRT and paddle2onnx look for. ``Scale`` of both operators is the
threshold; the range is [-qmax - 1, qmax] with ``qmax`` from the attribute.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qslim.exporters.paddle.plan import RewritePlan, WeightRewrite
from qslim.graph import QuantParams
from qslim.graph.passes import FoldedBatchNorm, non_negative_tensors
from qslim.paddle import framework
from qslim.paddle.marks import is_legacy_mark
from qslim.paddle.program import PaddleProgram

__all__ = ["pair_attributes", "write_legacy"]


def write_legacy(source: PaddleProgram, plan: RewritePlan, path_prefix: str) -> None:
    """Save a rewritten copy of `source` as `path_prefix`.pdmodel and .pdiparams, in ``source.active()``."""
    paddle = framework.paddle_module()
    program = source.program.clone()
    block = program.global_block()
    for index in reversed(range(len(block.ops))):
        if block.ops[index].type in ("feed", "fetch"):
            block._remove_op(index)
    scope = paddle.static.Scope()
    stored = {weight.name for weight in plan.weights}
    for variable in program.list_vars():
        if variable.persistable and variable.name not in stored and source.scope.find_var(variable.name):
            if variable.name in ("feed", "fetch"):
                continue
            value = plan.float_weights.get(variable.name)
            _set(paddle, scope, variable.name, source.parameter(variable.name) if value is None else value)

    rewriter = _Rewriter(paddle, block, scope, non_negative_tensors(source.graph))
    for item in plan.folded:
        rewriter.replace_batch_norm(item, plan.biases[item.bias])
    for weight in plan.weights:
        rewriter.quantize_weight(weight)
    for name, params in plan.activations.items():
        rewriter.quantize_activation(name, params)
    rewriter.remove_marks()
    feeds = [block.var(name) for name in source.feed_names]
    fetches = [block.var(name) for name in source.graph.outputs]
    with paddle.static.scope_guard(scope):
        paddle.static.save_inference_model(path_prefix, feeds, fetches, framework.executor(), program=program)


def pair_attributes(params: QuantParams) -> dict[str, Any]:
    """Return the attributes of quantize_linear and dequantize_linear."""
    return {
        "quant_axis": -1 if params.quant_axis is None else params.quant_axis,
        "bit_length": (params.qmax - params.qmin).bit_length(),
        "qmin": params.qmin,
        "qmax": params.qmax,
        "round_type": 0,
        "is_test": True,
        "only_observer": False,
    }


def _set(paddle: Any, scope: Any, name: str, value: NDArray[Any]) -> None:
    scope.var(name).get_tensor().set(np.ascontiguousarray(value), paddle.CPUPlace())


class _Rewriter:
    def __init__(self, paddle: Any, block: Any, scope: Any, never_negative: set[str]) -> None:
        self._paddle = paddle
        self._block = block
        self._scope = scope
        self._never_negative = never_negative

    def quantize_weight(self, weight: WeightRewrite) -> None:
        variable = self._block.var(weight.name)
        if weight.stored.dtype == np.int8:
            variable.desc.set_dtype(framework.legacy_core().VarDesc.VarType.INT8)
        _set(self._paddle, self._scope, weight.name, weight.stored)
        if weight.params.group_size is not None:
            self._redirect(self._multiply_groups(weight), weight.name, weight.name + ".dequantized")
            return
        self._dequantize(
            0,
            weight.name,
            weight.name + ".dequantized",
            weight.params,
            self._threshold(weight.name, weight.params),
        )
        self._redirect(1, weight.name, weight.name + ".dequantized")

    def _multiply_groups(self, weight: WeightRewrite) -> int:
        """Insert the operators that restore a weight with groups; return how many."""
        name, shape = weight.name, weight.stored.shape
        axis, group = weight.params.group_axis, weight.params.group_of_each(shape)
        self._persistable(name + "@scale", weight.params.scale)
        self._persistable(name + "@group", group)
        for result in (".floats", ".steps", ".dequantized"):
            self._variable(name + result, shape)
        types = framework.legacy_core().VarDesc.VarType
        cast = {"in_dtype": types.INT8, "out_dtype": types.FP32}
        self._insert(0, "cast", {"X": [name]}, {"Out": [name + ".floats"]}, cast)
        operands = {"X": [name + "@scale"], "Index": [name + "@group"]}
        self._insert(1, "gather", operands, {"Out": [name + ".steps"]}, {"axis": axis})
        operands = {"X": [name + ".floats"], "Y": [name + ".steps"]}
        self._insert(2, "elementwise_mul", operands, {"Out": [name + ".dequantized"]}, {"axis": -1})
        return 3

    def quantize_activation(self, name: str, params: QuantParams) -> None:
        position = self._after(name)
        scale = self._threshold(name, params)
        source, offset = name, float(params.scale) * params.zero_point
        if params.zero_point:
            source = self._elementwise(position, "scale", source, name + ".shifted", bias=offset, scale=1.0)
            position += 1
        if params.zero_point or (params.qmin == 0 and name not in self._never_negative):
            source = self._elementwise(position, "relu", source, name + ".kept")
            position += 1
        self._variable(name + ".quantized", self._block.var(name).shape)
        self._insert(
            position,
            "quantize_linear",
            {"X": [source], **scale},
            {"Y": [name + ".quantized"]},
            pair_attributes(params),
        )
        result = name + ".dequantized"
        self._dequantize(position + 1, name + ".quantized", result, params, scale)
        position += 2
        if params.zero_point:
            back = name + ".shifted_back"
            result = self._elementwise(position, "scale", result, back, bias=-offset, scale=1.0)
            position += 1
        self._redirect(position, name, result)

    def _elementwise(self, position: int, kind: str, source: str, target: str, **attributes: Any) -> str:
        self._variable(target, self._block.var(source).shape)
        self._insert(position, kind, {"X": [source]}, {"Out": [target]}, attributes)
        return target

    def remove_marks(self) -> None:
        """Let the readers of marks read what is marked."""
        for op in [op for op in self._block.ops if is_legacy_mark(op)]:
            index = self._block.ops.index(op)
            source, target = op.input("In")[0], op.output("Out")[0]
            self._block._remove_op(index)
            self._redirect(index, target, source)

    def replace_batch_norm(self, item: FoldedBatchNorm, bias: NDArray[np.float32]) -> None:
        index = next(
            i
            for i, op in enumerate(self._block.ops)
            if op.type == "batch_norm" and op.output("Y") == [item.norm_output]
        )
        self._block._remove_op(index)
        self._persistable(item.bias, bias)
        self._insert(
            index,
            "elementwise_add",
            {"X": [item.conv_output], "Y": [item.bias]},
            {"Out": [item.norm_output]},
            {"axis": 1},
        )

    def _dequantize(
        self, position: int, source: str, target: str, params: QuantParams, scale: dict[str, list[str]]
    ) -> None:
        self._variable(target, self._block.var(source).shape)
        self._insert(
            position, "dequantize_linear", {"X": [source], **scale}, {"Y": [target]}, pair_attributes(params)
        )

    def _threshold(self, name: str, params: QuantParams) -> dict[str, list[str]]:
        """Add the threshold, zero point and step of one tensor's pair; return them as operands.

        From a threshold the step cannot be told exactly; it stands in InAccum, which inference does not read.
        """
        threshold = np.atleast_1d(params.threshold)
        self._persistable(name + "@scale", threshold)
        self._persistable(name + "@zero_point", np.zeros(threshold.shape, np.int32))
        self._persistable(name + "@step", np.atleast_1d(params.scale))
        return {"Scale": [name + "@scale"], "ZeroPoint": [name + "@zero_point"], "InAccum": [name + "@step"]}

    def _persistable(self, name: str, value: NDArray[Any]) -> None:
        self._block.create_var(
            name=name, shape=list(value.shape), dtype=str(value.dtype), persistable=True, stop_gradient=True
        )
        _set(self._paddle, self._scope, name, value)

    def _variable(self, name: str, shape: Any) -> None:
        self._block.create_var(name=name, shape=list(shape), dtype="float32", stop_gradient=True)

    def _insert(
        self,
        index: int,
        kind: str,
        inputs: dict[str, Any],
        outputs: dict[str, Any],
        attributes: dict[str, Any],
    ) -> None:
        self._block._insert_op(index, type=kind, inputs=inputs, outputs=outputs, attrs=attributes)

    def _after(self, name: str) -> int:
        """Return the position behind the operator that writes `name`; 0 for a feed."""
        for index, op in enumerate(self._block.ops):
            if any(name in op.output(slot) for slot in op.output_names):
                return index + 1
        return 0

    def _redirect(self, start: int, old: str, new: str) -> None:
        """Let every operator from `start` on read `new` in place of `old`."""
        for op in self._block.ops[start:]:
            if any(old in op.input(slot) for slot in op.input_names):
                op._rename_input(old, new)
