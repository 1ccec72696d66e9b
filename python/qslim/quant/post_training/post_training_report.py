# SPDX-License-Identifier: Apache-2.0
"""The report of a quantization run: operators, thresholds, the files and their sizes."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any, Optional

import numpy as np
from numpy.typing import NDArray

from qslim.functional import TensorStatistics
from qslim.graph import QuantParams
from qslim.importers.paddle import ModelFiles
from qslim.quant.post_training.operator_selection import Decision
from qslim.reports import Report, Rows, table
from qslim.runtime import Layer, Session
from qslim.runtime.example_feeds import ones_for

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
class QuantizationReport(Report):
    """The result of ``quant_post_static`` and ``quant_post_dynamic``. ``print(report)`` shows the tables.

    The first one has the engine's steps, after fusion; the second the operators of the model, equal
    ones in one row. ``operators`` has a row for each.

    ``files`` and ``bytes_after`` are the model's; ``engine_file`` is the path of the ``.qslim`` file
    that ``qslim.runtime.Session`` runs, None if the engine cannot (``notes`` say why); ``onnx_file`` that of
    the ONNX file, if one was written. ``mixed_precision`` is there where ``accuracy_drop`` was given.
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
    onnx_file: Optional[str] = None
    mixed_precision: Optional[MixedPrecisionReport] = None

    @cached_property
    def engine_layers(self) -> Optional[list[Layer]]:
        """The steps of the engine for one sample of ones, found when they are first asked for.

        None if there is no engine's file any more, or if its inputs leave open what a sample looks like.
        """
        if self.engine_file is None:
            return None
        try:
            session = Session(self.engine_file, 1)
            return list(session.profile(ones_for(session.inputs, {}), runs=1))
        except (ValueError, OSError):
            return None

    @property
    def headline(self) -> str:
        """One sentence: how much of the network the engine computes in int8."""
        layers = [layer for layer in self.engine_layers or () if layer.macs]
        macs = sum(layer.macs for layer in layers)
        if not macs:
            return ""
        share = sum(layer.macs for layer in layers if layer.type == "int8") / macs
        names = {layer.name for layer in layers}  # a transposed convolution may take several steps
        in_int8 = names - {layer.name for layer in layers if layer.type != "int8"}
        return (
            f"the engine computes {len(in_int8)} of {len(names)} convolutions and matrix products in int8, "
            f"{share:.1%} of the multiply-adds"
        )

    @property
    def summary(self) -> str:
        """One paragraph: what runs in int8, how many operators are quantized, what was written."""
        quantized = sum(row.dtype != "fp32" for row in self.operators)
        lines = [self.headline] if self.headline else []
        lines.append(f"{quantized} of {len(self.operators)} operators quantized")
        if self.batches:
            lines[-1] += f", calibrated on {self.batches} batches ({self.samples} samples) with {self.algo!r}"
        reasons = Counter(row.reason for row in self.operators if row.dtype == "fp32")
        lines += [f"  {count} stay in fp32: {reason}" for reason, count in reasons.most_common()]
        lines += [f"  note: {note}" for note in self.notes]
        return "\n".join([*lines, self.written])

    @property
    def written(self) -> str:
        """The files that were written and their sizes."""
        ratio = self.bytes_after / max(1, self.bytes_before)
        lines = [
            f"wrote {' and '.join(filter(None, (self.files.program, self.files.params)))}: "
            f"{self.bytes_before:,} -> {self.bytes_after:,} bytes ({ratio:.2f})"
        ]
        if self.engine_file is not None:
            size = os.path.getsize(self.engine_file) if os.path.exists(self.engine_file) else 0
            lines.append(f"wrote {self.engine_file}: {size:,} bytes, for qslim.runtime.Session")
        if self.onnx_file not in (None, self.files.program):
            lines.append(f"wrote {self.onnx_file}, for other runtimes")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        names = (
            "algo",
            "bytes_before",
            "bytes_after",
            "batches",
            "samples",
            "notes",
            "engine_file",
            "onnx_file",
        )
        layers = None if self.engine_layers is None else [asdict(layer) for layer in self.engine_layers]
        mixed = None if self.mixed_precision is None else asdict(self.mixed_precision)
        return {
            **{name: getattr(self, name) for name in names},
            "files": self.files.paths,
            "engine_layers": layers,
            "operators": [asdict(row) for row in self.operators],
            "activations": [
                {**_params(each.params), "name": each.name, "op": each.op, "rule": each.rule}
                for each in self.activations
            ],
            "weights": [
                {**_params(each.params), "name": each.name, "shape": each.shape, "methods": each.methods}
                for each in self.weights
            ],
            "mixed_precision": mixed,
        }

    def rows(self) -> list[Rows]:
        steps = [(layer.op, layer.type, layer.reason, layer.name) for layer in self.engine_layers or ()]
        operators = [(row.op, row.dtype, row.reason, row.name) for row in self.operators]
        return [
            [("", head, "runs as", "which", "why"), *_grouped(rows)]
            for head, rows in (("in the engine", steps), ("in the model", operators))
            if rows
        ]

    def __str__(self) -> str:
        return "\n\n".join([*(table(rows, [0], widest=90) for rows in self.rows()), self.summary])


_NAMES_IN_A_ROW = 2


def _grouped(rows: Sequence[tuple[str, str, str, str]]) -> list[tuple[Any, ...]]:
    """Return a row for each kind of (operator, type, reason): their number and the names of the first."""
    groups: dict[tuple[str, str, str], list[str]] = {}
    for op, kind, reason, name in rows:
        groups.setdefault((op, kind, reason), []).append(name)
    found: list[tuple[Any, ...]] = []
    for (op, kind, reason), names in groups.items():
        more = f" and {len(names) - _NAMES_IN_A_ROW} more" if len(names) > _NAMES_IN_A_ROW else ""
        found.append((len(names), op, kind, ", ".join(names[:_NAMES_IN_A_ROW]) + more, reason))
    return found


def _params(params: QuantParams) -> dict[str, Any]:
    """Return quantization parameters for JSON."""
    names = ("zero_point", "qmin", "qmax", "quant_axis", "group_size")
    numbers = {name: getattr(params, name) for name in names}
    return {"dtype": str(params.dtype), "scale": params.scale.tolist(), **numbers}


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
