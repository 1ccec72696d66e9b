# SPDX-License-Identifier: Apache-2.0
"""The pictures of qat_pact.ipynb. Each is saved as a PNG in ``./plots`` and returned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
from plots import save_figure
from qat_training import Trajectory

__all__ = ["plot_accuracy", "plot_trajectories"]


def plot_trajectories(trajectories: Mapping[str, Trajectory], operand: str, file: str) -> Any:
    """Plot thresholds over steps: a panel a layer, a line a method. `operand`: "inputs" or "weights"."""
    layers = list(getattr(next(iter(trajectories.values())), operand))
    figure, axes = plt.subplots(1, len(layers), figsize=(3.4 * len(layers), 3), squeeze=False)
    for axis, layer in zip(axes[0], layers):
        for index, (method, trajectory) in enumerate(trajectories.items()):
            thresholds = getattr(trajectory, operand)[layer]
            axis.plot(thresholds, label=method, lw=1.2, color=plt.get_cmap("tab10")(index + 1))
        axis.set_title(f"{layer}, {operand}", fontsize=9)
        axis.set_xlabel("step")
    axes[0][0].set_ylabel("threshold")
    axes[0][0].legend(fontsize=8)
    return save_figure(figure, file)


def plot_accuracy(
    accuracy: Mapping[str, Mapping[int, float]], full: float, bits: Sequence[int], file: str = "accuracy.png"
) -> Any:
    """Plot accuracy in percent over bits: a line a method, and the float network's, `full`, dashed."""
    figure, axis = plt.subplots(figsize=(6, 4))
    axis.axhline(100 * full, color="0.5", ls="--", lw=1, label="float")
    for index, (method, found) in enumerate(accuracy.items()):
        values = [100 * found[count] for count in bits]
        axis.plot(
            range(len(bits)), values, marker="o", ms=4, label=method, color=plt.get_cmap("tab10")(index)
        )
    axis.set_xticks(range(len(bits)), [f"{count} bits" for count in bits])
    axis.set_ylabel("top-1 %")
    axis.legend(fontsize=8)
    return save_figure(figure, file)
