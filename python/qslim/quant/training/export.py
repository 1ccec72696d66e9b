# SPDX-License-Identifier: Apache-2.0
"""Export of a trained quantized network: a Paddle inference model and a file for the engine.

The network is traced in evaluation mode with its weights in float and a mark (paddle.static.Print with a
message, an identity) at every place where an activation is quantized. In the Graph of it the marks become
identities whose outputs are annotated with the trained parameters, and the weights get theirs by the
parameters' names: the exported graph is the trained graph, and whatever is computed before a weight's
quantizer is a constant by then.
"""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, Callable, Optional, Union

import numpy as np
import paddle
from numpy.typing import NDArray

from qslim.exporters.onnx import export_onnx
from qslim.exporters.paddle import WeightStorage, export_with_engine_file
from qslim.files.staging import output_path
from qslim.graph import Graph, QuantParams
from qslim.graph.passes import fold_batch_norm, prepare_for_runtime, with_float_outputs
from qslim.graph.passes.merge_quantizers import merge_quantizers, same_params
from qslim.importers.paddle import PaddleProgram, import_layer
from qslim.logger import logger
from qslim.paddle import framework
from qslim.paddle.marks import MARK, mark_of
from qslim.paddle.tracing import declared_spec
from qslim.quant import distributed
from qslim.quant.quantizers.activation_quantizers import ActivationQuantizer
from qslim.quant.quantizers.tensors import array_of
from qslim.quant.quantizers.weight_quantizers import WeightQuantizer
from qslim.quant.training.layers import QuantizedInput, QuantizedLayer, QuantizedOutput, is_quantized
from qslim.quant.training.qat_report import LayerReport, QATReport

__all__ = ["save_quantized", "trace_quantized"]


@framework.dygraph()
def save_quantized(
    model: Any,
    path: Union[str, os.PathLike[str]],
    input_spec: Optional[Sequence[Any]],
    *,
    legacy: Optional[bool] = None,
    weight_storage: WeightStorage = "int8",
    onnx_path: Union[str, os.PathLike[str], None] = None,
) -> QATReport:
    """Write the trained `model` to `path`, as ``QAT.save_quantized_model`` says."""
    directory, stem = _split(path)
    if onnx_path is not None:
        onnx_path = output_path(onnx_path, "onnx_path")
    program, layers, float_bytes = trace_quantized(model, input_spec, legacy)
    folded = fold_batch_norm(program.graph)
    graph = program.graph.copy()
    merge_quantizers(graph)
    with distributed.kept_by_rank_0(directory) as own:
        files, engine = export_with_engine_file(
            program, own, graph, model_filename=stem, weight_storage=weight_storage, folded=folded
        )
        size, params_size = files.bytes, os.path.getsize(files.params) if files.params else 0
    notes = _notes(layers)
    if program.unread_inputs:
        names = ", ".join(map(repr, program.unread_inputs))
        notes.append(f"the network does not read {names}, which the written model does not take")
    if folded:
        notes.append(f"{len(folded)} batch normalizations folded")
    report = QATReport(
        layers,
        files.in_directory(directory),
        float_bytes,
        size,
        params_size,
        engine.path and os.path.join(directory, os.path.basename(engine.path)),
        onnx_path,
        [*dict.fromkeys(notes), *engine.notes, *distributed.not_rank_0_notes()],
    )
    if distributed.rank() == 0:
        if onnx_path is not None:
            export_onnx(prepare_for_runtime(with_float_outputs(graph, graph.outputs)), onnx_path)
        logger.info("%s", report.summary)
    return report


def _notes(layers: list[LayerReport]) -> list[str]:
    """Return the notes of the layers, each once."""
    names: dict[str, list[str]] = {}
    for layer in layers:
        if layer.note:
            names.setdefault(layer.note, []).append(layer.name or layer.kind)
    return [
        f"{found[0]}{f' and {len(found) - 1} more' if len(found) > 1 else ''}: {note}"
        for note, found in names.items()
    ]


