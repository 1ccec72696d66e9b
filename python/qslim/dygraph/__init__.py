# SPDX-License-Identifier: Apache-2.0
"""PaddleSlim's namespace for what works on a paddle.nn.Layer."""

from __future__ import annotations

from qslim.prune.plan import PruningMask, PruningPlan
from qslim.prune.pruners import (
    BNScaleFilterPruner,
    FilterPruner,
    FPGMFilterPruner,
    L1NormFilterPruner,
    L2NormFilterPruner,
    TaylorFilterPruner,
)

__all__ = [
    "BNScaleFilterPruner",
    "FPGMFilterPruner",
    "FilterPruner",
    "L1NormFilterPruner",
    "L2NormFilterPruner",
    "PruningMask",
    "PruningPlan",
    "TaylorFilterPruner",
]
