# SPDX-License-Identifier: Apache-2.0
"""The file that a Session means, or its bytes if it has to be made first."""

from __future__ import annotations

import os
from typing import Any, Optional, Union

from qslim.errors import MissingFileError
from qslim.exporters.engine_file import split_for_engine
from qslim.exporters.qslim_file import dumps_qslim
from qslim.graph import Graph
from qslim.graph.host_tail import HostTail
from qslim.importers.qslim_file import check_beside, load_tail

__all__ = ["model_source"]

_PADDLE_ENDINGS = (".json", ".pdmodel")


def model_source(model: Union[str, os.PathLike[str], Graph]) -> tuple[Union[str, bytes], Optional[HostTail]]:
    """Return the path of a .qslim file, or the bytes of one; and what is computed behind the engine.

    Raises
    ------
    ValueError : a directory holds no model or several, or a .qslim file of another network than its Paddle
        model is.
    """
    if isinstance(model, Graph):
        return _bytes_of(model)
    if not isinstance(model, (str, os.PathLike)):
        raise TypeError(_not_a_model(model))
    path = os.fspath(model)
    if not os.path.exists(path) and not path.endswith(_PADDLE_ENDINGS):
        raise MissingFileError(
            f"Session: cannot open model file {path!r}: there is no such file or directory"
        )
    if os.path.isdir(path):
        found = _file_in(path)
        if found is not None:
            return found, load_tail(found)
        directory, name = path, None
    elif path.endswith(_PADDLE_ENDINGS):
        directory, name = os.path.split(path)
    elif path.endswith(".onnx"):
        from qslim.importers.onnx import load_onnx

        return _bytes_of(load_onnx(path))
    else:
        return path, load_tail(path)
    from qslim.importers.paddle import import_model

    return _bytes_of(import_model(directory or ".", name))


def _bytes_of(graph: Graph) -> tuple[bytes, Optional[HostTail]]:
    part, tail = split_for_engine(graph)
    return dumps_qslim(part), tail


def _not_a_model(model: Any) -> str:
    """Return the message for an object that names no file."""
    wanted = "Session: expected the path of a model or a Graph"
    if hasattr(model, "state_dict") and hasattr(model, "forward"):
        return (
            f"{wanted}, got the Layer {type(model).__name__}: save it with paddle.jit.save(layer, 'model', "
            "input_spec=[...]) and open Session('model.json'), or give "
            "Session(qslim.importers.paddle.import_layer(layer, input_spec).graph)"
        )
    return f"{wanted}, got {type(model).__name__}"


def _file_in(directory: str) -> Optional[str]:
    """Return the .qslim file of `directory`; None if there is a Paddle model only."""
    names = sorted(name for name in os.listdir(directory) if os.path.isfile(os.path.join(directory, name)))
    files = [name for name in names if name.endswith(".qslim")]
    programs = [name for name in names if name == "__model__" or _is_program(os.path.join(directory, name))]
    if not files and programs:
        return None
    if not files:
        listed = ", ".join(names[:8]) + (", ..." if len(names) > 8 else "") if names else "no file"
        raise MissingFileError(
            f"Session: expected one .qslim file, or a Paddle model, in directory {directory!r}, which holds "
            f"{listed}; quant_post_static and save_quantized_model write a .qslim file"
        )
    if len(files) != 1:
        raise ValueError(
            f"Session: expected one .qslim file in directory {directory!r}, found {files}; name the file "
            "that you mean"
        )
    path = os.path.join(directory, files[0])
    if len({os.path.splitext(name)[0] for name in programs}) > 1:
        raise ValueError(
            f"Session: directory {directory!r} holds several models ({', '.join(programs)}) and one .qslim "
            f"file; name the file that you mean: Session({path!r})"
        )
    if programs:
        check_beside(path)
    return path


def _is_program(path: str) -> bool:
    """Return True if `path` is a Paddle program; other JSON files may lie beside one."""
    if not path.endswith(_PADDLE_ENDINGS):
        return False
    if path.endswith(".pdmodel"):
        return True
    with open(path, "rb") as file:
        return b'"pir"' in file.read(256)
