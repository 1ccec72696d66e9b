# SPDX-License-Identifier: Apache-2.0
"""Float models that are quantized: saved Paddle models, and ONNX files, which need no Paddle."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Literal, Optional, Protocol

from numpy.typing import NDArray

from qslim.exporters.engine_file import EngineFile
from qslim.graph import Graph
from qslim.graph.passes import FoldedBatchNorm
from qslim.importers.onnx.float_model import OnnxModel
from qslim.importers.paddle import (
    ModelFiles,
    PaddleProgram,
    find_model_files,
    fold_weights,
    load_float_program,
)
from qslim.paddle.program import FeedSpec

__all__ = ["SourceModel", "find_source", "is_onnx", "load_source", "write_quantized_model"]


class SourceModel(Protocol):
    """A float model, whose Graph passes quantize: a ``PaddleProgram`` or an ``OnnxModel``."""

    files: ModelFiles
    graph: Graph
    feeds: list[FeedSpec]
    parameter_names: set[str]
    half_parameters: dict[str, str]

    def run(self, feed: Any, names: Any) -> list[NDArray[Any]]:
        """Return the tensors `names`, as the framework computes them."""
        ...


def is_onnx(model_dir: str, model_filename: Optional[str] = None) -> bool:
    """Return True if the arguments of PaddleSlim's loaders name an ONNX file."""
    path = os.fspath(model_dir) if model_filename is None else os.path.join(model_dir, model_filename)
    return path.endswith(".onnx") and os.path.isfile(path)


def find_source(
    model_dir: str, model_filename: Optional[str] = None, params_filename: Optional[str] = None
) -> ModelFiles:
    """Return the files of a model: an ONNX file, or what ``find_model_files`` finds."""
    if not is_onnx(model_dir, model_filename):
        return find_model_files(model_dir, model_filename, params_filename)
    if params_filename is not None:
        raise ValueError("params_filename: an ONNX file holds its parameters; leave the argument out")
    return ModelFiles(model_dir if model_filename is None else os.path.join(model_dir, model_filename), None)


def load_source(files: ModelFiles, place: Any = None) -> SourceModel:
    """Load the float model in `files`, its computed weights folded; Paddle runs a Paddle model at `place`."""
    if files.program.endswith(".onnx"):
        return OnnxModel(files)
    program = load_float_program(files, place)
    fold_weights(program)
    return program


def write_quantized_model(
    model: SourceModel,
    directory: str,
    engine_graph: Graph,
    *,
    model_filename: Optional[str] = "model.pdmodel",
    params_filename: Optional[str] = None,
    weight_storage: Literal["int8", "float32"] = "int8",
    folded: Sequence[FoldedBatchNorm] = (),
    onnx_filename: Optional[str] = None,
) -> tuple[ModelFiles, EngineFile]:
    """Write `model`, in the form it had, as its Graph is annotated, and `engine_graph` for the engine.

    `onnx_filename` names an ONNX file to be written beside a Paddle model.
    """
    if isinstance(model, PaddleProgram):
        from qslim.exporters.paddle import export_with_engine_file

        return export_with_engine_file(
            model,
            directory,
            engine_graph,
            model_filename=model_filename,
            params_filename=params_filename,
            weight_storage=weight_storage,
            folded=folded,
            onnx_filename=onnx_filename,
        )
    from qslim.exporters.onnx_with_engine_file import export_onnx_with_engine_file

    if weight_storage != "int8":
        raise ValueError("onnx_format=False: an ONNX model holds its weights as integers")
    path, engine = export_onnx_with_engine_file(model.graph, directory, engine_graph, model_filename)
    return ModelFiles(path, None), engine
