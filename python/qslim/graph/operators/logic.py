# SPDX-License-Identifier: Apache-2.0
"""Comparisons, operators on truth values, and the choice of elements by them or by their place."""

from __future__ import annotations

from typing import Callable

import numpy as np

from qslim.graph.operators.elementwise import folded
from qslim.graph.operators.operator import (
    Array,
    Attributes,
    Operator,
    Signs,
    broadcast_shape,
    first_shape,
    if_first_is,
    table,
)

__all__ = ["LOGIC"]


def _binary(name: str, function: Callable[[Array, Array], Array], since: int) -> Operator:
    return Operator(name, folded(function), since, broadcast_shape, is_elementwise=True)


def _not(_: Attributes, inputs: list[Array]) -> list[Array]:
    return [np.logical_not(inputs[0])]


def _trilu(attributes: Attributes, inputs: list[Array]) -> list[Array]:
    keep = np.triu if attributes.get("upper", 1) else np.tril
    return [keep(inputs[0], int(inputs[1]) if len(inputs) > 1 else 0)]


def _where(_: Attributes, inputs: list[Array]) -> list[Array]:
    return [np.where(*inputs)]


def _both_branches_are(_: Attributes, signs: Signs) -> bool:
    return bool(signs[1] and signs[2])


LOGIC = table(
    _binary("And", np.logical_and, 7),
    _binary("Equal", np.equal, 7),
    _binary("Greater", np.greater, 7),
    _binary("GreaterOrEqual", np.greater_equal, 12),
    _binary("Less", np.less, 7),
    _binary("LessOrEqual", np.less_equal, 12),
    Operator("Not", _not, 1, first_shape, is_elementwise=True),
    _binary("Or", np.logical_or, 7),
    Operator("Trilu", _trilu, 14, first_shape, non_negative=if_first_is),
    Operator("Where", _where, 9, broadcast_shape, is_elementwise=True, non_negative=_both_branches_are),
    _binary("Xor", np.logical_xor, 7),
)
