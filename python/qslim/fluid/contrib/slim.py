# SPDX-License-Identifier: Apache-2.0
"""``fluid.contrib.slim``: the Compressor."""

from __future__ import annotations

from qslim.compressor import Compressor

__all__ = ["Compressor"]
