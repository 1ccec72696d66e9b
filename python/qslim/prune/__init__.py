# SPDX-License-Identifier: Apache-2.0
"""Pruning: networks that are smaller, not only sparser. ``docs/pruning.md`` is the guide."""

from __future__ import annotations

from qslim.prune.checkpoint import load, save
from qslim.prune.gmp import StaticGMPUnstructuredPruner as GMPUnstructuredPruner
from qslim.prune.plan import PruningMask, PruningPlan
from qslim.prune.pruners import (
    BNScaleFilterPruner,
    FilterPruner,
    FPGMFilterPruner,
    L1NormFilterPruner,
    L2NormFilterPruner,
    TaylorFilterPruner,
)
from qslim.prune.report import PruningReport, compare
from qslim.prune.sensitivity import get_ratios_by_loss, load_sensitivities, merge_sensitive
from qslim.prune.static import Pruner, load_model, save_model, sensitivity
from qslim.prune.unstructured import StaticUnstructuredPruner as UnstructuredPruner

__all__ = [
    "BNScaleFilterPruner",
    "FPGMFilterPruner",
    "FilterPruner",
    "GMPUnstructuredPruner",
    "L1NormFilterPruner",
    "L2NormFilterPruner",
    "Pruner",
    "PruningMask",
    "PruningPlan",
    "PruningReport",
    "TaylorFilterPruner",
    "UnstructuredPruner",
    "compare",
    "get_ratios_by_loss",
    "load",
    "load_model",
    "load_sensitivities",
    "merge_sensitive",
    "save",
    "save_model",
    "sensitivity",
]
