# SPDX-License-Identifier: Apache-2.0
"""The number of threads that kernels use where the caller names none."""

from __future__ import annotations

import os

__all__ = ["default_threads"]


def default_threads() -> int:
    """Return QSLIM_NUM_THREADS if it is set, else the number of CPUs that this process may use.

    Raises
    ------
    ValueError : QSLIM_NUM_THREADS is no whole number from 1 to 1024.
    """
    text = os.environ.get("QSLIM_NUM_THREADS", "")
    if text:
        if not (text.isascii() and text.isdigit() and len(text) < 5 and 1 <= int(text) <= 1024):
            raise ValueError(f"QSLIM_NUM_THREADS must be a whole number from 1 to 1024, got {text!r}")
        return int(text)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
