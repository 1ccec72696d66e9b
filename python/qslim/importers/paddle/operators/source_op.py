# SPDX-License-Identifier: Apache-2.0
"""Operands and results of the conversion tables' rows.

A row returns one ConvertedOp. It stands for the Paddle operator and writes its outputs; operators that it
needs before it (the Sigmoid of a Swish) are asked for with ``SourceOp.before``. Rows that find attributes
which ONNX cannot express return None.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Callable, Optional, Union

import numpy as np
from numpy.typing import NDArray

from qslim.graph import Graph, Tensor

__all__ = ["HALF_DTYPES", "ConvertedOp", "Converter", "SourceOp", "dtype_name", "known_extents", "renamed"]

HALF_DTYPES = ("bfloat16", "float16")

_Shape = Optional[tuple[Optional[int], ...]]


@dataclass
class ConvertedOp:
    """One ONNX operator. ``outputs`` is empty for the one that stands for the Paddle operator."""

    op_type: str
    inputs: list[str]
    attributes: dict[str, Any] = field(default_factory=dict)
    domain: str = ""
    keeps_first_output: bool = False
    # Of a Split that stands for a list of tensors: the axis, of extent 1, that each of them loses.
    squeezed_axis: Optional[int] = None
    # What the list of tensors among the Paddle operator's results holds, where other operators make them.
    list_results: Optional[list[str]] = None
    outputs: list[str] = field(default_factory=list)
    # Why an operator that has a row was kept in Paddle's domain.
    note: str = ""


@dataclass
class SourceOp:
    """An operator as PIR has it.

    Attributes
    ----------
    inputs : tensor names, lists of tensors flattened, "" where absent
    operands : the same, one item for each operand
    output_shapes : declared shapes of the results (None: a list of tensors, or absent)
    has_one_result : True if nobody reads a result but the first and lists of tensors
    """

    name: str
    inputs: list[str]
    attributes: dict[str, Any]
    graph: Graph
    operands: list[Union[str, list[str]]] = field(default_factory=list)
    output_shapes: list[_Shape] = field(default_factory=list)
    has_one_result: bool = True
    preceding: list[ConvertedOp] = field(default_factory=list)

    def constant(self, index: int) -> Optional[NDArray[Any]]:
        name = self.inputs[index] if index < len(self.inputs) else ""
        return self.graph.constant(name) if name else None

    def shape(self, index: int) -> _Shape:
        return self.graph.tensors[self.inputs[index]].shape

    def rank(self, index: int) -> Optional[int]:
        shape = self.shape(index)
        return None if shape is None else len(shape)

    def dtype(self, index: int) -> str:
        return self.graph.tensors[self.inputs[index]].dtype

    def new_constant(self, value: NDArray[Any]) -> str:
        """Add a constant that ONNX wants as an input and Paddle as an attribute."""
        name = f"{self.name}.constant_{len(self.graph.tensors)}"
        self.graph.add_tensor(Tensor(name, str(value.dtype), value.shape, value))
        return name

    def new_ints(self, values: Sequence[int]) -> str:
        """Add a constant vector of int64."""
        return self.new_constant(np.asarray(values, np.int64).reshape(-1))

    def new_tensor(self, shape: _Shape, dtype: str = "float32") -> str:
        """Add a tensor for a result of an operator in front of the converted one."""
        name = f"{self.name}.inner_{len(self.graph.tensors)}"
        self.graph.add_tensor(Tensor(name, dtype, shape))
        return name

    def before(
        self, op_type: str, inputs: list[str], dtype: str = "float32", shape: _Shape = None, **attributes: Any
    ) -> str:
        """Ask for an operator in front of the converted one; returns the name of its output."""
        name = self.new_tensor(shape, dtype)
        self.preceding.append(ConvertedOp(op_type, inputs, attributes, outputs=[name]))
        return name

    def number(self, value: Any, index: int = 0) -> str:
        """Add a constant scalar in the dtype of operand `index`."""
        return self.new_constant(np.asarray(value, self.dtype(index)))

    def like(self, op_type: str, inputs: list[str], **attributes: Any) -> str:
        """Ask for an operator as ``before`` does; its output has the dtype and shape of operand 0."""
        return self.before(op_type, inputs, self.dtype(0), self.shape(0), **attributes)

    def int_vector(self, index: int) -> Optional[str]:
        """Return the name of a vector of int64 for operand `index`, a constant, tensor or list of scalars."""
        operand = self.operands[index] if index < len(self.operands) else ""
        names = operand if isinstance(operand, list) else [operand]
        if not names or not all(names):
            return None
        values = [self.graph.constant(name) for name in names]
        if all(value is not None for value in values):
            return self.new_constant(np.concatenate([np.asarray(v, np.int64).reshape(-1) for v in values]))
        vectors = []
        for name in names:
            tensor = self.graph.tensors[name]
            if tensor.dtype != "int64":
                name = self.before("Cast", [name], "int64", tensor.shape, to=7)
            if tensor.shape is None or len(tensor.shape) != 1:
                name = self.before("Reshape", [name, self.new_ints([-1])], "int64", (None,))
            vectors.append(name)
        if len(vectors) == 1:
            return vectors[0]
        return self.before("Concat", vectors, "int64", (len(vectors),), axis=0)

    def extent(self, axis: int, index: int = 0) -> str:
        """Return the extent of operand `index` along `axis` as a scalar of int64, known or not."""
        shape = self.shape(index)
        extent = None if shape is None else shape[axis]
        if extent is not None:
            return self.new_constant(np.asarray(extent, np.int64))
        whole = self.before("Shape", [self.inputs[index]], "int64", (self.rank(index),))
        at = axis if axis >= 0 or shape is None else axis + len(shape)
        return self.before(
            "Gather", [whole, self.new_constant(np.asarray(at, np.int64))], "int64", (), axis=0
        )

    def scalar(self, index: int) -> Optional[str]:
        """Return operand `index`, which describes extents, as a scalar of int64; None if it is no integer."""
        value = self.constant(index)
        if value is not None:
            number = float(value.reshape(()))
            return self.new_constant(np.asarray(int(number), np.int64)) if number.is_integer() else None
        name = self.inputs[index]
        producer = self.graph.producer(name)
        if producer is not None and producer.op_type == "Cast" and self.dtype(index).startswith("float"):
            name = producer.inputs[0]  # an extent that was made a float on the way
        tensor = self.graph.tensors[name]
        if tensor.dtype not in ("int32", "int64"):
            return None
        if tensor.dtype == "int32":
            name = self.before("Cast", [name], "int64", tensor.shape, to=7)
        if tensor.shape != ():
            name = self.before("Reshape", [name, self.new_constant(np.zeros(0, np.int64))], "int64", ())
        return name

    def places(self, extent: str) -> str:
        """Return 0, 1, ... below the scalar `extent`, as int64."""
        zero, one = (self.new_constant(np.asarray(number, np.int64)) for number in (0, 1))
        return self.before("Range", [zero, extent, one], "int64", (None,))

    def integers(self, op_type: str, a: str, b: Union[str, int], shape: _Shape = ()) -> str:
        """Apply `op_type` to two tensors of int64, or to one and a number."""
        other = b if isinstance(b, str) else self.new_constant(np.asarray(b, np.int64))
        return self.before(op_type, [a, other], "int64", shape)

    def vector(self, extents: Sequence[Union[int, str]]) -> str:
        """Return a vector of int64 of numbers and scalars."""
        known = [extent if isinstance(extent, int) else self.graph.constant(extent) for extent in extents]
        if all(extent is not None for extent in known):
            return self.new_ints([int(extent) for extent in known if extent is not None])
        axes = self.new_ints([0])
        parts = [
            self.new_ints([extent])
            if isinstance(extent, int)
            else self.before("Unsqueeze", [extent, axes], "int64", (1,))
            for extent in extents
        ]
        return self.before("Concat", parts, "int64", (len(parts),), axis=0)

    def unsqueezed(self, name: str, axis: int) -> str:
        """Return a vector of int64 as a row (axis 0) or a column (axis 1)."""
        return self.before("Unsqueeze", [name, self.new_ints([axis])], "int64", (None, None))

    def flat(self) -> str:
        """Reshape operand 0 to a vector and return its name."""
        return self.before("Reshape", [self.inputs[0], self.new_ints([-1])], self.dtype(0), (None,))

    def known_ints(self, index: int) -> Optional[list[int]]:
        """Return operand `index` as integers if it is constant."""
        operand = self.operands[index] if index < len(self.operands) else ""
        names = operand if isinstance(operand, list) else [operand]
        values = [self.graph.constant(name) for name in names]
        if any(value is None for value in values):
            return None
        return [int(item) for value in values if value is not None for item in value.reshape(-1)]


Converter = Callable[[SourceOp], Optional[ConvertedOp]]


def renamed(op_type: str, **attributes: str) -> Converter:
    """Make a converter that keeps the operands; each keyword gives ONNX's attribute the value of Paddle's."""

    def converter(op: SourceOp) -> Optional[ConvertedOp]:
        return ConvertedOp(op_type, op.inputs, {new: op.attributes[old] for new, old in attributes.items()})

    return converter


def known_extents(shape: _Shape) -> Optional[list[int]]:
    """Return all extents but the first, which is the batch; None if one of them is open."""
    if shape is None or None in shape[1:]:
        return None
    return [extent for extent in shape[1:] if extent is not None]


def dtype_name(dtype: Any) -> str:
    """Return NumPy's name of a dtype attribute of any of Paddle's enumerations ("DataType.INT64").

    Floats of 16 bits are float32 in a Graph.
    """
    name = str(dtype).rsplit(".", 1)[-1].split(":")[0].strip("<> ").lower()
    return "float32" if name in HALF_DTYPES else name
