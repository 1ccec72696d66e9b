# SPDX-License-Identifier: Apache-2.0
"""Load a saved Paddle model together with its Graph."""

from __future__ import annotations

from typing import Any

from qslim.errors import UnsupportedModelError
from qslim.importers.paddle.pir_walk import walk_program
from qslim.paddle.model_files import ModelFiles
from qslim.paddle.program import PaddleProgram

__all__ = ["load_float_program", "load_program"]


def load_float_program(files: ModelFiles, place: Any = None) -> PaddleProgram:
    """Load a model that is to be quantized, which must compute in float32, as ``load_program`` does.

    Raises
    ------
    UnsupportedModelError : parameters are float16 or bfloat16, as mixed precision (AMP O2) leaves them.
    """
    program = load_program(files, place)
    if program.half_parameters:
        name, dtype = next(iter(program.half_parameters.items()))
        raise UnsupportedModelError(
            f"{files.program!r} computes in {dtype} (parameter {name!r} and "
            f"{len(program.half_parameters) - 1} more); quantize it in float32: net.astype('float32') before "
            "paddle.jit.save"
        )
    return program


def load_program(files: ModelFiles, place: Any = None) -> PaddleProgram:
    """Load the model in `files` into a scope of its own, to run at `place` (default: the CPU).

    Raises
    ------
    ModelFileError : the files are damaged or do not belong together.
    UnsupportedModelError : the network holds control flow.
    """
    return PaddleProgram(files, walk_program, place)
