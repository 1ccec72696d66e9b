# SPDX-License-Identifier: Apache-2.0
"""Rules for sums, extrema and norms along axes."""

from __future__ import annotations

from qslim.importers.onnx.builder import Builder, OnnxNode
from qslim.importers.onnx.rules.movement import with_axes_input
from qslim.importers.onnx.rules.rule import Rule, refuse_unless

__all__ = ["REDUCTIONS"]


def _reduce(op_type: str, before: str = "", after: str = "") -> Rule:
    """Reduce what operator `before` makes of the data ("Square" is not one), then apply `after`."""

    def rule(builder: Builder, node: OnnxNode) -> None:
        x, *axes = with_axes_input(builder, node)
        known = builder.ints(axes[0]) if axes else []
        if node.attributes.get("noop_with_empty_axes", 0) and not known:
            if refuse_unless(
                known is not None, builder, node, "computed axes that may be none are not there"
            ):
                return
            _pointwise(builder, node, x, before, after)
            return
        if before == "Square":
            x = builder.emit("Mul", [x, x])
        elif before:
            x = builder.emit(before, [x])
        keepdims = int(node.attributes.get("keepdims", 1))
        operands = [x, *axes] if known != [] else [x]
        reduced = builder.emit(op_type, operands, None if after else node.outputs, keepdims=keepdims)
        if after:
            builder.emit(after, [reduced], node.outputs)

    return rule


def _pointwise(builder: Builder, node: OnnxNode, x: str, before: str, after: str) -> None:
    """Reduce along no axis: each element is a sum by itself."""
    steps = [step for step in (before, after) if step] or ["Identity"]
    for index, step in enumerate(steps):
        operands = [x, x] if step == "Square" else [x]
        outputs = node.outputs if index == len(steps) - 1 else None
        x = builder.emit("Mul" if step == "Square" else step, operands, outputs)


def _log_sum_exp(builder: Builder, node: OnnxNode) -> None:
    """Log of the sum of exp(x - max), plus max."""
    x, *axes = with_axes_input(builder, node)
    keepdims = int(node.attributes.get("keepdims", 1))
    if axes and builder.ints(axes[0]) == []:
        axes = []
    if node.attributes.get("noop_with_empty_axes", 0) and not axes:
        builder.emit("Identity", [x], node.outputs)
        return
    largest = builder.emit("ReduceMax", [x, *axes], keepdims=1)
    exponentials = builder.emit("Exp", [builder.emit("Sub", [x, largest])])
    logs = builder.emit("Log", [builder.emit("ReduceSum", [exponentials, *axes], keepdims=keepdims)])
    if not keepdims:
        largest = builder.emit("ReduceMax", [x, *axes], keepdims=0)
    builder.emit("Add", [logs, largest], node.outputs)


def _arg(is_least: bool) -> Rule:
    def rule(builder: Builder, node: OnnxNode) -> None:
        last = node.attributes.get("select_last_index", 0)
        if refuse_unless(not last, builder, node, "the last one of equal elements is not there"):
            return
        x = builder.emit("Neg", node.inputs) if is_least else node.inputs[0]
        axis, keepdims = (
            int(node.attributes.get(name, value)) for name, value in (("axis", 0), ("keepdims", 1))
        )
        builder.emit("ArgMax", [x], node.outputs, dtype="int64", axis=axis, keepdims=keepdims)

    return rule


def _cumulative_sum(builder: Builder, node: OnnxNode) -> None:
    kept = {name: value for name, value in node.attributes.items() if name in ("exclusive", "reverse")}
    builder.emit("CumSum", node.inputs, node.outputs, **kept)


REDUCTIONS: dict[str, Rule] = {
    "ArgMax": _arg(False),
    "ArgMin": _arg(True),
    "CumSum": _cumulative_sum,
    "ReduceL1": _reduce("ReduceSum", "Abs"),
    "ReduceL2": _reduce("ReduceSum", "Square", "Sqrt"),
    "ReduceLogSum": _reduce("ReduceSum", "", "Log"),
    "ReduceLogSumExp": _log_sum_exp,
    "ReduceMax": _reduce("ReduceMax"),
    "ReduceMean": _reduce("ReduceMean"),
    "ReduceMin": _reduce("ReduceMin"),
    "ReduceProd": _reduce("ReduceProd"),
    "ReduceSum": _reduce("ReduceSum"),
    "ReduceSumSquare": _reduce("ReduceSum", "Square"),
}
