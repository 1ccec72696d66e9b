# SPDX-License-Identifier: Apache-2.0
"""Quantization of a Graph after training: choose operators, collect statistics, annotate tensors.

Nothing is loaded or written here: ``quant_post_static`` writes the Graph, ``quant.analysis`` measures it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any, Optional

from qslim.graph import Graph
from qslim.graph.passes import FoldedBatchNorm, non_negative_tensors
from qslim.importers.paddle import PaddleProgram, attribute_paths
from qslim.quant.op_types import TENSORRT_OP_TYPES, all_op_types, pir_names
from qslim.quant.options import PostTrainingOptions
from qslim.quant.post_training.activation_params import activation_params
from qslim.quant.post_training.adaptive_rounding import input_moments, moments_of_samples
from qslim.quant.post_training.bias_correction import correct_biases, find_bias
from qslim.quant.post_training.calibration import Calibration, collect_statistics
from qslim.quant.post_training.layer_samples import layer_samples
from qslim.quant.post_training.operator_selection import Selection, select
from qslim.quant.post_training.post_training_report import ActivationReport, WeightReport
from qslim.quant.post_training.weight_rounding import quantize_weights

__all__ = ["calibrate", "quantize_graph", "select_operators", "written_constants"]

# "auto" rounds weights with so few factors of an output adaptively, those of depthwise convolutions say.
_SHORT_ROW = 25


def select_operators(program: PaddleProgram, options: PostTrainingOptions) -> Selection:
    """Choose the operators of `program` that `options` quantize.

    Raises
    ------
    ValueError : there are none; a name in skip_tensor_list matches nothing.
    """
    selection = select(
        program.graph,
        pir_names(_op_types(options)),
        options.skip_tensor_list,
        attribute_paths=attribute_paths(program.files),
        quantize_outputs=options.is_full_quantize,
    )
    skipped = [d for d in selection.decisions if d.reason.startswith("skip_tensor_list")]
    if not selection.activations and skipped:
        raise ValueError(
            f"skip_tensor_list leaves no operator of {program.files.program!r} to quantize: it names all "
            f"{len(skipped)} that quantizable_op_type would quantize"
        )
    if not selection.activations:
        raise ValueError(
            f"{program.files.program!r} holds no operator to quantize: none of its operators is among "
            f"quantizable_op_type ({', '.join(_op_types(options))}) and has floating-point inputs"
        )
    return selection


def _op_types(options: PostTrainingOptions) -> Sequence[str]:
    if options.is_full_quantize:
        return all_op_types()
    if options.deploy_backend == "tensorrt":
        return [*options.quantizable_op_type, *TENSORRT_OP_TYPES]
    return options.quantizable_op_type


def calibrate(
    program: PaddleProgram,
    selection: Selection,
    batches: Any,
    total: Optional[int],
    options: PostTrainingOptions,
) -> Calibration:
    """Run the batches and return the statistics that `options` need.

    Raises
    ------
    ValueError : a tensor holds NaN or infinite values, or the data holds one value only and so says nothing.
    """
    moments = input_moments(program.graph, selection) if options.round_type == "adaround" else []
    layers = layer_samples(program.graph, selection) if options.corrects_biases else []
    calibration = collect_statistics(
        program, selection.activations, batches, total, moments, layers, options.max_memory
    )
    _check_feeds(program, selection, calibration)
    return calibration


def _check_feeds(program: PaddleProgram, selection: Selection, calibration: Calibration) -> None:
    """Refuse data that says nothing: an image, or all feeds, that hold one value only in every batch."""
    constant = calibration.constant_feeds
    telling = [
        spec.name
        for spec in program.feeds
        if spec.name in constant
        and (
            len(constant) == len(program.feeds)
            or spec.name in selection.activations
            or (spec.dtype.kind == "f" and len(spec.shape) > 2)
        )
    ]
    if telling and calibration.samples > 0:
        raise ValueError(
            f"calibration data: feed {telling[0]!r} holds one value only in each of the "
            f"{calibration.batches} batches, which says nothing about the network's activations; give "
            "batches of real data, prepared as in training"
        )


def quantize_graph(
    program: PaddleProgram,
    selection: Selection,
    calibration: Calibration,
    options: PostTrainingOptions,
    folded: Sequence[FoldedBatchNorm] = (),
) -> tuple[list[ActivationReport], list[WeightReport]]:
    """Quantize the activations and weights of the program's Graph in place, and correct biases.

    `folded` are the normalizations that were folded in it after the calibration.
    """
    activations = _quantize_activations(program.graph, selection, calibration, options)
    written = written_constants(program, folded)
    return activations, _quantize_weights(program.graph, selection, calibration, options, written)


def written_constants(program: PaddleProgram, folded: Sequence[FoldedBatchNorm] = ()) -> set[str]:
    """Return the names of the constants that exporters write from the program's Graph."""
    return program.parameter_names - set(program.half_parameters) | {item.bias for item in folded}


def _quantize_activations(
    graph: Graph, selection: Selection, calibration: Calibration, options: PostTrainingOptions
) -> list[ActivationReport]:
    """Annotate the activations; leave out those that folding has removed."""
    never_negative = non_negative_tensors(graph) if options.uses_unsigned_grid else set()
    reports = []
    for name in selection.activations:
        if name not in graph.tensors:
            continue
        statistics = calibration.statistics[name]
        readers = [layer for layer in calibration.layers if layer.tensor == name]
        chosen = activation_params(graph, statistics, options, name in never_negative, readers)
        graph.tensors[name].quantization = chosen.params
        producer = graph.producer(name)
        source = producer.source_op if producer else "feed"
        reports.append(ActivationReport(name, source, chosen.params, statistics, chosen.rule))
    return reports


def _quantize_weights(
    graph: Graph,
    selection: Selection,
    calibration: Calibration,
    options: PostTrainingOptions,
    written: Collection[str],
) -> list[WeightReport]:
    """Quantize the weights, the activations being quantized, and correct biases if the options say so.

    `written` are the constants that exporters write from `graph`.
    """
    per_channel = options.weight_quantize_type == "channel_wise_abs_max"
    axes = {name: axis if per_channel else None for name, axis in selection.weights.items()}
    values = {name: graph.tensors[name].value for name in axes}
    moments = {each.weight: each for each in calibration.moments}
    if options.algo == "auto":
        for layer in calibration.layers:
            if layer.patches.shape[1] <= _SHORT_ROW * layer.groups and layer.weight not in moments:
                moments[layer.weight] = moments_of_samples(graph, layer)
    has_bias = {layer.weight for layer in calibration.layers if find_bias(graph, layer, written)}
    corrected = set(axes) - has_bias if options.bias_correction else set()
    reports = quantize_weights(graph, axes, options.weight_bits, corrected, list(moments.values()))
    with_bias = correct_biases(graph, calibration.layers, values, written)
    done = {"rounded adaptively": set(moments), "bias corrected": set(with_bias)}
    return [
        replace(report, methods=tuple(name for name, weights in done.items() if report.name in weights))
        for report in reports
    ]
