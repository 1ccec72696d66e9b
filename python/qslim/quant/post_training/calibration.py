# SPDX-License-Identifier: Apache-2.0
"""Run batches through the float model and observe its activations.

One pass, one batch at a time: the statistics (C++) read each tensor where the run left it and nothing of a
batch is kept, so memory does not depend on the number of batches.

The engine runs the float model where it has all the operators. It shows each tensor when it is computed and
then uses the memory again, so calibration takes what inference takes; memory for the last shapes alone is
kept. The first batch runs in Paddle as well, and if a tensor differs by more than rounding, Paddle's executor
does the rest: what is quantized is Paddle's model. Paddle's executor holds all tensors of a batch.

In a world of several ranks each observes its own batches. Rank 0, which has the first, decides who runs
them. The statistics are exact, so merged they are, on every rank, what one process would have, to the bit.
"""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import math
import os
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Optional, Union

import numpy as np
from numpy.typing import NDArray

from qslim import _core
from qslim.exporters.engine_file import observing
from qslim.functional import TensorStatistics
from qslim.graph import Graph
from qslim.importers.paddle import PaddleProgram
from qslim.logger import logger
from qslim.quant import distributed
from qslim.quant.post_training.data_source import Feed, KeptBatches
from qslim.quant.post_training.layer_samples import LayerSamples
from qslim.quant.post_training.progress import progress_bar
from qslim.runtime.observing_session import ObservingSession

__all__ = ["Calibration", "collect_statistics", "samples_of_graph", "statistics_of_graph"]

# Takes a tensor's name, its values, which can be read until the call returns, and the number of the image
# that they belong to; None: they are the batch's.
_Show = Callable[[str, NDArray[Any], Optional[int]], None]


@dataclass(frozen=True)
class Calibration:
    """Statistics by tensor name, and how much data they have seen, on all ranks.

    ``constant_feeds`` are those that held one value only in each of the batches; ``kept`` has this rank's
    batches, if they were to be kept; ``by_engine`` is True if the engine ran them;
    ``scaled`` has the weights that took factors of their inputs' channels afterwards.
    """

    statistics: dict[str, TensorStatistics]
    batches: int
    samples: int
    layers: list[LayerSamples]
    constant_feeds: frozenset[str]
    kept: Optional[KeptBatches] = None
    by_engine: bool = False
    scaled: frozenset[str] = frozenset()


def collect_statistics(
    program: PaddleProgram,
    names: Sequence[str],
    batches: Iterable[Feed],
    total: Optional[int] = None,
    layers: Sequence[LayerSamples] = (),
    kept: Optional[KeptBatches] = None,
    max_memory: Optional[int] = None,
) -> Calibration:
    """Statistics of the tensors `names` over all `batches`, those of the other ranks included.

    `layers` watch some of `names`; `kept` takes the batches; `max_memory` is the engine's.

    Raises
    ------
    ValueError : a tensor holds NaN or infinite values; names the tensor and the batch. With `max_memory`: a
        batch needs more, or Paddle's executor would have to run the model.
    """
    with distributed.together("calibration") as decision:
        feeds = iter(batches if distributed.rank() else progress_bar(batches, "calibrating", total))
        first = list(itertools.islice(feeds, 1))
        engine: Optional[_Engine] = None
        problem = ""
        try:
            engine = _Engine.of(program, names, max_memory)
            problem = _difference(program, engine, first[0]) if first and engine is not None else ""
        except ValueError as error:
            problem = str(error)
        if problem and max_memory is not None:
            raise ValueError(
                f"max_memory: the engine cannot calibrate within {max_memory:,} bytes, and Paddle's executor "
                f"knows no limit: {problem}"
            )
        if problem:
            logger.debug("calibration stays with Paddle's executor: %s", problem)
        decision.own = b"engine" if first and engine is not None and not problem else b"Paddle"
        _return_free_memory()
    if decision.all[0] == b"Paddle":
        engine = None
    with distributed.together("calibration") as parts:
        watched = _Watched({name: TensorStatistics() for name in names}, list(layers))
        every: Iterable[Feed] = itertools.chain(first, feeds)
        if kept is not None:
            every = kept.taking(every)
        parts.value = _collect(program, engine or _Executor(program), watched, every)
    merged = _merge(parts.values)
    return replace(merged, kept=kept, by_engine=engine is not None)


