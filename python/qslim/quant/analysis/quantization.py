# SPDX-License-Identifier: Apache-2.0
"""A network's quantization, layer by layer: of ``quant_post_static``, or that of a quantized model."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Callable, Optional

import numpy as np
from numpy.typing import NDArray

from qslim.exporters.engine_file import EngineFile
from qslim.graph import Graph, Node, QuantParams, Tensor
from qslim.graph.passes import FoldedBatchNorm, fold_batch_norm
from qslim.importers.paddle import ModelFiles, load_program
from qslim.importers.paddle.quantizers import has_quantizers, read_quantizers
from qslim.logger import logger
from qslim.quant.analysis.layers import Layer, find_layers, nodes_of
from qslim.quant.op_types import DEFAULT_OP_TYPES, pir_names
from qslim.quant.options import PostTrainingOptions, choose
from qslim.quant.post_training.bias_correction import find_bias
from qslim.quant.post_training.calibration import Calibration, collect_statistics
from qslim.quant.post_training.data_source import Feed, calibration_batches, expected_batches
from qslim.quant.post_training.operator_selection import (
    Decision,
    Selection,
    computed_inputs,
    select,
    weight_input,
)
from qslim.quant.post_training.post_training_report import ActivationReport, WeightReport
from qslim.quant.post_training.quantize_graph import (
    calibrate,
    quantize_graph,
    select_operators,
    written_constants,
)
from qslim.quant.source_models import SourceModel, load_source, write_quantized_model

__all__ = [
    "KeptSamples",
    "Quantization",
    "annotate",
    "options_of",
    "quantization_of_model",
    "quantize",
    "quantize_calibrated",
]


@dataclass
class Quantization:
    """A float network, the quantization of its layers and some of the data.

    Attributes
    ----------
    files : ModelFiles
        The float model.
    program : PaddleProgram or OnnxModel
        Its Graph is in float.
    layers : list of Layer, in the order of the network
    calibration : Calibration
        Statistics of the layers' activations over all batches.
    samples : list of feeds
        The first samples, one each where the batch is open.
    decisions, activations, weights, folded
        What was decided for each operator, what was found for each tensor, and the number of normalizations
        that were folded, of a quantization that was computed.
    folds : bool
        True if normalizations are folded first.
    stores_integers : bool
        True if weights are written as integers.
    """

    files: ModelFiles
    program: SourceModel
    layers: list[Layer]
    calibration: Calibration
    samples: list[Feed]
    folds: bool = False
    stores_integers: bool = True
    decisions: Sequence[Decision] = ()
    activations: Sequence[ActivationReport] = ()
    weights: Sequence[WeightReport] = ()
    folded: int = 0

    @property
    def graph(self) -> Graph:
        return self.program.graph

    def graph_with(self, layers: Iterable[Layer]) -> Graph:
        """Return a copy of the Graph with `layers` quantized, as `write` writes it."""
        copy = self.graph.copy()
        annotate(copy, layers)
        return copy

    def write(
        self,
        layers: Sequence[Layer],
        directory: str,
        model_filename: Optional[str] = "model.pdmodel",
        params_filename: Optional[str] = None,
        onnx_filename: Optional[str] = None,
    ) -> tuple[ModelFiles, EngineFile, list[FoldedBatchNorm]]:
        """Write the model with `layers` quantized, and the engine's file of it, to `directory`."""
        program, folded = _load(self.files, self.folds)
        # What calibration has changed in the float network, as equalize does, is written too.
        for name, tensor in program.graph.tensors.items():
            known = self.graph.tensors.get(name)
            if tensor.value is not None and known is not None and known.value is not None:
                tensor.value = known.value
        annotate(program.graph, layers)
        files, engine = write_quantized_model(
            program,
            directory,
            program.graph,
            model_filename=model_filename,
            params_filename=params_filename,
            weight_storage="int8" if self.stores_integers else "float32",
            folded=folded,
            onnx_filename=onnx_filename,
        )
        return files, engine, folded


def annotate(graph: Graph, layers: Iterable[Layer]) -> None:
    """Quantize tensors of `graph` as `layers` say; each is quantized for whoever reads it."""
    for layer in layers:
        for name, params in layer.activations.items():
            graph.tensors[name].quantization = graph.tensors[name].quantization or params
        layer.set_constants(graph)


