# SPDX-License-Identifier: Apache-2.0
"""Paddle's operators (PIR names) as ONNX operators: one row each.

A converter takes a SourceOp and returns a ConvertedOp. An operator without a row, or one whose attributes
ONNX cannot express, keeps its name and raw attributes in the domain "paddle".
Sources: paddle/phi/ops/yaml/ops.yaml (operands and attributes), onnx/docs/Operators.md (opset 21).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Callable, Optional

import numpy as np
from numpy.typing import NDArray

from qslim.graph import Graph, Tensor

__all__ = ["ConvertedOp", "SourceOp", "convert"]


@dataclass
class SourceOp:
    """An operator as PIR has it: operands flattened to tensor names ("" where absent)."""

    name: str
    inputs: list[str]
    attributes: dict[str, Any]
    graph: Graph

    def constant(self, index: int) -> Optional[NDArray[Any]]:
        name = self.inputs[index] if index < len(self.inputs) else ""
        return self.graph.constant(name) if name else None

    def shape(self, index: int) -> Optional[tuple[Optional[int], ...]]:
        return self.graph.tensors[self.inputs[index]].shape

    def new_constant(self, value: NDArray[Any]) -> str:
        """Add a constant that ONNX wants as an input and Paddle as an attribute."""
        name = f"{self.name}.constant_{len(self.graph.tensors)}"
        self.graph.add_tensor(Tensor(name, str(value.dtype), value.shape, value))
        return name


@dataclass
class ConvertedOp:
    op_type: str
    inputs: list[str]
    attributes: dict[str, Any] = field(default_factory=dict)
    domain: str = ""
    keeps_first_output: bool = False


def convert(op: SourceOp) -> ConvertedOp:
    """The row for `op`, or `op` itself in the domain "paddle"."""
    converter = _CONVERTERS.get(op.name)
    converted = converter(op) if converter is not None else None
    return converted or ConvertedOp(op.name, op.inputs, op.attributes, "paddle")


def _renamed(op_type: str, **attributes: str) -> Callable[[SourceOp], Optional[ConvertedOp]]:
    """Same operands; each keyword gives ONNX's attribute the value of Paddle's."""

    def converter(op: SourceOp) -> Optional[ConvertedOp]:
        return ConvertedOp(op_type, op.inputs, {new: op.attributes[old] for new, old in attributes.items()})

    return converter


def _window(op: SourceOp, dilations: bool = True) -> Optional[dict[str, Any]]:
    """strides, pads and dilations of a convolution or pooling in ONNX's form."""
    if op.attributes.get("data_format", "NCHW") not in ("NCHW", "AnyLayout"):
        return None
    window: dict[str, Any] = {"strides": list(op.attributes["strides"])}
    algorithm = op.attributes.get("padding_algorithm", "EXPLICIT")
    if algorithm == "EXPLICIT":
        pads = list(op.attributes["paddings"])
        if len(pads) == 2:
            window["pads"] = [pads[0], pads[1], pads[0], pads[1]]
        else:  # Paddle: top, bottom, left, right; ONNX: top, left, bottom, right
            window["pads"] = [pads[0], pads[2], pads[1], pads[3]]
    else:
        window["auto_pad"] = "SAME_UPPER" if algorithm == "SAME" else "VALID"
    if dilations:
        window["dilations"] = list(op.attributes["dilations"])
    return window


def _conv(op_type: str) -> Callable[[SourceOp], Optional[ConvertedOp]]:
    def converter(op: SourceOp) -> Optional[ConvertedOp]:
        window = _window(op)
        if window is None:
            return None
        window["group"] = int(op.attributes["groups"])
        output_padding = op.attributes.get("output_padding")
        if op_type == "ConvTranspose" and output_padding:
            window["output_padding"] = list(output_padding)
        return ConvertedOp(op_type, op.inputs[:2], window)

    return converter


