# SPDX-License-Identifier: Apache-2.0
"""The Graph of a saved Paddle model, float or quantized, for the engine and the exporters."""

from __future__ import annotations

import os
from typing import Optional, Union

from qslim.graph import Graph
from qslim.importers.paddle.load import load_program
from qslim.importers.paddle.quantizers import read_quantizers
from qslim.logger import logger
from qslim.paddle.model_files import find_model_files

__all__ = ["import_model"]


def import_model(
    model_dir: Union[str, os.PathLike[str]],
    model_filename: Optional[str] = None,
    params_filename: Optional[str] = None,
) -> Graph:
    """Load a saved inference model as a Graph of its own, which needs Paddle no more.

    Quantize and dequantize operators become annotations: those of our exporters in both IRs, of PaddleSlim's
    ``onnx_format`` and of its older format (``fake_quantize_*`` in front of integer weights). What the file
    quantizes, and nothing else, runs in int8 in ``qslim.runtime.Session``. PaddleSlim's older operators round
    ties away from zero, ours to even; observers behind an operator change nothing, in Paddle as here.

    Parameters
    ----------
    model_dir : str
        The directory that ``save_inference_model`` or ``jit.save`` wrote to, or the path or the path prefix
        of the model. Parameters of 16 bits become float32.
    model_filename, params_filename : str, optional
        File names inside `model_dir`. Without them the directory must hold one model.

    Raises
    ------
    ModelFileError, UnsupportedModelError : as ``load_program``.

    Examples
    --------
    >>> import os, tempfile
    >>> import paddle
    >>> work = tempfile.mkdtemp()
    >>> image = paddle.static.InputSpec([None, 3, 8, 8], "float32", "image")
    >>> paddle.jit.save(paddle.nn.Conv2D(3, 4, 3), os.path.join(work, "model"), input_spec=[image])
    >>> [node.op_type for node in import_model(work).nodes]
    ['Conv', 'Add']
    """
    program = load_program(find_model_files(os.fspath(model_dir), model_filename, params_filename))
    if program.half_parameters:
        dtypes = " and ".join(sorted(set(program.half_parameters.values())))
        logger.info(
            "%s: %d parameters of %s are computed with as float32",
            program.files.program,
            len(program.half_parameters),
            dtypes,
        )
    graph = program.graph
    read_quantizers(graph)
    return graph
