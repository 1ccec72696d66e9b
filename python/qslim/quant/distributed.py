# SPDX-License-Identifier: Apache-2.0
"""Exchange of statistics and results between the processes of ``paddle.distributed``.

A process that never called ``paddle.distributed.init_parallel_env()``, or has no Paddle, is a world of one:
every function here is then the identity and costs nothing. With more, every rank must make the same calls in
the same order, and every rank gets the same result, to the bit.

Two ways lead from rank to rank. What a training step waits for goes through the backend (gloo, NCCL):
gathered and combined here, because a backend's own reduction is free in the order of its operands and loses
NaN (gloo does). But gloo gives up on a rank that is 30 s late, and a rank may calibrate for an hour:
`together` and `barrier` meet at the process group's store, which waits, and takes a tenth of a second a rank.

All of it works in dygraph and in static mode, but ``init_parallel_env()`` itself belongs before
``enable_static()``: in static mode Paddle makes no process group.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import pickle
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qslim.logger import logger
from qslim.paddle import framework

__all__ = [
    "Exchange",
    "all_gather_bytes",
    "all_reduce_max",
    "all_reduce_mean",
    "barrier",
    "kept_by_rank_0",
    "not_rank_0_notes",
    "rank",
    "report_progress",
    "together",
    "warn_if_not_initialized",
    "world_size",
]

# Seconds after which a rank is given up that neither answers nor reports progress, and between two reports.
_PATIENCE = 600.0
_REPORT_INTERVAL = 10.0

_meetings = itertools.count()
_last_report = 0.0


def world_size() -> int:
    """Return the number of processes that take part: 1 if ``paddle.distributed`` is not initialized.

    Examples
    --------
    >>> from qslim.quant import distributed
    >>> distributed.world_size(), distributed.rank()
    (1, 0)
    """
    distributed = _initialized()
    return 1 if distributed is None else int(distributed.get_world_size())


def rank() -> int:
    """Return the number of this process, from 0."""
    distributed = _initialized()
    return 0 if distributed is None else int(distributed.get_rank())


def all_reduce_max(x: NDArray[Any]) -> NDArray[Any]:
    """Return the elementwise largest of every rank's `x`.

    Parameters
    ----------
    x : ndarray of float32, float64, int32 or int64, any shape; the same on every rank

    Returns
    -------
    ndarray, as `x`; NaN where one rank has NaN, `x` itself in a world of one.

    Examples
    --------
    >>> import numpy as np
    >>> from qslim.quant import distributed
    >>> distributed.all_reduce_max(np.float32([0.5, 2.0]))
    array([0.5, 2. ], dtype=float32)
    """
    distributed = _initialized()
    if distributed is None or x.size == 0:
        return x
    # A 0-d array and one of one element look alike to some backends.
    parts = _all_gather(distributed, x.reshape(-1))
    return np.asarray(np.max(parts, axis=0)).reshape(x.shape)


def all_reduce_mean(x: NDArray[Any]) -> NDArray[Any]:
    """Return the elementwise mean of every rank's `x`, a float array; otherwise as `all_reduce_max`."""
    distributed = _initialized()
    if distributed is None or x.size == 0:
        return x
    parts = _all_gather(distributed, x.reshape(-1))
    return np.asarray(np.mean(parts, axis=0, dtype=x.dtype)).reshape(x.shape)


def all_gather_bytes(data: bytes) -> list[bytes]:
    """Gather every rank's `data`, in the order of the ranks. Lengths may differ.

    Examples
    --------
    >>> from qslim.quant import distributed
    >>> distributed.all_gather_bytes(b"statistics")
    [b'statistics']
    """
    distributed = _initialized()
    if distributed is None:
        return [data]
    sizes = [int(size[0]) for size in _all_gather(distributed, np.array([len(data)], np.int64))]
    longest = max(sizes)
    if longest == 0:
        return [b""] * len(sizes)
    padded = np.zeros(longest, np.uint8)
    padded[: len(data)] = np.frombuffer(data, np.uint8)
    return [part[:size].tobytes() for part, size in zip(_all_gather(distributed, padded), sizes)]


def barrier() -> None:
    """Wait until every rank has come here.

    Raises
    ------
    RuntimeError : a rank has neither come here nor reported progress for ten minutes.
    """
    if _initialized() is not None:
        _meet(b".")


def report_progress() -> None:
    """Tell ranks that wait in `together` or `barrier` that this one is still at work."""
    global _last_report
    if _initialized() is not None and time.monotonic() - _last_report > _REPORT_INTERVAL:
        _last_report = time.monotonic()
        _store().add("qslim/progress", 1)


@dataclass
class Exchange:
    """The bytes, or the value, that a rank gives in a block of `together`; those of all ranks after it."""

    own: bytes = b""
    all: Sequence[bytes] = ()
    value: Any = None

    @property
    def values(self) -> list[Any]:
        """The values of all ranks, in order; a single process has its own one back, uncopied."""
        return [pickle.loads(part) for part in self.all] if _initialized() is not None else [self.value]


