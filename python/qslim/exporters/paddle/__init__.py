# SPDX-License-Identifier: Apache-2.0
"""Paddle inference models out: the loaded program, rewritten as its Graph's annotations say.

Rewriting keeps every operator that the Graph cannot express, and the feeds and fetches, as they were. A PIR
model stays PIR, a legacy one legacy.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from qslim.exporters.paddle.legacy import write_legacy
from qslim.exporters.paddle.pir import write_pir
from qslim.exporters.paddle.plan import RewritePlan, WeightStorage, plan_rewrite
from qslim.exporters.staging import staged_directory
from qslim.graph.passes import FoldedBatchNorm
from qslim.importers.paddle import ModelFiles, PaddleProgram

__all__ = ["RewritePlan", "WeightStorage", "export_program", "plan_rewrite"]


@dataclass(frozen=True)
class _Names:
    """File names of PaddleSlim's arguments, in the form of the IR that is written."""

    program: str
    params: str


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
    """
    names = _file_names(program.is_legacy, model_filename, params_filename)
    plan = plan_rewrite(program, weight_storage, folded)
    write = write_legacy if program.is_legacy else write_pir
    stem = os.path.splitext(names.program)[0]
    with staged_directory(directory) as staging:
        with program.active():
            write(program, plan, os.path.join(staging, stem))
        written_params = os.path.join(staging, stem + ".pdiparams")
        has_params = os.path.exists(written_params)  # Paddle writes no file for a network without any
        if has_params and names.params != stem + ".pdiparams":
            os.replace(written_params, os.path.join(staging, names.params))
    # A program of the other IR under the same name would now stand beside parameters that are not its own.
    stale = os.path.join(directory, stem + (".json" if program.is_legacy else ".pdmodel"))
    if os.path.isfile(stale):
        os.remove(stale)
    params = os.path.join(directory, names.params)
    if not has_params and os.path.isfile(params):
        os.remove(params)
    return ModelFiles(os.path.join(directory, names.program), params if has_params else None)


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