def statistics_of_graph(
    program: PaddleProgram, names: Sequence[str], feeds: Iterable[Feed], max_memory: Optional[int] = None
) -> dict[str, TensorStatistics]:
    """Return statistics of computed tensors in the program's Graph as it is now, Paddle's program or not.

    Raises
    ------
    ValueError : the engine cannot run it.
    """
    with distributed.together("calibration") as parts:
        engine = _Engine.of(program, names, max_memory)
        assert engine is not None
        watched = _Watched({name: TensorStatistics() for name in names}, [])
        parts.value = _collect(program, engine, watched, feeds)
    return _merge(parts.values).statistics


def samples_of_graph(
    program: PaddleProgram,
    layers: Sequence[LayerSamples],
    feeds: Iterable[Feed],
    max_memory: Optional[int] = None,
) -> Optional[list[LayerSamples]]:
    """Return samples of `layers` in the program's Graph as it is quantized now, of the same places.

    None where the engine cannot run it: Paddle's program is the float model.

    Parameters
    ----------
    layers : samples of the float model's run of the same batches
    feeds : this rank's batches
    """
    names = list(dict.fromkeys(layer.tensor for layer in layers))
    engine: Optional[_Engine] = None
    with contextlib.suppress(ValueError):
        engine = _Engine.of(program, names, max_memory)
    with distributed.together("calibration") as parts:
        watched = _Watched({}, [layer.empty() for layer in layers])
        if engine is not None:
            for feed in feeds:
                _watch(engine, feed, names, watched)
                distributed.report_progress()
        parts.value = watched.layers if engine is not None else []
    first, *others = parts.values
    for part in others:
        for layer, other in zip(first, part):
            layer.merge(other)
    is_paired = len(first) == len(layers) and all(map(LayerSamples.has_patches_of, first, layers))
    return first if is_paired else None


@dataclass(frozen=True)
class _Watched:
    """Everything that looks at the tensors of a batch; all of it knows its tensor's name."""

    statistics: dict[str, TensorStatistics]
    layers: list[LayerSamples]


def _collect(
    program: PaddleProgram,
    runner: Union[_Executor, _Engine],
    watched: _Watched,
    feeds: Iterable[Feed],
) -> Calibration:
    """Return the statistics of this rank's `feeds`."""
    context = _core.Context(num_threads=os.cpu_count() or 1)
    count = samples = 0
    constant = {spec.name for spec in program.feeds}
    for feed in feeds:
        number = distributed.rank() + count * distributed.world_size()
        _observe(runner, feed, watched, context, number)
        _return_free_memory()  # here, where nothing holds a tensor of the batch any more
        distributed.report_progress()
        count += 1
        samples += len(feed[program.feeds[0].name])
        constant -= {name for name in constant if (feed[name] != feed[name].flat[0]).any()}
    return Calibration(**vars(watched), batches=count, samples=samples, constant_feeds=frozenset(constant))


def _merge(parts: Sequence[Calibration]) -> Calibration:
    """Return the statistics of all ranks together."""
    first = parts[0]
    for rank, part in enumerate(parts):
        if list(part.statistics) != list(first.statistics):
            raise ValueError(
                f"calibration: rank {rank} observes other tensors than rank 0; every rank must quantize the "
                "same model with the same options"
            )
        if rank > 0:
            for name, statistics in first.statistics.items():
                statistics.merge(part.statistics[name])
            for layer, other in zip(first.layers, part.layers):
                layer.merge(other)
    batches, samples = (sum(counts) for counts in zip(*((part.batches, part.samples) for part in parts)))
    constant = frozenset.intersection(*(part.constant_feeds for part in parts))
    return replace(first, batches=batches, samples=samples, constant_feeds=constant)


