# SPDX-License-Identifier: Apache-2.0
"""Rows that interpolate: resizing of lines, images and volumes, and sampling at given places.

Resizing of volumes works on H and W of [N, C * D, H, W] first and on D of [N, C, D, H * W] then.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, Optional

import numpy as np

from qslim.importers.paddle.operators.source_op import ConvertedOp, Converter, SourceOp, known_extents
from qslim.importers.paddle.operators.volumes import convert_images, reshaped

__all__ = ["RESIZING"]


def _resize(op: SourceOp) -> Optional[ConvertedOp]:
    """Convert *_interp of images; the operands are image, out_size, size_tensor (list) and scale_tensor."""
    if op.attributes.get("data_format", "NCHW") != "NCHW" or op.rank(0) != 4:
        return None
    attributes: dict[str, Any] = {"axes": [2, 3]}
    is_cornered = op.attributes["align_corners"]
    if op.name == "nearest_interp":
        attributes["mode"] = "nearest"
        attributes["nearest_mode"] = "round_prefer_ceil" if is_cornered else "floor"
        where = "asymmetric"
    elif op.name == "bicubic_interp":
        attributes.update(mode="cubic", cubic_coeff_a=-0.75)
        where = "half_pixel"
    else:
        attributes["mode"] = "linear"
        where = "asymmetric" if op.attributes["align_mode"] == 1 else "half_pixel"
    attributes["coordinate_transformation_mode"] = "align_corners" if is_cornered else where
    operands = [*op.operands, "", "", ""]
    if operands[3]:
        return None  # a scale that is computed
    sizes = op.int_vector(2) if operands[2] else op.int_vector(1) if operands[1] else None
    if sizes is None:
        scale = [float(value) for value in op.attributes.get("scale") or []]
        height, width = op.attributes["out_h"], op.attributes["out_w"]
        if scale and all(value > 0 for value in scale):
            pair = scale * 2 if len(scale) == 1 else scale
            scales = op.new_constant(np.asarray(pair, np.float32))
            return ConvertedOp("Resize", [op.inputs[0], "", scales], attributes)
        if height <= 0 or width <= 0:
            return None
        sizes = op.new_ints([height, width])
    return ConvertedOp("Resize", [op.inputs[0], "", "", sizes], attributes)


def _grid_sample(op: SourceOp) -> Optional[ConvertedOp]:
    if op.rank(0) != 4:
        return None
    attributes = {
        "mode": "nearest" if op.attributes["mode"] == "nearest" else "linear",
        "padding_mode": str(op.attributes["padding_mode"]),
        "align_corners": int(op.attributes["align_corners"]),
    }
    return ConvertedOp("GridSample", op.inputs[:2], attributes)


def _line(op: SourceOp) -> Optional[ConvertedOp]:
    """Convert linear_interp of [N, C, W] as that of an image of one row."""
    shape = op.shape(0)
    if shape is None or len(shape) != 3 or any(op.operands[1:]) or op.attributes.get("data_format") != "NCHW":
        return None
    scale = [1.0, float(op.attributes["scale"][0])] if op.attributes.get("scale") else []
    row = op.before("Unsqueeze", [op.inputs[0], op.new_ints([2])], shape=(*shape[:2], 1, shape[2]))
    image = replace(
        op,
        name="bilinear_interp",
        inputs=[row],
        operands=[row],
        attributes={**op.attributes, "scale": scale, "out_h": 1},
    )
    converted = _resize(image)
    if converted is None:
        return None
    resized = op.before(converted.op_type, converted.inputs, shape=(None,) * 4, **converted.attributes)
    return ConvertedOp("Squeeze", [resized, op.new_ints([2])])


def _volume(op: SourceOp) -> Optional[ConvertedOp]:
    """Convert trilinear_interp, and nearest_interp of five axes."""
    x, y = known_extents(op.shape(0)), known_extents(op.output_shapes[0] if op.output_shapes else None)
    if x is None or y is None or len(x) != 4 or any(op.operands[1:]):
        return None
    name_of_images = "nearest_interp" if op.name == "nearest_interp" else "bilinear_interp"
    images = replace(op, name=name_of_images)
    scale = [float(value) for value in op.attributes.get("scale") or []]
    scale = scale * 3 if len(scale) == 1 else scale
    area = math.prod(y[2:])
    flat = reshaped(op, op.inputs[0], [x[0] * x[1], *x[2:]])
    changes: dict[str, Any] = {"scale": scale[1:], "out_h": y[2], "out_w": y[3]}
    planes = convert_images(images, flat, [x[0] * x[1], *y[2:]], _resize, **changes)
    columns = reshaped(op, planes, [x[0], x[1], area])
    changes = {"scale": [scale[0], 1.0] if scale else [], "out_h": y[1], "out_w": area}
    whole = convert_images(images, columns, [x[0], y[1], area], _resize, **changes)
    return ConvertedOp("Reshape", [whole, op.new_ints([0, *y])])


def _nearest(op: SourceOp) -> Optional[ConvertedOp]:
    return _volume(op) if op.rank(0) == 5 else _resize(op)


RESIZING: dict[str, Converter] = {
    "bicubic_interp": _resize,
    "bilinear_interp": _resize,
    "grid_sample": _grid_sample,
    "linear_interp": _line,
    "nearest_interp": _nearest,
    "trilinear_interp": _volume,
}
