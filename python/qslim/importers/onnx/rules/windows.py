# SPDX-License-Identifier: Apache-2.0
"""Rules for pools, resizing and sampling of images."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qslim.importers.onnx.builder import Builder, OnnxNode
from qslim.importers.onnx.rules.products import as_image, from_image, image_attributes
from qslim.importers.onnx.rules.rule import Rule, only_first_output, refuse_unless

__all__ = ["WINDOWS"]


def _pool(builder: Builder, node: OnnxNode) -> None:
    if only_first_output(builder, node, node.extra_outputs(), "the places of the largest elements"):
        return
    rank = len(node.attributes["kernel_shape"])
    if refuse_unless(rank in (1, 2), builder, node, f"along {rank} axes is not there"):
        return
    attributes = image_attributes(node.attributes, rank)
    attributes.pop("storage_order", None)
    if attributes.get("auto_pad") == "NOTSET":
        del attributes["auto_pad"]
    if rank == 2:
        builder.emit(node.op_type, node.inputs, node.outputs[:1], **attributes)
        return
    pooled = builder.emit(node.op_type, [as_image(builder, node.inputs[0], rank)], **attributes)
    from_image(builder, pooled, rank, node.outputs[:1])


def _global_pool(builder: Builder, node: OnnxNode) -> None:
    """Of lines and volumes a reduction."""
    x = node.inputs[0]
    rank = builder.rank(x)
    if rank in (None, 4):
        builder.emit(node.op_type, node.inputs, node.outputs)
        return
    assert rank is not None
    axes = builder.constant(list(range(2, rank)), dtype=np.int64)
    reduction = "ReduceMax" if node.op_type == "GlobalMaxPool" else "ReduceMean"
    builder.emit(reduction, [x, axes], node.outputs, keepdims=1)


def _resize(builder: Builder, node: OnnxNode) -> None:
    """Resize of opset 10 has data and scales alone, and counts columns from the left edge."""
    if builder.opset < 11:
        _resize_by_scales(builder, node, node.inputs[1])
        return
    given = node.attributes
    plain = (
        not given.get("antialias", 0)
        and not given.get("exclude_outside", 0)
        and given.get("keep_aspect_ratio_policy", "stretch") == "stretch"
        and given.get("coordinate_transformation_mode", "half_pixel")
        not in ("tf_crop_and_resize", "half_pixel_symmetric", "tf_half_pixel_for_nn")
    )
    note = "antialias, exclude_outside, aspect ratios, crops and symmetric pixels are not there"
    if refuse_unless(plain, builder, node, note):
        return
    inputs = [node.inputs[0], "", node.input(2), node.input(3)]
    scales = builder.value(inputs[2]) if inputs[2] else None
    if scales is not None and scales.size == 0:
        inputs[2], scales = "", None
    if given.get("coordinate_transformation_mode") == "align_corners" and inputs[2]:
        # ONNX divides by extent * scale - 1, whole or not; a Graph by the new extent - 1.
        is_whole = scales is not None and _makes_whole_extents(builder, node, scales)
        if refuse_unless(is_whole, builder, node, "align_corners with scales that cut extents is not there"):
            return
    while not inputs[-1]:
        inputs.pop()
    names = ("mode", "coordinate_transformation_mode", "nearest_mode", "cubic_coeff_a", "axes")
    attributes = {name: given[name] for name in names if name in given}
    builder.emit("Resize", inputs, node.outputs, **attributes)


def _makes_whole_extents(builder: Builder, node: OnnxNode, scales: NDArray[Any]) -> bool:
    shape = builder.graph.tensors[node.inputs[0]].shape
    axes = node.attributes.get("axes") or list(range(len(scales)))
    for axis, scale in zip(axes, scales.reshape(-1)):
        extent = None if shape is None else shape[axis]
        whole = float(scale) if extent is None else float(scale) * extent
        if abs(whole - round(whole)) > 1e-4:
            return False
    return True


def _resize_by_scales(builder: Builder, node: OnnxNode, scales: str) -> None:
    mode = {"bilinear": "linear"}.get(
        node.attributes.get("mode", "nearest"), node.attributes.get("mode", "nearest")
    )
    attributes: dict[str, Any] = {"mode": mode, "coordinate_transformation_mode": "asymmetric"}
    if mode == "nearest":
        attributes["nearest_mode"] = "floor"
    builder.emit("Resize", [node.inputs[0], "", scales], node.outputs, **attributes)


def _upsample(builder: Builder, node: OnnxNode) -> None:
    if "scales" in node.attributes:
        scales = builder.constant(node.attributes["scales"], dtype=np.float32)
    else:
        scales = node.inputs[1]
    _resize_by_scales(builder, node, scales)


def _grid_sample(builder: Builder, node: OnnxNode) -> None:
    attributes = dict(node.attributes)
    mode = attributes.get("mode", "linear")
    attributes["mode"] = {"bilinear": "linear", "bicubic": "cubic"}.get(mode, mode)
    rank = builder.rank(node.inputs[0])
    if refuse_unless(
        rank in (None, 4) and attributes["mode"] != "cubic", builder, node, "of this mode is not there"
    ):
        return
    builder.emit("GridSample", node.inputs, node.outputs, **attributes)


WINDOWS: dict[str, Rule] = {
    "AveragePool": _pool,
    "GlobalAveragePool": _global_pool,
    "GlobalMaxPool": _global_pool,
    "GridSample": _grid_sample,
    "MaxPool": _pool,
    "Resize": _resize,
    "Upsample": _upsample,
}
