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

import itertools
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Optional, Union

import numpy as np
from numpy.typing import NDArray

from qslim import _core
from qslim.functional import TensorStatistics
from qslim.importers.paddle import PaddleProgram
from qslim.logger import logger
from qslim.progress import progress_bar
from qslim.quant import distributed
from qslim.quant.post_training.calibration_runs import (
    EngineRunner,
    ExecutorRunner,
    Watched,
    difference,
    digests_of,
    return_free_memory,
    watch,
)
from qslim.quant.post_training.data_source import Feed, KeptBatches
from qslim.quant.post_training.layer_samples import LayerSamples
from qslim.quant.source_models import SourceModel

__all__ = ["Calibration", "collect_statistics", "statistics_of_graph"]


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
    program: SourceModel,
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
        engine: Optional[EngineRunner] = None
        problem = ""
        try:
            engine = EngineRunner.of(program.graph, names, max_memory)
            if first and engine is not None and isinstance(program, PaddleProgram):
                problem = difference(program, engine, first[0])
        except ValueError as error:
            problem = str(error)
        if problem and max_memory is not None:
            raise ValueError(
                f"max_memory: the engine cannot calibrate within {max_memory:,} bytes, and Paddle's executor "
                f"knows no limit: {problem}"
            )
        if problem and not isinstance(program, PaddleProgram):
            raise ValueError(f"{program.files.program!r}: the engine cannot run it: {problem}")
        if problem:
            logger.debug("calibration stays with Paddle's executor: %s", problem)
        decision.own = b"engine" if first and engine is not None and not problem else b"Paddle"
        return_free_memory()
    if decision.all[0] == b"Paddle":
        engine = None
    with distributed.together("calibration") as parts:
        watched = Watched({name: TensorStatistics() for name in names}, list(layers))
        every: Iterable[Feed] = itertools.chain(first, feeds)
        if kept is not None:
            every = kept.taking(every)
        parts.value = _collect(program, engine or ExecutorRunner(program), watched, every)
    merged = _merge(parts.values)
    return replace(merged, kept=kept, by_engine=engine is not None)


def statistics_of_graph(
    program: SourceModel, names: Sequence[str], feeds: Iterable[Feed], max_memory: Optional[int] = None
) -> dict[str, TensorStatistics]:
    """Return statistics of computed tensors in the program's Graph as it is now, Paddle's program or not.

    Raises
    ------
    ValueError : the engine cannot run it.
    """
    with distributed.together("calibration") as parts:
        engine = EngineRunner.of(program.graph, names, max_memory)
        assert engine is not None
        watched = Watched({name: TensorStatistics() for name in names}, [])
        parts.value = _collect(program, engine, watched, feeds)
    return _merge(parts.values).statistics


def _collect(
    program: SourceModel,
    runner: Union[ExecutorRunner, EngineRunner],
    watched: Watched,
    feeds: Iterable[Feed],
) -> Calibration:
    """Return the statistics of this rank's `feeds`."""
    context = _core.Context(num_threads=os.cpu_count() or 1)
    count = samples = 0
    constant = {spec.name for spec in program.feeds}
    for feed in feeds:
        number = distributed.rank() + count * distributed.world_size()
        _observe(runner, feed, watched, context, number)
        return_free_memory()  # here, where nothing holds a tensor of the batch any more
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


def _observe(
    runner: Union[ExecutorRunner, EngineRunner],
    feed: Feed,
    watched: Watched,
    context: _core.Context,
    number: int,
) -> None:
    """Run one batch and show each tensor to what watches it."""

    def update(name: str, array: NDArray[Any]) -> None:
        try:
            watched.statistics[name].update(array, context=context)
        except ValueError as error:
            raise ValueError(f"calibration batch {number}, tensor {name!r}: {error}") from error

    digests = digests_of(feed) if watched.layers else np.zeros(0, np.uint64)
    watch(runner, feed, list(watched.statistics), watched, update, digests)
