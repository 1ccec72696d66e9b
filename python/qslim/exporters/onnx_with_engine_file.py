# SPDX-License-Identifier: Apache-2.0
"""An ONNX file of a quantized Graph and the engine's file of it, written together."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Optional

from qslim.exporters.engine_file import EngineFile, write_engine_file
from qslim.exporters.onnx import export_onnx
from qslim.files.staging import staged_directory
from qslim.graph import Graph
from qslim.graph.passes import prepare_for_runtime, with_float_outputs

__all__ = ["export_onnx_with_engine_file"]

_ENDINGS = (".onnx", ".pdmodel", ".json")


def export_onnx_with_engine_file(
    graph: Graph, directory: str, engine_graph: Graph, model_filename: Optional[str] = "model.onnx"
) -> tuple[str, EngineFile]:
    """Write `graph` as ONNX and `engine_graph` for the engine to `directory`, both files or none.

    The ending of `model_filename` is replaced, also one of Paddle's. Outputs are floats. Returns the path of
    the ONNX file, and the engine's file.

    Raises
    ------
    ValueError : as for ``export_onnx``.
    """
    stem = model_filename or "model"
    stem = stem[: -len(os.path.splitext(stem)[1])] if stem.endswith(_ENDINGS) else stem
    if os.path.basename(stem) != stem or stem in ("", ".", ".."):
        raise ValueError(f"save_model_filename: expected a file name without directories, got {stem!r}")
    names = (f"{stem}.onnx", f"{stem}.qslim")
    with staged_directory(directory, names) as staging:
        onnx_path, engine_path = (os.path.join(staging, name) for name in names)
        export_onnx(prepare_for_runtime(with_float_outputs(graph, graph.outputs)), onnx_path)
        runnable = with_float_outputs(engine_graph, engine_graph.outputs)
        engine = write_engine_file(runnable, engine_path, [onnx_path])
    if engine.path is not None:
        engine = replace(engine, path=os.path.join(directory, names[1]))
    return os.path.join(directory, names[0]), engine
