# SPDX-License-Identifier: Apache-2.0
"""Tables as text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

__all__ = ["table"]

_WIDEST = 44


def table(rows: Sequence[Sequence[Any]], numbers: Sequence[int] = ()) -> str:
    """Return `rows`, the head first, in columns.

    Columns among `numbers` stand to the right; long cells are cut, but for the last column.

    Examples
    --------
    >>> print(table([("name", "ms"), ("conv", "1.5"), ("relu", "10.25")], numbers=[1]))
    name     ms
    conv    1.5
    relu  10.25
    """
    cells = [[str(cell) for cell in row] for row in rows]
    last = len(cells[0]) - 1
    widths = [min(max(len(row[i]) for row in cells), _WIDEST) for i in range(last)] + [
        max(len(row[last]) for row in cells)
    ]
    lines = []
    for row in cells:
        cut = [cell[:width] for cell, width in zip(row, widths)]
        placed = [c.rjust(w) if i in numbers else c.ljust(w) for i, (c, w) in enumerate(zip(cut, widths))]
        lines.append("  ".join(placed).rstrip())
    return "\n".join(lines)
