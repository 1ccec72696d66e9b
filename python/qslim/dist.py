# SPDX-License-Identifier: Apache-2.0
"""``slim.dist``, PaddleSlim's name for ``qslim.distillation``."""

from __future__ import annotations

from qslim.distillation import (
    DML,
    Distill,
    config2yaml,
    fsp,
    l2,
    loss,
    merge,
    soft_label,
    yaml2config,
)

__all__ = ["DML", "Distill", "config2yaml", "fsp", "l2", "loss", "merge", "soft_label", "yaml2config"]