def options_of(config: Optional[Mapping[str, Any]]) -> PostTrainingOptions:
    """Return the options in `config`, arguments of ``quant_post_static`` by name.

    Raises
    ------
    ValueError : an unknown name (the nearest is suggested) or a value out of range.
    """
    if config is not None and not isinstance(config, Mapping):
        raise ValueError(f"quant_config: expected a dict or None, got {type(config).__name__}")
    given = dict(config or {})
    known = [field.name for field in fields(PostTrainingOptions)]
    for key in given:
        choose("quant_config", key, known)
    return PostTrainingOptions(**{"quantizable_op_type": DEFAULT_OP_TYPES, **given})


def quantize(files: ModelFiles, data_loader: Any, options: PostTrainingOptions) -> Quantization:
    """Quantize the float model in `files` as ``quant_post_static`` does; write nothing."""
    program, _ = _load(files, False)
    selection = select_operators(program, options)
    kept = KeptSamples(program)
    batches = kept.of(_batches(program, data_loader, options.batch_size, options.batch_nums))
    total = expected_batches(data_loader, options.batch_nums)
    calibration = calibrate(program, selection, batches, total, options)
    return quantize_calibrated(program, selection, calibration, options, kept.samples)


def quantize_calibrated(
    program: SourceModel,
    selection: Selection,
    calibration: Calibration,
    options: PostTrainingOptions,
    samples: list[Feed],
) -> Quantization:
    """Return the quantization of `program`, whose Graph stays in float, folded if `options` say so."""
    folded = fold_batch_norm(program.graph) if options.optimize_model else []
    if folded:
        selection = select_operators(program, options)
    in_float = program.graph.copy()
    activations, weights = quantize_graph(program, selection, calibration, options, folded)
    written = written_constants(program, folded)
    quantized, program.graph = program.graph, in_float
    layers = find_layers(in_float, selection.decisions, quantized, options.is_full_quantize)
    layers = [
        replace(each, constants=_corrected(in_float, quantized, each, calibration, written))
        for each in layers
    ]
    return Quantization(
        program.files,
        program,
        layers,
        calibration,
        samples,
        options.optimize_model,
        options.onnx_format,
        selection.decisions,
        activations,
        weights,
        len(folded),
    )


def quantization_of_model(
    files: ModelFiles,
    quantized_files: ModelFiles,
    data_loader: Any,
    op_types: Sequence[str],
    batch_nums: Optional[int] = None,
) -> Quantization:
    """Read the quantization of the layers of a quantized model that the float model has, too.

    They are paired by the names of their weights or, if no name fits, in their order.

    Raises
    ------
    ValueError : it is not quantized, or has no such weight.
    """
    other = load_program(quantized_files).graph
    if not has_quantizers(other):
        raise ValueError(
            f"{quantized_files.program!r} is not quantized: it holds no quantize and dequantize operators"
        )
    read_quantizers(other)
    folds = _norms(other) < _norms(_load(files, False)[0].graph)
    program, _ = _load(files, folds)
    names = pir_names(op_types)
    selection = select(program.graph, names)
    quantized = _transferred(program.graph, selection.decisions, other, names)
    layers = [
        layer
        for layer in find_layers(program.graph, selection.decisions, quantized)
        if layer.weight is not None
    ]
    if not layers:
        raise ValueError(
            f"no weight of {files.program!r} is quantized in {quantized_files.program!r}; they must be of "
            "the same network"
        )
    kept = KeptSamples(program)
    batches = kept.of(_batches(program, data_loader, 1, batch_nums))
    observed = dict.fromkeys(name for layer in layers for name in layer.activations)
    calibration = collect_statistics(
        program, list(observed), batches, expected_batches(data_loader, batch_nums)
    )
    return Quantization(files, program, layers, calibration, kept.samples, folds)


def _corrected(
    graph: Graph, quantized: Graph, layer: Layer, calibration: Calibration, written: Collection[str]
) -> dict[str, NDArray[np.float32]]:
    """Return the biases behind `layer` that differ between `graph` and `quantized`."""
    found = (
        find_bias(quantized, each, written) for each in calibration.layers if each.weight == layer.weight
    )
    return {
        view.name: view.value
        for bias in found
        if bias is not None
        for view in bias.views
        if view.value is not None and view.value is not graph.tensors[view.name].value
    }