class _Executor:
    """The float model in Paddle's executor, which gives all tensors of a batch at once."""

    def __init__(self, program: PaddleProgram) -> None:
        self._program = program

    def show(self, feed: Feed, names: Sequence[str], show: _Show) -> None:
        """Run one batch and call ``show(name, array, None)`` for each of `names`."""
        for name, array in zip(names, self._program.run(feed, names)):
            show(name, array, None)


class _Engine:
    """The float model in the engine, which shows each tensor when it is computed."""

    def __init__(self, session: ObservingSession, names: Sequence[str], last: Sequence[str]) -> None:
        self._session = session
        self._names = list(names)
        self._last = list(last)

    @classmethod
    def of(
        cls, program: PaddleProgram, names: Sequence[str], max_memory: Optional[int] = None
    ) -> Optional[_Engine]:
        """Return None if there is nothing to compute.

        Raises
        ------
        ValueError : the engine lacks an operator.
        """
        computed = [name for name in dict.fromkeys(names) if name not in program.graph.inputs]
        if not computed:
            return None
        graph = observing(program.graph, computed)
        if graph is None:
            raise ValueError("the engine lacks operators that the model needs")
        # The statistics take an array of less than two axes for one sample, and so must be a whole batch's.
        shapes = [graph.tensors[name].shape for name in graph.outputs]
        by_image = all(shape is not None and len(shape) > 1 for shape in shapes)
        session = ObservingSession(graph, by_image=by_image, max_memory=max_memory)
        return cls(session, computed, _last_of(program.graph, computed))

    def show(self, feed: Feed, names: Sequence[str], show: _Show) -> None:
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


def _last_of(graph: Graph, names: Sequence[str]) -> list[str]:
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


def _difference(program: PaddleProgram, engine: _Engine, batch: Feed) -> str:
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


def _observe(
    runner: Union[_Executor, _Engine],
    feed: Feed,
    watched: _Watched,
    context: _core.Context,
    number: int,
) -> None:
    """Run one batch and show each tensor to what watches it."""

    def update(name: str, array: NDArray[Any]) -> None:
        try:
            watched.statistics[name].update(array, context=context)
        except ValueError as error:
            raise ValueError(f"calibration batch {number}, tensor {name!r}: {error}") from error

    _watch(runner, feed, list(watched.statistics), watched, update)


def _watch(
    runner: Union[_Executor, _Engine],
    feed: Feed,
    names: Sequence[str],
    watched: _Watched,
    update: Callable[[str, NDArray[Any]], None] = lambda name, array: None,
) -> None:
    """Run one batch and show each of `names` to the layers that watch it, and to `update`."""
    digests = _digests(feed) if watched.layers else None

    def show(name: str, array: NDArray[Any], image: Optional[int]) -> None:
        update(name, array)
        for layer in watched.layers:
            if layer.tensor == name:
                assert digests is not None
                layer.update(array, digests if image is None else digests[image : image + 1])

    runner.show(feed, names, show)


def _digests(feed: Feed) -> NDArray[np.uint64]:
    """Return a number for each sample of a batch that its data alone decides."""
    arrays = [array for array in feed.values() if array.ndim > 0]
    samples = len(arrays[0]) if arrays else 1
    result = np.zeros(samples, np.uint64)
    for array in arrays:
        if len(array) == samples:
            parts = [zlib.crc32(np.ascontiguousarray(part).tobytes()) for part in array]
            result = result * np.uint64(0x100000001B3) + np.array(parts, np.uint64)
    return result


def _return_free_memory() -> None:
    """Give pages that the allocator holds free back to the system, where glibc is the allocator.

    Paddle's executor frees its tensors in another order in each pass, so the heap fragments: MobileNetV1 at
    224x224 grew from 0.76 GB to 1.5 GB over 32 batches without this and stays at 0.85 GB with it.
    """
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)
