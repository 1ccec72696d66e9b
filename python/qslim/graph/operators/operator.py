# SPDX-License-Identifier: Apache-2.0
"""The record of an operator, and the rules that records are made of.

Everything that qslim knows of an operator itself stands in one ``Operator``: what it computes, the shape of
its result, since when ONNX has it, which elements it moves, when its result cannot be negative, its
multiply-adds. Shape inference, evaluation, pruning's default rules, FLOPs, unsigned quantization, the ONNX
exporter and the table in docs/operators.md read it; ``cpp/qslim/runtime/ops/ops.inc`` repeats ``movement``
for C++, and a test compares.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Callable, Optional, Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Array",
    "Attributes",
    "Inputs",
    "KnownShapes",
    "MacsRule",
    "Movement",
    "Operator",
    "OperatorFunction",
    "Shape",
    "SignRule",
    "Signs",
    "always",
    "broadcast_shape",
    "first_shape",
    "if_all_are",
    "if_any_is",
    "if_first_is",
    "input_or_none",
    "sign_of",
    "table",
]

Array = NDArray[Any]
Attributes = Mapping[str, Any]
# None where an input is absent.
Inputs = Sequence[Optional[Array]]
Shape = tuple[int, ...]

# (attributes, inputs) -> outputs.
OperatorFunction = Callable[[Attributes, list[Array]], list[Array]]
# (attributes, shapes of the inputs) -> shape of the first output.
ShapeRule = Callable[[Attributes, list[Shape]], Shape]
# For each input: True if it is known to be >= 0, False if not, None where it is absent.
Signs = Sequence[Optional[bool]]
# (attributes, signs of the inputs) -> True if the first output is >= 0 for all such inputs.
SignRule = Callable[[Attributes, Signs], bool]


class KnownShapes(Protocol):
    """The shapes of a node's tensors; an unknown one is a ValueError."""

    def input(self, index: int) -> Shape: ...

    def output(self) -> Shape: ...


# (attributes, shapes) -> multiply-adds of the whole batch.
MacsRule = Callable[[Attributes, KnownShapes], int]


class Movement(enum.Enum):
    """The way from the elements of the operands to those of a result, where none is computed.

    Such an operator commutes with rounding, so quantized data stays quantized, with the same scale and zero
    point. MaxPool counts as PICK: rounding keeps the order of values.
    """

    NONE = "none"
    VIEW = "view"  # every element of operand 0, in the same order
    PERMUTE = "permute"  # every element of operand 0 once, in another order
    PICK = "pick"  # elements of operand 0, each any number of times
    PICK_IF_NEAREST = "pick if nearest"  # as PICK where attribute mode is "nearest", else none
    JOIN = "join"  # every element of every operand
    PAD = "pad"  # elements of operand 0 and, with mode "constant", the constant of operand 2


@dataclass(frozen=True)
class Operator:
    """One operator of ONNX's definition, in the form that a Graph has.

    Attributes
    ----------
    name : ONNX's name
    compute : the outputs for given attributes and inputs, in NumPy
    since : the opset of ONNX from which the operator exists in this form
    shape : the shape of its only result; None: ``compute`` on zeros gives the shapes
    movement : which elements it moves
    is_elementwise : True if each element of the result depends on the elements at its place only
    non_negative : its sign rule; None: moved elements keep their sign, of any other result it is unknown
    macs : multiply-adds; None: not counted
    """

    name: str
    compute: OperatorFunction
    since: int
    shape: Optional[ShapeRule] = None
    movement: Movement = Movement.NONE
    is_elementwise: bool = False
    non_negative: Optional[SignRule] = None
    macs: Optional[MacsRule] = None


def table(*rows: Operator) -> dict[str, Operator]:
    """Return `rows` by name; ValueError if two have the same."""
    result = {row.name: row for row in rows}
    if len(result) != len(rows):
        raise ValueError(f"two rows have the same name among {[row.name for row in rows]}")
    return result


def input_or_none(inputs: Inputs, index: int) -> Optional[Array]:
    """Return input `index` if the node has it."""
    return inputs[index] if index < len(inputs) else None


# ---- shape rules -------------------------------------------------------------------------------------------


def first_shape(_: Attributes, shapes: list[Shape]) -> Shape:
    """Return the shape of operand 0."""
    return shapes[0]


def broadcast_shape(_: Attributes, shapes: list[Shape]) -> Shape:
    """Return the shape to which the operands broadcast."""
    return np.broadcast_shapes(*shapes)


# ---- sign rules --------------------------------------------------------------------------------------------


def always(_: Attributes, __: Signs) -> bool:
    """Return True: the result is never negative."""
    return True


def if_first_is(_: Attributes, signs: Signs) -> bool:
    """Return True if operand 0 is non-negative."""
    return bool(signs[0])


def if_all_are(_: Attributes, signs: Signs) -> bool:
    """Return True if every operand is non-negative."""
    return False not in signs


def if_any_is(_: Attributes, signs: Signs) -> bool:
    """Return True if one operand is non-negative."""
    return True in signs


def sign_of(signs: Signs, index: int) -> Optional[bool]:
    """Return the sign of input `index`; None if the node does not have it."""
    return signs[index] if index < len(signs) else None
