# SPDX-License-Identifier: Apache-2.0
"""Rules that follow channels through operators: one each, by default that of the operator's record.

A rule is given the labels of the whole network and a node, couples or freezes the factors of its operands and
returns the factors of each result. One that meets what it cannot follow raises ``CannotFollow``: then the
operands are frozen, as they are for an operator without a rule.
"""

from __future__ import annotations

from typing import Optional

from qslim.graph import Node
from qslim.graph.operators import OPERATORS, Operator
from qslim.prune.channels import Channels, Factors
from qslim.prune.operators import elementwise, movement
from qslim.prune.operators.elementwise import ELEMENTWISE
from qslim.prune.operators.logic import LOGIC
from qslim.prune.operators.movement import MOVEMENT
from qslim.prune.operators.normalization import NORMALIZATION
from qslim.prune.operators.products import PRODUCTS
from qslim.prune.operators.recurrent import RECURRENT
from qslim.prune.operators.reductions import REDUCTIONS
from qslim.prune.operators.rule import CannotFollow, Rule
from qslim.prune.operators.selection import SELECTION
from qslim.prune.operators.shapes import SHAPES
from qslim.prune.operators.windows import WINDOWS

__all__ = ["FAMILIES", "KEPT_OPERATORS", "follow", "is_product"]

# Operators that the importer takes apart: the rules follow them as they are.
KEPT_OPERATORS = frozenset(
    ("conv3d", "linear_interp", "max_pool3d_with_index", "pool3d", "rnn", "trilinear_interp")
)


def _default_rule(row: Operator) -> Optional[Rule]:
    return elementwise.default_rule(row) or movement.default_rule(row)


# By the families of qslim.graph.operators.
FAMILIES: dict[str, dict[str, Rule]] = {
    "elementwise": ELEMENTWISE,
    "logic": LOGIC,
    "movement": MOVEMENT,
    "normalization": NORMALIZATION,
    "products": PRODUCTS,
    "recurrent": RECURRENT,
    "reductions": REDUCTIONS,
    "selection": SELECTION,
    "shapes": SHAPES,
    "windows": WINDOWS,
}
_RULES: dict[str, Rule] = {
    **{name: rule for name, row in OPERATORS.items() if (rule := _default_rule(row)) is not None},
    **{name: rule for rules in FAMILIES.values() for name, rule in rules.items()},
}


def _full_name(node: Node) -> str:
    return f"{node.domain}.{node.op_type}" if node.domain else node.op_type


def is_product(node: Node) -> bool:
    """Return True if `node` is followed as a convolution or a matrix product."""
    return _full_name(node) in PRODUCTS


def follow(channels: Channels, node: Node) -> None:
    """Give the results of `node` their factors."""
    name = _full_name(node)
    rule = _RULES.get(name)
    try:
        if rule is None:
            raise CannotFollow(f"there is no rule for operator {name}")
        results = rule(channels, node)
        for output, factors in zip(node.outputs, results):
            if output and factors:
                channels.set_factors(output, _fitting(channels, output, factors))
    except (ValueError, IndexError) as error:
        channels.freeze_inputs(node, f"{node.label}: {error}")


def _fitting(channels: Channels, output: str, factors: Factors) -> Factors:
    """Return `factors`, if they have the rank and the extents of tensor `output`; refuse others."""
    shape = channels.shape(output)
    for factor in factors:
        if factor.ndim != len(shape) or any(a not in (1, b) for a, b in zip(factor.shape, shape)):
            raise CannotFollow(f"its result has shape {list(shape)}, its channels {list(factor.shape)}")
    return factors