def trace_quantized(
    model: Any, input_spec: Optional[Sequence[Any]], legacy: Optional[bool] = None
) -> tuple[PaddleProgram, list[LayerReport], int]:
    """Trace `model` and annotate its Graph with the trained quantization parameters.

    Returns the program, a row for each quantized layer, and the bytes of the parameters in float.
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
    for name, layer in quantized:
        weight = getattr(layer, "weight", None)
        if weight is not None and weight.dtype != paddle.float32:
            dtype = str(weight.dtype).rsplit(".", 1)[-1]
            raise ValueError(
                f"save_quantized_model: layer {name!r} has weights of {dtype}, but integers stand for "
                "float32 numbers; call model.to(dtype='float32') before"
            )
    input_spec = input_spec or declared_spec(model)
    if not input_spec:
        raise ValueError(
            "save_quantized_model: input_spec is missing; give the shape of each input, for example "
            "input_spec=[paddle.static.InputSpec([None, 3, 224, 224], 'float32', 'image')]"
        )
    quantized_names = dict((layer, name) for name, layer in quantized)

    def trace(with_own: list[Any]) -> tuple[PaddleProgram, _Export]:
        with _exporting(quantized_names, with_own) as export:
            try:
                program = import_layer(model, input_spec, legacy)
                _check_channels(program.graph)
            except (ValueError, TypeError, RuntimeError, AssertionError, IndexError) as error:
                raise ValueError(
                    f"save_quantized_model: the network could not be traced with "
                    f"input_spec={[_describe_spec(spec) for spec in input_spec or ()]}: {error}"
                ) from error
        return program, export

    program, export = trace([])
    float_bytes = program.graph.parameter_bytes()
    read_elsewhere = _with_weights_read_elsewhere(program, export)
    if read_elsewhere:
        program, export = trace(read_elsewhere)
    graph = program.graph
    used = _annotate_activations(graph, export.marks)
    return program, [_report(name, layer, graph, used, export) for name, layer in quantized], float_bytes


class _Export:
    """Findings of an export while the network is traced.

    Attributes
    ----------
    marks : dict of message to quantizer
    calls : Counter of layers
    weights : dict of layer to the name of the parameter that it reads as its weight
    """

    __slots__ = ("calls", "marks", "weights")  # no attributes that tracing would put back

    def __init__(self) -> None:
        self.marks: dict[str, ActivationQuantizer] = {}
        self.calls: Counter[Any] = Counter()
        self.weights: dict[Any, str] = {}

    def count(self, layer: Any) -> None:
        self.calls[layer] += 1


@contextlib.contextmanager
def _exporting(layers: dict[Any, str], with_own: list[Any]) -> Iterator[_Export]:
    """Set float weights and marks for the block; `with_own` read copies of their weights under own names."""
    export = _Export()
    marks = export.marks
    try:
        for layer, name in layers.items():
            layer._is_exporting = export
            if layer in with_own:
                layer._parameters["_own_weight"] = _copied(layer.weight, f"{name or 'layer'}.weight")
            for quantizer in (
                getattr(layer, "_fake_quant_input", None),
                getattr(layer, "_fake_quant_output", None),
            ):
                if isinstance(quantizer, ActivationQuantizer):
                    quantizer._marker = f"{MARK}{len(marks)}"
                    marks[quantizer._marker] = quantizer
        yield export
        for layer in layers:
            if isinstance(layer, QuantizedLayer):
                own = layer._parameters.get("_own_weight")
                export.weights[layer] = layer.weight.name if own is None else own.name
    finally:
        for layer in layers:
            layer._is_exporting = None
            if isinstance(layer, QuantizedLayer):
                layer._parameters.pop("_own_weight", None)
        for quantizer in marks.values():
            quantizer._marker = None


def _copied(weight: Any, name: str) -> Any:
    parameter = paddle.create_parameter(weight.shape, str(weight.dtype).rsplit(".", 1)[-1], name=name)
    parameter.set_value(weight)
    return parameter


def _with_weights_read_elsewhere(program: PaddleProgram, export: _Export) -> list[Any]:
    """Return layers whose weight is also read outside, or by a layer with other parameters."""
    by_weight: dict[str, list[Any]] = {}
    for layer in export.calls:
        by_weight.setdefault(export.weights[layer], []).append(layer)
    found = []
    for name, layers in by_weight.items():
        has_others = name in program.graph.tensors and program.uses_of(name) > sum(
            export.calls[layer] for layer in layers
        )
        params = [_weight_params(layer) for layer in layers]
        is_one = len(layers) == 1 or all(
            each is not None and params[0] is not None and same_params(each, params[0]) for each in params
        )
        if has_others or not is_one:
            found += layers
    return found


def _weight_params(layer: Any) -> Optional[QuantParams]:
    """Return the weight's parameters; None if it is not the parameter itself that is quantized."""
    if not isinstance(layer._fake_quant_weight, WeightQuantizer) or hasattr(layer, "_weight_preprocess"):
        return None
    return layer._fake_quant_weight.weight_params(_evaluated(layer, layer.preprocessed_weight))


def _check_channels(graph: Graph) -> None:
    """Check image channels against the weight's; Paddle traces a convolution that does not fit."""
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
    """Annotate what the marks write; return the ids of the quantizers that the traced network uses."""
    used = set()
    for node in graph.nodes:
        message = mark_of(node)
        if message in marks:
            quantizer = marks[message]
            used.add(id(quantizer))
            graph.tensors[node.outputs[0]].quantization = quantizer.quant_params()
            node.op_type, node.domain, node.attributes = "Identity", "", {}
    return used


def _report(name: str, layer: Any, graph: Graph, used: set[int], export: _Export) -> LayerReport:
    """Annotate the weight of `layer` and return its row of the report."""
    kind = type(layer).__name__.removeprefix("Quantized")
    if isinstance(layer, (QuantizedOutput, QuantizedInput)):
        is_output = isinstance(layer, QuantizedOutput)
        quantizer: Any = getattr(layer, "_fake_quant_output" if is_output else "_fake_quant_input")
        return LayerReport(name, kind, quantizer.quant_params() if id(quantizer) in used else None, None)
    tensor = graph.tensors.get(export.weights[layer])
    if tensor is None or tensor.value is None:
        return LayerReport(name, kind, None, None, "not part of the exported network")
    if not export.calls[layer]:
        return LayerReport(
            name, kind, None, None, "is never called: other operators read its weight, in float"
        )
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
    else:
        values = _evaluated(layer, layer.quantized_weight)
        note = (
            note or f"{type(layer._fake_quant_weight).__name__} is exported as the float weight that it gives"
        )
    tensor.value, tensor.quantization = values, weight
    if export.weights[layer] != layer.weight.name and layer.weight.name in graph.tensors:
        note = "; ".join(filter(None, [note, "its weight is read elsewhere too, in float there"]))
    return LayerReport(name, kind, activation, weight, note)


def _evaluated(layer: Any, weight: Callable[[], Any]) -> NDArray[np.float32]:
    """Return the result of `weight` in evaluation mode."""
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
