# SPDX-License-Identifier: Apache-2.0
"""analysis.html: one page that needs no network, no other file and no library; its pictures are SVG."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from qslim.functional import TensorStatistics
from qslim.quant.analysis.quantization import Quantization

if TYPE_CHECKING:
    from qslim.quant.analysis.analysis_report import AnalysisReport, LayerReport

__all__ = ["html_report"]

_PICTURED = 20  # layers, the worst
_BINS = 96
_WIDTH, _HEIGHT = 460, 110
_STYLE = """
body { font: 14px/1.5 system-ui, sans-serif; margin: 2em auto; max-width: 1080px; padding: 0 1em }
body { color: #222 }
table { border-collapse: collapse; width: 100% }
td, th { padding: 2px 8px; text-align: right; white-space: nowrap }
td:first-child, th:first-child, td:nth-child(2) { text-align: left }
tr:nth-child(even) { background: #f4f6f8 }
pre { background: #f4f6f8; padding: 1em; overflow: auto }
figure { display: inline-block; margin: 0 1em 1em 0 }
figcaption { font-size: 12px; color: #555; max-width: 460px } .a { fill: #3b7dd8 } .w { fill: #e0892f }
.t { stroke: #c22; stroke-dasharray: 4 2 }
"""


def html_report(report: AnalysisReport, quantization: Quantization) -> str:
    """Return the page."""
    parts = [
        "<!DOCTYPE html><html lang='en'><head><meta charset='utf-8'><title>Quantization analysis</title>",
        f"<style>{_STYLE}</style></head><body><h1>Quantization analysis</h1>",
        *(f"<p>{html.escape(line)}</p>" for line in report.summary.splitlines()),
        "<h2>Ranking</h2>",
        "<p>Output error: |dy|&sup2; / |y|&sup2; of the network's outputs with this layer alone quantized. "
        "Own error: the same of the layer's output, channel by channel; 1 means that nothing is left. "
        "Share: the layer's share of the sums of both, their mean. "
        "<svg width='10' height='10'><rect class='a' width='10' height='10'/></svg> of its activations, "
        "<svg width='10' height='10'><rect class='w' width='10' height='10'/></svg> of its weight.</p>",
        _table(report.layers),
        "<h2>Configuration that mends the worst layers</h2>",
        f"<pre>quant_post_static(..., skip_tensor_list={html.escape(repr(report.skip_tensor_list))})</pre>"
        if report.skip_tensor_list
        else "<p>No layer stands out: none need stay in fp32.</p>",
        "<h2>Distributions of the worst layers</h2>",
        *(_pictures(each, quantization) for each in report.layers[:_PICTURED]),
        "</body></html>",
    ]
    return "\n".join(parts)


def _table(layers: Sequence[LayerReport]) -> str:
    heads = ("layer", "operator", "share", "output error", "own error", "", "saturation", "sensitivity")
    rows = ["<tr>" + "".join(f"<th>{head}</th>" for head in heads) + "</tr>"]
    for each in layers:
        cells = (
            html.escape(each.name),
            html.escape(each.layer.operator),
            f"{100 * each.share:.1f} %",
            _number(each.output_error),
            _number(each.own.both),
            _bars(each.own.activation, each.own.weight),
            f"{100 * each.own.saturation:.3g} %",
            _number(each.sensitivity),
        )
        rows.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    return "<table>" + "".join(rows) + "</table>"


def _number(value: Any) -> str:
    return "" if value is None else f"{value:.3g}"


def _bars(activation: float, weight: float) -> str:
    """Return two bars on a logarithmic scale from 1e-6 to 1."""
    bars = ""
    for kind, value, y in (("a", activation, 1), ("w", weight, 8)):
        length = 100 * max(0.0, 1 + np.log10(max(value, 1e-6)) / 6)
        bars += f"<rect class='{kind}' y='{y}' width='{length:.1f}' height='6'/>"
    return f"<svg width='100' height='15'>{bars}</svg>"


def _pictures(report: LayerReport, quantization: Quantization) -> str:
    layer = report.layer
    figures = []
    for name, params in layer.activations.items():
        statistics = quantization.calibration.statistics.get(name)
        if statistics is not None:
            low, high = (
                float(params.scale * (bound - params.zero_point)) for bound in (params.qmin, params.qmax)
            )
            kind = f"{params.dtype}, scale {float(params.scale):.4g}, zero point {params.zero_point}"
            caption = f"activation {name} ({kind}): {statistics.min:.4g} to {statistics.max:.4g}"
            figures.append(_histogram(*_density(statistics), "a", (low, high), caption))
    if layer.weight is not None and layer.weight_params is not None:
        values = quantization.graph.tensors[layer.weight].value
        assert values is not None
        counts, edges = np.histogram(values, _BINS)
        bound = float(layer.weight_params.threshold.max())
        caption = f"weight {layer.weight} {list(values.shape)}: {values.min():.4g} to {values.max():.4g}"
        figures.append(_histogram(counts, edges, "w", (-bound, bound), caption))
        thresholds = np.sort(layer.weight_params.threshold.reshape(-1))[::-1]
        if len(thresholds) > 1:
            caption = (
                f"thresholds of its {len(thresholds)} channels: {thresholds[0]:.4g} to {thresholds[-1]:.4g}"
            )
            shown = thresholds[:: -(-len(thresholds) // _BINS)]
            figures.append(_histogram(shown, np.arange(len(shown) + 1.0), "w", (), caption, is_log=False))
    return f"<h3>{html.escape(layer.name)}</h3>" + "".join(figures)


def _density(statistics: TensorStatistics) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return `_BINS` counts or fewer, and their edges, between the extremes of what was seen."""
    counts = np.concatenate([statistics.negative_histogram[::-1], statistics.positive_histogram])
    places = (np.arange(len(counts)) + 0.5 - len(statistics.negative_histogram)) * statistics.bin_width
    low, high = statistics.min, statistics.max
    if not low < high:
        low, high = low - 0.5, high + 0.5
    return np.histogram(np.clip(places, low, high), _BINS, (low, high), weights=counts.astype(np.float64))


def _histogram(
    counts: NDArray[Any],
    edges: NDArray[Any],
    kind: str,
    marks: Sequence[float],
    caption: str,
    is_log: bool = True,
) -> str:
    """Return bars of `counts`, logarithmic so that outliers show, with lines at `marks`."""
    low, high = min([edges[0], *marks]), max([edges[-1], *marks])
    heights = np.log1p(counts) if is_log else np.asarray(counts, np.float64)
    heights = heights / max(float(heights.max()), 1e-30) * (_HEIGHT - 4)

    def x(value: float) -> float:
        return float((value - low) / max(high - low, 1e-30) * _WIDTH)

    bars = "".join(
        f"M{x(edge):.1f} {_HEIGHT}V{_HEIGHT - height:.1f}H{max(x(edge) + 1, x(end)):.1f}V{_HEIGHT}"
        for edge, end, height in zip(edges, edges[1:], heights)
        if height > 0
    )
    lines = "".join(f"<path class='t' d='M{x(mark):.1f} 0V{_HEIGHT}'/>" for mark in marks)
    picture = f"<svg width='{_WIDTH}' height='{_HEIGHT}'><path class='{kind}' d='{bars}'/>{lines}</svg>"
    return f"<figure>{picture}<figcaption>{html.escape(caption)}</figcaption></figure>"
