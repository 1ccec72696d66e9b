# SPDX-License-Identifier: Apache-2.0
"""Quantization of a Graph after training: choose operators, collect statistics, annotate tensors.

Nothing is loaded or written here: ``quant_post_static`` writes the Graph, ``quant.analysis`` measures it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, Optional

from qslim.graph import Graph
from qslim.graph.passes import FoldedBatchNorm, non_negative_tensors
from qslim.importers.paddle import attribute_paths
from qslim.quant.op_types import (
    ONNXRUNTIME_FUSED,
    ONNXRUNTIME_OP_TYPES,
    TENSORRT_OP_TYPES,
    all_op_types,
    pir_names,
)
from qslim.quant.options import PostTrainingOptions
from qslim.quant.post_training.activation_params import activation_params
from qslim.quant.post_training.bias_correction import find_bias
from qslim.quant.post_training.calibration import (
    Calibration,
    collect_statistics,
    statistics_of_graph,
)
from qslim.quant.post_training.channel_scaling import scale_channels
from qslim.quant.post_training.data_source import KeptBatches
from qslim.quant.post_training.layer_samples import LayerSamples, layer_samples
from qslim.quant.post_training.operator_selection import Selection, select
from qslim.quant.post_training.post_training_report import ActivationReport, WeightReport
from qslim.quant.post_training.quantized_prefix import QuantizedPrefix
from qslim.quant.post_training.rounding_stages import adjust_layers
from qslim.quant.post_training.weight_rounding import quantize_weights
from qslim.quant.source_models import SourceModel

__all__ = ["calibrate", "quantize_graph", "select_operators", "written_constants"]

# "auto" rounds weights with so few factors of an output adaptively, those of depthwise convolutions say.
_SHORT_ROW = 25


def select_operators(program: SourceModel, options: PostTrainingOptions) -> Selection:
    """Choose the operators of `program` that `options` quantize.

    Raises
    ------
    ValueError : there are none; a name in skip_tensor_list matches nothing.
    """
    for_onnxruntime = options.deploy_backend == "onnxruntime"
    selection = select(
        program.graph,
        pir_names(_op_types(options)),
        options.skip_tensor_list,
        attribute_paths=attribute_paths(program.files),
        quantize_outputs=options.is_full_quantize or for_onnxruntime,
        fused=ONNXRUNTIME_FUSED if for_onnxruntime else None,
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
    if options.deploy_backend == "onnxruntime":
        return [*options.quantizable_op_type, *ONNXRUNTIME_OP_TYPES]
    return options.quantizable_op_type


def calibrate(
    program: SourceModel,
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
    rounds = options.round_type == "adaround"
    needs_samples = rounds or options.corrects_biases or options.equalize
    layers = layer_samples(program.graph, selection, to_solve=rounds) if needs_samples else []
    kept = KeptBatches() if rounds or options.equalize else None
    calibration = collect_statistics(
        program, selection.activations, batches, total, layers, kept, options.max_memory
    )
    _check_feeds(program, selection, calibration)
    if options.equalize and calibration.by_engine:
        return _equalized(program, calibration, options)
    return calibration


def _equalized(program: SourceModel, calibration: Calibration, options: PostTrainingOptions) -> Calibration:
    """Equalize the program's Graph and look at the tensors again that this has changed."""
    graph = program.graph
    non_negative = non_negative_tensors(graph) if options.uses_unsigned_grid else set()
    done = scale_channels(graph, calibration.layers, options, non_negative, written_constants(program))
    if not done:
        return calibration
    changed = {name for scaling in done for name in scaling.tensors} & set(calibration.statistics)
    assert calibration.kept is not None
    own = statistics_of_graph(program, sorted(changed), calibration.kept, options.max_memory)
    scaled = frozenset(name for scaling in done for name in scaling.weights)
    return replace(calibration, statistics={**calibration.statistics, **own}, scaled=scaled)


def _check_feeds(program: SourceModel, selection: Selection, calibration: Calibration) -> None:
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
    program: SourceModel,
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
    return activations, _quantize_weights(program, selection, calibration, options, written)


def written_constants(program: SourceModel, folded: Sequence[FoldedBatchNorm] = ()) -> set[str]:
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
    program: SourceModel,
    selection: Selection,
    calibration: Calibration,
    options: PostTrainingOptions,
    written: Collection[str],
) -> list[WeightReport]:
    """Quantize the weights, the activations being quantized, and correct biases if the options say so.

    `written` are the constants that exporters write from the program's Graph.
    """
    graph = program.graph
    per_channel = options.weight_quantize_type == "channel_wise_abs_max"
    axes = {name: axis if per_channel else None for name, axis in selection.weights.items()}
    layers = {layer.weight: layer for layer in calibration.layers if layer.weight in axes}
    rounds_all, is_auto = options.round_type == "adaround", options.algo == "auto"
    rounded = {name for name in layers if rounds_all or (is_auto and _is_short(layers[name]))}
    has_bias = {name for name in layers if find_bias(graph, layers[name], written)}
    own_mean = set(axes) - has_bias - (rounded if rounds_all else set())
    reports = quantize_weights(
        graph,
        axes,
        options.weight_bits,
        own_mean if options.bias_correction else (),
        layers if is_auto or rounds_all else {},
    )
    corrected = has_bias if options.corrects_biases else ()
    again = None
    if rounds_all and calibration.kept is not None:
        again = QuantizedPrefix(graph, calibration.kept, options.max_memory).samples
    adjusted = adjust_layers(graph, list(layers.values()), rounded, corrected, written, again)
    done: dict[str, Collection[str]] = {**adjusted, "equalized": calibration.scaled}
    return [replace(report, **_adjusted(report, graph, done)) for report in reports]


def _adjusted(report: WeightReport, graph: Graph, done: Mapping[str, Collection[str]]) -> dict[str, Any]:
    methods = (*report.methods, *(method for method, names in done.items() if report.name in names))
    return {"values": graph.tensors[report.name].value, "methods": methods}


def _is_short(layer: LayerSamples) -> bool:
    return bool(layer.size <= _SHORT_ROW * layer.groups)
