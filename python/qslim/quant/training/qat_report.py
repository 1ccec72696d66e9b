# SPDX-License-Identifier: Apache-2.0
"""The report of what was saved: quantized layers, their parameters, the files and their sizes."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Optional

from qslim.graph import QuantParams
from qslim.importers.paddle import ModelFiles

__all__ = ["LayerReport", "QATReport"]


@dataclass(frozen=True)
class LayerReport:
    """One quantized layer. None as parameters: the operand is computed in float; ``note`` says why."""

    name: str
    kind: str
    activation: Optional[QuantParams]
    weight: Optional[QuantParams]
    note: str = ""

    @property
    def row(self) -> tuple[str, ...]:
        return (self.name, self.kind, _describe(self.activation), _describe(self.weight), self.note)


def _describe(params: Optional[QuantParams]) -> str:
    if params is None:
        return "float"
    bits = (params.qmax - params.qmin).bit_length()
    kind = f"{'int' if params.qmin < 0 else 'uint'}{bits}"
    if params.quant_axis is not None:
        return f"{kind}, {params.scale.size} thresholds up to {params.threshold.max():.4g}"
    zero = f", zero point {params.zero_point}" if params.zero_point else ""
    return f"{kind}, threshold {float(params.threshold):.4g}{zero}"


@dataclass(frozen=True)
class QATReport:
    """The result of ``save_quantized_model``. ``print(report)`` shows the table.

    ``files`` and ``bytes_after`` are the Paddle model's; ``engine_file`` is the ``.qslim`` file that
    ``qslim.runtime.Session`` runs, None if the engine cannot (``notes`` say why).
    """

    layers: list[LayerReport]
    files: ModelFiles
    float_bytes: int
    bytes_after: int
    engine_file: Optional[str] = None
    notes: list[str] = field(default_factory=list)

    @property
    def summary(self) -> str:
        """The number of quantized layers, the written files and their sizes."""
        whole = sum(layer.activation is not None and layer.weight is not None for layer in self.layers)
        lines = [f"{whole} of {len(self.layers)} layers quantized, input and weight"]
        lines += [f"  note: {note}" for note in self.notes]
        ratio = self.bytes_after / max(1, self.float_bytes)
        lines.append(
            f"wrote {self.files.program} and {self.files.params}: {self.bytes_after:,} bytes, "
            f"{ratio:.2f} of the float model's {self.float_bytes:,}"
        )
        if self.engine_file is not None and os.path.exists(self.engine_file):
            lines.append(
                f"wrote {self.engine_file}: {os.path.getsize(self.engine_file):,} bytes, "
                "for qslim.runtime.Session"
            )
        return "\n".join(lines)

    def __str__(self) -> str:
        rows = [("layer", "type", "input", "weight", ""), *(layer.row for layer in self.layers)]
        widths = [max(len(row[column]) for row in rows) for column in range(4)]
        table = "\n".join(
            "  ".join(f"{cell:{width}}" for cell, width in zip(row, widths)) + f"  {row[4]}" for row in rows
        )
        return "\n".join(line.rstrip() for line in table.splitlines()) + f"\n{self.summary}"
