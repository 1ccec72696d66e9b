# SPDX-License-Identifier: Apache-2.0
"""Rows of operators that look at windows of an image: pools, resizing, sampling."""

from __future__ import annotations

from qslim.importers.paddle.operators.source_op import Converter
from qslim.importers.paddle.operators.windows.pooling import POOLING
from qslim.importers.paddle.operators.windows.resizing import RESIZING

__all__ = ["WINDOWS"]

WINDOWS: dict[str, Converter] = {**POOLING, **RESIZING}
