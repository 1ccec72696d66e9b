# SPDX-License-Identifier: Apache-2.0
"""The shape of every tensor of a Graph for given input shapes, from the weights as they are now.

Nothing large is computed: convolutions, pooling, matrix products and element-wise operators have formulas,
every other operator of ``qslim.graph.operators`` runs on zeros without memory of their own. Integers that
describe shapes (Shape, Gather, Concat, then Reshape) are followed by value. An operator that has no
definition there keeps the shape that its importer declared.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Callable, Optional

import numpy as np
from numpy.typing import NDArray

from qslim.graph.graph import Graph, Node, Tensor
from qslim.graph.operators import OPERATORS

__all__ = ["Shape", "infer_shapes"]

Shape = tuple[int, ...]

# As large as a vector of extents may get; beyond it, values are not followed.
_MOST_VALUES = 1024


def infer_shapes(
    graph: Graph, input_shapes: Optional[Mapping[str, Sequence[int]]] = None
) -> dict[str, Shape]:
    """The shapes of all tensors.

    Parameters
    ----------
    graph : Graph
    input_shapes : dict of input name to shape, optional
        For inputs that it leaves out, the graph's own shape, with 1 for an unknown batch (axis 0).

    Returns
    -------
    dict of tensor name to shape. It lacks what an operator without a definition here hides.

    Raises
    ------
    ValueError : an extent of an input is unknown, or an operator does not fit its operands; names both.

    Examples
    --------
    >>> from qslim.graph import Graph, Node, Tensor
    >>> graph = Graph(inputs=["x"], outputs=["y"])
    >>> _ = graph.add_tensor(Tensor("x", "float32", (None, 3, 8, 8)))
    >>> _ = graph.add_tensor(Tensor("w", "float32", (4, 3, 3, 3), np.zeros((4, 3, 3, 3), np.float32)))
    >>> _ = graph.add_tensor(Tensor("y", "float32"))
    >>> graph.add_node(Node("Conv", ["x", "w"], ["y"], {"strides": [2, 2], "pads": [1, 1, 1, 1]}))
    >>> infer_shapes(graph)["y"]
    (1, 4, 4, 4)
    """
    return _Inference(graph, input_shapes or {}).shapes


class _Inference:
    def __init__(self, graph: Graph, input_shapes: Mapping[str, Sequence[int]]) -> None:
        self.graph = graph
        self.values: dict[str, NDArray[Any]] = {}
        self.shapes: dict[str, Shape] = {}
        for name in input_shapes:
            if name not in graph.inputs:
                raise ValueError(f"infer_shapes: the graph has no input {name!r}; it has {graph.inputs}")
        for name in graph.inputs:
            self.shapes[name] = _input_shape(graph.tensors[name], input_shapes.get(name))
        self.batch = self.shapes[graph.inputs[0]][:1] if graph.inputs else ()
        for tensor in graph.tensors.values():
            if tensor.value is not None:
                self.values[tensor.name] = tensor.value
                self.shapes[tensor.name] = tensor.value.shape
        for node in graph.nodes:
            self._visit(node)

    def _visit(self, node: Node) -> None:
        names = [name for name in node.inputs if name]
        is_defined = not node.domain and node.op_type in OPERATORS
        if not is_defined or any(name not in self.shapes for name in names):
            self._keep_declared(node)
            return
        shapes = [self.shapes[name] if name else () for name in node.inputs]
        try:
            formula = _FORMULAS.get(node.op_type)
            if node.op_type == "Shape":
                self._set_value(
                    node, OPERATORS["Shape"](node.attributes, [self._stand_in(node.inputs[0])])[0]
                )
            elif all(name in self.values for name in names) and sum(map(math.prod, shapes)) <= _MOST_VALUES:
                self._run(node)
            elif formula is not None:
                self.shapes[node.outputs[0]] = formula(node.attributes, shapes)
            else:
                self._run(node)
        except (ValueError, IndexError) as error:
            listed = ", ".join(f"{name} {list(self.shapes[name])}" for name in names)
            raise ValueError(
                f"infer_shapes: {node.label} does not fit its operands ({listed}): {error}"
            ) from error

    def _run(self, node: Node) -> None:
        """The operator itself, on the values that are known and on zeros."""
        inputs = [self._stand_in(name) if name else None for name in node.inputs]
        results = OPERATORS[node.op_type](node.attributes, inputs)  # type: ignore[arg-type]
        is_known = all(name in self.values for name in node.inputs if name)
        for name, result in zip(node.outputs, results):
            if name:
                self.shapes[name] = result.shape
                if is_known and result.size <= _MOST_VALUES:
                    self.values[name] = result

    def _stand_in(self, name: str) -> NDArray[Any]:
        if name in self.values:
            return self.values[name]
        dtype = self.graph.tensors[name].dtype
        return np.broadcast_to(np.zeros((), "float32" if dtype == "bfloat16" else dtype), self.shapes[name])

    def _set_value(self, node: Node, value: NDArray[Any]) -> None:
        self.shapes[node.outputs[0]], self.values[node.outputs[0]] = value.shape, value

    def _keep_declared(self, node: Node) -> None:
        if node.domain == "paddle" and node.op_type in _RANDOM and node.inputs[0] in self.values:
            self.shapes[node.outputs[0]] = tuple(int(extent) for extent in self.values[node.inputs[0]])
            return
        for name in filter(None, node.outputs):
            declared = self.graph.tensors[name].shape
            if declared and declared[0] is None:
                declared = (*self.batch, *declared[1:])
            if declared is not None and None not in declared:
                self.shapes[name] = tuple(int(extent or 0) for extent in declared)


def _input_shape(tensor: Tensor, given: Optional[Sequence[int]]) -> Shape:
    declared = tensor.shape
    if given is None:
        if declared is None or None in declared[1:]:
            raise ValueError(
                f"infer_shapes: input {tensor.name!r} has the shape {_text(declared)}; say which extents "
                "to take"
            )
        return tuple(1 if extent is None else extent for extent in declared)
    shape = tuple(int(extent) for extent in given)
    fits = declared is None or (
        len(shape) == len(declared) and all(want in (None, have) for want, have in zip(declared, shape))
    )
    if not fits or any(extent <= 0 for extent in shape):
        raise ValueError(
            f"infer_shapes: input {tensor.name!r} takes the shape {_text(declared)}, got {list(shape)}"
        )
    return shape


def _text(shape: Optional[tuple[Optional[int], ...]]) -> str:
    if shape is None:
        return "(unknown)"
    return "[" + ", ".join("?" if extent is None else str(extent) for extent in shape) + "]"


# ---- formulas: (attributes, shapes of the inputs) to the shape of the first output -------------------------

# Paddle's operators whose first operand is the shape of their result.
_RANDOM = ("gaussian", "uniform")

_Formula = Callable[[Mapping[str, Any], list[Shape]], Shape]


def _broadcast(_: Mapping[str, Any], shapes: list[Shape]) -> Shape:
    return np.broadcast_shapes(*shapes)


def _first(_: Mapping[str, Any], shapes: list[Shape]) -> Shape:
    return shapes[0]


def _extent(attributes: Mapping[str, Any], axis: int, extent: int, kernel: int) -> int:
    """Output extent of a convolution or pooling along H (axis 0) or W (axis 1)."""
    stride = int(attributes.get("strides", [1, 1])[axis])
    if attributes.get("auto_pad", "NOTSET").startswith("SAME"):
        return -(-extent // stride)
    pads = (
        attributes.get("pads", [0, 0, 0, 0]) if attributes.get("auto_pad", "NOTSET") == "NOTSET" else [0] * 4
    )
    span = (kernel - 1) * int(attributes.get("dilations", [1, 1])[axis]) + 1
    room = extent + int(pads[axis]) + int(pads[axis + 2]) - span
    if room < 0:
        raise ValueError(f"the window spans {span} of {extent} elements")
    return (-(-room // stride) if attributes.get("ceil_mode", 0) else room // stride) + 1


def _image(shape: Shape) -> Shape:
    if len(shape) != 4:
        raise ValueError(f"expected an image of 4 dimensions, got {len(shape)}")
    return shape


def _conv(attributes: Mapping[str, Any], shapes: list[Shape]) -> Shape:
    (n, channels, *image), weight = _image(shapes[0]), _image(shapes[1])
    group = attributes.get("group", 1)
    if channels != weight[1] * group:
        raise ValueError(f"the weight takes {weight[1] * group} channels, the image has {channels}")
    return (n, weight[0], *(_extent(attributes, axis, image[axis], weight[2 + axis]) for axis in (0, 1)))


def _conv_transpose(attributes: Mapping[str, Any], shapes: list[Shape]) -> Shape:
    (n, channels, *image), weight = _image(shapes[0]), _image(shapes[1])
    if channels != weight[0]:
        raise ValueError(f"the weight takes {weight[0]} channels, the image has {channels}")
    strides, dilations = attributes.get("strides", [1, 1]), attributes.get("dilations", [1, 1])
    is_padded = attributes.get("auto_pad", "NOTSET") == "NOTSET"
    pads = attributes.get("pads", [0, 0, 0, 0]) if is_padded else [0, 0, 0, 0]
    extra = attributes.get("output_padding", [0, 0])
    extents = (
        (image[i] - 1) * strides[i]
        + (weight[2 + i] - 1) * dilations[i]
        + 1
        - pads[i]
        - pads[i + 2]
        + extra[i]
        for i in (0, 1)
    )
    return (n, weight[1] * attributes.get("group", 1), *extents)


def _pool(attributes: Mapping[str, Any], shapes: list[Shape]) -> Shape:
    n, channels, *image = _image(shapes[0])
    kernel = attributes["kernel_shape"]
    return (n, channels, *(_extent(attributes, axis, image[axis], kernel[axis]) for axis in (0, 1)))


def _global_pool(_: Mapping[str, Any], shapes: list[Shape]) -> Shape:
    return (*shapes[0][:2], *(1,) * (len(shapes[0]) - 2))


def _matmul(_: Mapping[str, Any], shapes: list[Shape]) -> Shape:
    x, y = shapes
    left = x if len(x) > 1 else (1, *x)
    right = y if len(y) > 1 else (*y, 1)
    if left[-1] != right[-2]:
        raise ValueError(f"{left[-1]} columns against {right[-2]} rows")
    rows = left[-2:-1] if len(x) > 1 else ()
    columns = right[-1:] if len(y) > 1 else ()
    return (*np.broadcast_shapes(left[:-2], right[:-2]), *rows, *columns)


def _gemm(attributes: Mapping[str, Any], shapes: list[Shape]) -> Shape:
    x = shapes[0][::-1] if attributes.get("transA", 0) else shapes[0]
    y = shapes[1][::-1] if attributes.get("transB", 0) else shapes[1]
    return _matmul({}, [x, y])


_BROADCASTING = (
    "Add", "And", "Div", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Max", "Min", "Mod",
    "Mul", "Or", "PRelu", "Pow", "Sub", "Where", "Xor",
)  # fmt: skip
_SHAPE_KEEPING = (
    "Abs", "BatchNormalization", "Ceil", "Clip", "Cos", "CumSum", "Dropout", "Elu", "Erf", "Exp", "Floor",
    "Gelu", "GroupNormalization", "HardSigmoid", "HardSwish", "Identity", "InstanceNormalization",
    "LayerNormalization", "LeakyRelu", "Log", "Mish", "Neg", "Not", "Reciprocal", "Relu", "Round", "Sigmoid",
    "Sin", "Softmax", "Softplus", "Sqrt", "Tanh",
)  # fmt: skip
_FORMULAS: dict[str, _Formula] = {
    **dict.fromkeys(_BROADCASTING, _broadcast),
    **dict.fromkeys(_SHAPE_KEEPING, _first),
    "AveragePool": _pool,
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "Gemm": _gemm,
    "GlobalAveragePool": _global_pool,
    "GlobalMaxPool": _global_pool,
    "MatMul": _matmul,
    "MaxPool": _pool,
}
