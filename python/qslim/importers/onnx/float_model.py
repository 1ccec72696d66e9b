# SPDX-License-Identifier: Apache-2.0
"""A float ONNX model to quantize: its Graph, with the operator names that quantization knows.

Those names are PIR's (``qslim.quant.op_types``), so that lists of operators mean the same for models of both
kinds. Needs no Paddle; the engine runs the model.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qslim.graph import Graph, Node, Tensor
from qslim.graph.passes import prepare_for_runtime
from qslim.importers.onnx.load import load_onnx
from qslim.paddle.model_files import ModelFiles
from qslim.paddle.program import FeedSpec

__all__ = ["OnnxModel"]

# PIR's name of what is one operator there, too.
_NAMES = {
    "Abs": "abs",
    "Add": "add",
    "AveragePool": "pool2d",
    "BatchNormalization": "batch_norm",
    "Cast": "cast",
    "Celu": "celu",
    "Concat": "concat",
    "ConvTranspose": "conv2d_transpose",
    "Div": "divide",
    "Elu": "elu",
    "Expand": "expand",
    "Flatten": "flatten",
    "Gather": "gather",
    "Gelu": "gelu",
    "GlobalAveragePool": "pool2d",
    "GridSample": "grid_sampler",
    "GroupNormalization": "group_norm",
    "HardSigmoid": "hardsigmoid",
    "HardSwish": "hardswish",
    "InstanceNormalization": "instance_norm",
    "LayerNormalization": "layer_norm",
    "LeakyRelu": "leaky_relu",
    "MatMul": "matmul",
    "Max": "maximum",
    "MaxPool": "pool2d",
    "Min": "minimum",
    "Mish": "mish",
    "Mul": "multiply",
    "PRelu": "prelu",
    "Pad": "pad2d",
    "Pow": "pow",
    "ReduceMax": "max",
    "ReduceMean": "mean",
    "ReduceSum": "sum",
    "Relu": "relu",
    "Reshape": "reshape",
    "Sigmoid": "sigmoid",
    "Slice": "slice",
    "Softmax": "softmax",
    "Softplus": "softplus",
    "Split": "split",
    "Sqrt": "sqrt",
    "Squeeze": "squeeze",
    "Sub": "subtract",
    "Tanh": "tanh",
    "Tile": "tile",
    "Transpose": "transpose",
    "Unsqueeze": "unsqueeze",
    "Where": "where",
}


class OnnxModel:
    """A float model in an ONNX file.

    Attributes
    ----------
    files : ModelFiles
        The path; other files with data are not among them.
    graph : Graph
        Prepared as for a runtime, normalizations folded. Passes change it.
    feeds : list of FeedSpec
    parameter_names : set of str
        The Graph's constants, all of which are written.

    Raises
    ------
    ValueError : as for ``load_onnx``; the model is quantized already, or has inputs without a known rank.
    """

    half_parameters: dict[str, str] = {}  # noqa: RUF012, float16 is read, and written, as float32

    def __init__(self, files: ModelFiles) -> None:
        self.files = files
        loaded = load_onnx(files.program)
        if any(tensor.quantization is not None for tensor in loaded.tensors.values()):
            raise ValueError(
                f"{files.program!r} is quantized already. Quantize the float model that it was made of; "
                "qslim.runtime.Session runs it as it is"
            )
        self.graph = prepare_for_runtime(loaded)
        unknown = sorted({_name(self.graph, node) for node in self.graph.nodes if node.domain})
        if unknown:
            raise ValueError(
                f"{files.program!r}: expected operators that qslim knows, got {', '.join(unknown)}; "
                "docs/onnx.md lists what is read"
            )
        _split_gemms(self.graph)
        for node in self.graph.nodes:
            node.source_op = _name(self.graph, node)
        self.feeds = [self._feed(name) for name in self.graph.inputs]
        self.parameter_names = {name for name, tensor in self.graph.tensors.items() if tensor.is_constant}

    def _feed(self, name: str) -> FeedSpec:
        tensor = self.graph.tensors[name]
        if tensor.shape is None:
            raise ValueError(f"{self.files.program!r}: input {name!r} has no known number of axes")
        return FeedSpec(name, np.dtype(tensor.dtype), tensor.shape)

    def run(self, feed: dict[str, Any], names: Sequence[str]) -> list[NDArray[Any]]:
        """Return inputs among `feed`: nothing but the engine computes an ONNX model's tensors here."""
        return [np.ascontiguousarray(feed[name]) for name in names]


def _name(graph: Graph, node: Node) -> str:
    """Return PIR's name of an operator, ONNX's where PIR has none."""
    if node.domain:
        return f"{node.domain}.{node.op_type}"
    if node.op_type == "Conv":
        weight = graph.tensors[node.inputs[1]].shape or ()
        group = int(node.attributes.get("group", 1))
        is_depthwise = group > 1 and len(weight) == 4 and weight[1] == 1
        return "depthwise_conv2d" if is_depthwise else f"conv{len(weight) - 2}d"
    if node.op_type == "Clip":
        bounds = [graph.constant(name) for name in node.inputs[1:] if name]
        values = [None if bound is None else float(bound) for bound in bounds]
        return "relu6" if values == [0.0, 6.0] else "clip"
    if node.op_type == "Gather" and _is_table(graph, node):
        return "embedding"
    if node.op_type == "Resize":
        return "nearest_interp" if node.attributes.get("mode", "nearest") == "nearest" else "bilinear_interp"
    return _NAMES.get(node.op_type, node.op_type)


def _is_table(graph: Graph, node: Node) -> bool:
    table = graph.tensors[node.inputs[0]]
    is_first = int(node.attributes.get("axis", 0)) == 0
    return table.is_constant and table.dtype == "float32" and len(table.shape or ()) == 2 and is_first


def _split_gemms(graph: Graph) -> None:
    """Make a product and an addition of each Gemm with a constant weight, as Paddle has them."""
    for node in [node for node in graph.nodes if node.op_type == "Gemm"]:
        weight = graph.constant(node.inputs[1])
        if weight is None:
            continue
        name = node.inputs[1]
        if node.attributes.get("transB", 0):
            name = graph.new_name(f"{name}.turned")
            graph.add_tensor(
                Tensor(name, str(weight.dtype), weight.shape[::-1], np.ascontiguousarray(weight.T))
            )
        output = graph.tensors[node.outputs[0]]
        has_bias = len(node.inputs) > 2 and node.inputs[2] != ""
        product = graph.new_name(f"{output.name}.product") if has_bias else output.name
        steps = [Node("MatMul", [node.inputs[0], name], [product], path=node.path)]
        if has_bias:
            graph.add_tensor(Tensor(product, output.dtype, output.shape))
            steps.append(Node("Add", [product, node.inputs[2]], [output.name], path=node.path))
        graph.replace_node(node, steps)
