# SPDX-License-Identifier: Apache-2.0
"""Writer of Paddle inference models: the loaded program, rewritten as its Graph's annotations say.

Rewriting keeps every operator that the Graph cannot express, and the feeds and fetches, as they were. A PIR
model stays PIR, a legacy one legacy.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace

from qslim.errors import ModelFileError
from qslim.exporters.engine_file import EngineFile, write_engine_file
from qslim.exporters.onnx import export_onnx
from qslim.exporters.paddle.legacy import write_legacy
from qslim.exporters.paddle.pir import write_pir
from qslim.exporters.paddle.plan import RewritePlan, WeightStorage, plan_rewrite
from qslim.files.staging import WriteError, staged_directory
from qslim.graph import Graph
from qslim.graph.passes import FoldedBatchNorm, prepare_for_runtime, with_float_outputs
from qslim.paddle.model_files import ModelFiles, find_model_files
from qslim.paddle.program import PaddleProgram, check_model_files

__all__ = ["RewritePlan", "WeightStorage", "export_program", "export_with_engine_file", "plan_rewrite"]


@dataclass(frozen=True)
class _Names:
    """File names of PaddleSlim's arguments, in the form of the IR that is written."""

    program: str
    params: str

    @property
    def stem(self) -> str:
        return os.path.splitext(self.program)[0]

    @property
    def engine(self) -> str:
        return self.stem + ".qslim"

    @property
    def set(self) -> list[str]:
        """Name every file of the model in either IR; none may be left of an older one."""
        endings = (".json", ".pdmodel", ".pdiparams", ".pdiparams.info", ".qslim")
        return [*dict.fromkeys([self.params, *(self.stem + ending for ending in endings)])]


def export_program(
    program: PaddleProgram,
    directory: str,
    *,
    model_filename: str | None = "model.pdmodel",
    params_filename: str | None = None,
    weight_storage: WeightStorage = "int8",
    folded: Sequence[FoldedBatchNorm] = (),
) -> ModelFiles:
    """Write `program` with the quantization of ``program.graph`` to `directory`, whole or not at all.

    What was written is loaded once before it replaces anything: Paddle's writers do not notice a full disk.
    An engine's file of the same name, which would be another network's now, is removed.

    Parameters
    ----------
    program : PaddleProgram
        Its graph's annotations are what is written: every annotated constant as integers times a step,
        every annotated activation through a quantize/dequantize pair that all its readers read.
    directory : str
        Created if it is missing.
    model_filename : str, default="model.pdmodel"
        Its ending is replaced by that of the IR (.json for PIR). None: "model".
    params_filename : str, optional
        Default: the name of the program with .pdiparams, which is where Paddle's loaders look.
    weight_storage : {"int8", "float32"}
        "float32" keeps integers in float32, as PaddleSlim's older formats do. "int8" stores more than 8
        bits as int16 in PIR and, for want of an operator that reads them, as float32 in the legacy IR.
    folded : sequence of FoldedBatchNorm
        What ``fold_batch_norm`` did to the graph.

    Returns
    -------
    ModelFiles of what was written.

    Raises
    ------
    WriteError (a ValueError and an OSError) : the directory cannot be written to, or the disk is full.
    """
    names = _file_names(program.is_legacy, model_filename, params_filename)
    plan = plan_rewrite(program, weight_storage, folded)
    with staged_directory(directory, names.set) as staging:
        return _write(program, plan, names, staging, directory).in_directory(directory)


def export_with_engine_file(
    program: PaddleProgram,
    directory: str,
    engine_graph: Graph,
    *,
    model_filename: str | None = "model.pdmodel",
    params_filename: str | None = None,
    weight_storage: WeightStorage = "int8",
    folded: Sequence[FoldedBatchNorm] = (),
    onnx_filename: str | None = None,
) -> tuple[ModelFiles, EngineFile]:
    """Write what ``export_program`` writes and the engine's file of `engine_graph`, all of them or none.

    The engine's file says which files it was written with (``docs/engine.md``), so that it is not taken for
    another network's. `onnx_filename` names a file beside them, for the same Graph in ONNX's form.
    """
    names = _file_names(program.is_legacy, model_filename, params_filename)
    plan = plan_rewrite(program, weight_storage, folded)
    with staged_directory(directory, [*names.set, *filter(None, [onnx_filename])]) as staging:
        files = _write(program, plan, names, staging, directory)
        returned = [name for name in program.graph.outputs if name in plan.activations]
        runnable = with_float_outputs(engine_graph, returned)
        engine = write_engine_file(runnable, os.path.join(staging, names.engine), files.paths)
        if onnx_filename is not None:
            in_float = with_float_outputs(engine_graph, engine_graph.outputs)
            export_onnx(prepare_for_runtime(in_float), os.path.join(staging, onnx_filename))
    if engine.path is not None:
        engine = replace(engine, path=os.path.join(directory, names.engine))
    return files.in_directory(directory), engine


def _write(
    program: PaddleProgram, plan: RewritePlan, names: _Names, staging: str, directory: str
) -> ModelFiles:
    """Write program and parameters to `staging` and see that they can be loaded."""
    write = write_legacy if program.is_legacy else write_pir
    with program.active():
        write(program, plan, os.path.join(staging, names.stem))
    written_params = os.path.join(staging, names.stem + ".pdiparams")
    has_params = os.path.exists(written_params)  # Paddle writes no file for a network without any
    if has_params and names.params != names.stem + ".pdiparams":
        os.replace(written_params, os.path.join(staging, names.params))
    try:
        files = find_model_files(staging, names.program, names.params if has_params else None)
        check_model_files(files)
    except ModelFileError as error:
        raise WriteError(
            f"{os.path.join(directory, names.program)!r} and its parameters cannot be written whole (is the "
            f"disk full?): {str(error).replace(staging, directory)}"
        ) from error
    return files


def _file_names(is_legacy: bool, model_filename: str | None, params_filename: str | None) -> _Names:
    stem = model_filename or "model"
    for ending in (".pdmodel", ".json"):
        if stem.endswith(ending):
            stem = stem[: -len(ending)]
    params = params_filename or stem + ".pdiparams"
    for argument, name in (("save_model_filename", stem), ("save_params_filename", params)):
        if os.path.basename(name) != name or name in ("", ".", ".."):
            raise ValueError(f"{argument}: expected a file name without directories, got {name!r}")
    if not params.endswith(".pdiparams") and "." not in params:
        params += ".pdiparams"
    return _Names(stem + (".pdmodel" if is_legacy else ".json"), params)
