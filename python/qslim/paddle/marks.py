# SPDX-License-Identifier: Apache-2.0
"""Marks: places of a traced program that mean something to us, as identities with a message.

``paddle.static.Print(x, message="qslim.mark:3")`` is the one operator of Paddle that passes a tensor on, is
never optimized away and carries a string. Importers read marks, exporters take them out again.
"""

from __future__ import annotations

from typing import Any

from qslim.graph import Node

__all__ = ["MARK", "is_legacy_mark", "is_pir_mark", "mark_of"]

MARK = "qslim.mark:"


def mark_of(node: Node) -> str:
    """Return the message of a node that is a mark, else the empty string."""
    if node.domain == "paddle" and node.op_type == "print":
        message = str(node.attributes.get("message", ""))
        return message if message.startswith(MARK) else ""
    return ""


def is_pir_mark(op: Any) -> bool:
    return bool(op.name() == "pd_op.print" and str(op.attrs()["message"]).startswith(MARK))


def is_legacy_mark(op: Any) -> bool:
    return bool(op.type == "print" and str(op.attr("message")).startswith(MARK))
