# SPDX-License-Identifier: Apache-2.0
"""Writer of ONNX models: a float Graph as it is, a quantized one with QuantizeLinear and DequantizeLinear.

    quantized activation:  t -> QuantizeLinear -> DequantizeLinear -> every reader of t
    quantized constant:    integers -> DequantizeLinear -> every reader of it

Biases stay in float: ONNX Runtime fuses these operators all the same, and rounds the biases to steps of the
sums itself (``fit_bias`` sees to it that they fit). A range narrower than its integer type gets a Clip in
front, as ONNX has only whole types. The integers that a runtime computes from this are those of
``qslim.graph.evaluate`` but for roundings that fall on the other side: at most one step in a tensor whose
inputs agree.
Source: onnx/docs/Operators.md, opset 21.
"""

from __future__ import annotations

import os
from typing import Any, Optional, Union

import numpy as np
from numpy.typing import NDArray

from qslim._core import __version__
from qslim.files.staging import staged_file
from qslim.graph import Graph, Node, QuantParams, Tensor
from qslim.graph.operators import OPERATORS, family_of
from qslim.graph.passes.fit_bias import fit_bias

__all__ = ["export_onnx"]

_OPSETS = range(17, 22)


def export_onnx(graph: Graph, path: Union[str, os.PathLike[str]], *, opset: int = 21) -> None:
    """Write `graph` to `path`, whole or not at all.

    Parameters
    ----------
    graph : Graph
        Every node must be an ONNX operator (domain ""). ``prepare_for_runtime`` gives the leanest file.
    path : str or path
        By custom it ends in ".onnx". Missing directories are created.
    opset : int in [17, 21], default=21

    Raises
    ------
    ImportError : the ``onnx`` package is missing.
    ValueError : an operator that ONNX, or this opset, does not have; an opset out of range; `path` cannot be
        written.

    Examples
    --------
    >>> import os, tempfile
    >>> graph = Graph(inputs=["x"], outputs=["y"])
    >>> for name in "xy":
    ...     _ = graph.add_tensor(Tensor(name, "float32", (None, 3)))
    >>> graph.tensors["y"].quantization = QuantParams.activation(6.0, 8, True)
    >>> graph.add_node(Node("Relu", ["x"], ["y"]))
    >>> path = os.path.join(tempfile.mkdtemp(), "model.onnx")
    >>> export_onnx(graph, path)
    >>> import onnx
    >>> [node.op_type for node in onnx.load(path).graph.node]
    ['Relu', 'QuantizeLinear', 'DequantizeLinear']
    """
    try:
        import onnx
    except ImportError as error:
        raise ImportError("export_onnx needs the onnx package: pip install 'qslim[onnx]'") from error
    if isinstance(opset, bool) or opset not in _OPSETS:
        raise ValueError(f"opset: expected {_OPSETS[0]} to {_OPSETS[-1]}, got {opset!r}")
    fitted = graph.copy()
    fit_bias(fitted)
    writer = _Writer(onnx, fitted, opset)
    model = writer.model()
    try:
        _check(onnx, model)
        data = model.SerializeToString()
    except Exception as error:  # onnx's checker and protobuf each have exceptions of their own
        raise ValueError(f"export_onnx: ONNX refuses the model: {error}") from error
    with staged_file(path) as temporary, open(temporary, "wb") as file:
        file.write(data)


def _check(onnx: Any, model: Any) -> None:
    """Let ONNX check the model; its checker wants a shape where the model has none to give."""
    described = onnx.ModelProto()
    described.CopyFrom(model)
    for info in (*described.graph.input, *described.graph.output):
        info.type.tensor_type.shape.SetInParent()
    onnx.checker.check_model(described)


