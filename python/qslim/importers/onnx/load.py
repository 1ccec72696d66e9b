# SPDX-License-Identifier: Apache-2.0
"""Import of an ONNX model as a Graph, whose operators are ONNX's own in the form of opset 21.

Nodes of older opsets are written anew (``rules``), as are operators that others make up; quantizing
operators become annotations (``quantizers``). An operator that is not known keeps its name in the domain
"onnx", so that the rest of the network can be looked at, and run up to there. float16 and bfloat16 become
float32.
Source: onnx/docs/Operators.md and Changelog.md.
"""

from __future__ import annotations

import os
from typing import Any, Optional, Union

import numpy as np
from numpy.typing import NDArray

from qslim.errors import MissingFileError
from qslim.files.qslim_format import FormatError
from qslim.graph import Graph, Node, Tensor
from qslim.graph.passes.clean import remove_dead
from qslim.importers.onnx.builder import Builder, OnnxNode
from qslim.importers.onnx.quantizers import read_quantizers
from qslim.importers.onnx.rules import RULES
from qslim.importers.onnx.shapes import with_shapes

__all__ = ["load_onnx"]

_OPSETS = range(7, 29)
# What rules raise where attributes or inputs are missing, or of another kind.
_UNSOUND = (ArithmeticError, AttributeError, LookupError, TypeError)


def load_onnx(model: Union[str, os.PathLike[str], bytes, Any]) -> Graph:
    """Read an ONNX model.

    Parameters
    ----------
    model : path, bytes, or onnx.ModelProto
        Data of a path's model that lies in other files is read too, within the model's directory.

    Returns
    -------
    Graph
        With the model's inputs and outputs, open extents included. Tensors that the model quantizes carry
        their parameters.

    Raises
    ------
    ImportError : the ``onnx`` package is missing.
    FormatError : a ValueError: the bytes are no ONNX model, or it contradicts itself.
    MissingFileError : a ValueError and a FileNotFoundError.
    ValueError : an unknown opset, data outside of the model's directory, a type that a Graph lacks.

    Examples
    --------
    >>> import onnx
    >>> from onnx import TensorProto, helper
    >>> x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 3]) for name in "xy")
    >>> body = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "network", [x], [y])
    >>> graph = load_onnx(helper.make_model(body, opset_imports=[helper.make_opsetid("", 13)]))
    >>> [(node.op_type, node.outputs) for node in graph.nodes]
    [('Relu', ['y'])]
    """
    try:
        import onnx
    except ImportError as error:
        raise ImportError("load_onnx needs the onnx package: pip install 'qslim[onnx]'") from error
    loaded = _loaded(onnx, model)
    opset = _opset(loaded)
    if loaded.functions:
        from onnx import inliner

        loaded = inliner.inline_local_functions(loaded)
    return _Import(onnx, loaded, opset).graph


def _loaded(onnx: Any, model: Any) -> Any:
    """Return the model with its data and with the shapes that the onnx package infers."""
    if isinstance(model, onnx.ModelProto):
        proto = model
    elif isinstance(model, bytes):
        proto = _parsed(onnx, model, "the bytes")
    elif isinstance(model, (str, os.PathLike)):
        path = os.fspath(model)
        if not os.path.isfile(path):
            raise MissingFileError(f"load_onnx: there is no file {path!r}")
        with open(path, "rb") as file:
            proto = _parsed(onnx, file.read(), repr(path))
        _load_external(onnx, proto, os.path.dirname(os.path.abspath(path)))
    else:
        raise TypeError(f"load_onnx: expected a path, bytes or a ModelProto, got {type(model).__name__}")
    for tensor in proto.graph.initializer:
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            raise ValueError(
                f"load_onnx: the data of initializer {tensor.name!r} lies in another file; give the path of "
                "the model, so that it can be found"
            )
    try:
        return with_shapes(onnx, proto)
    except Exception as error:  # its own kinds, and some of protobuf's
        raise FormatError(f"load_onnx: not a sound ONNX model: {error}") from error


def _parsed(onnx: Any, data: bytes, what: str) -> Any:
    try:
        proto = onnx.ModelProto.FromString(data)
    except Exception as error:  # protobuf has several
        raise FormatError(f"load_onnx: {what} is no ONNX model: {error}") from error
    if not proto.ir_version or not proto.HasField("graph"):
        raise FormatError(f"load_onnx: {what} is no ONNX model: there is no graph in it")
    return proto


