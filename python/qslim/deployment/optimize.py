# SPDX-License-Identifier: Apache-2.0
"""Paddle Lite's ``opt`` for this engine: a saved model becomes one ``.qslim`` file.

Source: Paddle Lite 2.3, lite/api/model_optimize_tool.cc (flags and messages).
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any, Optional, Union

from qslim._core import operator_names
from qslim.exporters.engine_file import EngineFile, write_engine_file
from qslim.files.staging import output_path, staged_directory
from qslim.graph import Graph
from qslim.graph.integer_operators import find_integer_operator, output_channels
from qslim.graph.passes import prepare_for_runtime
from qslim.importers.paddle import find_model_files, import_model
from qslim.importers.qslim_file import load_qslim

__all__ = ["TARGETS", "OptimizedModel", "check_targets", "model_operators", "optimize", "write_whole"]

# The file is the same for all of them: weights are packed when a session opens it.
TARGETS = ("x86", "arm")
_FILE = "model.qslim"


@dataclass(frozen=True)
class OptimizedModel:
    """The file that was written.

    Attributes
    ----------
    path : str
    bytes : int
    bytes_before : of the Paddle model's files
    products, int8_products : convolutions and matrix products, and those among them that compute in int8
    notes : what the file lacks, or does elsewhere
    """

    path: str
    bytes: int
    bytes_before: int
    products: int
    int8_products: int
    notes: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def check_targets(valid_targets: Union[str, Iterable[str]]) -> tuple[str, ...]:
    """Return the targets of Paddle Lite's flag, one word or several between commas or spaces.

    Raises
    ------
    ValueError : none is named, or one that this engine has not.
    """
    words = valid_targets if isinstance(valid_targets, str) else " ".join(valid_targets)
    targets = tuple(filter(None, re.split(r"[,\s]+", words)))
    if not targets:
        raise ValueError(
            "At least one target should be set, should set the command argument 'valid_targets' "
            f"({', '.join(TARGETS)})"
        )
    for target in targets:
        if target not in TARGETS:
            raise ValueError(
                f"Wrong target '{target}' found, please check the command flag 'valid_targets': "
                f"qslim's engine runs on {', '.join(TARGETS)}, both of 64 bits"
            )
    return targets


def optimize(
    model_dir: Optional[str] = None,
    optimize_out: str = "",
    *,
    model_file: Optional[str] = None,
    param_file: Optional[str] = None,
    valid_targets: Union[str, Iterable[str]] = TARGETS,
) -> OptimizedModel:
    """Write the engine's file of a saved Paddle model, quantized or float, whole or not at all.

    Parameters
    ----------
    model_dir : str
        A directory with one model; or `model_file` and `param_file`, which then win.
    optimize_out : str
        A path that ends in ".qslim", or the directory that gets ``model.qslim``.
    model_file, param_file : str
        Both paths, of files in one directory.
    valid_targets : str or list of str
        "x86" and "arm" (64 bits), the processors that the engine has kernels for; the file is the same.

    Raises
    ------
    ValueError : a path that is missing or cannot be written, another target, a model that the engine cannot
        run; `optimize_out` is as it was.

    Examples
    --------
    >>> import os, tempfile
    >>> import paddle
    >>> work = tempfile.mkdtemp()
    >>> image = paddle.static.InputSpec([None, 3, 8, 8], "float32", "image")
    >>> paddle.jit.save(paddle.nn.Conv2D(3, 4, 3), os.path.join(work, "model"), input_spec=[image])
    >>> written = optimize(work, os.path.join(work, "opt"))
    >>> os.listdir(os.path.join(work, "opt")), written.products
    (['model.qslim'], 1)
    """
    check_targets(valid_targets)
    if not optimize_out:
        raise ValueError("optimize_out is missing: expected the path of the output")
    out = output_path(optimize_out, "optimize_out")
    directory, model_filename, params_filename = _source(model_dir, model_file, param_file)
    graph = import_model(directory, model_filename, params_filename)
    path = out if out.endswith(".qslim") else os.path.join(out, _FILE)
    engine = write_whole(graph, path)
    written = load_qslim(path)
    products = [node for node in written.nodes if output_channels(written, node) is not None]
    return OptimizedModel(
        path=path,
        bytes=os.path.getsize(path),
        bytes_before=find_model_files(directory, model_filename, params_filename).bytes,
        products=len(products),
        int8_products=sum(find_integer_operator(written, node) is not None for node in products),
        notes=engine.notes,
    )


def model_operators(
    model_dir: Optional[str] = None, *, model_file: Optional[str] = None, param_file: Optional[str] = None
) -> dict[str, tuple[int, bool]]:
    """Return a model's operators as the engine gets them: how many of each, and if it has a kernel.

    Parameters, Raises : as for ``optimize``
    """
    graph = prepare_for_runtime(import_model(*_source(model_dir, model_file, param_file)))
    counts = Counter(node.op_type for node in graph.nodes)
    return {name: (counts[name], name in operator_names()) for name in sorted(counts)}


def write_whole(graph: Graph, path: str) -> EngineFile:
    """Write the engine's file of `graph` to `path`; raise and change nothing if the engine cannot run it."""
    folder, name = os.path.split(path)
    with staged_directory(folder or ".") as staging:
        engine = write_engine_file(graph, os.path.join(staging, name))
        if engine.path is None:
            raise ValueError(f"This model is not supported: {engine.problem}")
    return engine


def _source(
    model_dir: Optional[str], model_file: Optional[str], param_file: Optional[str]
) -> tuple[str, Optional[str], Optional[str]]:
    """Return directory and file names, as ``import_model`` takes them."""
    if model_file is None and param_file is None:
        if model_dir is None:
            raise ValueError("model_dir is missing: give it, or both model_file and param_file")
        return model_dir, None, None
    if model_file is None or param_file is None:
        missing = "model_file" if model_file is None else "param_file"
        raise ValueError(f"{missing} is missing: model_file and param_file go together")
    directory, name = os.path.split(model_file)
    params_directory, params = os.path.split(param_file)
    if os.path.realpath(directory or ".") != os.path.realpath(params_directory or "."):
        raise ValueError(
            f"expected model_file and param_file in one directory, got {directory!r} and {params_directory!r}"
        )
    return directory or ".", name, params
