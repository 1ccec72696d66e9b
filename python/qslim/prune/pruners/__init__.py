# SPDX-License-Identifier: Apache-2.0
"""Filter pruners for paddle.nn.Layer: one for each criterion."""

from qslim.prune.pruners.base import FilterPruner
from qslim.prune.pruners.batch_norm import BNScaleFilterPruner
from qslim.prune.pruners.norms import FPGMFilterPruner, L1NormFilterPruner, L2NormFilterPruner
from qslim.prune.pruners.taylor import TaylorFilterPruner

__all__ = [
    "BNScaleFilterPruner",
    "FPGMFilterPruner",
    "FilterPruner",
    "L1NormFilterPruner",
    "L2NormFilterPruner",
    "TaylorFilterPruner",
]
