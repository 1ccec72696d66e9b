# SPDX-License-Identifier: Apache-2.0
"""The logger "qslim": what was done and written, on standard error.

``logging.getLogger("qslim").setLevel(logging.WARNING)`` silences it; a handler that was added to it before
qslim is imported is the one that is used.
"""

from __future__ import annotations

import logging

__all__ = ["logger"]

logger = logging.getLogger("qslim")
if not logger.handlers:
    _handler = logging.StreamHandler()
    _handler.setFormatter(logging.Formatter("qslim: %(message)s"))
    logger.addHandler(_handler)
    logger.propagate = False
if logger.level == logging.NOTSET:
    logger.setLevel(logging.INFO)