def _load_external(onnx: Any, proto: Any, directory: str) -> None:
    """Read data from files in `directory`; a model must not name any other file of this machine."""
    root = os.path.realpath(directory)
    for tensor in proto.graph.initializer:
        if tensor.data_location != onnx.TensorProto.EXTERNAL:
            continue
        location = {entry.key: entry.value for entry in tensor.external_data}.get("location", "")
        path = os.path.realpath(os.path.join(root, location))
        if not location or os.path.commonpath([root, path]) != root:
            raise ValueError(
                f"load_onnx: initializer {tensor.name!r} names {location!r}, which lies outside of the "
                f"model's directory {root!r}"
            )
        if not os.path.isfile(path):
            raise MissingFileError(f"load_onnx: there is no file {path!r} with the data of {tensor.name!r}")
        try:
            onnx.external_data_helper.load_external_data_for_tensor(tensor, root)
        except Exception as error:
            raise FormatError(f"load_onnx: the data of initializer {tensor.name!r}: {error}") from error
        tensor.data_location = onnx.TensorProto.DEFAULT
        del tensor.external_data[:]


def _opset(proto: Any) -> int:
    versions = [entry.version for entry in proto.opset_import if entry.domain in ("", "ai.onnx")]
    opset = max(versions, default=0)
    if opset not in _OPSETS:
        raise ValueError(
            f"load_onnx: expected opset {_OPSETS[0]} to {_OPSETS[-1]}, got {opset or 'none'}; convert the "
            "model with onnx.version_converter.convert_version"
        )
    return opset


def _check_text(*names: Any) -> None:
    """Refuse names that are no UTF-8, which protobuf gives as bytes."""
    for name in names:
        if not isinstance(name, str):
            raise FormatError(f"load_onnx: the name {name!r} is no UTF-8")


