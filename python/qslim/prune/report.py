# SPDX-License-Identifier: Apache-2.0
"""What pruning gained: parameters, FLOPs, bytes of the engine's file, and the time of a run in the engine."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Optional

import numpy as np

from qslim.exporters.qslim_file import dumps_qslim
from qslim.graph import Graph
from qslim.graph.passes import prepare_for_runtime
from qslim.importers.paddle import framework, import_layer
from qslim.prune.groups import find_groups
from qslim.prune.inputs import example_inputs, input_specs
from qslim.runtime import Session

__all__ = ["NetworkSize", "PruningReport", "compare", "measure"]


@dataclass(frozen=True)
class NetworkSize:
    """One network's numbers.

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
class PruningReport:
    """Before and after. ``print(report)`` shows the table."""

    before: NetworkSize
    after: NetworkSize

    @property
    def speedup(self) -> Optional[float]:
        """How many times as fast a run became."""
        if self.before.milliseconds is None or self.after.milliseconds is None:
            return None
        return self.before.milliseconds / self.after.milliseconds

    @property
    def pruned_flops(self) -> float:
        """The part of the FLOPs that is gone."""
        return 1 - self.after.flops / self.before.flops if self.before.flops else 0.0

    def __str__(self) -> str:
        rows = [("", "before", "after", "after / before")]
        for title, name in (("parameters", "parameters"), ("FLOPs", "flops"), ("bytes (.qslim)", "bytes")):
            one, other = getattr(self.before, name), getattr(self.after, name)
            rows.append((title, f"{one:,}", f"{other:,}", f"{other / one:.3f}" if one else ""))
        one, other = self.before.milliseconds, self.after.milliseconds
        if one is not None and other is not None:
            rows.append(("ms a run", f"{one:.2f}", f"{other:.2f}", f"{other / one:.3f}"))
        else:
            rows.append(("ms a run", "the engine lacks an operator", "", ""))
        widths = [max(len(row[column]) for row in rows) for column in range(4)]
        return "\n".join(
            f"{row[0]:{widths[0]}}  {row[1]:>{widths[1]}}  {row[2]:>{widths[2]}}  {row[3]:>{widths[3]}}".rstrip()
            for row in rows
        )


def compare(
    before: Any, after: Any, inputs: Any, num_threads: int = 1, runs: int = 15, input_dtype: str = "float32"
) -> PruningReport:
    """Count and time two networks of one architecture.

    Parameters
    ----------
    before, after : paddle.nn.Layer
    inputs : as for the pruners: the shape of the input, several shapes, or tensors
    num_threads : int, of the engine
    runs : int
        Timed runs of each network, in turns, so that a busy moment falls on both.

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
    return measure([_Counted(net, inputs, input_dtype) for net in (before, after)], num_threads, runs)


class _Counted:
    """A network's graph and what can be counted of it at once, before it is changed."""

    def __init__(self, layer: Any, inputs: Any, dtype: str = "float32") -> None:
        self.examples = example_inputs(inputs, dtype)
        program = import_layer(layer, input_specs(self.examples))
        self.graph: Graph = program.graph
        self.parameters = sum(self.graph.tensors[name].value.size for name in program.parameter_names)  # type: ignore[union-attr]
        self.flops = int(find_groups(self.graph, program.parameter_names).multiply_adds())
        prepared = prepare_for_runtime(self.graph)
        self.bytes = len(dumps_qslim(prepared))
