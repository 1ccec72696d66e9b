# SPDX-License-Identifier: Apache-2.0
"""Runs of batches through a network whose inner tensors are shown, in the engine or in Paddle's executor."""

from __future__ import annotations

import contextlib
import ctypes
import math
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Optional, Union

import numpy as np
from numpy.typing import NDArray

from qslim.exporters.engine_file import observing
from qslim.functional import TensorStatistics
from qslim.graph import Graph
from qslim.logger import logger
from qslim.quant.post_training.data_source import Feed
from qslim.quant.post_training.layer_samples import LayerSamples
from qslim.quant.source_models import SourceModel
from qslim.runtime.observing_session import ObservingSession

__all__ = [
    "EngineRunner",
    "ExecutorRunner",
    "Watched",
    "difference",
    "digests_of",
    "return_free_memory",
    "watch",
]

# Takes a tensor's name, its values, which can be read until the call returns, and the number of the image
# that they belong to; None: they are the batch's.
Show = Callable[[str, NDArray[Any], Optional[int]], None]


@dataclass(frozen=True)
class Watched:
    """Everything that looks at the tensors of a batch; all of it knows its tensor's name."""

    statistics: dict[str, TensorStatistics]
    layers: list[LayerSamples]


class ExecutorRunner:
    """The float model in Paddle's executor, which gives all tensors of a batch at once."""

    def __init__(self, program: SourceModel) -> None:
        self._program = program

    def show(self, feed: Feed, names: Sequence[str], show: Show) -> None:
        """Run one batch and call ``show(name, array, None)`` for each of `names`."""
        for name, array in zip(names, self._program.run(feed, names)):
            show(name, array, None)


