# SPDX-License-Identifier: Apache-2.0
"""Post-training quantization without data: of weights alone, or with activations measured in each run.

Source: paddleslim 2.6.0, quant/quanter.py; paddle.static.quantization.WeightQuantization.

Examples
--------
>>> import os, tempfile
>>> import paddle
>>> import qslim as slim
>>> work = tempfile.mkdtemp()
>>> image = paddle.static.InputSpec([None, 3, 16, 16], "float32", "image")
>>> paddle.jit.save(paddle.nn.Conv2D(3, 8, 3), os.path.join(work, "fp32"), input_spec=[image])
>>> report = slim.quant.quant_post_dynamic(work, work)
>>> report.weights[0].shape, report.weights[0].quantized.dtype
((8, 3, 3, 3), dtype('int8'))
>>> sorted(os.listdir(os.path.join(work, "quantized_model")))
['model.json', 'model.pdiparams', 'model.qslim']
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import NamedTuple, Optional

from qslim.exporters.engine_file import EngineFile
from qslim.exporters.paddle import export_program
from qslim.files.staging import output_path
from qslim.graph import Graph
from qslim.graph.passes import prepare_for_runtime, quantize_dynamically
from qslim.importers.paddle import ModelFiles, PaddleProgram
from qslim.logger import logger
from qslim.quant import distributed
from qslim.quant.op_types import pir_names
from qslim.quant.options import choose
from qslim.quant.post_training.group_scales import GROUP_SIZES
from qslim.quant.post_training.operator_selection import Decision, Selection, select
from qslim.quant.post_training.post_training_report import QuantizationReport, WeightReport, operator_reports
from qslim.quant.post_training.weight_rounding import quantize_weights
from qslim.quant.source_models import SourceModel, find_source, load_source, write_quantized_model

__all__ = ["quant_post_dynamic", "quant_post_only_weight"]


def quant_post_dynamic(
    model_dir: str,
    save_model_dir: str,
    model_filename: Optional[str] = None,
    params_filename: Optional[str] = None,
    save_model_filename: Optional[str] = "model.pdmodel",
    save_params_filename: Optional[str] = "model.pdiparams",
    quantizable_op_type: Sequence[str] = ("conv2d", "conv3d", "mul"),
    weight_bits: int = 8,
    generate_test_model: bool = False,
    *,
    group_size: Optional[int] = None,
    activation: Optional[str] = None,
) -> QuantizationReport:
    """Store the weights of a saved inference model as integers, one scale for each output channel.

    Parameters
    ----------
    model_dir, model_filename, params_filename
        The model, as for ``quant_post_static``.
    save_model_dir : str
        ``save_model_dir/quantized_model`` is written. PaddleSlim's could be run by Paddle Lite only; this one
        runs in Paddle, where a cast and a multiplication restore the weights.
    quantizable_op_type : list of str, default=["conv2d", "conv3d", "mul"]
        "mul" means every matrix product, so that a Linear of any Paddle version is quantized; "embedding" (or
        "lookup_table_v2") means tables of embeddings, with a scale for each row.
    weight_bits : int, 2 to 8, or 16
        8 or fewer are stored as int8, in the .qslim file matrices of 4 or fewer as two in a byte; 16 as
        int16, in a legacy model as integers in float32.
    generate_test_model : bool
        Also write ``save_model_dir/test_model``, the same weights in float32.
    group_size : 32, 64 or 128, optional
        Weights of linear layers and embeddings get a scale for each so many elements of an output channel or
        of a row, chosen for the least squared error; other weights stay per channel. 4 bits and groups
        of 64 are 4.5 bits a weight in the ``.qslim`` file, 0.14 of float; of 128, 0.13.
    activation : {"per_token", "per_tensor"}, optional
        Linear layers of the ``.qslim`` file compute in int8: each run takes the largest magnitude of each row
        of their data, or of all of it, and rounds with it. The Paddle model computes with floats. None: the
        engine does so too, and reads integers.

    Under paddle.distributed rank 0 writes, whether the other ranks make the call as well or not.

    Returns
    -------
    QuantizationReport

    Raises
    ------
    ModelFileError, ValueError : as for ``quant_post_static``.
    """
    _check_form(weight_bits, group_size, activation)
    save_model_dir = output_path(save_model_dir, "save_model_dir")
    op_types = pir_names(tuple(quantizable_op_type), takes_embeddings=True)
    program = load_source(find_source(model_dir, model_filename, params_filename))
    selection = select(program.graph, op_types, weights_only=True)
    _leave_changed_tables(program, selection)
    _check_selected(program, selection, quantizable_op_type)
    weights = quantize_weights(program.graph, selection.weights, weight_bits, group_size=group_size)
    params = None if save_params_filename == "model.pdiparams" else save_params_filename
    with distributed.kept_by_rank_0(save_model_dir) as directory:
        names = _Names(save_model_filename, params)
        engine_graph = _engine_graph(program.graph, activation)
        files, engine = _write(program, weights, directory, names, engine_graph, generate_test_model)
        size = files.bytes
    written = os.path.join(save_model_dir, "quantized_model")
    report = QuantizationReport(
        algo="abs_max" if group_size is None else "mse",
        operators=operator_reports(selection.decisions, weight_bits),
        activations=[],
        weights=weights,
        files=files.in_directory(written),
        bytes_before=program.files.bytes,
        bytes_after=size,
        notes=[*engine.notes, *distributed.not_rank_0_notes()],
        engine_file=engine.path and os.path.join(written, os.path.basename(engine.path)),
    )
    if distributed.rank() == 0:
        logger.info("%s", report.written)
    return report


quant_post_only_weight = quant_post_dynamic


class _Names(NamedTuple):
    """File names as the user gave them."""

    model: Optional[str]
    params: Optional[str]


def _write(
    program: SourceModel,
    weights: Sequence[WeightReport],
    directory: str,
    names: _Names,
    engine_graph: Graph,
    generate_test_model: bool,
) -> tuple[ModelFiles, EngineFile]:
    """Write the quantized model to `directory` and, if asked for, the same weights in float32."""
    files, engine = write_quantized_model(
        program,
        os.path.join(directory, "quantized_model"),
        engine_graph,
        model_filename=names.model,
        params_filename=names.params,
    )
    if generate_test_model:
        for weight in weights:
            tensor = program.graph.tensors[weight.name]
            tensor.value, tensor.quantization = weight.params.dequantize(weight.quantized), None
        where = os.path.join(directory, "test_model")
        if isinstance(program, PaddleProgram):
            export_program(program, where, model_filename=names.model, params_filename=names.params)
        else:
            write_quantized_model(program, where, program.graph, model_filename=names.model)
    return files, engine


def _engine_graph(graph: Graph, activation: Optional[str]) -> Graph:
    """Return the Graph of the engine's file: with an `activation`, linear layers measure their data."""
    if activation is None:
        return graph
    measured = prepare_for_runtime(graph)
    quantize_dynamically(measured, measured.nodes, per_row=activation == "per_token")
    return measured


