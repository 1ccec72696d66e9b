# SPDX-License-Identifier: Apache-2.0
"""``fluid.contrib``: the compression tools."""

from __future__ import annotations

from qslim.fluid.contrib import slim

__all__ = ["slim"]
