# SPDX-License-Identifier: Apache-2.0
"""The notebooks' pictures of a quantization report. Each is saved as a PNG in ``./plots`` and returned.

A *report* is what ``quant_post_static`` returns; *thresholds* is {algorithm: {tensor: threshold}}.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import MaxNLocator

__all__ = [
    "ALGORITHMS",
    "all_thresholds",
    "plot_activations",
    "plot_layer_errors",
    "plot_models",
    "plot_thresholds",
    "plot_weights",
    "save_figure",
]

ALGORITHMS = ("abs_max", "avg", "hist", "KL", "mse", "emd", "ptf", "min_max")

Thresholds = Mapping[str, Mapping[str, float]]


def all_thresholds(report: Any) -> dict[str, dict[str, float]]:
    """Return the thresholds that each algorithm takes from the calibration's statistics in `report`."""
    from qslim.functional import find_threshold

    return {
        algo: {
            activation.name: find_threshold(
                activation.statistics, algo, is_unsigned=activation.dtype == "uint8"
            )
            for activation in report.activations
        }
        for algo in ALGORITHMS
    }


def plot_weights(report: Any, count: int = 4, file: str = "weights.png") -> Any:
    """Plot weights of `count` layers, from the first to the last, before and after quantization."""
    chosen = _spread(report.weights, count)
    figure, axes = plt.subplots(1, len(chosen), figsize=(4 * len(chosen), 3.2), squeeze=False)
    for axis, weight in zip(axes[0], chosen):
        shape = [1] * weight.values.ndim
        if weight.quant_axis is not None:
            shape[weight.quant_axis] = -1
        after = weight.quantized * np.reshape(weight.scale, shape if np.size(weight.scale) > 1 else ())
        edges = np.linspace(weight.values.min(), weight.values.max(), 81)
        axis.hist(weight.values.ravel(), edges, color="0.75", label="float32")
        axis.hist(after.ravel(), edges, histtype="step", color="tab:blue", label="int8, dequantized")
        axis.xaxis.set_major_locator(MaxNLocator(5))
        worst = float(np.abs(after - weight.values).max())
        axis.set_title(f"{weight.name}\n{list(weight.shape)}, worst error {worst:.2g}", fontsize=9)
        axis.set_xlabel("weight")
    axes[0][0].set_ylabel("count")
    axes[0][0].legend(fontsize=8)
    return save_figure(figure, file)


def plot_activations(
    report: Any, thresholds: Thresholds, count: int = 6, file: str = "activations.png"
) -> Any:
    """Plot histograms of `count` activations with every algorithm's threshold drawn in."""
    chosen = _spread(report.activations, count)
    columns = min(3, len(chosen))
    lines = -(-len(chosen) // columns)
    figure, axes = plt.subplots(lines, columns, figsize=(5.2 * columns, 3.2 * lines), squeeze=False)
    colors = plt.get_cmap("tab10")
    for axis, activation in zip(axes.flat, chosen):
        statistics = activation.statistics
        counts = np.concatenate([statistics.negative_histogram[::-1], statistics.positive_histogram])
        half = len(statistics.positive_histogram)
        centers = (np.arange(-half, half) + 0.5) * statistics.bin_width
        seen = np.abs(centers) <= statistics.abs_max + statistics.bin_width
        if activation.dtype == "uint8":
            seen &= centers > 0
        axis.fill_between(centers[seen], np.maximum(counts[seen], 0.5), 0.5, step="mid", color="0.75")
        axis.set_yscale("log")
        for index, (algo, found) in enumerate(thresholds.items()):
            # Dashes, because some algorithms agree and their lines lie on one another.
            style = {"color": colors(index), "lw": 1.4, "ls": (index, (2, 1)) if index else "-"}
            axis.axvline(found[activation.name], label=algo, **style)
        axis.set_title(f"{activation.name} ({activation.op}, {activation.dtype})", fontsize=9)
    for axis in list(axes.flat)[len(chosen) :]:
        axis.remove()
    axes[0][0].legend(fontsize=7, ncol=2)
    axes[0][0].set_ylabel("count")
    return save_figure(figure, file)


def plot_thresholds(report: Any, thresholds: Thresholds, file: str = "thresholds.png") -> Any:
    """Plot thresholds per tensor, in network order, as a share of the largest magnitude seen there."""
    names = [activation.name for activation in report.activations]
    largest = np.array([max(activation.statistics.abs_max, 1e-8) for activation in report.activations])
    figure, axis = plt.subplots(figsize=(max(8.0, 0.35 * len(names)), 4))
    for index, (algo, found) in enumerate(thresholds.items()):
        share = np.array([found[name] for name in names]) / largest
        style = {"color": plt.get_cmap("tab10")(index), "lw": 1.2, "ls": (index, (2, 1)) if index else "-"}
        axis.plot(share, marker="o", ms=3, label=algo, **style)
    axis.set_xticks(range(len(names)), names, rotation=90, fontsize=6)
    axis.set_ylabel("threshold / largest magnitude")
    axis.legend(fontsize=8, ncol=4)
    return save_figure(figure, file)


def plot_models(table: Any, file: str = "models.png") -> Any:
    """Plot accuracy against size, and against the time of an image, for the rows of a ``Comparison``."""
    figure, axes = plt.subplots(1, 2, figsize=(11, 4), sharey=True)
    scales = (("MB on disk", 1e-6, "size"), ("ms an image, in batches of 64", 1e3, "seconds"))
    for axis, (label, scale, attribute) in zip(axes, scales):
        for row in table.rows:
            x, is_engine = scale * getattr(row, attribute), row.model == "int8 engine"
            is_float = row.model.startswith("float")
            color = "tab:red" if is_engine else "0.2" if is_float else "tab:blue"
            axis.scatter([x], [100 * row.top1], color=color, s=40, zorder=2)
            if is_engine or is_float:
                axis.annotate(row.model, (x, 100 * row.top1), xytext=(6, 6), textcoords="offset points")
        axis.set_xlabel(label)
        axis.grid(alpha=0.3)
    axes[1].set_xscale("log")
    axes[0].set_ylabel("top-1 %")
    axes[0].set_title("blue: int8 in Paddle, each algorithm", fontsize=9)
    return save_figure(figure, file)


def plot_layer_errors(analysis: Any, file: str = "layer_errors.png") -> Any:
    """Plot the noise that quantization adds to each layer's output; `analysis` is an ``AnalysisReport``."""
    layers = analysis.layers
    figure, axis = plt.subplots(figsize=(max(8.0, 0.35 * len(layers)), 4))
    for label, errors in (
        ("its weight in int8", [layer.own.weight for layer in layers]),
        ("its activation in int8", [layer.own.activation for layer in layers]),
        ("the outputs, with it alone in int8", [layer.output_error or 0.0 for layer in layers]),
    ):
        axis.plot(np.maximum(errors, 1e-9), marker="o", ms=4, lw=1, label=label)
    axis.set_yscale("log")
    axis.set_xticks(range(len(layers)), [layer.name for layer in layers], rotation=90, fontsize=6)
    axis.set_ylabel("noise / signal")
    axis.set_xlabel("layers, the worst first")
    axis.legend(fontsize=8)
    return save_figure(figure, file)


def _spread(items: Sequence[Any], count: int) -> list[Any]:
    """Return `count` of `items`, evenly spaced, first and last included."""
    indices = np.unique(np.linspace(0, len(items) - 1, count).round().astype(int))
    return [items[index] for index in indices]


def save_figure(figure: Any, file: str) -> Any:
    path = Path("plots") / file
    path.parent.mkdir(exist_ok=True)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    print(f"saved {path}")
    return figure
