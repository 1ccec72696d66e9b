# SPDX-License-Identifier: Apache-2.0
"""Rules of elementwise operators: channels keep their places, and those of the operands are coupled."""

from __future__ import annotations

from typing import Optional

from qslim.graph import Node
from qslim.graph.operators import Operator
from qslim.graph.operators.operator import broadcast_shape
from qslim.prune.channels import Channels, Factors
from qslim.prune.operators.rule import Rule, unchanged

__all__ = ["ELEMENTWISE", "default_rule", "elementwise"]


def elementwise(channels: Channels, node: Node) -> list[Factors]:
    """Couple the channels of operands that broadcast."""
    names = [name for name in node.inputs if name]
    rank = max(len(channels.shape(name)) for name in names)
    return [channels.couple_tensors(names, rank, _meets_whole(node))]


def _meets_whole(node: Node) -> str:
    return f"{node.label} combines it with a tensor that cannot be cut"


def default_rule(row: Operator) -> Optional[Rule]:
    """Return the rule that follows from an operator's record, if it is elementwise."""
    if not row.is_elementwise:
        return None
    return elementwise if row.shape is broadcast_shape else unchanged


# Paddle's own, with attributes that ONNX has no operator for.
_PADDLE_UNARY = (
    "acos", "asin", "atan", "celu", "cos", "dropout", "expm1", "hardtanh", "log10", "log1p", "log2", "logit",
    "logsigmoid", "relu6", "round", "scale", "selu", "sign", "sin", "softplus", "softshrink", "softsign",
    "swish", "tan", "tanh_shrink",
)  # fmt: skip
_PADDLE_BINARY = ("elementwise_pow", "floor_divide", "fmax", "fmin")

ELEMENTWISE: dict[str, Rule] = {
    **dict.fromkeys((f"paddle.{name}" for name in _PADDLE_UNARY), unchanged),
    **dict.fromkeys((f"paddle.{name}" for name in _PADDLE_BINARY), elementwise),
}
