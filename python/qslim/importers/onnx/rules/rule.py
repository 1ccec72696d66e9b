# SPDX-License-Identifier: Apache-2.0
"""The form of a rule, and the rules that many operators share."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Callable

from qslim.importers.onnx.builder import Builder, OnnxNode

__all__ = ["Rule", "alike", "only_first_output", "refuse_unless", "same"]

Rule = Callable[[Builder, OnnxNode], None]


def same(builder: Builder, node: OnnxNode) -> None:
    """Take the node as it is."""
    builder.emit(node.op_type, node.inputs, node.outputs, **node.attributes)


def alike(names: Collection[str]) -> dict[str, Rule]:
    """Return ``same`` for each of `names`."""
    return dict.fromkeys(names, same)


def refuse_unless(condition: bool, builder: Builder, node: OnnxNode, note: str) -> bool:
    """Return True if `condition` is false, and keep the node as an unknown operator that says why."""
    if not condition:
        builder.keep(node, note=note)
    return not condition


def only_first_output(builder: Builder, node: OnnxNode, body: Sequence[str], what: str) -> bool:
    """Return True if outputs other than the first are named, and keep the node as an unknown operator."""
    return refuse_unless(not body, builder, node, f"its outputs beside the first ({what}) are not there")