class EngineRunner:
    """A network in the engine, which shows each tensor when it is computed."""

    def __init__(self, session: ObservingSession, names: Sequence[str], last: Sequence[str]) -> None:
        self._session = session
        self._names = list(names)
        self._last = list(last)

    @classmethod
    def of(
        cls, network: Graph, names: Sequence[str], max_memory: Optional[int] = None
    ) -> Optional[EngineRunner]:
        """Return None if there is nothing to compute.

        Raises
        ------
        ValueError : the engine lacks an operator.
        """
        computed = [name for name in dict.fromkeys(names) if name not in network.inputs]
        if not computed:
            return None
        graph = observing(network, computed)
        if graph is None:
            raise ValueError("the engine lacks operators that the model needs")
        # The statistics take an array of less than two axes for one sample, and so must be a whole batch's.
        shapes = [graph.tensors[name].shape for name in graph.outputs]
        by_image = all(shape is not None and len(shape) > 1 for shape in shapes)
        session = ObservingSession(graph, by_image=by_image, max_memory=max_memory)
        return cls(session, computed, last_of(network, computed))

    def show(self, feed: Feed, names: Sequence[str], show: Show) -> None:
        """Run one batch and call ``show(name, array, image)`` for each of `names` when it is computed.

        The array can be read until the call returns: one image of a batch that runs image by image, else the
        whole batch, and `image` is None.
        """
        wanted = set(names)
        for name in names:
            if name not in self._names:
                show(name, np.ascontiguousarray(feed[name]), None)
        feeds = self._feeds(feed)
        _, images = self._session.shapes(feeds)

        def show_output(output: int, array: NDArray[Any], image: int) -> None:
            name = self._names[output]
            if name in wanted:
                show(name, array, image if images > 1 else None)

        self._session.run(feeds, show_output)

    def shapes(self, feed: Feed) -> dict[str, tuple[int, ...]]:
        """Return the shapes of the computed tensors for one batch."""
        return dict(zip(self._names, self._session.shapes(self._feeds(feed))[0]))

    def to_compare(self, feed: Feed) -> tuple[Feed, list[str]]:
        """Return a feed and the tensors whose values on it tell whether the engine computes Paddle's model.

        The feed is one image where images do not meet in the network. The tensors are all of the observed
        ones up to ``_MOST_COMPARED`` bytes, beyond that the last ones, from which no other follows, and the
        smallest. That suffices: each observed tensor is among those or leads to one of them, so an operator
        that the engine misreads changes a tensor that is compared.
        """
        shapes, images = self._session.shapes(self._feeds(feed))
        if images > 1:
            feed = {name: array[:1] if array.ndim else array for name, array in feed.items()}
        sizes = {name: 4 * math.prod(shape) // images for name, shape in zip(self._names, shapes)}
        left = _MOST_COMPARED - sum(sizes[name] for name in self._last)
        kept = set(self._last)
        for name in sorted(set(sizes) - kept, key=sizes.__getitem__):
            left -= sizes[name]
            if left < 0:
                break
            kept.add(name)
        return feed, [name for name in self._names if name in kept]

    def _feeds(self, feed: Feed) -> dict[str, Any]:
        return {name: feed[name] for name in self._session.inputs}


def last_of(graph: Graph, names: Sequence[str]) -> list[str]:
    """Return those of `names` from which no other one is computed."""
    leads: set[str] = set()  # tensors that one of `names` is computed from
    for node in reversed(graph.nodes):
        if any(output in leads or output in names for output in node.outputs):
            leads.update(filter(None, node.inputs))
    return [name for name in names if name not in leads]


# Of a tensor's largest magnitude: orders of magnitude above float rounding through a deep network, and below
# what a misread operator would do.
_MAX_DIFFERENCE = 1e-3
# Bytes of Paddle's tensors that are held while they are compared.
_MOST_COMPARED = 32 << 20


def difference(program: SourceModel, engine: EngineRunner, batch: Feed) -> str:
    """Return "" if engine and Paddle compute the same tensors of one batch, else a sentence.

    Raises
    ------
    ValueError : the engine cannot run the batch.
    """
    other = ""

    def compare(name: str, mine: NDArray[Any], image: Optional[int]) -> None:
        nonlocal other
        paddles = theirs[name]
        largest = _largest(paddles)
        is_same = mine.shape == paddles.shape and (
            not np.isfinite(largest) or _largest(mine - paddles) <= _MAX_DIFFERENCE * largest
        )
        if not is_same and not other:
            other = name

    feed, names = engine.to_compare(batch)
    theirs = dict(zip(names, program.run(feed, names)))
    engine.show(feed, names, compare)
    if not other:
        return ""
    logger.warning(
        "tensor %r differs between the engine and Paddle's executor; Paddle's executor calibrates", other
    )
    return f"tensor {other!r} differs between the engine and Paddle's executor"


def _largest(x: NDArray[Any]) -> float:
    """Return the largest magnitude, 0 of no elements, without a copy of `x`."""
    return float(np.maximum(x.max(initial=0.0), -x.min(initial=0.0)))


def watch(
    runner: Union[ExecutorRunner, EngineRunner],
    feed: Feed,
    names: Sequence[str],
    watched: Watched,
    update: Callable[[str, NDArray[Any]], None],
    digests: NDArray[np.uint64],
) -> None:
    """Run one batch and show each of `names` to `update` and to the layers that watch it.

    `digests` are those of the data.
    """

    def show(name: str, array: NDArray[Any], image: Optional[int]) -> None:
        update(name, array)
        for layer in watched.layers:
            if layer.tensor == name:
                layer.update(array, digests if image is None else digests[image : image + 1])

    runner.show(feed, names, show)


def digests_of(feed: Feed) -> NDArray[np.uint64]:
    """Return a number for each sample of a batch that its data alone decides."""
    arrays = [array for array in feed.values() if array.ndim > 0]
    samples = len(arrays[0]) if arrays else 1
    result = np.zeros(samples, np.uint64)
    for array in arrays:
        if len(array) == samples:
            parts = [zlib.crc32(np.ascontiguousarray(part).tobytes()) for part in array]
            result = result * np.uint64(0x100000001B3) + np.array(parts, np.uint64)
    return result


def return_free_memory() -> None:
    """Give pages that the allocator holds free back to the system, where glibc is the allocator.

    Paddle's executor frees its tensors in another order in each pass, so the heap fragments: MobileNetV1 at
    224x224 grew from 0.76 GB to 1.5 GB over 32 batches without this and stays at 0.85 GB with it.
    """
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)
