# SPDX-License-Identifier: Apache-2.0
"""What quantization exchanges between the processes of ``paddle.distributed``.

A process that never called ``paddle.distributed.init_parallel_env()``, or has no Paddle, is a world of one:
every function here is then the identity and costs nothing. With more, every rank must make the same calls in
the same order, and every rank gets the same result, to the bit: values are gathered and combined here,
because a backend's own reduction is free in the order of its operands and loses NaN (gloo does).

Works in dygraph and in static mode, but ``init_parallel_env()`` itself belongs before ``enable_static()``:
in static mode Paddle makes no process group.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["all_gather_bytes", "all_reduce_max", "barrier", "rank", "world_size"]


def world_size() -> int:
    """Processes that take part: 1 where ``paddle.distributed`` is not initialized.

    Examples
    --------
    >>> from qslim.quant import distributed
    >>> distributed.world_size(), distributed.rank()
    (1, 0)
    """
    distributed = _initialized()
    return 1 if distributed is None else int(distributed.get_world_size())


def rank() -> int:
    """Which of them this is, from 0."""
    distributed = _initialized()
    return 0 if distributed is None else int(distributed.get_rank())


def all_reduce_max(x: NDArray[Any]) -> NDArray[Any]:
    """The elementwise largest of every rank's `x`.

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


def all_gather_bytes(data: bytes) -> list[bytes]:
    """Every rank's `data`, in the order of the ranks. Lengths may differ.

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
    """Wait until every rank has come here."""
    distributed = _initialized()
    if distributed is not None:
        with _dygraph():
            distributed.barrier()


def _initialized() -> Any:
    """``paddle.distributed`` in a world of several processes, else None. Never imports Paddle."""
    distributed = sys.modules.get("paddle.distributed")
    if distributed is None or not distributed.is_initialized() or distributed.get_world_size() < 2:
        return None
    return distributed


def _all_gather(distributed: Any, x: NDArray[Any]) -> list[NDArray[Any]]:
    """Every rank's 1-d `x`, of one length, in the order of the ranks."""
    with _dygraph() as paddle:
        parts: list[Any] = []
        distributed.all_gather(parts, paddle.to_tensor(x))
        return [part.numpy() for part in parts]


@contextlib.contextmanager
def _dygraph() -> Iterator[Any]:
    """Dygraph mode for the block, where collectives work on tensors; yields ``paddle``."""
    paddle = sys.modules["paddle"]
    if paddle.in_dynamic_mode():
        yield paddle
        return
    paddle.disable_static()
    try:
        yield paddle
    finally:
        paddle.enable_static()
