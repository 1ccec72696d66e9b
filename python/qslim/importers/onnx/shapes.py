# SPDX-License-Identifier: Apache-2.0
"""Types and shapes of an ONNX model's tensors, as the onnx package infers them.

The package (1.23) ends the process where a Slice reads an extent that it has inferred to be negative: of a
window that is larger than what it moves over, say. So no Slice is shown to it before the shape that it
reads is known. Large initializers are left out: their values decide no shape.
"""

from __future__ import annotations

from typing import Any

__all__ = ["with_shapes"]

# Of an initializer that is shown with its values.
_MOST_ELEMENTS = 1024
# Slices that read each other's results are shown one after the other, so often; then the rest at once.
_MOST_PASSES = 32
_HIDDEN = "qslim.hidden"


def with_shapes(onnx: Any, proto: Any) -> Any:
    """Return a copy of `proto` with inferred shapes, also of outputs, whose declared ones may be wrong.

    Raises
    ------
    Exception : the onnx package's, of a model that it refuses.
    ValueError : an extent is negative.
    """
    light = _light(onnx, proto)
    slices = [node for node in light.graph.node if node.op_type == "Slice" and node.domain in ("", "ai.onnx")]
    hidden = list(slices)
    for node in hidden:
        node.domain = _HIDDEN
    if hidden:
        light.opset_import.append(onnx.helper.make_opsetid(_HIDDEN, 1))
    for number in range(_MOST_PASSES):
        inferred = onnx.shape_inference.infer_shapes(light)
        known = _extents(inferred.graph)
        if not hidden:
            break
        shown = [
            node for node in hidden if number == _MOST_PASSES - 2 or (node.input and node.input[0] in known)
        ]
        for node in shown or hidden:  # what is left reads what has no known shape
            node.domain = ""
        hidden = [node for node in hidden if node.domain]
    result = onnx.ModelProto()
    result.CopyFrom(proto)
    _take_shapes(inferred.graph, result.graph)
    return result


def _light(onnx: Any, proto: Any) -> Any:
    """Return the model without large values and without the declared shapes of its outputs."""
    light = onnx.ModelProto()
    light.CopyFrom(proto)
    large = [tensor for tensor in light.graph.initializer if _elements(tensor.dims) > _MOST_ELEMENTS]
    given = {info.name for info in light.graph.input}
    for tensor in large:
        if tensor.name not in given:
            light.graph.input.append(
                onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims))
            )
        light.graph.initializer.remove(tensor)
    for info in light.graph.output:
        info.type.tensor_type.ClearField("shape")
    for info in (*light.graph.input, *light.graph.value_info):
        for extent in info.type.tensor_type.shape.dim:
            if extent.HasField("dim_value") and extent.dim_value < 0:  # some exporters mean an open one
                extent.ClearField("dim_value")
    return light


def _elements(dims: Any) -> int:
    count = 1
    for extent in dims:
        count *= extent
    return count


def _extents(graph: Any) -> set[str]:
    """Return the names of the tensors whose rank is known; refuse a negative extent."""
    known = {tensor.name for tensor in graph.initializer}
    for info in (*graph.input, *graph.value_info, *graph.output):
        if not info.type.HasField("tensor_type") or not info.type.tensor_type.HasField("shape"):
            continue
        known.add(info.name)
        for extent in info.type.tensor_type.shape.dim:
            if extent.HasField("dim_value") and extent.dim_value < 0:
                raise ValueError(f"tensor {info.name!r} has the extent {extent.dim_value}")
    return known


def _take_shapes(source: Any, target: Any) -> None:
    """Describe the tensors of `target` as `source` does."""
    own = {info.name for info in target.input}
    del target.value_info[:]
    target.value_info.extend(info for info in source.value_info if info.name not in own)
    by_name = {info.name: info for info in source.output}
    for info in target.output:
        found = by_name[info.name]
        if found.type.tensor_type.HasField("shape"):
            info.CopyFrom(found)
