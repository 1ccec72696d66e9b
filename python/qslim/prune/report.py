# SPDX-License-Identifier: Apache-2.0
"""The gain by pruning: parameters, FLOPs, bytes of the engine's file, and the time of a run in the engine."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Optional

import numpy as np
from numpy.typing import NDArray

from qslim.exporters.qslim_file import dumps_qslim
from qslim.graph import Graph
from qslim.graph.flops import count
from qslim.graph.passes import prepare_for_runtime
from qslim.importers.paddle import PaddleProgram, import_layer
from qslim.prune.inputs import example_inputs, input_specs, named_inputs
from qslim.prune.model_edit import dygraph
from qslim.reports import Report, Rows, table
from qslim.runtime import Session

__all__ = ["NetworkSize", "PruningReport", "Snapshot", "compare", "time_together"]


@dataclass(frozen=True)
class NetworkSize:
    """Parameters, FLOPs, bytes and time of one network.

    Attributes
    ----------
    parameters : elements of all parameters and buffers
    flops : multiply-adds of convolutions and matrix products for one input
    bytes : of the .qslim file
    milliseconds : of a run in the engine, the median; None if the engine lacks an operator
    """

    parameters: int
    flops: int
    bytes: int
    milliseconds: Optional[float]


@dataclass(frozen=True)
class PruningReport(Report):
    """Before and after. ``print(report)`` shows the table."""

    before: NetworkSize
    after: NetworkSize

    @property
    def speedup(self) -> Optional[float]:
        """The time before divided by the time now."""
        if self.before.milliseconds is None or self.after.milliseconds is None:
            return None
        return self.before.milliseconds / self.after.milliseconds

    @property
    def pruned_flops(self) -> float:
        """The part of the FLOPs that is gone."""
        return 1 - self.after.flops / self.before.flops if self.before.flops else 0.0

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "speedup": self.speedup, "pruned_flops": self.pruned_flops}

    def rows(self) -> list[Rows]:
        rows = [("", "before", "after", "after / before")]
        for title, name in (("parameters", "parameters"), ("FLOPs", "flops"), ("bytes (.qslim)", "bytes")):
            one, other = getattr(self.before, name), getattr(self.after, name)
            rows.append((title, f"{one:,}", f"{other:,}", f"{other / one:.3f}" if one else ""))
        one, other = self.before.milliseconds, self.after.milliseconds
        if one is not None and other is not None:
            rows.append(("ms a run", f"{one:.2f}", f"{other:.2f}", f"{other / one:.3f}"))
        else:
            rows.append(("ms a run", "the engine lacks an operator", "", ""))
        return [rows]

    def __str__(self) -> str:
        return table(self.rows()[0], numbers=range(1, 4))


@dygraph()
def compare(
    before: Any, after: Any, inputs: Any, num_threads: int = 1, runs: int = 15, input_dtype: str = "float32"
) -> PruningReport:
    """Count and time two networks of one architecture.

    Parameters
    ----------
    before, after : paddle.nn.Layer
    inputs : as for the pruners: the shape of the input, several shapes, or tensors
    num_threads : int, of the engine
    runs : int, timed runs of each network

    Returns
    -------
    PruningReport

    Examples
    --------
    >>> import paddle, qslim
    >>> net, pruned = paddle.nn.Linear(8, 8), paddle.nn.Linear(8, 4)
    >>> report = qslim.prune.compare(net, pruned, [1, 8])
    >>> report.before.flops, report.after.flops, report.after.parameters
    (64, 32, 36)
    """
    snapshots = [Snapshot.of(net, inputs, input_dtype) for net in (before, after)]
    return time_together(snapshots[0], snapshots[1], num_threads, runs)


@dataclass(frozen=True)
class Snapshot:
    """A traced network, for a report after the Layer was changed.

    Attributes
    ----------
    graph : Graph
    parameter_names : its constants that are parameters
    feeds : dict of input name to array
    """

    graph: Graph
    parameter_names: set[str]
    feeds: dict[str, NDArray[Any]]

    @classmethod
    def of(cls, layer: Any, inputs: Any, input_dtype: str = "float32") -> Snapshot:
        """Trace `layer` as it is now."""
        examples = example_inputs(inputs, input_dtype)
        return cls.of_program(import_layer(layer, input_specs(examples)), examples)

    @classmethod
    def of_program(cls, program: PaddleProgram, examples: Sequence[Any]) -> Snapshot:
        """Measure a program that was traced with `examples`."""
        tensors = named_inputs(examples)
        feeds = {name: tensors[name].numpy() for name in program.graph.inputs}
        return cls(program.graph, program.parameter_names, feeds)

    def size(self, milliseconds: Optional[float] = None) -> NetworkSize:
        constants = [self.graph.constant(name) for name in self.parameter_names]
        return NetworkSize(
            parameters=sum(value.size for value in constants if value is not None),
            flops=sum(count(self.graph).values()),
            bytes=len(dumps_qslim(prepare_for_runtime(self.graph))),
            milliseconds=milliseconds,
        )


def time_together(before: Snapshot, after: Snapshot, num_threads: int = 1, runs: int = 15) -> PruningReport:
    """Time both in the engine, in turns, so that a busy moment falls on both."""
    if runs < 1:
        raise ValueError(f"compare: runs must be at least 1, got {runs}")
    snapshots = (before, after)
    try:
        sessions = [Session(snapshot.graph, num_threads=num_threads) for snapshot in snapshots]
    except ValueError:  # an operator without a kernel
        return PruningReport(before.size(), after.size())
    times: list[list[float]] = [[], []]
    for turn in range(runs + 1):  # the first run prepares memory
        for session, snapshot, taken in zip(sessions, snapshots, times):
            start = time.perf_counter()
            session.run(snapshot.feeds)
            if turn:
                taken.append(1000 * (time.perf_counter() - start))
    return PruningReport(
        *(snapshot.size(float(np.median(taken))) for snapshot, taken in zip(snapshots, times))
    )