class _Writer:
    """Nodes and initializers in ONNX's form, and the names under which readers find each tensor."""

    def __init__(self, onnx: Any, graph: Graph, opset: int) -> None:
        self._onnx = onnx
        self._graph = graph
        self._opset = opset
        self._nodes: list[Any] = []
        self._initializers: list[Any] = []
        self._names = set(graph.tensors)
        # What a reader of a tensor reads in its place.
        self._read_as: dict[str, str] = {}
        self._written: set[str] = set()

    def model(self) -> Any:
        helper, graph = self._onnx.helper, self._graph
        for name in graph.inputs:
            self._quantize(name, name)
        for node in graph.nodes:
            self._add_node(node)
        for name in graph.outputs:
            if name in graph.inputs or graph.tensors[name].is_constant:
                raise ValueError(
                    f"export_onnx: output {name!r} is an input or a constant of the graph, which ONNX "
                    "does not allow; put an Identity before it"
                )
        body = helper.make_graph(
            self._nodes,
            "qslim",
            [self._value_info(name) for name in graph.inputs],
            [self._value_info(name) for name in graph.outputs],
            self._initializers,
        )
        # The oldest IR version with this opset, for the sake of older runtimes.
        ir_version = {17: 8, 18: 8, 19: 9, 20: 9, 21: 10}[self._opset]
        return helper.make_model(
            body,
            opset_imports=[helper.make_opsetid("", self._opset)],
            ir_version=ir_version,
            producer_name="qslim",
            producer_version=__version__,
        )

    def _value_info(self, name: str) -> Any:
        tensor = self._graph.tensors[name]
        number = self._onnx.helper.np_dtype_to_tensor_dtype(np.dtype(tensor.dtype))
        shape: Optional[list[Any]] = None
        if tensor.shape is not None:
            shape = [
                extent if extent is not None else "N" if axis == 0 else f"{name}_{axis}"
                for axis, extent in enumerate(tensor.shape)
            ]
        return self._onnx.helper.make_tensor_value_info(name, number, shape)

    def _new_name(self, stem: str) -> str:
        name, count = stem, 0
        while name in self._names:
            count += 1
            name = f"{stem}_{count}"
        self._names.add(name)
        return name

    def _initializer(self, name: str, value: NDArray[Any]) -> str:
        self._initializers.append(self._onnx.numpy_helper.from_array(np.asarray(value, order="C"), name))
        return name

    def _emit(self, op_type: str, inputs: list[str], outputs: list[str], **attributes: Any) -> None:
        self._nodes.append(self._onnx.helper.make_node(op_type, inputs, outputs, **attributes))

    def _operand(self, name: str) -> str:
        """Return the name to read for `name`; write a constant when it is first read."""
        if not name:
            return ""
        tensor = self._graph.tensors[name]
        if tensor.value is not None and name not in self._written:
            self._written.add(name)
            self._add_constant(tensor)
        return self._read_as.get(name, name)

    def _add_constant(self, tensor: Tensor) -> None:
        assert tensor.value is not None
        params = tensor.quantization
        if params is None:
            self._initializer(tensor.name, tensor.value)
            return
        integers = params.quantize(tensor.value).reshape(tensor.value.shape)
        self._initializer(tensor.name, integers)
        real = self._new_name(tensor.name + ".dequantized")
        operands = self._scale_and_zero_point(tensor.name, params)
        self._emit("DequantizeLinear", [tensor.name, *operands], [real], **_axis(params))
        self._read_as[tensor.name] = real

    def _scale_and_zero_point(self, name: str, params: QuantParams) -> list[str]:
        """Write scale and zero point and return their names; the zero point has the integers' dtype."""
        if params.dtype.itemsize > 2 or (params.dtype.itemsize == 2 and self._opset < 21):
            raise ValueError(
                f"export_onnx: tensor {name!r} is quantized to {params.dtype}, which opset {self._opset} "
                "has no quantization for (8 bits always, 16 from opset 21)"
            )
        if params.group_size is not None and self._opset < 21:
            raise ValueError(
                f"export_onnx: tensor {name!r} has a scale for each group of {params.group_size} elements, "
                f"which needs opset 21, got opset={self._opset}"
            )
        zero_point = np.full(params.scale.shape, params.zero_point, params.dtype)
        return [
            self._initializer(self._new_name(name + ".scale"), params.scale),
            self._initializer(self._new_name(name + ".zero_point"), zero_point),
        ]

    def _quantize(self, name: str, source: str) -> None:
        """Quantize `source`, the real values of `name`, with the parameters of `name`, if it has any."""
        params = self._graph.tensors[name].quantization
        if params is None:
            return
        is_output = name in self._graph.outputs and name not in self._graph.inputs
        real = name if is_output else self._new_name(name + ".dequantized")
        whole = np.iinfo(params.dtype)
        if (params.qmin, params.qmax) != (whole.min, whole.max):
            bounds = [
                self._initializer(
                    self._new_name(f"{name}.{which}"),
                    np.asarray((bound - params.zero_point) * params.scale, np.float32),
                )
                for which, bound in (("low", params.qmin), ("high", params.qmax))
            ]
            clipped = self._new_name(name + ".clipped")
            self._emit("Clip", [source, *bounds], [clipped])
            source = clipped
        operands = self._scale_and_zero_point(name, params)
        integers = self._new_name(name + ".quantized")
        self._emit("QuantizeLinear", [source, *operands], [integers], **_axis(params))
        self._emit("DequantizeLinear", [integers, *operands], [real], **_axis(params))
        self._read_as[name] = real

    def _add_node(self, node: Node) -> None:
        if node.domain:
            raise ValueError(
                f"export_onnx: {node.label} is {node.domain}'s own operator {node.op_type!r}, which has no "
                "counterpart in ONNX here; export to Paddle keeps it"
            )
        inputs = [self._operand(name) for name in node.inputs]
        attributes = dict(node.attributes)
        if node.op_type == "Resize":
            inputs, attributes = self._resize(node, inputs, attributes)
        elif self._opset < _since(node):
            inputs, attributes = self._lowered(node, inputs, attributes)
        outputs = list(node.outputs)
        for index, name in enumerate(outputs):
            if name in self._graph.outputs and self._graph.tensors[name].quantization is not None:
                outputs[index] = self._new_name(name + ".real")
        self._emit(node.op_type, inputs, outputs, **attributes)
        for name, written in zip(node.outputs, outputs):
            if name:
                self._quantize(name, written)

    def _lowered(
        self, node: Node, inputs: list[str], attributes: dict[str, Any]
    ) -> tuple[list[str], dict[str, Any]]:
        """Return inputs and attributes of `node` in the form of an older opset, where it has one."""
        if family_of(node.op_type) == "reductions":  # their axes were an attribute
            axes = self._graph.constant(node.inputs[1]) if len(node.inputs) > 1 else None
            if axes is not None:
                attributes["axes"] = [int(axis) for axis in axes.reshape(-1)]
            if axes is not None or len(node.inputs) == 1:
                return inputs[:1], attributes
        if node.op_type == "GridSample":  # "linear" was "bilinear"
            attributes["mode"] = {"linear": "bilinear", "cubic": "bicubic"}.get(
                attributes.get("mode", "linear"), "nearest"
            )
            return inputs, attributes
        raise self._too_old(node)

    def _resize(
        self, node: Node, inputs: list[str], attributes: dict[str, Any]
    ) -> tuple[list[str], dict[str, Any]]:
        """Return inputs and attributes of a Resize, with a scale for every axis where that is possible.

        Opset 18 lets it name the axes that it scales, but ONNX Runtime 1.31 forgets that where it moves a
        Transpose across a quantized Resize: "indices element out of data bounds".
        """
        if "axes" not in attributes:
            return inputs, attributes
        scales = self._graph.constant(node.inputs[2]) if node.inputs[2] else None
        if scales is not None and attributes["axes"] == [2, 3]:
            del attributes["axes"]
            whole = np.concatenate([np.ones(2, np.float32), scales.reshape(-1)])
            name = self._initializer(self._new_name(node.inputs[2] + ".whole"), whole)
            return [inputs[0], "", name], attributes
        if self._opset < 18:
            raise self._too_old(node)
        return inputs, attributes

    def _too_old(self, node: Node) -> ValueError:
        return ValueError(
            f"export_onnx: {node.label} ({node.op_type}) needs opset {max(_since(node), 18)}, "
            f"got opset={self._opset}"
        )


def _since(node: Node) -> int:
    """Return the opset from which ONNX has `node` in a Graph's form; 0 for operators without a record."""
    row = OPERATORS.get(node.op_type)
    return 0 if row is None else row.since


def _axis(params: QuantParams) -> dict[str, int]:
    if params.group_size is not None:
        return {"axis": params.group_axis, "block_size": params.group_size}
    return {} if params.quant_axis is None else {"axis": params.quant_axis}