@contextlib.contextmanager
def together(what: str) -> Iterator[Exchange]:
    """Run a block on every rank and exchange what it leaves in ``own``; if it fails on one, it fails on all.

    So none waits for one that has gone. The block itself exchanges nothing.

    Raises
    ------
    ValueError, RuntimeError : "quant_post_static: rank 1 failed: ..." on the ranks where the block succeeded;
        the rank that failed raises its own error. RuntimeError also as in `barrier`.

    Examples
    --------
    >>> from qslim.quant import distributed
    >>> with distributed.together("the sum of the ranks") as exchange:
    ...     exchange.own = bytes([distributed.rank()])
    >>> sum(part[0] for part in exchange.all)
    0
    """
    exchange, failure = Exchange(), None
    try:
        yield exchange
    except Exception as error:
        failure = error
    if _initialized() is None:
        if failure is not None:
            raise failure
        exchange.all = [exchange.own]
        return
    if exchange.value is not None:
        exchange.own = pickle.dumps(exchange.value)
    part = b"+" + exchange.own if failure is None else b"-" + _described(failure)
    parts = _meet(part)
    if failure is not None:
        raise failure
    for other, part in enumerate(parts):
        if part.startswith(b"-"):
            kind, _, message = part[1:].decode().partition(": ")
            if kind == "ValueError":
                raise ValueError(f"{what}: rank {other} failed: {message}")
            raise RuntimeError(f"{what}: rank {other} failed: {kind}: {message}")
    exchange.all = [part[1:] for part in parts]


def _described(error: Exception) -> bytes:
    kind = "ValueError" if isinstance(error, ValueError) else type(error).__name__
    return f"{kind}: {error}".encode(errors="replace")


@contextlib.contextmanager
def kept_by_rank_0(directory: str) -> Iterator[str]:
    """Yield `directory` on rank 0, elsewhere a temporary directory that is removed after the block.

    For files that every rank could write alike. They all do the same work and none waits for another, so it
    makes no difference to the files whether every rank makes the call or rank 0 alone.

    Examples
    --------
    >>> from qslim.quant import distributed
    >>> with distributed.kept_by_rank_0("output") as directory:
    ...     directory
    'output'
    """
    if rank() == 0:
        yield directory
        return
    with tempfile.TemporaryDirectory(prefix="qslim-") as own:
        yield own


def not_rank_0_notes() -> list[str]:
    """Return a sentence for the report of a rank that kept nothing of what it wrote."""
    return [f"written by rank 0, not by this one, rank {rank()}"] if rank() else []


def warn_if_not_initialized(what: str) -> None:
    """Say so if a launcher started several processes and this one has not joined the others."""
    launched = os.environ.get("PADDLE_TRAINERS_NUM", "1")
    if world_size() == 1 and launched.isdigit() and int(launched) > 1:
        logger.warning(
            "%s: this is one of %s processes, but paddle.distributed.init_parallel_env() has not been called "
            "(it belongs before paddle.enable_static()), so each of them does the whole work",
            what,
            launched,
        )


def _store() -> Any:
    """Return the key-value store of the process group, on rank 0's machine."""
    return framework.global_store()


def _meet(data: bytes) -> list[bytes]:
    """Gather every rank's `data`, which is not empty, through the store."""
    # The store takes 40 ms to answer (Nagle's algorithm and delayed acknowledgements); to set costs nothing.
    store, own, number = _store(), rank(), next(_meetings)
    store.set(f"qslim/{number}/{own}", data)
    store.add(f"qslim/{number}/{own}/set", 1)
    parts = []
    for other in range(world_size()):
        if other == own:
            parts.append(data)
            continue
        _wait_for(store, other, number)
        parts.append(store.get(f"qslim/{number}/{other}"))
    if number > 0:
        store.set(f"qslim/{number - 1}/{own}", b".")  # who is here has read all of the meeting before
    return parts


def _wait_for(store: Any, other: int, number: int) -> None:
    """Return once rank `other` has come to meeting `number`."""
    pause, progress, deadline = 0.001, -1, 0.0
    while store.add(f"qslim/{number}/{other}/set", 0) == 0:
        seen = store.add("qslim/progress", 0)
        if seen != progress:
            progress, deadline = seen, time.monotonic() + _PATIENCE
        elif time.monotonic() > deadline:
            raise RuntimeError(
                f"rank {rank()} has waited {_PATIENCE:.0f} s for rank {other}: it has ended, or it does not "
                "make the call that this rank makes; every rank must"
            )
        time.sleep(pause)
        pause = min(2 * pause, 0.1)


def _initialized() -> Any:
    """Return ``paddle.distributed`` in a world of several processes, else None. Never imports Paddle."""
    distributed = sys.modules.get("paddle.distributed")
    if distributed is None or not distributed.is_initialized() or distributed.get_world_size() < 2:
        return None
    return distributed


def _all_gather(distributed: Any, x: NDArray[Any]) -> list[NDArray[Any]]:
    """Gather every rank's 1-d `x`, of one length, in the order of the ranks."""
    with _dygraph() as paddle:
        parts: list[Any] = []
        distributed.all_gather(parts, paddle.to_tensor(x))
        return [part.numpy() for part in parts]


@contextlib.contextmanager
def _dygraph() -> Iterator[Any]:
    """Enter dygraph mode for the block, where collectives work on tensors; yield ``paddle``."""
    paddle = sys.modules["paddle"]
    if paddle.in_dynamic_mode():
        yield paddle
        return
    paddle.disable_static()
    try:
        yield paddle
    finally:
        paddle.enable_static()
