# SPDX-License-Identifier: Apache-2.0
"""Reports as text, JSON and HTML."""

from __future__ import annotations

import html
import json
from collections.abc import Sequence
from typing import Any

__all__ = ["Report", "Rows", "table"]

# The head first.
Rows = Sequence[Sequence[Any]]


class Report:
    """Base of the reports: their rows as text, as HTML in notebooks, and all of them as JSON."""

    def to_dict(self) -> dict[str, Any]:
        """Return the report as dicts, lists, texts and numbers."""
        raise NotImplementedError

    def to_json(self, indent: int = 2) -> str:
        """Return ``to_dict`` as JSON."""
        return json.dumps(self.to_dict(), indent=indent, default=str)

    def rows(self) -> list[Rows]:
        """Return the tables of the report."""
        raise NotImplementedError

    @property
    def summary(self) -> str:
        """Sentences beside the tables."""
        return ""

    def _repr_html_(self) -> str:
        text = f"<pre>{html.escape(self.summary)}</pre>" if self.summary else ""
        return text + "".join(map(_html_table, self.rows()))


def table(rows: Rows, numbers: Sequence[int] = (), widest: int = 44) -> str:
    """Return `rows`, the head first, in columns.

    Columns among `numbers` stand to the right; cells longer than `widest` are cut, but for the last column.

    Examples
    --------
    >>> print(table([("name", "ms"), ("conv", "1.5"), ("relu", "10.25")], numbers=[1]))
    name     ms
    conv    1.5
    relu  10.25
    """
    cells = [[str(cell) for cell in row] for row in rows]
    last = len(cells[0]) - 1
    widths = [min(max(len(row[i]) for row in cells), widest) for i in range(last)]
    widths.append(max(len(row[last]) for row in cells))
    lines = []
    for row in cells:
        cut = [cell[:width] for cell, width in zip(row, widths)]
        placed = [c.rjust(w) if i in numbers else c.ljust(w) for i, (c, w) in enumerate(zip(cut, widths))]
        lines.append("  ".join(placed).rstrip())
    return "\n".join(lines)


def _html_table(rows: Rows) -> str:
    lines = ["<table>"]
    for number, row in enumerate(rows):
        tag = "td" if number else "th"
        lines.append("<tr>" + "".join(f"<{tag}>{html.escape(str(cell))}</{tag}>" for cell in row) + "</tr>")
    return "\n".join([*lines, "</table>"])
