# SPDX-License-Identifier: Apache-2.0
"""Rows of convolutions and matrix products."""

from __future__ import annotations

from qslim.importers.paddle.operators.products.convolutions import CONVOLUTIONS
from qslim.importers.paddle.operators.products.deformable import DEFORMABLE
from qslim.importers.paddle.operators.products.matrices import MATRICES
from qslim.importers.paddle.operators.source_op import Converter

__all__ = ["PRODUCTS"]

PRODUCTS: dict[str, Converter] = {**CONVOLUTIONS, **DEFORMABLE, **MATRICES}
