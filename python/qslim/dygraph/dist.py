# SPDX-License-Identifier: Apache-2.0
"""``paddleslim.dygraph.dist``: distillation of Layers."""

from __future__ import annotations

from qslim.distillation.features import Distill, config2yaml, yaml2config

__all__ = ["Distill", "config2yaml", "yaml2config"]
