# SPDX-License-Identifier: Apache-2.0
"""Strides, pads and dilations of windows, which Paddle and ONNX write differently."""

from __future__ import annotations

from typing import Any, Optional

from qslim.importers.paddle.operators.source_op import SourceOp

__all__ = ["window_attributes"]


def window_attributes(op: SourceOp, dilations: bool = True) -> Optional[dict[str, Any]]:
    """Return strides, pads and dilations of a convolution or pooling as ONNX has them, or None."""
    if op.attributes.get("data_format", "NCHW") not in ("NCHW", "AnyLayout"):
        return None
    window: dict[str, Any] = {"strides": list(op.attributes["strides"])}
    if dilations:
        window["dilations"] = list(op.attributes["dilations"])
    algorithm = op.attributes.get("padding_algorithm", "EXPLICIT")
    if algorithm == "EXPLICIT":
        pads = list(op.attributes["paddings"])
        if len(pads) == 2:
            window["pads"] = [pads[0], pads[1], pads[0], pads[1]]
        else:  # Paddle: top, bottom, left, right; ONNX: top, left, bottom, right
            window["pads"] = [pads[0], pads[2], pads[1], pads[3]]
    else:
        window["auto_pad"] = "SAME_UPPER" if algorithm == "SAME" else "VALID"
        if dilations and algorithm == "SAME":
            window["dilations"] = [1, 1]  # Paddle ignores the dilation then
    return window
