# SPDX-License-Identifier: Apache-2.0
"""A trained quantized network out: as a Paddle inference model and as a file for the engine.

The network is traced in evaluation mode with its weights in float and a mark (paddle.static.Print with a
message, an identity) at every place where an activation is quantized. In the Graph of it the marks become
identities whose outputs are annotated with the trained grids, and the weights get theirs by the parameters'
names: the exported graph is the trained graph, and whatever is computed before a weight's quantizer is a
constant by then.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from typing import Any, Callable, Optional, Union

import numpy as np
import paddle
from numpy.typing import NDArray

from qslim.exporters.paddle import WeightStorage, export_with_engine_file
from qslim.exporters.staging import output_path
from qslim.graph import Graph
from qslim.graph.passes import fold_batch_norm
from qslim.graph.passes.merge_quantizers import merge_quantizers, same_grid
from qslim.importers.paddle import PaddleProgram, import_layer
from qslim.importers.paddle.marks import MARK, mark_of
from qslim.logger import logger
from qslim.quant import distributed
from qslim.quant.qat.activations import ActivationQuantizer
from qslim.quant.qat.layers import QuantizedInput, QuantizedOutput, is_quantized
from qslim.quant.qat.report import LayerReport, QATReport
from qslim.quant.qat.tensors import array_of
from qslim.quant.qat.weights import WeightQuantizer

__all__ = ["save_quantized", "trace_quantized"]


def save_quantized(
    model: Any,
    path: Union[str, os.PathLike[str]],
    input_spec: Optional[Sequence[Any]],
    *,
    legacy: Optional[bool] = None,
    weight_storage: WeightStorage = "int8",
) -> QATReport:
    """See ``QAT.save_quantized_model``."""
    directory, stem = _split(path)
    program, layers, float_bytes = trace_quantized(model, input_spec, legacy)
    folded = fold_batch_norm(program.graph)
    graph = program.graph.copy()
    merge_quantizers(graph)
    with distributed.kept_by_rank_0(directory) as own:
        files, engine = export_with_engine_file(
            program, own, graph, model_filename=stem, weight_storage=weight_storage, folded=folded
        )
        size = files.bytes
    notes = [layer.note for layer in layers if layer.note]
    if folded:
        notes.append(f"{len(folded)} batch normalizations folded")
    report = QATReport(
        layers,
        files.in_directory(directory),
        float_bytes,
        size,
        engine.path and os.path.join(directory, os.path.basename(engine.path)),
        [*dict.fromkeys(notes), *engine.notes, *distributed.not_rank_0_notes()],
    )
    if distributed.rank() == 0:
        logger.info("%s", report.summary)
    return report


def trace_quantized(
    model: Any, input_spec: Optional[Sequence[Any]], legacy: Optional[bool] = None
) -> tuple[PaddleProgram, list[LayerReport], int]:
    """The traced program with the trained grids in its Graph, a row for each quantized layer, and how many
    bytes the parameters take in float.
    """
    if isinstance(model, paddle.DataParallel):
        model = model._layers
    if not isinstance(model, paddle.nn.Layer):
        raise ValueError(f"save_quantized_model: expected a paddle.nn.Layer, got {type(model).__name__}")
    quantized = [
        (name, layer) for name, layer in model.named_sublayers(include_self=True) if is_quantized(layer)
    ]
    if not quantized:
        raise ValueError(
            "save_quantized_model: the model has no quantized layer; call quantize(model) before"
        )
    if not input_spec:
        raise ValueError(
            "save_quantized_model: input_spec is missing; give the shape of each input, for example "
            "input_spec=[paddle.static.InputSpec([None, 3, 224, 224], 'float32', 'image')]"
        )
    with _exporting([layer for _, layer in quantized]) as marks:
        try:
            program = import_layer(model, input_spec, legacy)
            _check_channels(program.graph)
        except (ValueError, TypeError, RuntimeError, AssertionError, IndexError) as error:
            raise ValueError(
                f"save_quantized_model: the network could not be traced with "
                f"input_spec={[_describe_spec(spec) for spec in input_spec]}: {error}"
            ) from error
    graph = program.graph
    float_bytes = graph.parameter_bytes()
    used = _annotate_activations(graph, marks)
    return program, [_report(name, layer, graph, used) for name, layer in quantized], float_bytes


@contextlib.contextmanager
def _exporting(layers: list[Any]) -> Iterator[dict[str, ActivationQuantizer]]:
    """Float weights and marks for the block; yields the quantizer of each mark."""
    marks: dict[str, ActivationQuantizer] = {}
    try:
        for layer in layers:
            layer._is_exporting = True
            for quantizer in (
                getattr(layer, "_fake_quant_input", None),
                getattr(layer, "_fake_quant_output", None),
            ):
                if isinstance(quantizer, ActivationQuantizer):
                    quantizer._marker = f"{MARK}{len(marks)}"
                    marks[quantizer._marker] = quantizer
        yield marks
    finally:
        for layer in layers:
            layer._is_exporting = False
        for quantizer in marks.values():
            quantizer._marker = None


def _check_channels(graph: Graph) -> None:
    """Paddle traces a convolution of an image that has other channels than the weight."""
    for node in graph.nodes:
        weight = graph.constant(node.inputs[1]) if len(node.inputs) > 1 else None
        shape = graph.tensors[node.inputs[0]].shape if node.inputs and node.inputs[0] else None
        if node.domain or weight is None or shape is None or node.op_type not in ("Conv", "ConvTranspose"):
            continue
        groups = int(node.attributes.get("group", 1))
        expected = weight.shape[1] * groups if node.op_type == "Conv" else weight.shape[0]
        if shape[1] not in (None, expected):
            raise ValueError(
                f"{node.label} with weight {node.inputs[1]!r} takes {expected} channels, got {shape[1]}"
            )


def _annotate_activations(graph: Graph, marks: dict[str, ActivationQuantizer]) -> set[int]:
    """Annotate what the marks write; ids of the quantizers that the traced network uses."""
    used = set()
    for node in graph.nodes:
        message = mark_of(node)
        if message in marks:
            quantizer = marks[message]
            used.add(id(quantizer))
            graph.tensors[node.outputs[0]].quantization = quantizer.quant_params()
            node.op_type, node.domain, node.attributes = "Identity", "", {}
    return used


def _report(name: str, layer: Any, graph: Graph, used: set[int]) -> LayerReport:
    """A row for `layer`, whose weight is annotated on the way."""
    kind = type(layer).__name__.removeprefix("Quantized")
    if isinstance(layer, (QuantizedOutput, QuantizedInput)):
        is_output = isinstance(layer, QuantizedOutput)
        quantizer: Any = getattr(layer, "_fake_quant_output" if is_output else "_fake_quant_input")
        return LayerReport(name, kind, quantizer.quant_params() if id(quantizer) in used else None, None)
    tensor = graph.tensors.get(layer.weight.name)
    if tensor is None or tensor.value is None:
        return LayerReport(name, kind, None, None, "not part of the exported network")
    activation, note = None, ""
    if not isinstance(layer._fake_quant_input, ActivationQuantizer):
        note = f"{type(layer._fake_quant_input).__name__} is exported as the float operators that it is"
    else:
        activation = layer._fake_quant_input.quant_params()
        if activation is None:
            note = "stays in float: no training batch has passed through it"
    weight = None
    if isinstance(layer._fake_quant_weight, WeightQuantizer):
        values = _evaluated(layer, layer.preprocessed_weight)
        weight = layer._fake_quant_weight.weight_params(values)
        if tensor.quantization is not None and not same_grid(tensor.quantization, weight):
            raise ValueError(
                f"save_quantized_model: parameter {tensor.name!r} is shared by layers that quantize it "
                "differently"
            )
    else:
        values = _evaluated(layer, layer.quantized_weight)
        note = (
            note or f"{type(layer._fake_quant_weight).__name__} is exported as the float weight that it gives"
        )
    tensor.value, tensor.quantization = values, weight
    return LayerReport(name, kind, activation, weight, note)


def _evaluated(layer: Any, weight: Callable[[], Any]) -> NDArray[np.float32]:
    """What `weight` gives in evaluation mode."""
    training = {sub: sub.training for sub in layer.sublayers(include_self=True)}
    try:
        layer.eval()
        with paddle.no_grad():
            return np.array(array_of(weight()), np.float32)
    finally:
        for sub, was_training in training.items():
            sub.training = was_training


def _split(path: Union[str, os.PathLike[str]]) -> tuple[str, str]:
    if not isinstance(path, (str, os.PathLike)):
        raise ValueError(f"path: expected the prefix of the files to write, got {type(path).__name__}")
    directory, stem = os.path.split(output_path(path, "path"))
    for ending in (".pdmodel", ".json", ".pdiparams", ".qslim"):
        stem = stem.removesuffix(ending)
    if not stem:
        raise ValueError(
            f"path: expected the prefix of the files to write, like 'output/model', got {path!r}"
        )
    return directory or ".", stem


def _describe_spec(spec: Any) -> str:
    return (
        f"{list(spec.shape)} {str(spec.dtype).rsplit('.', 1)[-1]}" if hasattr(spec, "shape") else repr(spec)
    )
