# SPDX-License-Identifier: Apache-2.0
"""Loaders of PaddleSlim's automatic compression."""

from __future__ import annotations

from qslim.auto_compression.loading import load_config

__all__ = ["load_config"]
