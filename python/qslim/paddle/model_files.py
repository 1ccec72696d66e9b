# SPDX-License-Identifier: Apache-2.0
"""The files of a saved model, found by the user's arguments and checked before Paddle opens them.

Paddle 3 writes ``name.json`` + ``name.pdiparams`` (PIR), Paddle 2 ``name.pdmodel`` + ``name.pdiparams``
(legacy). Tutorials name the files of the one while the user's Paddle writes the other, so a name whose
ending differs from the file that is there finds that file.
"""

from __future__ import annotations

import difflib
import os
import pickle
import re
from dataclasses import dataclass
from typing import Optional

from qslim.errors import MissingFileError, ModelFileError
from qslim.files.pickled import load_pickled
from qslim.paddle import framework

__all__ = ["ModelFiles", "attribute_paths", "find_model_files"]

_PROGRAM_ENDINGS = (".json", ".pdmodel")


@dataclass(frozen=True)
class ModelFiles:
    """Paths of a saved inference model.

    ``params`` is None where every parameter has a file of its own, and where there are none at all.
    """

    program: str
    params: Optional[str]

    @property
    def is_pir(self) -> bool:
        return self.program.endswith(".json")

    @property
    def bytes(self) -> int:
        """Bytes of program and parameters on disk."""
        directory = os.path.dirname(self.program)
        if self.params is not None:
            return os.path.getsize(self.program) + os.path.getsize(self.params)
        if self.program.endswith((*_PROGRAM_ENDINGS, ".onnx")):
            return os.path.getsize(self.program)
        return sum(entry.stat().st_size for entry in os.scandir(directory) if entry.is_file())

    @property
    def paths(self) -> list[str]:
        return [self.program] if self.params is None else [self.program, self.params]

    def in_directory(self, directory: str) -> ModelFiles:
        """Return the same names in `directory`."""
        program = os.path.join(directory, os.path.basename(self.program))
        params = self.params and os.path.join(directory, os.path.basename(self.params))
        return ModelFiles(program, params)


def attribute_paths(files: ModelFiles) -> dict[str, str]:
    """Return the path of each parameter's Layer in the network ("backbone.conv1"), where the files tell it.

    ``paddle.jit.save`` writes it in the legacy IR only, to ``name.pdiparams.info``.
    """
    path = os.path.splitext(files.program)[0] + ".pdiparams.info"
    try:
        loaded = load_pickled(path)
    except (OSError, pickle.UnpicklingError):
        return {}
    names = {
        name: str(info.get("structured_name", ""))
        for name, info in (loaded.items() if isinstance(loaded, dict) else ())
        if isinstance(info, dict)
    }
    return {name: structured.rpartition(".")[0] for name, structured in names.items() if "." in structured}


def find_model_files(
    model_dir: str, model_filename: Optional[str] = None, params_filename: Optional[str] = None
) -> ModelFiles:
    """Resolve the arguments of PaddleSlim's loaders to files that exist.

    Parameters
    ----------
    model_dir : str
        The directory that ``save_inference_model`` or ``jit.save`` wrote to, or the path or the path prefix
        of the model.
    model_filename, params_filename : str, optional
        File names inside `model_dir`. Without them the directory must hold one model.

    Raises
    ------
    ModelFileError : names the path, what was expected there and what is there. MissingFileError, which is
        a FileNotFoundError as well, if nothing is.
    """
    model_dir = os.fspath(model_dir)
    if not os.path.isdir(model_dir):
        parent, prefix = os.path.split(model_dir)
        is_prefix = any(os.path.isfile(model_dir + ending) for ending in _PROGRAM_ENDINGS)
        is_program = os.path.isfile(model_dir) and model_dir.endswith(_PROGRAM_ENDINGS)
        if model_filename is None and (is_prefix or is_program):
            return find_model_files(parent or ".", prefix, params_filename)
        _refuse_other_kinds("model_dir", model_dir)
        what, kind = "does not exist", MissingFileError
        if os.path.exists(model_dir):
            what, kind = "is a file", ModelFileError  # type: ignore[assignment]
        raise kind(f"model_dir: expected the directory of a saved inference model, but {model_dir!r} {what}")
    program = _find_program(model_dir, model_filename)
    stem = os.path.splitext(os.path.basename(program))[0]
    if params_filename is None:
        params = os.path.join(model_dir, stem + ".pdiparams")
        if not os.path.exists(params):
            if program.endswith(_PROGRAM_ENDINGS) and _declares_parameters(program):
                raise MissingFileError(
                    f"params_filename: {params!r} does not exist; say which file holds the parameters "
                    f"({_listing(model_dir)})"
                )
            return ModelFiles(program, None)
    else:
        params = os.path.join(model_dir, params_filename)
        if not os.path.exists(params) and os.path.exists(params + ".pdiparams"):
            params += ".pdiparams"
    _check_is_file("params_filename", params, model_dir)
    return ModelFiles(program, params)