def _leave_changed_tables(program: SourceModel, selection: Selection) -> None:
    """Leave tables in float that are no parameters: rows of padding_idx that the file holds are zeroed."""
    for index, decision in enumerate(selection.decisions):
        table = decision.node.inputs[0] if decision.node.source_op == "embedding" else ""
        if decision.is_quantized and table and table not in program.parameter_names:
            reason = "its table differs from the parameter: the row of padding_idx is not zero"
            selection.decisions[index] = Decision(decision.node, False, reason)
            selection.weights.pop(table, None)


def _check_form(weight_bits: int, group_size: Optional[int], activation: Optional[str]) -> None:
    """Raise ValueError for widths, groups and kinds of activations that are unknown or do not go together."""
    if isinstance(weight_bits, bool) or weight_bits not in (*range(2, 9), 16):
        raise ValueError(f"weight_bits: expected 2 to 8, or 16, got {weight_bits!r}")
    if group_size is not None:
        if isinstance(group_size, bool) or group_size not in GROUP_SIZES:
            sizes = ", ".join(map(str, GROUP_SIZES))
            raise ValueError(f"group_size: expected None, {sizes}, got {group_size!r}")
        if weight_bits > 8:
            raise ValueError(
                f"group_size: weight_bits={weight_bits} needs no groups; leave it out, or take 4 or 8 bits"
            )
    if activation is None:
        return
    choose("activation", activation, ["per_token", "per_tensor"])
    if group_size is not None or weight_bits > 8:
        raise ValueError(
            f"activation={activation!r} computes in int8, which needs weight_bits of at most 8 and no "
            f"group_size; got weight_bits={weight_bits} and group_size={group_size}"
        )


def _check_selected(program: SourceModel, selection: Selection, op_types: Sequence[str]) -> None:
    """Raise ValueError if no weight is to be quantized."""
    if not selection.weights:
        raise ValueError(
            f"{program.files.program!r} holds no weight to quantize: no operator is among "
            f"quantizable_op_type ({', '.join(op_types)}) and has a constant weight"
        )
