# SPDX-License-Identifier: Apache-2.0
"""The report of an AutoCompression: what each strategy made of the model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Optional

from qslim.graph.flops import count
from qslim.importers.paddle import load_program
from qslim.paddle.model_files import ModelFiles
from qslim.prune.sparse_masks import sparsity
from qslim.reports import Report, Rows, table

__all__ = ["CompressionReport", "ModelState", "StrategyReport"]


@dataclass(frozen=True)
class ModelState:
    """A model in numbers.

    Attributes
    ----------
    bytes : of program and parameters on disk
    parameters : elements of all weights and biases
    flops : multiply-adds of one sample; None if a shape is open
    zeros : share of the parameters with two axes and more that is zero
    metric : float, or None without ``eval_callback``
    """

    bytes: int
    parameters: int
    flops: Optional[int]
    zeros: float
    metric: Optional[float] = None

    @classmethod
    def of(cls, files: ModelFiles, metric: Optional[float]) -> ModelState:
        """Return the state of the model in `files`."""
        program = load_program(files)
        tensors = (program.graph.tensors[name].value for name in program.parameter_names)
        values = [value for value in tensors if value is not None and value.size > 1]
        try:
            flops: Optional[int] = sum(count(program.graph).values())
        except ValueError:
            flops = None
        weights = [value for value in values if value.ndim > 1]
        return cls(files.bytes, sum(value.size for value in values), flops, sparsity(weights), metric)


@dataclass(frozen=True)
class StrategyReport:
    """One strategy: its name, the steps that it trained, the seconds that it took, and its model."""

    name: str
    steps: int
    seconds: float
    state: ModelState

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> StrategyReport:
        """Return the report that ``dataclasses.asdict`` took apart."""
        return cls(**{**values, "state": ModelState(**values["state"])})


@dataclass(frozen=True)
class CompressionReport(Report):
    """The result of ``AutoCompression.compress``. ``print(report)`` shows the table.

    Attributes
    ----------
    before : ModelState of the model that was given
    strategies : list of StrategyReport, in their order; the last one's model is what was written
    files : ModelFiles
    engine_file : str or None; the ``.qslim`` file
    notes : list of str
    """

    before: ModelState
    strategies: list[StrategyReport]
    files: ModelFiles
    engine_file: Optional[str] = None
    notes: list[str] = field(default_factory=list)

    @property
    def metric(self) -> Optional[float]:
        """The evaluation of what was written; None without ``eval_callback``."""
        return self.strategies[-1].state.metric

    def to_dict(self) -> dict[str, Any]:
        return {
            "before": asdict(self.before),
            "strategies": [asdict(each) for each in self.strategies],
            "files": self.files.paths,
            "engine_file": self.engine_file,
            "notes": list(self.notes),
        }

    def rows(self) -> list[Rows]:
        head = ("model", "metric", "bytes", "parameters", "multiply-adds", "zeros", "steps", "seconds")
        rows: list[tuple[Any, ...]] = [head, ("given", *_cells(self.before), "", "")]
        for each in self.strategies:
            rows.append((each.name, *_cells(each.state), each.steps or "", f"{each.seconds:.1f}"))
        return [rows]

    @property
    def summary(self) -> str:
        """The files that were written, and notes."""
        return "\n".join(
            [*self.notes, f"wrote {', '.join(filter(None, (*self.files.paths, self.engine_file)))}"]
        )

    def __str__(self) -> str:
        return f"{table(self.rows()[0], numbers=range(1, 8))}\n{self.summary}"


def _cells(state: ModelState) -> tuple[str, ...]:
    return (
        "" if state.metric is None else f"{state.metric:.6g}",
        f"{state.bytes:,}",
        f"{state.parameters:,}",
        "" if state.flops is None else f"{state.flops:,}",
        f"{state.zeros:.1%}",
    )