def _refuse_other_kinds(argument: str, path: str) -> None:
    """Say of a file of another kind what it is and what reads it."""
    if path.endswith(".onnx") and os.path.isfile(path):
        raise ModelFileError(
            f"{argument}: {path!r} is an ONNX file, expected a Paddle model here: qslim.runtime.Session "
            "runs ONNX files, and quant_post_static and quant_post_dynamic quantize them"
        )
    if path.endswith(".qslim") and os.path.isfile(path):
        raise ModelFileError(
            f"{argument}: {path!r} is an engine file, made of a Paddle model: qslim.runtime.Session runs it, "
            "and what works on Paddle models needs the .json or .pdmodel file that it was made of"
        )


def _find_program(model_dir: str, model_filename: Optional[str]) -> str:
    if model_filename is None:
        found = sorted(name for name in os.listdir(model_dir) if name.endswith(_PROGRAM_ENDINGS))
        if len(found) == 1:
            return os.path.join(model_dir, found[0])
        if not found and os.path.isfile(os.path.join(model_dir, "__model__")):
            return os.path.join(model_dir, "__model__")
        if not found:
            raise MissingFileError(
                f"model_filename: expected one model (*.json or *.pdmodel) in {model_dir!r}, found none "
                f"({_listing(model_dir)})"
            )
        raise ModelFileError(
            f"model_filename: expected one model (*.json or *.pdmodel) in {model_dir!r}, found {found}; "
            "name it with model_filename"
        )
    path = os.path.join(model_dir, model_filename)
    _refuse_other_kinds("model_filename", path)
    if not os.path.exists(path):
        stem = path
        for ending in _PROGRAM_ENDINGS:
            if path.endswith(ending):
                stem = path[: -len(ending)]
        for ending in _PROGRAM_ENDINGS:
            if os.path.isfile(stem + ending):
                return stem + ending
    _check_is_file("model_filename", path, model_dir)
    return path


def _declares_parameters(program: str) -> bool:
    """Return True if the program needs a parameter file, as one without parameters does not."""
    with open(program, "rb") as file:
        data = file.read()
    if program.endswith(".json"):
        return re.search(rb'"#"\s*:\s*"p"', data) is not None  # builtin.parameter
    core = framework.legacy_core()
    try:
        program_desc = core.ProgramDesc(data)  # the variables are views into it
        variables = program_desc.block(0).all_vars()
    except Exception:  # whatever Paddle's C++ core throws for a damaged file
        return True
    return any(v.persistable() and v.type() == core.VarDesc.VarType.DENSE_TENSOR for v in variables)


def _check_is_file(argument: str, path: str, model_dir: str) -> None:
    if os.path.isdir(path):
        raise ModelFileError(f"{argument}: expected a file, but {path!r} is a directory")
    if not os.path.exists(path):
        near = difflib.get_close_matches(os.path.basename(path), os.listdir(model_dir), 1, 0.5)
        hint = f"did you mean {near[0]!r}?" if near else _listing(model_dir)
        raise MissingFileError(f"{argument}: {path!r} does not exist; {hint}")
    if os.path.getsize(path) == 0:
        raise ModelFileError(f"{argument}: {path!r} is empty")


def _listing(model_dir: str) -> str:
    names = sorted(os.listdir(model_dir))
    return (
        f"{model_dir!r} holds {', '.join(names[:8])}{', ...' if len(names) > 8 else ''}"
        if names
        else (f"{model_dir!r} is empty")
    )
