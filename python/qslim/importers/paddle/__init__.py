# SPDX-License-Identifier: Apache-2.0
"""Read a Paddle Layer, PIR model (.json) or legacy model (.pdmodel) as a Graph, in a process of either IR.

Files, programs and Paddle itself are in ``qslim.paddle``; some of its names are offered here as well.
"""

from qslim.errors import MissingFileError, ModelFileError, UnsupportedModelError
from qslim.importers.paddle.fold_weights import fold_weights
from qslim.importers.paddle.layer import import_layer
from qslim.importers.paddle.load import load_float_program, load_program
from qslim.importers.paddle.model import import_model
from qslim.paddle.model_files import ModelFiles, attribute_paths, find_model_files
from qslim.paddle.program import PaddleProgram, check_model_files

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