def _batch_norm(op: SourceOp) -> Optional[ConvertedOp]:
    if op.attributes.get("data_format", "NCHW") not in ("NCHW", "NCL", "NC"):
        return None
    if not (op.attributes["is_test"] or op.attributes["use_global_stats"]):
        return None
    x, mean, variance, scale, offset = op.inputs[:5]
    if not scale or not offset:
        return None
    inputs = [x, scale, offset, mean, variance]
    return ConvertedOp(
        "BatchNormalization", inputs, {"epsilon": float(op.attributes["epsilon"])}, keeps_first_output=True
    )


def _pool2d(op: SourceOp) -> Optional[ConvertedOp]:
    kernel = op.constant(1)
    is_max = op.attributes["pooling_type"] == "max"
    whole = op.attributes["global_pooling"] or (
        op.attributes["adaptive"] and kernel is not None and (kernel == 1).all()
    )
    if whole:
        return ConvertedOp("GlobalMaxPool" if is_max else "GlobalAveragePool", op.inputs[:1])
    window = _window(op, dilations=False)
    if window is None or kernel is None or op.attributes["adaptive"]:
        return None
    window["kernel_shape"] = [int(extent) for extent in kernel]
    window["ceil_mode"] = int(op.attributes["ceil_mode"])
    if not is_max:
        window["count_include_pad"] = int(not op.attributes["exclusive"])
    return ConvertedOp("MaxPool" if is_max else "AveragePool", op.inputs[:1], window)


def _max_pool_with_index(op: SourceOp) -> Optional[ConvertedOp]:
    """What adaptive_max_pool2d is saved as; the indices are dropped."""
    whole = op.attributes["global_pooling"] or (
        op.attributes["adaptive"] and list(op.attributes["kernel_size"]) == [1, 1]
    )
    return ConvertedOp("GlobalMaxPool", op.inputs[:1], keeps_first_output=True) if whole else None


def _scale(op: SourceOp) -> Optional[ConvertedOp]:
    """y = scale * x + bias, where one of the two does nothing."""
    scale, bias = op.constant(1), op.attributes["bias"]
    if scale is None or op.graph.tensors[op.inputs[0]].dtype != "float32":
        return None
    if bias == 0:
        return ConvertedOp("Mul", [op.inputs[0], op.new_constant(scale.reshape(()).astype(np.float32))])
    if scale == 1:
        return ConvertedOp("Add", [op.inputs[0], op.new_constant(np.asarray(bias, np.float32))])
    return None


def _relu6(op: SourceOp) -> ConvertedOp:
    low, high = (op.new_constant(np.asarray(value, np.float32)) for value in (0.0, 6.0))
    return ConvertedOp("Clip", [op.inputs[0], low, high])


def _clip(op: SourceOp) -> Optional[ConvertedOp]:
    low, high = op.constant(1), op.constant(2)
    if low is None or high is None:
        return None
    names = [op.new_constant(value.reshape(()).astype(np.float32)) for value in (low, high)]
    return ConvertedOp("Clip", [op.inputs[0], *names])


def _matmul(op: SourceOp) -> Optional[ConvertedOp]:
    if op.attributes["transpose_x"] or op.attributes["transpose_y"]:
        return None
    return ConvertedOp("MatMul", op.inputs)


def _flatten(op: SourceOp) -> Optional[ConvertedOp]:
    shape = op.shape(0)
    start, stop = op.attributes["start_axis"], op.attributes["stop_axis"]
    if shape is None or start % len(shape) != 1 or stop % len(shape) != len(shape) - 1:
        return None
    return ConvertedOp("Flatten", op.inputs[:1], {"axis": 1}, keeps_first_output=True)


def _with_axes(op_type: str) -> Callable[[SourceOp], Optional[ConvertedOp]]:
    """Squeeze, Unsqueeze: axes are the second operand in both."""

    def converter(op: SourceOp) -> Optional[ConvertedOp]:
        if op.constant(1) is None:
            return None
        return ConvertedOp(op_type, op.inputs[:2], keeps_first_output=True)

    return converter


