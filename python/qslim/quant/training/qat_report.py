# SPDX-License-Identifier: Apache-2.0
"""The report of what was saved: quantized layers, their parameters, the files and their sizes."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any, Optional

from qslim.graph import QuantParams
from qslim.importers.paddle import ModelFiles
from qslim.reports import Report, Rows, table

__all__ = ["LayerReport", "QATReport"]

_HEAD = ("layer", "type", "input", "weight", "note")


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
class QATReport(Report):
    """The result of ``save_quantized_model``. ``print(report)`` shows the table.

    ``files`` and ``bytes_after`` are the Paddle model's; ``float_bytes`` and ``params_bytes`` are those of
    the parameters, in float and as they were written; ``engine_file`` is the ``.qslim`` file that
    ``qslim.runtime.Session`` runs, None if the engine cannot (``notes`` say why);
    ``onnx_file`` is the ONNX file, if one was asked for.
    """

    layers: list[LayerReport]
    files: ModelFiles
    float_bytes: int
    bytes_after: int
    params_bytes: int
    engine_file: Optional[str] = None
    onnx_file: Optional[str] = None
    notes: list[str] = field(default_factory=list)

    @property
    def summary(self) -> str:
        """The number of quantized layers, the written files and their sizes."""
        whole = sum(layer.activation is not None and layer.weight is not None for layer in self.layers)
        lines = [f"{whole} of {len(self.layers)} layers quantized, input and weight"]
        lines += [f"  note: {note}" for note in self.notes]
        ratio = self.params_bytes / max(1, self.float_bytes)
        lines.append(
            f"wrote {self.files.program} and {self.files.params}: {self.bytes_after:,} bytes; the parameters "
            f"take {self.params_bytes:,}, {ratio:.2f} of {self.float_bytes:,} in float"
        )
        if self.engine_file is not None and os.path.exists(self.engine_file):
            lines.append(
                f"wrote {self.engine_file}: {os.path.getsize(self.engine_file):,} bytes, "
                "for qslim.runtime.Session"
            )
        if self.onnx_file is not None:
            lines.append(f"wrote {self.onnx_file}, for other runtimes")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        return {
            "layers": [dict(zip(_HEAD, layer.row)) for layer in self.layers],
            "files": self.files.paths,
            "float_bytes": self.float_bytes,
            "bytes_after": self.bytes_after,
            "params_bytes": self.params_bytes,
            "engine_file": self.engine_file,
            "onnx_file": self.onnx_file,
            "notes": self.notes,
        }

    def rows(self) -> list[Rows]:
        return [[(*_HEAD[:-1], ""), *(layer.row for layer in self.layers)]]

    def __str__(self) -> str:
        return f"{table(self.rows()[0], widest=90)}\n{self.summary}"
