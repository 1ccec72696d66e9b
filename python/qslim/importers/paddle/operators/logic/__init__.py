# SPDX-License-Identifier: Apache-2.0
"""Rows of comparisons, of operators on truth values, and of what chooses elements by them."""

from __future__ import annotations

from qslim.importers.paddle.operators.logic.assignment import ASSIGNMENT
from qslim.importers.paddle.operators.logic.comparisons import COMPARISONS
from qslim.importers.paddle.operators.source_op import Converter

__all__ = ["LOGIC"]

LOGIC: dict[str, Converter] = {**ASSIGNMENT, **COMPARISONS}
