# SPDX-License-Identifier: Apache-2.0
"""Print docs/operators.md, the table of the operators of a Graph: ``python -m qslim.graph.operators``."""

from __future__ import annotations

from qslim import _core
from qslim.graph.operators import FAMILIES, Movement, Operator

__all__ = ["operator_table"]

_HEAD = """# Operators

The operators that a Graph is made of, in ONNX's definitions. Importers bring every framework's operators to
these. `since` is the opset from which ONNX has an operator in this form. An operator that *moves* elements
keeps the quantization parameters of its source. A result that is *never negative* is quantized unsigned.
Products compute in *int8* where data and weights are quantized; the engine's other operators compute in
float32, or move bytes. `python -m qslim.graph.operators > docs/operators.md` writes this page.

| operator | family | since | engine | moves | never negative |
|---|---|---|---|---|---|
"""
_MOVEMENTS = {
    Movement.NONE: "",
    Movement.VIEW: "all, in their order",
    Movement.PERMUTE: "all",
    Movement.PICK: "some",
    Movement.PICK_IF_NEAREST: "some, if nearest",
    Movement.JOIN: "all, of every input",
    Movement.PAD: "all, and a constant",
}


def operator_table() -> str:
    """Return the text of docs/operators.md."""
    rows = [(name, family, row) for family, table in FAMILIES.items() for name, row in table.items()]
    return _HEAD + "".join(_line(name, family, row) for name, family, row in sorted(rows, key=lambda r: r[0]))


def _line(name: str, family: str, row: Operator) -> str:
    has_kernel = name in _core.operator_names()
    engine = ("int8" if family == "products" else "yes") if has_kernel else "folded before"
    cells = (name, family, str(row.since), engine, _MOVEMENTS[row.movement], _sign(row))
    return "| " + " | ".join(cells).replace("|  |", "| |") + " |\n"


def _sign(row: Operator) -> str:
    rule = row.non_negative
    if rule is None:
        return "" if row.movement is Movement.NONE else "if its input is"
    if rule({}, [False] * 3):
        return "always"
    return "if its inputs are" if rule({}, [True] * 3) else ""


if __name__ == "__main__":
    print(operator_table(), end="")
