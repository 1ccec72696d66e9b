# SPDX-License-Identifier: Apache-2.0
"""The pictures of pruning.ipynb. Each is saved as a PNG in ``./plots`` and returned."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt

__all__ = ["plot_channels", "plot_sensitivities"]


def plot_sensitivities(
    sensitivities: Mapping[str, Mapping[float, float]], file: str = "sensitivities.png"
) -> Any:
    """Plot what pruning each parameter costs, one line for each: dark for the first layers."""
    figure, axis = plt.subplots(figsize=(7, 4))
    colours = plt.get_cmap("viridis")
    for index, (name, losses) in enumerate(sensitivities.items()):
        ratios = sorted(losses)
        colour = colours(index / max(1, len(sensitivities) - 1))
        axis.plot(ratios, [100 * losses[ratio] for ratio in ratios], color=colour, label=name, linewidth=1)
    axis.set_xlabel("part of the filters pruned")
    axis.set_ylabel("loss of top-1, % of what it was")
    axis.legend(fontsize=6, ncols=2)
    return _save(figure, file)


def plot_channels(before: Mapping[str, int], after: Mapping[str, int], file: str = "channels.png") -> Any:
    """Plot the filters of each convolution before and after."""
    figure, axis = plt.subplots(figsize=(7, 3))
    positions = range(len(before))
    axis.bar(positions, list(before.values()), color="0.85", label="before")
    axis.bar(positions, [after[name] for name in before], color="tab:blue", label="after")
    axis.set_xlabel("convolution, from the first to the last")
    axis.set_ylabel("filters")
    axis.legend(fontsize=8)
    return _save(figure, file)


def _save(figure: Any, file: str) -> Any:
    figure.tight_layout()
    Path("plots").mkdir(exist_ok=True)
    figure.savefig(Path("plots") / file, dpi=120)
    return figure
