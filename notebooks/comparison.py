# SPDX-License-Identifier: Apache-2.0
"""The table at the end of each notebook: float model (first) and quantized ones, side by side.

Accuracy is in percent. Bytes are those of the model's files. Time is what an image took, in batches of 64.
Paddle's executor simulates int8 in float, so models quantized after training are smaller there, not faster;
the row "int8 engine" is the same model in qslim.runtime, which computes in int8. "float, oneDNN" is the float
model in Paddle Inference, the fastest that Paddle runs it on a CPU: the engine is compared with that row.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Union

__all__ = ["FAST_FLOAT", "Comparison", "Row"]

FAST_FLOAT = "float, oneDNN"


@dataclass(frozen=True)
class Row:
    """One model: `top1` and `top5` in [0, 1], `size` in bytes, `seconds` for one image."""

    model: str
    top1: float
    top5: float
    size: int
    seconds: float


@dataclass
class Comparison:
    """Rows as they come; print it, or leave it as the last line of a cell."""

    rows: list[Row] = field(default_factory=list)

    def add(
        self, model: str, top1: float, top5: float, files: Iterable[Union[str, Path]], seconds: float
    ) -> None:
        size = sum(Path(file).stat().st_size for file in files)
        self.rows.append(Row(model, float(top1), float(top5), size, float(seconds)))

    def save(self, file: Union[str, Path]) -> None:
        Path(file).write_text(json.dumps([asdict(row) for row in self.rows], indent=1) + "\n")

    @classmethod
    def load(cls, file: Union[str, Path]) -> Comparison:
        return cls([Row(**row) for row in json.loads(Path(file).read_text())])

    def summary(self) -> str:
        """Size, time and accuracy of the last row beside float, at its fastest, in words."""
        one = self.rows[-1]
        other = next((row for row in self.rows if row.model == FAST_FLOAT), self.rows[0])
        return (
            f"{one.model} beside {other.model}: {one.size / other.size:.2f} of the bytes, "
            f"{other.seconds / one.seconds:.1f} times as fast, {100 * (one.top1 - other.top1):+.2f} % top-1"
        )

    def __str__(self) -> str:
        table = [_HEADER, *map(_cells, self.rows)]
        widths = [max(len(row[column]) for row in table) for column in range(len(_HEADER))]
        lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths)) for row in table]
        lines.insert(1, "  ".join("-" * width for width in widths))
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        def line(cells: Iterable[str], tag: str) -> str:
            return "<tr>" + "".join(f"<{tag}>{cell}</{tag}>" for cell in cells) + "</tr>"

        body = "".join(line(_cells(row), "td") for row in self.rows)
        return f"<table>{line(_HEADER, 'th')}{body}</table>"


_HEADER = ("model", "top-1 %", "top-5 %", "bytes", "ms an image")


def _cells(row: Row) -> tuple[str, ...]:
    return (
        row.model,
        f"{100 * row.top1:.2f}",
        f"{100 * row.top5:.2f}",
        f"{row.size:,}",
        f"{1000 * row.seconds:.2f}",
    )
