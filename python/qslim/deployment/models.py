# SPDX-License-Identifier: Apache-2.0
"""The model that a path names: a Paddle model, an engine's file, or an ONNX file."""

from __future__ import annotations

import os
from typing import Literal, Optional, Union

from qslim.errors import MissingFileError
from qslim.graph import Graph
from qslim.importers.qslim_file import load_qslim

__all__ = ["ModelKind", "kind_of", "read_graph"]

ModelKind = Literal["qslim", "paddle", "onnx"]


def kind_of(path: Union[str, os.PathLike[str]]) -> ModelKind:
    """Return the kind of the model at `path`; of a directory or a prefix "paddle".

    Raises
    ------
    MissingFileError : nothing is there.
    """
    name = os.fspath(path)
    is_prefix = any(os.path.isfile(name + ending) for ending in (".json", ".pdmodel"))
    if not os.path.exists(name) and not is_prefix:
        raise MissingFileError(f"there is no model {name!r}: no such file or directory")
    for ending in ("qslim", "onnx"):
        if name.endswith("." + ending) and not is_prefix:
            return ending
    return "paddle"


def read_graph(
    path: Union[str, os.PathLike[str]],
    model_filename: Optional[str] = None,
    params_filename: Optional[str] = None,
) -> Graph:
    """Return the Graph of a Paddle model, float or quantized, of a .qslim file or of an ONNX file.

    Parameters
    ----------
    path : str or path
        A ``.qslim`` or ``.onnx`` file, which need no Paddle, or a Paddle model as ``import_model`` takes it.
    model_filename, params_filename : str, optional
        File names in a directory.

    Raises
    ------
    ValueError : nothing is there, or a damaged model.
    """
    kind = kind_of(path)
    if kind == "qslim":
        return load_qslim(path)
    if kind == "onnx":
        from qslim.importers.onnx import load_onnx

        return load_onnx(path)
    from qslim.importers.paddle import import_model

    return import_model(path, model_filename, params_filename)
