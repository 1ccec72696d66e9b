# SPDX-License-Identifier: Apache-2.0
"""Rules of comparisons and choices: as those of elementwise operators.

ONNX's operators have the default rule; here are Paddle's own.
"""

from __future__ import annotations

from qslim.prune.operators.elementwise import elementwise
from qslim.prune.operators.rule import Rule, unchanged

__all__ = ["LOGIC"]

LOGIC: dict[str, Rule] = {
    "paddle.greater_equal": elementwise,
    "paddle.hardshrink": unchanged,
    "paddle.isinf": unchanged,
    "paddle.isnan": unchanged,
    "paddle.less_equal": elementwise,
    "paddle.not_equal": elementwise,
    "paddle.thresholded_relu": unchanged,
}
