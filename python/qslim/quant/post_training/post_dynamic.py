# SPDX-License-Identifier: Apache-2.0
"""Weight-only post-training quantization: no data needed, activations stay in float.

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
from typing import Optional

from qslim.exporters.engine_file import EngineFile
from qslim.exporters.paddle import export_program, export_with_engine_file
from qslim.files.staging import output_path
from qslim.importers.paddle import (
    ModelFiles,
    PaddleProgram,
    find_model_files,
    fold_weights,
    load_float_program,
)
from qslim.logger import logger
from qslim.quant import distributed
from qslim.quant.op_types import pir_names
from qslim.quant.post_training.operator_selection import Selection, select
from qslim.quant.post_training.post_training_report import QuantizationReport, WeightReport, operator_reports
from qslim.quant.post_training.weight_rounding import quantize_weights

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
        "mul" means every matrix product, so that a Linear of any Paddle version is quantized.
    weight_bits : int, 2 to 8, or 16
        8 or fewer are stored as int8; 16 as int16, in a legacy model as integers in float32.
    generate_test_model : bool
        Also write ``save_model_dir/test_model``, the same weights in float32.

    Under paddle.distributed rank 0 writes, whether the other ranks make the call as well or not.

    Returns
    -------
    QuantizationReport

    Raises
    ------
    ModelFileError, ValueError : as for ``quant_post_static``.
    """
    if isinstance(weight_bits, bool) or weight_bits not in (*range(2, 9), 16):
        raise ValueError(f"weight_bits: expected 2 to 8, or 16, got {weight_bits!r}")
    save_model_dir = output_path(save_model_dir, "save_model_dir")
    op_types = pir_names(tuple(quantizable_op_type))
    program = load_float_program(find_model_files(model_dir, model_filename, params_filename))
    fold_weights(program)
    selection = select(program.graph, op_types, weights_only=True)
    _check_selected(program, selection, quantizable_op_type)
    weights = quantize_weights(program.graph, selection.weights, weight_bits)
    params = None if save_params_filename == "model.pdiparams" else save_params_filename
    with distributed.kept_by_rank_0(save_model_dir) as directory:
        files, engine = _write(program, weights, directory, save_model_filename, params, generate_test_model)
        size = files.bytes
    written = os.path.join(save_model_dir, "quantized_model")
    report = QuantizationReport(
        algo="abs_max",
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
        logger.info("%s", report.summary)
    return report


quant_post_only_weight = quant_post_dynamic


def _write(
    program: PaddleProgram,
    weights: Sequence[WeightReport],
    directory: str,
    model_filename: Optional[str],
    params_filename: Optional[str],
    generate_test_model: bool,
) -> tuple[ModelFiles, EngineFile]:
    """Write the quantized model to `directory` and, if asked for, the same weights in float32."""
    files, engine = export_with_engine_file(
        program,
        os.path.join(directory, "quantized_model"),
        program.graph,
        model_filename=model_filename,
        params_filename=params_filename,
    )
    if generate_test_model:
        for weight in weights:
            tensor = program.graph.tensors[weight.name]
            tensor.value, tensor.quantization = weight.params.dequantize(weight.quantized), None
        export_program(
            program,
            os.path.join(directory, "test_model"),
            model_filename=model_filename,
            params_filename=params_filename,
        )
    return files, engine


def _check_selected(program: PaddleProgram, selection: Selection, op_types: Sequence[str]) -> None:
    """Raise ValueError if no weight is to be quantized."""
    if not selection.weights:
        raise ValueError(
            f"{program.files.program!r} holds no weight to quantize: no operator is among "
            f"quantizable_op_type ({', '.join(op_types)}) and has a constant weight"
        )
