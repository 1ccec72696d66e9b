# SPDX-License-Identifier: Apache-2.0
"""Weight decay by fluid's names."""

from __future__ import annotations

from typing import Any

from qslim.fluid.mode import static_paddle

__all__ = ["L1Decay", "L1DecayRegularizer", "L2Decay", "L2DecayRegularizer"]


def L1Decay(regularization_coeff: float = 0.0) -> Any:
    """Return decay by the sign of a parameter."""
    return static_paddle().regularizer.L1Decay(regularization_coeff)


def L2Decay(regularization_coeff: float = 0.0) -> Any:
    """Return decay by the value of a parameter."""
    return static_paddle().regularizer.L2Decay(regularization_coeff)


L1DecayRegularizer, L2DecayRegularizer = L1Decay, L2Decay
