# SPDX-License-Identifier: Apache-2.0
"""The report of a quantization run: operators, thresholds, the files and their sizes."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Optional

import numpy as np
from numpy.typing import NDArray

from qslim.functional import TensorStatistics
from qslim.graph import QuantParams
from qslim.importers.paddle import ModelFiles
from qslim.quant.post_training.operator_selection import Decision

__all__ = [
    "ActivationReport",
    "MixedPrecisionReport",
    "OperatorReport",
    "QuantizationReport",
    "WeightReport",
    "operator_reports",
]


@dataclass(frozen=True)
class OperatorReport:
    """One row of the table: the operator, the type that it computes in, and why."""

    name: str
    op: str
    dtype: str
    reason: str


@dataclass(frozen=True)
class ActivationReport:
    """One calibrated activation. ``threshold`` and ``scale`` are in the tensor's units.

    ``rule`` is the rule that its parameters follow, of ``algo="auto"`` the one that was chosen.
    """

    name: str
    op: str
    params: QuantParams
    statistics: TensorStatistics
    rule: str = ""

    @property
    def dtype(self) -> str:
        return str(self.params.dtype)

    @property
    def threshold(self) -> float:
        """The largest magnitude that is kept."""
        params = self.params
        if params.zero_point == 0:
            return float(params.threshold)
        return float(params.scale) * max(params.qmax - params.zero_point, params.zero_point - params.qmin)

    @property
    def scale(self) -> float:
        return float(self.params.scale)


@dataclass(frozen=True)
class WeightReport:
    """One quantized weight: ``values`` as they were, ``quantized`` as they are stored.

    ``methods`` says what was done beside rounding to nearest: "rounded adaptively", "bias corrected".
    """

    name: str
    params: QuantParams
    values: NDArray[np.float32]
    methods: tuple[str, ...] = ()

    @property
    def shape(self) -> tuple[int, ...]:
        return self.values.shape

    @property
    def quant_axis(self) -> Optional[int]:
        return self.params.quant_axis

    @property
    def threshold(self) -> NDArray[np.float32]:
        return self.params.threshold

    @property
    def scale(self) -> NDArray[np.float32]:
        return self.params.scale

    @property
    def quantized(self) -> NDArray[Any]:
        return self.params.quantize(self.values)


@dataclass(frozen=True)
class MixedPrecisionReport:
    """The result of a search for layers to leave in fp32.

    Attributes
    ----------
    measure : str
        What the metrics are, and their unit; larger is better.
    in_float : list of str
        Layers that stay in fp32, by what skip_tensor_list takes.
    target : float
        The least metric that is accepted.
    metric_float, metric_int8, metric : float
        Of the float network, with every layer in int8, and of the network that was written.
    trials : int
        Networks that were judged.
    stopped : str
        Why the search ended early; empty if it did not.
    seconds_float, seconds_int8, seconds : float or None
        Latency of the same three for one sample in the engine, the sum over its steps; None where it cannot
        run the network.
    """

    measure: str
    in_float: list[str]
    target: float
    metric_float: float
    metric_int8: float
    metric: float
    trials: int
    stopped: str = ""
    seconds_float: Optional[float] = None
    seconds_int8: Optional[float] = None
    seconds: Optional[float] = None

    @property
    def is_reached(self) -> bool:
        return self.metric >= self.target

    @property
    def notes(self) -> list[str]:
        """Sentences for a report."""
        names = ", ".join(map(repr, self.in_float[:8])) + (", ..." if len(self.in_float) > 8 else "")
        notes = [
            f"mixed precision: {len(self.in_float)} layers stay in fp32{': ' + names if names else ''}",
            f"{self.measure}: {self.metric_float:.6g} in float, {self.metric_int8:.6g} all in int8, "
            f"{self.metric:.6g} as written, after {self.trials} trials",
        ]
        if not self.is_reached:
            reason = self.stopped or "of what was tried the float network alone reaches it"
            notes.append(f"the target {self.target:.6g} is NOT reached: {reason}; this is the best so far")
        elif self.stopped:
            notes.append(f"{self.stopped}: fewer layers in fp32 may do")
        times = (self.seconds_float, self.seconds_int8, self.seconds)
        if None not in times:
            spent = [f"{1e3 * (seconds or 0.0):.3g} ms" for seconds in times]
            notes.append(
                f"latency of one sample: {spent[0]} in float, {spent[1]} all in int8, {spent[2]} as written"
            )
        return notes


@dataclass(frozen=True)
class QuantizationReport:
    """The result of ``quant_post_static`` and ``quant_post_dynamic``. ``print(report)`` shows the table.

    ``files`` and ``bytes_after`` are the Paddle model's; ``engine_file`` is the path of the ``.qslim`` file
    that ``qslim.runtime.Session`` runs, None if the engine cannot (``notes`` say why). ``mixed_precision`` is
    there where ``accuracy_drop`` was given.
    """

    algo: str
    operators: list[OperatorReport]
    activations: list[ActivationReport]
    weights: list[WeightReport]
    files: ModelFiles
    bytes_before: int
    bytes_after: int
    batches: int = 0
    samples: int = 0
    notes: list[str] = field(default_factory=list)
    engine_file: Optional[str] = None
    mixed_precision: Optional[MixedPrecisionReport] = None

    @property
    def summary(self) -> str:
        """One paragraph: how many operators are quantized, what was written, how large it is."""
        quantized = sum(row.dtype != "fp32" for row in self.operators)
        lines = [f"{quantized} of {len(self.operators)} operators quantized"]
        if self.batches:
            lines[0] += f", calibrated on {self.batches} batches ({self.samples} samples) with {self.algo!r}"
        reasons = Counter(row.reason for row in self.operators if row.dtype == "fp32")
        lines += [f"  {count} stay in fp32: {reason}" for reason, count in reasons.most_common()]
        lines += [f"  note: {note}" for note in self.notes]
        ratio = self.bytes_after / max(1, self.bytes_before)
        lines.append(
            f"wrote {' and '.join(filter(None, (self.files.program, self.files.params)))}: "
            f"{self.bytes_before:,} -> {self.bytes_after:,} bytes ({ratio:.2f})"
        )
        if self.engine_file is not None:
            size = os.path.getsize(self.engine_file) if os.path.exists(self.engine_file) else 0
            lines.append(f"wrote {self.engine_file}: {size:,} bytes, for qslim.runtime.Session")
        return "\n".join(lines)

    def __str__(self) -> str:
        rows = [("operator", "runs as", "why"), *((r.name, r.dtype, r.reason) for r in self.operators)]
        widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
        table = "\n".join(f"{name:{widths[0]}}  {dtype:{widths[1]}}  {why}" for name, dtype, why in rows)
        return f"{table}\n{self.summary}"


def operator_reports(decisions: list[Decision], weight_bits: int) -> list[OperatorReport]:
    """Return the table's rows for `decisions`."""
    return [
        OperatorReport(
            decision.node.label,
            decision.node.source_op,
            f"int{8 if weight_bits <= 8 else 16}" if decision.is_quantized else "fp32",
            decision.reason,
        )
        for decision in decisions
    ]
