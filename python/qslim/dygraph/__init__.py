# SPDX-License-Identifier: Apache-2.0
"""PaddleSlim's names for what works on a paddle.nn.Layer: pruners, ``dygraph.dist`` and ``dygraph.quant``."""

from __future__ import annotations

import importlib
from typing import Any

from qslim.prune.gmp import DygraphGMPUnstructuredPruner as GMPUnstructuredPruner
from qslim.prune.plan import PruningMask, PruningPlan
from qslim.prune.pruners import (
    BNScaleFilterPruner,
    FilterPruner,
    FPGMFilterPruner,
    L1NormFilterPruner,
    L2NormFilterPruner,
    TaylorFilterPruner,
)
from qslim.prune.sensitivity import Status
from qslim.prune.unstructured import DygraphUnstructuredPruner as UnstructuredPruner

__all__ = [
    "BNScaleFilterPruner",
    "FPGMFilterPruner",
    "FilterPruner",
    "GMPUnstructuredPruner",
    "L1NormFilterPruner",
    "L2NormFilterPruner",
    "PruningMask",
    "PruningPlan",
    "Status",
    "TaylorFilterPruner",
    "UnstructuredPruner",
]


def __getattr__(name: str) -> Any:
    if name in ("dist", "quant"):  # they import Paddle
        return importlib.import_module(f"qslim.dygraph.{name}")
    raise AttributeError(f"module 'qslim.dygraph' has no attribute {name!r}")
