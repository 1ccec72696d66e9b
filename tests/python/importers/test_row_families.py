# SPDX-License-Identifier: Apache-2.0
"""A row lies in the family of an ONNX operator that it makes, for the networks of two other tests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import paddle
import pytest
import test_onnx_semantics
import test_operator_coverage
from small_networks import dygraph

from qslim.graph.operators import OPERATORS, Movement, family_of
from qslim.importers.paddle import import_layer, pir_walk
from qslim.importers.paddle.operators import FAMILIES, ConvertedOp, SourceOp, convert

# Rows whose result is a constant, or the operand as it is.
_COMPUTE_NOTHING = {"dropout", "eye", "full_with_tensor", "linspace"}


def _families(converted: Sequence[ConvertedOp]) -> set[str]:
    """Return the families of what computes, else of what moves; and shapes, if a shape is read."""
    made = [op.op_type for op in converted if op.op_type not in ("Cast", "Identity")]
    if not made:
        return {family_of(op.op_type) for op in converted}
    families = {family_of(name) for name in made}
    computing = {family_of(name) for name in made if OPERATORS[name].movement is Movement.NONE} - {"shapes"}
    return computing | (families & {"shapes"}) if computing else families


def _networks() -> list[tuple[Any, list[Any]]]:
    image = paddle.static.InputSpec([None, 3, 16, 16], "float32", "image")
    networks = [
        (test_onnx_semantics._Function(function), [image])
        for function in test_onnx_semantics._FUNCTIONS.values()
    ]
    networks += [(build(), [image]) for build in test_onnx_semantics._LAYERS.values()]
    for name in (*test_operator_coverage._FUNCTIONS, *test_operator_coverage._LAYERS):
        net, specs = test_operator_coverage._network(name)
        arrays = test_operator_coverage._arrays(specs, 2)
        spec = [
            paddle.static.InputSpec([None, *array.shape[1:]], str(array.dtype), f"x{i}")
            for i, array in enumerate(arrays)
        ]
        networks.append((net, spec))
    return networks


def test_rows_lie_in_the_family_of_what_they_make(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, set[str]] = {}

    def recorded(op: SourceOp) -> list[ConvertedOp]:
        converted = convert(op)
        if converted[-1].domain == "":
            seen.setdefault(op.name, set()).update(_families(converted))
        return converted

    monkeypatch.setattr(pir_walk, "convert", recorded)
    with dygraph():
        for net, spec in _networks():
            net.eval()
            import_layer(net, spec, legacy=False)
    rows = {name: family for family, table in FAMILIES.items() for name in table}
    wrong = {name: (rows[name], seen[name]) for name in seen if rows[name] not in seen[name]}
    assert wrong.keys() <= _COMPUTE_NOTHING, wrong
    assert len(seen) > 120, sorted(rows.keys() - seen)