def _load(files: ModelFiles, folds: bool) -> tuple[SourceModel, list[FoldedBatchNorm]]:
    """Load the float model, its computed weights folded, and its normalizations too if `folds`."""
    program = load_source(files)
    return program, fold_batch_norm(program.graph) if folds else []


def _norms(graph: Graph) -> int:
    return sum(node.op_type == "BatchNormalization" for node in graph.nodes)


def _transferred(graph: Graph, decisions: Sequence[Decision], other: Graph, names: set[str]) -> Graph:
    """Return a copy of `graph` with the quantization of `other`, of operators with the same weight."""
    theirs = [node for node in other.nodes if node.source_op in names and weight_input(other, node)]
    mine = [each.node for each in decisions if each.is_quantized and weight_input(graph, each.node)]
    by_weight = {_weight(other, node).name: node for node in theirs}
    pairs = [(node, by_weight.get(_weight(graph, node).name)) for node in mine]
    if not any(node for _, node in pairs) and list(map(_kind(graph), mine)) == list(
        map(_kind(other), theirs)
    ):
        pairs = list(zip(mine, theirs))  # a copied network has parameters of other names
    result = graph.copy()
    for node, same in pairs:
        if same is None:
            continue
        source, target = _weight(other, same), _weight(result, node)
        if source.quantization is None or source.value is None or source.shape != target.shape:
            continue
        target.value, target.quantization = source.value, source.quantization
        for name, their_name in zip(computed_inputs(graph, node), computed_inputs(other, same)):
            before, params = result.tensors[name].quantization, _params_read(other, same, their_name)
            if before is not None and params is not None and before.scale != params.scale:
                logger.info("%r is quantized in two ways; its first scale is analysed", name)
            result.tensors[name].quantization = before or params
    return result


def _params_read(graph: Graph, node: Node, name: str) -> Optional[QuantParams]:
    """Return the parameters that `node` reads `name` with: the tensor's, or those of an Identity between."""
    for part in nodes_of(graph, node.outputs[0]):
        if part.op_type == "Identity" and part.inputs == [name]:
            return graph.tensors[part.outputs[0]].quantization
    return graph.tensors[name].quantization


def _weight(graph: Graph, node: Node) -> Tensor:
    """Return the weight of `node`, which has one."""
    found = weight_input(graph, node)
    assert found is not None
    return graph.tensors[found[0]]


def _kind(graph: Graph) -> Callable[[Node], tuple[Any, ...]]:
    """Return a function that tells operators of `graph` from those with other weights."""
    return lambda node: (node.op_type, _weight(graph, node).shape)


def _batches(program: SourceModel, data_loader: Any, size: int, most: Optional[int]) -> Iterator[Feed]:
    if data_loader is None:
        raise ValueError(
            "data_loader: an analysis needs data, got None; give batches as for quant_post_static"
        )
    return calibration_batches(program.feeds, data_loader=data_loader, batch_size=size, batch_nums=most)


class KeptSamples:
    """Copies of the first samples that pass by: at most `most`, and `most_bytes` but for the first."""

    def __init__(self, program: SourceModel, most: int = 16, most_bytes: int = 1 << 30) -> None:
        self._most, self._most_bytes = most, most_bytes
        self._is_open = all(spec.shape and spec.shape[0] is None for spec in program.feeds)
        self.samples: list[Feed] = []

    def of(self, batches: Iterable[Feed]) -> Iterator[Feed]:
        """Yield `batches`."""
        for feed in batches:
            sizes = {len(array) if array.ndim else 0 for array in feed.values()}
            is_divisible = self._is_open and len(sizes) == 1
            count = sizes.pop() if is_divisible else 1
            size = sum(array.nbytes for array in feed.values()) // max(1, count)
            for index in range(min(count, self._most - len(self.samples))):
                if self.samples and (len(self.samples) + 1) * size > self._most_bytes:
                    break
                part = slice(index, index + 1) if is_divisible else slice(None)
                self.samples.append({name: np.array(array[part]) for name, array in feed.items()})
            yield feed
