# SPDX-License-Identifier: Apache-2.0
"""The result of an analysis, and its files: analysis.txt, .csv, .json and .html, statistic.csv."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Optional

from qslim.importers.paddle import ModelFiles
from qslim.quant.analysis.html_report import html_report
from qslim.quant.analysis.layer_errors import LayerError
from qslim.quant.analysis.layers import Layer
from qslim.quant.analysis.quantization import Quantization
from qslim.quant.analysis.tensor_statistics import COLUMNS, TensorRow

__all__ = ["AnalysisReport", "LayerReport", "TargetModel", "write_report"]


@dataclass
class LayerReport:
    """Measurements of one layer: the harm that its quantization does.

    Attributes
    ----------
    layer : Layer
    own : LayerError
        In the layer's own output: of its activations, its weight, and both.
    output_error : float or None
        In the network's outputs, with this layer alone quantized; None where it was not measured.
    sensitivity : float or None
        In the metric of the `eval_function`; None where it was not evaluated.
    share : float
        The layer's share of the sums of all own errors and of all output errors, their mean. It ranks the
        layers: the own error sees what a dominant channel hides from the outputs, the output error what the
        layers behind amplify.
    """

    layer: Layer
    own: LayerError
    output_error: Optional[float] = None
    sensitivity: Optional[float] = None
    share: float = 0.0

    @property
    def name(self) -> str:
        return self.layer.name

    @property
    def rank_key(self) -> tuple[float, ...]:
        """Return the key that layers are sorted by: evaluated ones first, then by harm."""
        return self.sensitivity is not None, self.sensitivity or 0.0, self.share

    def to_dict(self) -> dict[str, Any]:
        """Return the row of analysis.csv and analysis.json."""
        return {
            "layer": self.name,
            "operator": self.layer.operator,
            "share": self.share,
            "output error": self.output_error,
            "own error": self.own.both,
            "of its activations": self.own.activation,
            "of its weight": self.own.weight,
            "saturation": self.own.saturation,
            "sensitivity": self.sensitivity,
            "activations": {
                name: {
                    "dtype": str(params.dtype),
                    "scale": float(params.scale),
                    "zero point": params.zero_point,
                }
                for name, params in self.layer.activations.items()
            },
        }


@dataclass
class AnalysisReport:
    """The ranking of an analysis. ``print`` it for the table.

    Attributes
    ----------
    layers : list of LayerReport, the most harmful first
    skip_tensor_list : list of str
        The layers that mend the network in fp32; for ``quant_post_static``. Empty if no layer stands out.
    output_error : float or None
        In the network's outputs with every layer quantized; ``output_error_without`` with those in fp32.
    """

    layers: list[LayerReport]
    skip_tensor_list: list[str]
    output_error: Optional[float]
    output_error_without: Optional[float]
    base_metric: Optional[float]
    quant_metric: Optional[float]
    batches: int
    samples: int

    @property
    def summary(self) -> str:
        """A few sentences."""
        lines = [f"{len(self.layers)} layers analysed on {self.batches} batches ({self.samples} samples)"]
        if self.base_metric is not None and self.quant_metric is not None:
            lines.append(f"metric: {self.base_metric:g} in float, {self.quant_metric:g} quantized")
        if self.output_error is not None:
            lines.append(
                f"error of the network's outputs: {self.output_error:.3g} with every layer quantized"
            )
        if self.skip_tensor_list:
            without = self.output_error_without
            lines.append(
                f"worst layers: {', '.join(map(repr, self.skip_tensor_list))}"
                + (f"; with these in fp32 the error is {without:.3g}" if without is not None else "")
            )
        return "\n".join(lines)

    def __str__(self) -> str:
        head = (
            "layer",
            "operator",
            "share",
            "output error",
            "own error",
            "activations",
            "weight",
            "saturation",
        )
        rows = [head, *(_cells(each) for each in self.layers)]
        widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
        table = "\n".join("  ".join(f"{cell:{width}}" for cell, width in zip(row, widths)) for row in rows)
        return f"{table}\n{self.summary}"


def _cells(report: LayerReport) -> tuple[str, ...]:
    output = "-" if report.output_error is None else f"{report.output_error:.3g}"
    own = (report.own.both, report.own.activation, report.own.weight, report.own.saturation)
    share = f"{100 * report.share:.1f} %"
    return (report.name, report.layer.operator, share, output, *(f"{number:.3g}" for number in own))


@dataclass(frozen=True)
class TargetModel:
    """The result of ``get_target_quant_model``.

    Attributes
    ----------
    files : ModelFiles
    skip_tensor_list : list of str, the layers in fp32
    metric, target_metric : float
    is_reached : bool
    """

    files: ModelFiles
    skip_tensor_list: list[str]
    metric: float
    target_metric: float
    is_reached: bool

    def __str__(self) -> str:
        found = f"metric {self.metric:g} with {len(self.skip_tensor_list)} layers in fp32"
        if self.is_reached:
            return f"target metric {self.target_metric:g} reached: {found}, written to {self.files.program}"
        return (
            f"target metric {self.target_metric:g} cannot be reached; the best that was found: {found}, "
            f"written to {self.files.program}"
        )


def write_report(
    directory: str,
    quantization: Quantization,
    report: Optional[AnalysisReport],
    metrics: Mapping[str, float],
    rows: Sequence[TensorRow],
) -> None:
    """Write what is known to `directory`; `metrics` are those of analysis.txt."""
    if rows:
        _write_csv(os.path.join(directory, "statistic.csv"), [COLUMNS, *(row.cells() for row in rows)])
    if report is None:
        return
    dicts = [each.to_dict() for each in report.layers]
    listed = [{**each, "activations": " ".join(each["activations"])} for each in dicts]
    columns = ["layer", *(name for name in (listed[0] if listed else {}) if name != "layer")]
    _write_csv(os.path.join(directory, "analysis.csv"), [columns, *(list(each.values()) for each in listed)])
    texts = {
        "analysis.txt": "".join(
            f"layer name: {name}, sensitivity metric: {metric}\n" for name, metric in metrics.items()
        ),
        "analysis.json": json.dumps(
            {
                "layers": dicts,
                "skip_tensor_list": report.skip_tensor_list,
                "output error": report.output_error,
                "output error without them": report.output_error_without,
                "base metric": report.base_metric,
                "quant metric": report.quant_metric,
                "samples": report.samples,
            },
            indent=1,
        ),
        "analysis.html": html_report(report, quantization),
    }
    for name, text in texts.items():
        with open(os.path.join(directory, name), "w", encoding="utf-8") as file:
            file.write(text)


def _write_csv(path: str, rows: Sequence[Sequence[Any]]) -> None:
    with open(path, "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(rows)
