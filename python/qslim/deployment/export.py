# SPDX-License-Identifier: Apache-2.0
"""A model written for another runtime: ONNX's, or the engine."""

from __future__ import annotations

from typing import Optional

from qslim.deployment.models import read_graph
from qslim.deployment.optimize import write_whole
from qslim.exporters import export_onnx
from qslim.files.staging import output_path
from qslim.graph.passes import prepare_for_runtime

__all__ = ["export_model"]


def export_model(
    model: str,
    path: str,
    *,
    model_filename: Optional[str] = None,
    params_filename: Optional[str] = None,
    opset: int = 21,
) -> None:
    """Write a Paddle model, or an engine's file, as ONNX or as an engine's file, whole or not at all.

    Parameters
    ----------
    model, model_filename, params_filename : as for ``read_graph``
    path : str
        Ends in ".onnx" (quantized tensors as QuantizeLinear and DequantizeLinear) or in ".qslim".
    opset : int in [17, 21], of ONNX

    Raises
    ------
    ValueError : a model that will not do, another ending, an operator that the target lacks.
    ImportError : ONNX needs the ``onnx`` package.

    Examples
    --------
    >>> import os, tempfile
    >>> import paddle
    >>> work = tempfile.mkdtemp()
    >>> image = paddle.static.InputSpec([None, 3, 8, 8], "float32", "image")
    >>> paddle.jit.save(paddle.nn.Conv2D(3, 4, 3), os.path.join(work, "model"), input_spec=[image])
    >>> export_model(work, os.path.join(work, "model.onnx"))
    >>> import onnx
    >>> [node.op_type for node in onnx.load(os.path.join(work, "model.onnx")).graph.node]
    ['Conv']
    """
    path = output_path(path, "path")
    if not path.endswith((".onnx", ".qslim")):
        raise ValueError(f"path: expected one that ends in .onnx or .qslim, got {path!r}")
    graph = read_graph(model, model_filename, params_filename)
    if path.endswith(".onnx"):
        export_onnx(prepare_for_runtime(graph), path, opset=opset)
    else:
        write_whole(graph, path)
