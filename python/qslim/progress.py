# SPDX-License-Identifier: Apache-2.0
"""A progress bar on a terminal, silence elsewhere. tqdm draws it where it is installed."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import Optional, TypeVar

__all__ = ["progress_bar"]

_T = TypeVar("_T")


def progress_bar(
    items: Iterable[_T], description: str, total: Optional[int] = None, unit: str = "batch"
) -> Iterator[_T]:
    """Yield `items`, showing how far they are if standard error is a terminal."""
    if not sys.stderr.isatty():
        yield from items
        return
    try:
        from tqdm.auto import tqdm
    except ImportError:
        yield from items
        return
    yield from tqdm(items, desc=description, total=total, unit=unit, leave=False)
