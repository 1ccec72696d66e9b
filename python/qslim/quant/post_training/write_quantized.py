# SPDX-License-Identifier: Apache-2.0
"""The files of a quantized program, and the report of what was done to it."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Optional

from qslim.exporters.engine_file import EngineFile
from qslim.graph.passes import FoldedBatchNorm
from qslim.importers.paddle import ModelFiles
from qslim.quant.options import PostTrainingOptions
from qslim.quant.post_training.calibration import Calibration
from qslim.quant.post_training.operator_selection import Decision
from qslim.quant.post_training.post_training_report import (
    ActivationReport,
    MixedPrecisionReport,
    QuantizationReport,
    WeightReport,
    operator_reports,
)
from qslim.quant.source_models import SourceModel, write_quantized_model

__all__ = ["Target", "Written", "report_of", "write_program"]


@dataclass(frozen=True)
class Target:
    """The directory to write to, and the user's names for the files."""

    directory: str
    model_filename: Optional[str]
    params_filename: Optional[str]
    saves_onnx: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.saves_onnx, bool):
            raise ValueError(f"save_onnx: expected True or False, got {self.saves_onnx!r}")

    @property
    def own_params_filename(self) -> Optional[str]:
        """The name of the parameter file, None where it is that of the program."""
        return None if self.params_filename == "model.pdiparams" else self.params_filename

    @property
    def onnx_filename(self) -> Optional[str]:
        """The name of the ONNX file beside a Paddle model, None where there is to be none."""
        stem = re.sub(r"\.(pdmodel|json)$", "", self.model_filename or "model")
        return f"{stem}.onnx" if self.saves_onnx else None


@dataclass(frozen=True)
class Written:
    """The files that rank 0 wrote, for the report on every rank; they need not share a disk."""

    program: str
    params: Optional[str]
    size: int
    engine_file: Optional[str]
    notes: list[str]
    onnx_file: Optional[str]

    def to_json(self) -> bytes:
        return json.dumps(asdict(self)).encode()

    @classmethod
    def of(cls, files: ModelFiles, engine: EngineFile, target: Target) -> Written:
        onnx = files.program if files.program.endswith(".onnx") else None
        if onnx is None and target.onnx_filename is not None:
            onnx = os.path.join(target.directory, target.onnx_filename)
        return cls(files.program, files.params, files.bytes, engine.path, list(engine.notes), onnx)

    @classmethod
    def from_json(cls, data: bytes) -> Written:
        return cls(**json.loads(data))


def write_program(
    program: SourceModel,
    target: Target,
    options: PostTrainingOptions,
    folded: Sequence[FoldedBatchNorm] = (),
) -> Written:
    """Write `program` as its Graph is annotated, and the engine's file of it."""
    files, engine = write_quantized_model(
        program,
        target.directory,
        program.graph,
        model_filename=target.model_filename,
        params_filename=target.own_params_filename,
        weight_storage="int8" if options.onnx_format else "float32",
        folded=folded,
        onnx_filename=target.onnx_filename,
    )
    return Written.of(files, engine, target)


def report_of(
    program: SourceModel,
    options: PostTrainingOptions,
    calibration: Calibration,
    decisions: Sequence[Decision],
    activations: Sequence[ActivationReport],
    weights: Sequence[WeightReport],
    folded: int,
    written: Written,
    mixed_precision: Optional[MixedPrecisionReport] = None,
) -> QuantizationReport:
    """Return the report of a quantization that was written; `folded` counts normalizations."""
    return QuantizationReport(
        algo=options.algo,
        operators=operator_reports(list(decisions), options.weight_bits),
        activations=list(activations),
        weights=list(weights),
        files=ModelFiles(written.program, written.params),
        bytes_before=program.files.bytes,
        bytes_after=written.size,
        batches=calibration.batches,
        samples=calibration.samples,
        notes=[
            *([f"{folded} batch normalizations folded"] if folded else []),
            *_choices(activations, weights, options),
            *_narrow_data(activations),
            *written.notes,
            *(mixed_precision.notes if mixed_precision is not None else []),
        ],
        engine_file=written.engine_file,
        onnx_file=written.onnx_file,
        mixed_precision=mixed_precision,
    )


def _narrow_data(activations: Sequence[ActivationReport]) -> list[str]:
    """Return a note for each tensor that never changed in calibration, and each feed without negatives."""
    notes = []
    for activation in activations:
        statistics = activation.statistics
        if activation.op == "feed" and activation.params.qmin == activation.params.zero_point == 0:
            notes.append(
                f"feed {activation.name!r} was never negative during calibration: it is uint8, and negative "
                'values of other data become 0; activation_scheme="symmetric" keeps them'
            )
        if statistics.min == statistics.max:
            notes.append(
                f"tensor {activation.name!r} was {statistics.min:g} everywhere during calibration: its "
                f"threshold {activation.threshold:g} may clip what other data brings"
            )
    return notes


def _choices(
    activations: Sequence[ActivationReport], weights: Sequence[WeightReport], options: PostTrainingOptions
) -> list[str]:
    """Return notes on what was chosen for single tensors and layers."""
    notes = []
    affine = sum(report.params.zero_point > 0 for report in activations)
    if affine:
        notes.append(f"{affine} of {len(activations)} activations have a zero point")
    if options.algo == "auto":
        rules = Counter(report.rule for report in activations).most_common()
        notes.append("thresholds by " + ", ".join(f"{rule} ({count})" for rule, count in rules))
    methods = Counter(method for report in weights for method in report.methods)
    notes += [f"{count} of {len(weights)} layers {method}" for method, count in methods.items()]
    return notes
