# SPDX-License-Identifier: Apache-2.0
"""Rules for looking up by index, the largest elements, and recurrent layers."""

from __future__ import annotations

from typing import Any

import numpy as np

from qslim.importers.onnx.builder import Builder, OnnxNode
from qslim.importers.onnx.rules.rule import Rule, refuse_unless

__all__ = ["SELECTION"]


def _gather(builder: Builder, node: OnnxNode) -> None:
    axis = int(node.attributes.get("axis", 0))
    builder.emit(node.op_type, node.inputs, node.outputs, axis=axis)


def _gather_nd(builder: Builder, node: OnnxNode) -> None:
    has_batch = node.attributes.get("batch_dims", 0)
    if refuse_unless(not has_batch, builder, node, "batch_dims is not there"):
        return
    builder.emit("GatherND", node.inputs, node.outputs)


def _top_k(builder: Builder, node: OnnxNode) -> None:
    inputs = list(node.inputs)
    if "k" in node.attributes:
        inputs.append(builder.constant([node.attributes["k"]], dtype=np.int64))
    axis, largest = (int(node.attributes.get(name, value)) for name, value in (("axis", -1), ("largest", 1)))
    for name in node.outputs[1:]:
        if name in builder.graph.tensors:
            builder.graph.tensors[name].dtype = "int64"
    builder.emit("TopK", inputs, node.outputs, axis=axis, largest=largest)


_GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
_ACTIVATIONS = {
    "RNN": (["Tanh"], ["Relu"]),
    "GRU": (["Sigmoid", "Tanh"],),
    "LSTM": (["Sigmoid", "Tanh", "Tanh"],),
}


def _recurrent(builder: Builder, node: OnnxNode) -> None:
    direction = node.attributes.get("direction", "forward")
    count = 2 if direction == "bidirectional" else 1
    activations = node.attributes.get("activations", _ACTIVATIONS[node.op_type][0] * count)
    known = [each * count for each in _ACTIVATIONS[node.op_type]]
    plain = activations in known and not any(
        node.attributes.get(name)
        for name in ("clip", "activation_alpha", "activation_beta", "layout", "input_forget")
    )
    # Sequence lengths, and an LSTM's connections from its cell to its gates.
    has_more = any(node.input(index) for index in (4, 7))
    is_gru_of_papers = node.op_type == "GRU" and not node.attributes.get("linear_before_reset", 0)
    if refuse_unless(
        plain and not has_more and not is_gru_of_papers,
        builder,
        node,
        "own activations, clipping, layouts, lengths, peepholes and linear_before_reset=0 are not there",
    ):
        return
    attributes: dict[str, Any] = {"hidden_size": int(node.attributes["hidden_size"]), "direction": direction}
    if node.op_type == "GRU":
        attributes["linear_before_reset"] = 1
    if node.op_type == "RNN":
        attributes["activations"] = activations
    inputs = [node.input(index) for index in range(7 if node.op_type == "LSTM" else 6)]
    while not inputs[-1]:
        inputs.pop()
    outputs = list(node.outputs)
    for index in range(3 if node.op_type == "LSTM" else 2):
        if index >= len(outputs):
            outputs.append("")
        if not outputs[index]:
            outputs[index] = builder.graph.new_name(
                f"{node.op_type}.{next(filter(None, node.outputs))}.{index}"
            )
    builder.emit(node.op_type, inputs, outputs, **attributes)


SELECTION: dict[str, Rule] = {
    "GRU": _recurrent,
    "Gather": _gather,
    "GatherElements": _gather,
    "GatherND": _gather_nd,
    "LSTM": _recurrent,
    "RNN": _recurrent,
    "TopK": _top_k,
}
