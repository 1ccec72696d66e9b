# SPDX-License-Identifier: Apache-2.0
"""Rows of products of vectors and matrices, and of einsum."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Optional

from qslim.importers.paddle.operators.source_op import ConvertedOp, Converter, SourceOp

__all__ = ["MATRICES"]


def _matmul(op: SourceOp) -> Optional[ConvertedOp]:
    names = list(op.inputs[:2])
    for index, attribute in enumerate(("transpose_x", "transpose_y")):
        if not op.attributes.get(attribute, False):
            continue
        shape = op.shape(index)
        if shape is None:
            return None
        if len(shape) > 1:
            perm = [*range(len(shape) - 2), len(shape) - 1, len(shape) - 2]
            turned = tuple(shape[axis] for axis in perm)
            names[index] = op.before("Transpose", [names[index]], op.dtype(index), turned, perm=perm)
    ranks = op.rank(0), op.rank(1)
    if ranks[1] != 1 or ranks[0] is None:
        return ConvertedOp("MatMul", names)
    # A vector on the right is a matrix of one column.
    names[1] = op.before("Unsqueeze", [names[1], op.new_ints([1])], op.dtype(1), (*(op.shape(1) or ()), 1))
    if ranks[0] == 1:
        names[0] = op.before(
            "Unsqueeze", [names[0], op.new_ints([0])], op.dtype(0), (1, *(op.shape(0) or ()))
        )
    rank = max(ranks[0], 2)
    product = op.before("MatMul", names, op.dtype(0), (None,) * rank)
    return ConvertedOp("Squeeze", [product, op.new_ints([0, 1] if ranks[0] == 1 else [rank - 1])])


def _addmm(op: SourceOp) -> ConvertedOp:
    dtype = op.dtype(0)
    product = op.before("MatMul", op.inputs[1:3], dtype, (None, None))
    scaled = op.before("Mul", [product, op.number(op.attributes["alpha"])], dtype, (None, None))
    return ConvertedOp("Add", [op.like("Mul", [op.inputs[0], op.number(op.attributes["beta"])]), scaled])


def _bilinear(op: SourceOp) -> Optional[ConvertedOp]:
    """Convert y[n, k] = x[n] . weight[k] . z[n] + bias[k]."""
    weight = op.constant(2)
    if weight is None:
        return None
    count, rows, columns = weight.shape
    stacked = op.new_constant(weight.transpose(1, 0, 2).reshape(rows, count * columns))
    product = op.before("MatMul", [op.inputs[0], stacked], "float32", (None, count * columns))
    split = op.before("Reshape", [product, op.new_ints([-1, count, columns])], shape=(None, count, columns))
    other = op.before("Unsqueeze", [op.inputs[1], op.new_ints([2])], shape=(None, columns, 1))
    column = op.before("MatMul", [split, other], shape=(None, count, 1))
    flat = op.before("Squeeze", [column, op.new_ints([2])], shape=(None, count))
    if len(op.inputs) < 4 or not op.inputs[3]:
        return ConvertedOp("Identity", [flat])
    return ConvertedOp("Add", [flat, op.inputs[3]])


# ---- einsum ------------------------------------------------------------------------------------------------


def _einsum(op: SourceOp) -> Optional[ConvertedOp]:
    """Convert an einsum of two operands to a MatMul: [batch axes, rows, sum] @ [batch axes, sum, columns]."""
    equation = str(op.attributes["equation"]).replace(" ", "")
    operands, arrow, out = equation.partition("->")
    terms = operands.split(",")
    if len(op.inputs) != 2 or len(terms) != 2 or "." in equation or any(len(set(t)) != len(t) for t in terms):
        return None
    if not arrow:
        out = "".join(sorted(label for label in set(operands) - {","} if operands.count(label) == 1))
    extents: dict[str, Optional[int]] = {}
    for index, term in enumerate(terms):
        shape = op.shape(index)
        if shape is None or len(shape) != len(term):
            return None
        for label, extent in zip(term, shape):
            if extents.get(label) is None:
                extents[label] = extent
    names = [_summed(op, index, term, terms[1 - index] + out) for index, term in enumerate(terms)]
    left, right = ("".join(c for c in term if c in terms[1 - i] + out) for i, term in enumerate(terms))
    batch = "".join(c for c in left if c in right and c in out)
    inner = "".join(c for c in left if c in right and c not in out)
    rows, columns = ("".join(c for c in term if c not in batch + inner) for term in (left, right))
    a = _matrix(op, names[0], left, batch, rows, inner, extents)
    b = _matrix(op, names[1], right, batch, inner, columns, extents)
    if a is None or b is None:
        return None
    product = op.before("MatMul", [a, b], op.dtype(0), (None,) * (len(batch) + 2))
    order = batch + rows + columns
    if len(rows) != 1 or len(columns) != 1:
        whole = _extents(batch, [extents[label] for label in rows + columns])
        if whole is None:
            return None
        product = op.before("Reshape", [product, op.new_ints(whole)], op.dtype(0), (None,) * len(order))
    if order == out:
        return ConvertedOp("Identity", [product])
    return ConvertedOp("Transpose", [product], {"perm": [order.index(label) for label in out]})


def _summed(op: SourceOp, index: int, term: str, others: str) -> str:
    """Sum operand `index` over the axes that only it has."""
    axes = [axis for axis, label in enumerate(term) if label not in others]
    if not axes:
        return op.inputs[index]
    return op.before("ReduceSum", [op.inputs[index], op.new_ints(axes)], op.dtype(index), keepdims=0)


def _matrix(
    op: SourceOp, name: str, term: str, batch: str, first: str, second: str, extents: dict[str, Optional[int]]
) -> Optional[str]:
    """Reshape `name` to [batch axes, the axes `first` as one, the axes `second` as one]."""
    order = batch + first + second
    if order != term:
        perm = [term.index(label) for label in order]
        name = op.before(
            "Transpose", [name], op.dtype(0), tuple(extents[label] for label in order), perm=perm
        )
    if len(first) == 1 and len(second) == 1:
        return name
    sides: list[Optional[int]] = []
    for labels in (first, second):
        known = [extents[label] for label in labels]
        sides.append(None if None in known else math.prod(extent or 0 for extent in known))
    shape = _extents(batch, sides)
    if shape is None:
        return None
    return op.before("Reshape", [name, op.new_ints(shape)], op.dtype(0), (None,) * len(shape))


def _extents(batch: str, rest: Sequence[Optional[int]]) -> Optional[list[int]]:
    """Return the shape for a Reshape that leaves the batch axes as they are; one other extent may be open."""
    if list(rest).count(None) > 1:
        return None
    return [*[0] * len(batch), *(-1 if extent is None else extent for extent in rest)]


MATRICES: dict[str, Converter] = {
    "addmm": _addmm,
    "bilinear": _bilinear,
    "bmm": _matmul,
    "einsum": _einsum,
    "matmul": _matmul,
    "mv": _matmul,
}
