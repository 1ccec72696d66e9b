# SPDX-License-Identifier: Apache-2.0
"""``quant_post_static`` with ``accuracy_drop``: calibrate once, search, write what was found."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace
from typing import Optional

from qslim.quant import distributed
from qslim.quant.analysis.quantization import KeptSamples, Quantization, quantize_calibrated
from qslim.quant.mixed_precision.journal import Journal, key_of
from qslim.quant.mixed_precision.judges import Agreement, Judge, UserMetric, takes_program
from qslim.quant.mixed_precision.search import Search
from qslim.quant.options import PostTrainingOptions, SearchOptions
from qslim.quant.post_training.calibration import Calibration
from qslim.quant.post_training.data_source import Feed
from qslim.quant.post_training.operator_selection import Selection
from qslim.quant.post_training.post_training_report import MixedPrecisionReport, QuantizationReport
from qslim.quant.post_training.quantize_graph import calibrate
from qslim.quant.post_training.write_quantized import Target, Written, report_of
from qslim.quant.source_models import SourceModel

__all__ = ["check_search", "quantize_mixed"]

# Samples that are kept to be judged: so many, or so many bytes.
_MOST_SAMPLES, _MOST_BYTES = 128, 64 << 20


def check_search(search: SearchOptions) -> None:
    """Refuse what a search cannot do, before any work.

    Raises
    ------
    ValueError : an eval_function of another form; several processes.
    """
    if search.eval_function is not None:
        takes_program(search.eval_function)
    if search.accuracy_drop is not None and distributed.world_size() > 1:
        raise ValueError(
            f"accuracy_drop: the search for layers runs in one process, and this is one of "
            f"{distributed.world_size()}; call it in a single process, or give skip_tensor_list what such a "
            "call has found (report.mixed_precision.in_float)"
        )


def quantize_mixed(
    program: SourceModel,
    selection: Selection,
    batches: Iterable[Feed],
    total: Optional[int],
    options: PostTrainingOptions,
    search: SearchOptions,
    target: Target,
    began: float,
) -> QuantizationReport:
    """Calibrate, search from `began` on (``time.monotonic()``) and return the report of what was written."""
    kept = KeptSamples(program, _MOST_SAMPLES, _MOST_BYTES)
    calibration = calibrate(program, selection, kept.of(batches), total, options)
    quantization = quantize_calibrated(program, selection, calibration, options, kept.samples)
    judge: Judge = (
        Agreement(quantization) if search.eval_function is None else UserMetric(search.eval_function)
    )
    name = getattr(search.eval_function, "__qualname__", "")
    journal = Journal(_journal_path(target), key_of(quantization, judge.description, name))
    written: list[Written] = []

    def write(in_float: frozenset[str]) -> None:
        layers = [layer for layer in quantization.layers if layer.name not in in_float]
        files, engine, _ = quantization.write(
            layers, target.directory, target.model_filename, target.own_params_filename, target.onnx_filename
        )
        written.append(Written.of(files, engine, target))

    deadline = None if search.time_budget is None else began + search.time_budget
    assert search.accuracy_drop is not None
    found = Search(quantization, judge, search.accuracy_drop, deadline, journal, write).run()
    return _report(quantization, calibration, options, found, written[-1])


def _journal_path(target: Target) -> str:
    stem = os.path.splitext(os.path.basename(target.model_filename or "model"))[0]
    return os.path.join(target.directory, f"{stem}.search-journal")


def _report(
    quantization: Quantization,
    calibration: Calibration,
    options: PostTrainingOptions,
    found: MixedPrecisionReport,
    written: Written,
) -> QuantizationReport:
    """Return the report of the operators and tensors that are quantized after all."""
    layers = [layer for layer in quantization.layers if layer.name not in found.in_float]
    outputs = {name for layer in layers for name in layer.outputs}
    annotated = {name for layer in layers for name in layer.activations}
    weights = {layer.weight for layer in layers}
    decisions = [
        replace(each, is_quantized=False, reason="accuracy_drop leaves it in fp32")
        if each.is_quantized and not outputs.intersection(each.node.outputs)
        else each
        for each in quantization.decisions
    ]
    return report_of(
        quantization.program,
        options,
        calibration,
        decisions,
        [each for each in quantization.activations if each.name in annotated],
        [each for each in quantization.weights if each.name in weights],
        quantization.folded,
        written,
        found,
    )
