# SPDX-License-Identifier: Apache-2.0
"""Rows of windows over one or three axes, as the same over images.

A pooling or a linear resizing of [N, C, D, H, W] works on H and W of [N, C * D, H, W] first and on D of
[N, C, D, H * W] then. A convolution takes the slices that a window of D covers as channels of one image.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, Callable, Optional

from qslim.importers.paddle.operators.source_op import ConvertedOp, Converter, SourceOp
from qslim.importers.paddle.operators.windows import pool, resize

__all__ = ["VOLUMES"]


def _known(shape: Optional[tuple[Optional[int], ...]]) -> Optional[list[int]]:
    """All extents but the first."""
    if shape is None or None in shape[1:]:
        return None
    return [extent for extent in shape[1:] if extent is not None]


def _reshape(op: SourceOp, name: str, extents: list[int]) -> str:
    return op.before("Reshape", [name, op.new_ints([0, *extents])], op.dtype(0), (None, *extents))


def _part(op: SourceOp, name: str, out: list[int], convert: Callable[[SourceOp], Any], **changes: Any) -> Any:
    """The converter of images on `name`: the name of its result, or None."""
    attributes = {**op.attributes, **changes, "data_format": "NCHW"}
    inner = replace(op, inputs=[name], operands=[name], attributes=attributes, output_shapes=[(None, *out)])
    converted = convert(inner)
    if converted is None:
        return None
    return op.before(converted.op_type, converted.inputs, op.dtype(0), (None, *out), **converted.attributes)


def _pads(op: SourceOp) -> list[int]:
    """begin and end of D, H and W."""
    pads = [int(pad) for pad in op.attributes["paddings"]]
    return [pad for pad in pads for _ in (0, 1)] if len(pads) == 3 else pads


def _pool3d(op: SourceOp) -> Optional[ConvertedOp]:
    x, y = _known(op.shape(0)), _known(op.output_shapes[0] if op.output_shapes else None)
    if op.attributes.get("data_format", "NCDHW") != "NCDHW" or x is None or y is None:
        return None
    channels, depth = x[0], x[1]
    kernel = [int(extent) for extent in op.attributes["kernel_size"]]
    if op.attributes["global_pooling"]:
        kernel = [1, 1, 1] if op.attributes["adaptive"] else x[1:]
    pads, strides = _pads(op), list(op.attributes.get("strides", [1, 1, 1]))
    kind = op.attributes.get("pooling_type", "max")

    def images(kernel: list[int], strides: list[int], pads: list[int]) -> dict[str, Any]:
        return {"kernel": kernel, "strides": strides, "paddings": pads, "pooling_type": kind}

    name: Optional[str] = _reshape(op, op.inputs[0], [channels * depth, *x[2:]])
    adaptive = bool(op.attributes["adaptive"])
    changes = images(kernel[1:], strides[1:], pads[2:])
    name = _part(op, name or "", [channels * depth, *y[2:]], pool, **changes)
    if name is None:
        return None
    name = _reshape(op, name, [channels, depth, y[2] * y[3]])
    changes = images([kernel[0], y[2] * y[3] if adaptive else 1], [strides[0], 1], [*pads[:2], 0, 0])
    name = _part(op, name, [channels, y[1], y[2] * y[3]], pool, **changes)
    if name is None:
        return None
    return ConvertedOp("Reshape", [name, op.new_ints([0, *y])], keeps_first_output=True)


def _conv3d(op: SourceOp) -> Optional[ConvertedOp]:
    x, weight = _known(op.shape(0)), [extent or 0 for extent in op.shape(1) or ()]
    y = _known(op.output_shapes[0] if op.output_shapes else None)
    is_explicit = op.attributes.get("padding_algorithm", "EXPLICIT") == "EXPLICIT"
    if op.attributes.get("data_format") != "NCDHW" or x is None or y is None or not weight or not is_explicit:
        return None
    channels, height, width = x[0], x[2], x[3]
    strides, dilations = list(op.attributes["strides"]), list(op.attributes["dilations"])
    pads, size = _pads(op), weight[2]
    padded = op.inputs[0]
    if pads[0] or pads[1]:
        bounds = op.new_ints([0, 0, pads[0], 0, 0, 0, 0, pads[1], 0, 0])
        padded = op.before("Pad", [padded, bounds, op.number(0)], shape=(None,) * 5, mode="constant")
    taken = [d * strides[0] + k * dilations[0] for d in range(y[1]) for k in range(size)]
    slices = op.before("Gather", [padded, op.new_ints(taken)], shape=(None,) * 5, axis=2)
    split = _reshape(op, slices, [channels, y[1], size, height, width])
    turned = op.before("Transpose", [split], shape=(None,) * 6, perm=[0, 2, 1, 3, 4, 5])
    image = op.before(
        "Reshape",
        [turned, op.new_ints([-1, channels * size, height, width])],
        shape=(None, channels * size, height, width),
    )
    flat_shape = [weight[0], -1, *weight[3:]]
    flat = op.before(
        "Reshape",
        [op.inputs[1], op.new_ints(flat_shape)],
        op.dtype(1),
        (weight[0], weight[1] * size, *weight[3:]),
    )
    window: dict[str, Any] = {
        "strides": strides[1:],
        "dilations": dilations[1:],
        "pads": [pads[2], pads[4], pads[3], pads[5]],
        "group": int(op.attributes["groups"]),
    }
    out = op.before("Conv", [image, flat], shape=(None, y[0], *y[2:]), **window)
    stacked = op.before(
        "Reshape", [out, op.new_ints([-1, y[1], y[0], *y[2:]])], shape=(None, y[1], y[0], *y[2:])
    )
    return ConvertedOp("Transpose", [stacked], {"perm": [0, 2, 1, 3, 4]})


def _line(op: SourceOp) -> Optional[ConvertedOp]:
    """linear_interp of [N, C, W]: an image of one row."""
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
    converted = resize(image)
    if converted is None:
        return None
    resized = op.before(converted.op_type, converted.inputs, shape=(None,) * 4, **converted.attributes)
    return ConvertedOp("Squeeze", [resized, op.new_ints([2])])


def _volume(op: SourceOp) -> Optional[ConvertedOp]:
    """trilinear_interp, and nearest_interp of five axes."""
    x, y = _known(op.shape(0)), _known(op.output_shapes[0] if op.output_shapes else None)
    if x is None or y is None or len(x) != 4 or any(op.operands[1:]):
        return None
    name_of_images = "nearest_interp" if op.name == "nearest_interp" else "bilinear_interp"
    images = replace(op, name=name_of_images)
    scale = [float(value) for value in op.attributes.get("scale") or []]
    scale = scale * 3 if len(scale) == 1 else scale
    area = math.prod(y[2:])
    flat = _reshape(op, op.inputs[0], [x[0] * x[1], *x[2:]])
    changes: dict[str, Any] = {"scale": scale[1:], "out_h": y[2], "out_w": y[3]}
    planes = _part(images, flat, [x[0] * x[1], *y[2:]], resize, **changes)
    columns = _reshape(op, planes, [x[0], x[1], area])
    changes = {"scale": [scale[0], 1.0] if scale else [], "out_h": y[1], "out_w": area}
    whole = _part(images, columns, [x[0], y[1], area], resize, **changes)
    return ConvertedOp("Reshape", [whole, op.new_ints([0, *y])])


def _nearest(op: SourceOp) -> Optional[ConvertedOp]:
    return _volume(op) if op.rank(0) == 5 else resize(op)


def _temporal_shift(op: SourceOp) -> Optional[ConvertedOp]:
    """Of the first channels the segment before, of the next ones the segment after, of the rest its own."""
    x, segments = _known(op.shape(0)), int(op.attributes["seg_num"])
    if x is None or op.attributes.get("data_format", "NCHW") != "NCHW":
        return None
    first, second = (int(x[0] * part * float(op.attributes["shift_ratio"])) for part in (1, 2))
    whole = op.before("Reshape", [op.inputs[0], op.new_ints([-1, segments, *x])], shape=(None, segments, *x))
    parts = []
    for begin, end, shift in ((0, first, 1), (first, second, -1), (second, x[0], 0)):
        if begin == end:
            continue
        # Segments without the one that leaves, then a zero one where another would come in.
        kept = (0, segments - 1) if shift > 0 else (-shift, segments)
        bounds = [op.new_ints(values) for values in ([begin, kept[0]], [end, kept[1]], [2, 1])]
        part = op.before("Slice", [whole, *bounds], shape=(None, kept[1] - kept[0], end - begin, *x[1:]))
        if shift:
            pads = [0, int(shift > 0), 0, 0, 0, 0, int(shift < 0), 0, 0, 0]
            shape = (None, segments, end - begin, *x[1:])
            part = op.before("Pad", [part, op.new_ints(pads), op.number(0)], shape=shape, mode="constant")
        parts.append(part)
    joined = op.before("Concat", parts, shape=(None, segments, *x), axis=2)
    return ConvertedOp("Reshape", [joined, op.new_ints([-1, *x])])


VOLUMES: dict[str, Converter] = {
    "conv3d": _conv3d,
    "linear_interp": _line,
    "max_pool3d_with_index": _pool3d,
    "nearest_interp": _nearest,
    "pool3d": _pool3d,
    "temporal_shift": _temporal_shift,
    "trilinear_interp": _volume,
}