class _Import:
    """The Graph of one model."""

    def __init__(self, onnx: Any, proto: Any, opset: int) -> None:
        self._onnx, self._body = onnx, proto.graph
        self.graph = Graph()
        self._builder = Builder(self.graph, opset)
        self._add_values()
        for node in self._body.node:
            self._add_node(node)
        self._finish()
        try:
            read_quantizers(self.graph)
        except _UNSOUND as error:
            raise FormatError(
                f"load_onnx: quantizing nodes of this model are not sound ({error!r})"
            ) from error
        remove_dead(self.graph)

    def _add_values(self) -> None:
        infos = (*self._body.input, *self._body.output, *self._body.value_info)
        _check_text(*(each.name for each in (*self._body.initializer, *infos)))
        for tensor in self._body.initializer:
            value = self._array(tensor)
            self.graph.add_tensor(Tensor(tensor.name, str(value.dtype), value.shape, value))
        if len(self._body.sparse_initializer) > 0:
            raise ValueError("load_onnx: sparse initializers are not read; make them dense")
        for info in self._body.input:
            if info.name not in self.graph.tensors:
                self.graph.inputs.append(info.name)
                self._declare(info)
        for info in (*self._body.value_info, *self._body.output):
            if info.name not in self.graph.tensors:
                self._declare(info)

    def _declare(self, info: Any) -> None:
        kind = info.type.WhichOneof("value")
        if kind != "tensor_type":
            if info.name in self.graph.inputs:
                raise ValueError(f"load_onnx: input {info.name!r} is a {kind}, not a tensor")
            return
        described = info.type.tensor_type
        shape: Optional[tuple[Optional[int], ...]] = None
        if described.HasField("shape"):
            # Some exporters write an open extent as -1.
            is_known = [each.HasField("dim_value") and each.dim_value >= 0 for each in described.shape.dim]
            extents = [int(each.dim_value) for each in described.shape.dim]
            shape = tuple(extent if known else None for extent, known in zip(extents, is_known))
        dtype = self._dtype(described.elem_type, info.name)
        self.graph.add_tensor(Tensor(info.name, dtype, shape))

    def _dtype(self, number: int, name: str) -> str:
        types = self._onnx.TensorProto
        if number in (types.FLOAT16, types.BFLOAT16):
            return "float32"
        try:
            dtype = np.dtype(self._onnx.helper.tensor_dtype_to_np_dtype(number))
        except Exception as error:  # KeyError, or what newer versions raise
            raise ValueError(f"load_onnx: tensor {name!r} has the unknown type {number}") from error
        return "object" if dtype.kind in "OSU" else str(dtype)

    def _array(self, tensor: Any) -> NDArray[Any]:
        types = self._onnx.TensorProto
        try:
            value = np.asarray(self._onnx.numpy_helper.to_array(tensor))
        except Exception as error:
            raise FormatError(f"load_onnx: initializer {tensor.name!r}: {error}") from error
        if tensor.data_type in (types.FLOAT16, types.BFLOAT16):
            return np.asarray(value, np.float32)
        if tensor.data_type in (getattr(types, "INT4", -1), getattr(types, "UINT4", -1)):
            return value.astype(np.int8 if tensor.data_type == types.INT4 else np.uint8)
        return value

    def _add_node(self, node: Any) -> None:
        _check_text(node.name, node.op_type, node.domain, *node.input, *node.output)
        _check_text(*(each.name for each in node.attribute))
        attributes = {each.name: self._attribute(each) for each in node.attribute}
        own = node.domain in ("", "ai.onnx")
        wrapped = OnnxNode(node.op_type, list(node.input), list(node.output), attributes, node.name)
        self._builder.begin(wrapped)
        if own:
            self._check_operands(wrapped)
        rule = RULES.get(node.op_type) if own else None
        if rule is None:
            self._builder.keep(wrapped, "" if own else node.domain)
            return
        try:
            rule(self._builder, wrapped)
        except _UNSOUND as error:
            raise FormatError(
                f"load_onnx: {self._builder.label} is no sound node: an attribute or an input is missing, or "
                f"of another kind ({error!r})"
            ) from error

    def _check_operands(self, node: OnnxNode) -> None:
        """Refuse a node that lacks an input or an output which its operator has to have."""
        try:
            schema = self._onnx.defs.get_schema(node.op_type, self._builder.opset)
        except self._onnx.defs.SchemaError:  # none in this opset
            return
        single = self._onnx.defs.OpSchema.FormalParameterOption.Single
        for kind, names, formal, least, most in (
            ("input", node.inputs, schema.inputs, schema.min_input, schema.max_input),
            ("output", node.outputs, schema.outputs, schema.min_output, schema.max_output),
        ):
            if not least <= len(names) <= most:
                wanted = (
                    str(least) if least == most else f"{least} or more" if most > 99 else f"{least} to {most}"
                )
                raise FormatError(
                    f"load_onnx: {self._builder.label}: expected {wanted} {kind}s, got {len(names)}"
                )
            for number, (name, each) in enumerate(zip(names, formal)):
                if not name and each.option == single:
                    raise FormatError(
                        f"load_onnx: {self._builder.label}: {kind} {number} ({each.name}) is not given"
                    )

    def _attribute(self, attribute: Any) -> Any:
        value = self._onnx.helper.get_attribute_value(attribute)
        if isinstance(value, bytes):
            return value.decode(errors="replace")
        if isinstance(value, self._onnx.TensorProto):
            return self._array(value)
        if isinstance(value, (list, tuple)) or hasattr(value, "__iter__"):
            return [each.decode(errors="replace") if isinstance(each, bytes) else each for each in value]
        return value

    def _finish(self) -> None:
        """Name the outputs; constants and inputs that are outputs go through an Identity."""
        for info in self._body.output:
            name = info.name
            if name not in self.graph.tensors:
                raise FormatError(f"load_onnx: output {name!r} is written by no node")
            if self.graph.producer(name) is None and name not in self.graph.inputs:
                tensor = self.graph.tensors[name]
                source = self._builder.constant(np.asarray(tensor.value), name)
                self.graph.tensors[name] = Tensor(name, tensor.dtype, tensor.shape)
                for reader in self.graph.consumers(name):
                    self.graph.set_inputs(
                        reader, [source if each == name else each for each in reader.inputs]
                    )
                self.graph.add_node(Node("Identity", [source], [name]))
            self.graph.outputs.append(name)
