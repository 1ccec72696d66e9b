# SPDX-License-Identifier: Apache-2.0
"""Strategy: what a compression does to the networks, and when."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qslim.compressor.context import Context
from qslim.quant.options import check_int

__all__ = ["Strategy"]


class Strategy:
    """The base of strategies. Subclasses are dataclasses whose fields are the keys of the YAML file.

    Attributes
    ----------
    start_epoch, end_epoch : int
        The first epoch in which it acts, and the last one.
    """

    start_epoch: int
    end_epoch: int

    def __post_init__(self) -> None:
        check_int("start_epoch", self.start_epoch, 0)
        check_int("end_epoch", self.end_epoch, self.start_epoch)

    def check(self, context: Context) -> None:
        """Raise ValueError if the strategy cannot act on the networks of `context`; nothing is done yet."""

    def on_epoch_begin(self, context: Context) -> None:
        """Change the networks before epoch ``context.epoch_id``."""

    def on_epoch_end(self, context: Context) -> None:
        """Act on what epoch ``context.epoch_id`` has trained."""

    def state(self) -> Mapping[str, Any]:
        """Return what ``restore`` needs beside the scope's values, for JSON."""
        return {}

    def restore(self, context: Context, state: Mapping[str, Any]) -> None:
        """Put the networks into the form that they have before epoch ``context.epoch_id``."""