def _reduce(op_type: str) -> Callable[[SourceOp], Optional[ConvertedOp]]:
    def converter(op: SourceOp) -> Optional[ConvertedOp]:
        axes = op.constant(1)
        if axes is None:
            return None
        inputs = op.inputs[:2] if axes.size else op.inputs[:1]
        return ConvertedOp(op_type, inputs, {"keepdims": int(op.attributes["keepdim"])})

    return converter


def _concat(op: SourceOp) -> Optional[ConvertedOp]:
    axis = op.constant(len(op.inputs) - 1)
    return None if axis is None else ConvertedOp("Concat", op.inputs[:-1], {"axis": int(axis.reshape(-1)[0])})


def _split(op: SourceOp) -> Optional[ConvertedOp]:
    sizes, axis = op.constant(1), op.constant(2)
    if sizes is None or axis is None or (sizes < 0).any():
        return None
    return ConvertedOp("Split", op.inputs[:2], {"axis": int(axis.reshape(-1)[0])})


def _slice(op: SourceOp) -> Optional[ConvertedOp]:
    starts, ends = op.constant(1), op.constant(2)
    if starts is None or ends is None or list(op.attributes.get("decrease_axis") or []):
        return None
    axes = op.new_constant(np.asarray(op.attributes["axes"], np.int64))
    return ConvertedOp("Slice", [*op.inputs[:3], axes])


def _reshape(op: SourceOp) -> Optional[ConvertedOp]:
    return None if op.constant(1) is None else ConvertedOp("Reshape", op.inputs[:2], keeps_first_output=True)


def _dropout(op: SourceOp) -> Optional[ConvertedOp]:
    if not op.attributes.get("is_test") or op.attributes.get("mode") != "upscale_in_train":
        return None
    return ConvertedOp("Identity", op.inputs[:1], keeps_first_output=True)


def _gelu(op: SourceOp) -> ConvertedOp:
    kind = "tanh" if op.attributes.get("approximate") else "none"
    return ConvertedOp("Gelu", op.inputs[:1], {"approximate": kind})


def _hard_swish(op: SourceOp) -> ConvertedOp:
    return ConvertedOp("HardSwish", op.inputs[:1])


_CONVERTERS: dict[str, Callable[[SourceOp], Optional[ConvertedOp]]] = {
    "add": _renamed("Add"),
    "assign": _renamed("Identity"),
    "batch_norm": _batch_norm,
    "clip": _clip,
    "concat": _concat,
    "conv2d": _conv("Conv"),
    "conv2d_transpose": _conv("ConvTranspose"),
    "depthwise_conv2d": _conv("Conv"),
    "depthwise_conv2d_transpose": _conv("ConvTranspose"),
    "divide": _renamed("Div"),
    "dropout": _dropout,
    "exp": _renamed("Exp"),
    "flatten": _flatten,
    "gelu": _gelu,
    "hardsigmoid": _renamed("HardSigmoid", alpha="slope", beta="offset"),
    "hardswish": _hard_swish,
    "leaky_relu": _renamed("LeakyRelu", alpha="negative_slope"),
    "matmul": _matmul,
    "max": _reduce("ReduceMax"),
    "max_pool2d_with_index": _max_pool_with_index,
    "maximum": _renamed("Max"),
    "mean": _reduce("ReduceMean"),
    "minimum": _renamed("Min"),
    "multiply": _renamed("Mul"),
    "pool2d": _pool2d,
    "relu": _renamed("Relu"),
    "relu6": _relu6,
    "reshape": _reshape,
    "scale": _scale,
    "sigmoid": _renamed("Sigmoid"),
    "slice": _slice,
    "softmax": _renamed("Softmax", axis="axis"),
    "split": _split,
    "sqrt": _renamed("Sqrt"),
    "squeeze": _with_axes("Squeeze"),
    "subtract": _renamed("Sub"),
    "sum": _reduce("ReduceSum"),
    "tanh": _renamed("Tanh"),
    "transpose": _renamed("Transpose", perm="perm"),
    "unsqueeze": _with_axes("Unsqueeze"),
}
