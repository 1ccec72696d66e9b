# SPDX-License-Identifier: Apache-2.0
"""Forward passes that are made twice: ``paddle.distributed.fleet.utils.recompute`` and its like.

Recomputing a block saves its input in place of all that it computes, and runs it again in the backward pass.
A quantizer must take a batch in once, and round both times with the same parameters. Paddle does not tell a
layer which pass it is in, but the stack does: the first one runs inside a ``forward(ctx, ...)`` of a PyLayer,
the second inside the ``backward(ctx, ...)`` with the same ctx. Without reentrant autograd the first one runs
inside ``_recompute_without_reentrant`` and the second in its inner function ``unpack``; both know `storage`.
Seen on Paddle 3.0 to 3.3.1; a checkpointing of one's own that is a PyLayer works alike.
"""

from __future__ import annotations

import sys
from typing import Any, Callable, Optional, TypeVar

__all__ = ["is_recomputed", "once_a_batch"]

_Result = TypeVar("_Result")

_RECORDS = "_qslim_records"
# Function to the local variable that both passes know, and whether it makes the second one.
_FRAMES = {
    "forward": ("ctx", False),
    "backward": ("ctx", True),
    "_recompute_without_reentrant": ("storage", False),
    "unpack": ("storage", True),
}


class _Records:
    """The decisions of each quantizer in the first pass, in the order of its calls."""

    def __init__(self) -> None:
        self._results: dict[int, list[Any]] = {}
        self._read: dict[int, int] = {}

    def add(self, owner: Any, result: Any) -> None:
        self._results.setdefault(id(owner), []).append(result)

    def next_for(self, owner: Any) -> Optional[tuple[Any]]:
        """Return the next result of `owner`; after the last the first: a backward pass may be repeated."""
        results = self._results.get(id(owner))
        if not results:
            return None
        at = self._read.get(id(owner), 0)
        self._read[id(owner)] = (at + 1) % len(results)
        return (results[at],)


def once_a_batch(owner: Any, decide: Callable[[], _Result]) -> _Result:
    """Return the result of `decide`; in a recomputed pass that of the first one."""
    recording, repeated = _surroundings()
    known = None if repeated is None else repeated.next_for(owner)
    result: _Result = decide() if known is None else known[0]
    for records in recording:
        records.add(owner, result)
    return result


def is_recomputed() -> bool:
    """Return True if this forward pass repeats an earlier one."""
    return _surroundings()[1] is not None


def _surroundings() -> tuple[list[_Records], Optional[_Records]]:
    """Return the passes around the caller that may be repeated, and the one that is being repeated."""
    recording: list[_Records] = []
    frame = sys._getframe(1)
    while frame is not None:
        code = frame.f_code
        if code.co_name in _FRAMES:
            variable, is_second = _FRAMES[code.co_name]
            known = code.co_varnames[:1] if variable == "ctx" else (*code.co_cellvars, *code.co_freevars)
            if variable in known:
                key = frame.f_locals.get(variable)
                if is_second:
                    records = getattr(key, _RECORDS, None)
                    if records is not None:
                        return recording, records
                else:
                    if not hasattr(key, _RECORDS):
                        setattr(key, _RECORDS, _Records())
                    recording.append(getattr(key, _RECORDS))
        frame = frame.f_back  # type: ignore[assignment]
    return recording, None
