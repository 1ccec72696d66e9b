# SPDX-License-Identifier: Apache-2.0
"""Distillation in training loops of one's own: static programs and Layers. ``docs/distillation.md``."""

from __future__ import annotations

from qslim.distillation.features import Distill, config2yaml, yaml2config
from qslim.distillation.losses import fsp, l2, loss, soft_label
from qslim.distillation.merge import merge
from qslim.distillation.mutual import DML

__all__ = ["DML", "Distill", "config2yaml", "fsp", "l2", "loss", "merge", "soft_label", "yaml2config"]
