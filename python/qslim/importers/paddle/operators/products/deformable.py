# SPDX-License-Identifier: Apache-2.0
"""Deformable convolution, as a sampling of the image and a convolution of single pixels.

    y[oc, oh, ow] = sum over ic, k of w[oc, ic, k] * mask[k, oh, ow] * x[ic, place(k, oh, ow)]
    place = (oh * stride - pad + kh * dilation + dy[k, oh, ow], the same of ow)

x is sampled bilinearly, with zeros outside of it, which is what GridSample does. Offsets and masks of several
deformable groups lie behind each other, as do the channels that they move, so the groups are images here.
Sources: Dai et al. 2017 (arXiv:1703.06211), Zhu et al. 2019 (arXiv:1811.11168).
"""

from __future__ import annotations

from typing import Optional

import numpy as np

from qslim.importers.paddle.operators.source_op import ConvertedOp, Converter, SourceOp

__all__ = ["DEFORMABLE"]


def _deformable_conv(op: SourceOp) -> Optional[ConvertedOp]:
    """Convert; operands are image, offsets [N, groups * taps * 2 (y, x), OH, OW], weight, mask or none."""
    image, weight = op.shape(0), op.shape(2)
    if image is None or image[1] is None or weight is None or None in weight or op.rank(1) != 4:
        return None
    channels, groups = image[1], int(op.attributes["deformable_groups"])
    kernel = [extent or 0 for extent in weight[2:]]
    taps, part = kernel[0] * kernel[1], channels // groups
    out = [op.extent(2, 1), op.extent(3, 1)]
    parts = op.inputs[0]
    if groups > 1:
        parts = _reshape(op, parts, [-1, part, op.extent(2), op.extent(3)])
    offsets = _reshape(op, op.inputs[1], [-1, taps, 2, *out])
    coordinates = [_coordinate(op, offsets, axis, kernel) for axis in (0, 1)]
    # GridSample wants (x, y) in the image as (-1, 1), one row of the grid for each tap and row.
    columns = [_reshape(op, name, [-1, taps, *out, 1]) for name in coordinates[::-1]]
    pairs = op.before("Concat", columns, "float32", (None,) * 5, axis=-1)
    rows = op.integers("Mul", out[0], taps)
    grid = _reshape(op, pairs, [-1, rows, out[1], 2])
    sampled = op.before(
        "GridSample", [parts, grid], "float32", (None,) * 4,
        mode="linear", padding_mode="zeros", align_corners=0,
    )  # fmt: skip
    if len(op.inputs) > 3 and op.inputs[3]:
        windows = _reshape(op, sampled, [-1, part, taps, *out])
        mask = _reshape(op, op.inputs[3], [-1, 1, taps, *out])
        sampled = op.before("Mul", [windows, mask], "float32", (None,) * 5)
    pixels = _reshape(op, sampled, [-1, channels * taps, *out])
    flat = op.before(
        "Reshape", [op.inputs[2], op.new_ints([weight[0] or 0, -1, 1, 1])], "float32",
        (weight[0], (weight[1] or 0) * taps, 1, 1),
    )  # fmt: skip
    return ConvertedOp("Conv", [pixels, flat], {"group": int(op.attributes["groups"]), "strides": [1, 1]})


def _coordinate(op: SourceOp, offsets: str, axis: int, kernel: list[int]) -> str:
    """Return GridSample's coordinates along `axis` of each tap of each output, [N, taps, OH, OW]."""
    stride, pad = (list(op.attributes[name])[axis] for name in ("strides", "paddings"))
    dilation = list(op.attributes["dilations"])[axis]
    moved = op.before(
        "Gather", [offsets, op.new_constant(np.asarray(axis, np.int64))], axis=2, shape=(None,) * 4
    )
    places = op.places(op.extent(2 + axis, 1))
    line = op.before(
        "Reshape", [places, op.new_ints([-1, 1] if axis == 0 else [-1])], "int64", (None,) * (2 - axis)
    )
    begin = op.before("Cast", [op.integers("Mul", line, stride, (None,))], "float32", (None,), to=1)
    taps = np.arange(kernel[axis], dtype=np.float32) * dilation - pad
    taps = np.repeat(taps, kernel[1]) if axis == 0 else np.tile(taps, kernel[0])
    base = op.before("Add", [op.new_constant(taps.reshape(-1, 1, 1)), begin], "float32", (None,) * 3)
    place = op.before("Add", [moved, base], "float32", (None,) * 4)
    # (2 p + 1) / extent - 1, the coordinate of pixel p where the corners of the image are -1 and 1
    extent = op.before("Cast", [op.extent(2 + axis)], "float32", (), to=1)
    doubled = op.before("Mul", [place, op.new_constant(np.float32(2))], "float32", (None,) * 4)
    inside = op.before("Add", [doubled, op.new_constant(np.float32(1))], "float32", (None,) * 4)
    share = op.before("Div", [inside, extent], "float32", (None,) * 4)
    return op.before("Sub", [share, op.new_constant(np.float32(1))], "float32", (None,) * 4)


def _reshape(op: SourceOp, name: str, extents: list[int | str]) -> str:
    return op.before("Reshape", [name, op.vector(extents)], "float32", (None,) * len(extents))


DEFORMABLE: dict[str, Converter] = {
    "deformable_conv": _deformable_conv,
}
