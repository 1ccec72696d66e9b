# SPDX-License-Identifier: Apache-2.0
"""The logger "qslim": what was done and written.

Records go to the application's handlers. While it has configured none (``logging.basicConfig`` or a handler
of its own), qslim prints them on standard error.
"""

from __future__ import annotations

import logging
from typing import Union

__all__ = ["logger", "set_log_level"]

logger = logging.getLogger("qslim")


class _WhileNobodyListens(logging.StreamHandler):  # type: ignore[type-arg]
    """Prints records that no handler of the application gets."""

    def filter(self, record: logging.LogRecord) -> bool:
        others = [handler for handler in (*logging.root.handlers, *logger.handlers) if handler is not self]
        return not others and bool(super().filter(record))


def set_log_level(level: Union[int, str]) -> None:
    """Let pass what is at least as grave as `level`: "DEBUG", "INFO" (the default), "WARNING", "ERROR".

    Examples
    --------
    >>> import qslim
    >>> qslim.set_log_level("WARNING")  # no summaries
    >>> qslim.set_log_level("INFO")
    """
    logger.setLevel(level.upper() if isinstance(level, str) else level)


if not any(isinstance(handler, _WhileNobodyListens) for handler in logger.handlers):
    _handler = _WhileNobodyListens()
    _handler.setFormatter(logging.Formatter("qslim: %(message)s"))
    logger.addHandler(_handler)
if logger.level == logging.NOTSET:
    logger.setLevel(logging.INFO)
