# SPDX-License-Identifier: Apache-2.0
"""Paddle models in: a Layer, a PIR model (.json) or a legacy one (.pdmodel), in a process of either IR."""

from qslim.errors import MissingFileError, ModelFileError, UnsupportedModelError
from qslim.importers.paddle.files import ModelFiles, attribute_paths, find_model_files
from qslim.importers.paddle.fold_weights import fold_weights
from qslim.importers.paddle.layer import import_layer
from qslim.importers.paddle.model import import_model
from qslim.importers.paddle.program import PaddleProgram, check_model_files, load_float_program, load_program

__all__ = [
    "MissingFileError",
    "ModelFileError",
    "ModelFiles",
    "PaddleProgram",
    "UnsupportedModelError",
    "attribute_paths",
    "check_model_files",
    "find_model_files",
    "fold_weights",
    "import_layer",
    "import_model",
    "load_float_program",
    "load_program",
]
