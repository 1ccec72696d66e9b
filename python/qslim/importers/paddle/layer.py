# SPDX-License-Identifier: Apache-2.0
"""A paddle.nn.Layer in: traced by paddle.jit, then read like a file."""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
from collections.abc import Sequence
from typing import Any, Optional

from qslim.errors import ModelFileError
from qslim.importers.paddle import framework
from qslim.importers.paddle.files import find_model_files
from qslim.importers.paddle.program import PaddleProgram, load_program
from qslim.importers.paddle.tracing import declared_spec, ready_to_trace

__all__ = ["import_layer"]


def import_layer(
    layer: Any,
    input_spec: Optional[Sequence[Any]] = None,
    legacy: Optional[bool] = None,
    training: bool = False,
) -> PaddleProgram:
    """Trace `layer` and load what came out.

    Parameters
    ----------
    layer : paddle.nn.Layer
    input_spec : list of paddle.static.InputSpec or Tensors
        Shapes and dtypes of the inputs of ``forward``, as for ``paddle.jit.save``. By default those that
        ``paddle.jit.to_static`` was given when it decorated `layer`.
    legacy : bool, optional
        Trace in the legacy IR (True) or in PIR (False); None follows FLAGS_enable_pir_api.
    training : bool, default=False
        Trace in training mode, which shows heads that evaluation leaves out, in place of evaluation mode.

    Returns
    -------
    PaddleProgram, its Graph under ``.graph``. `layer` keeps its training flag and its attributes.

    Raises
    ------
    ValueError : not a Layer, or no `input_spec`.

    Examples
    --------
    >>> import paddle
    >>> from qslim.importers.paddle import import_layer
    >>> net = paddle.nn.Sequential(paddle.nn.Conv2D(3, 8, 3), paddle.nn.ReLU())
    >>> program = import_layer(net, [paddle.static.InputSpec([None, 3, 16, 16], "float32", "image")])
    >>> [node.op_type for node in program.graph.nodes]
    ['Conv', 'Add', 'Relu']
    """
    paddle = framework.paddle_module()
    if not isinstance(layer, paddle.nn.Layer):
        raise ValueError(f"import_layer: expected a paddle.nn.Layer, got {type(layer).__name__}")
    input_spec = input_spec or declared_spec(layer)
    if not input_spec:
        raise ValueError(
            "import_layer: input_spec is missing; give the shape of each input, for example "
            "[paddle.static.InputSpec([None, 3, 224, 224], 'float32', 'image')]"
        )
    was_dygraph = paddle.in_dynamic_mode()
    with tempfile.TemporaryDirectory(prefix="qslim-") as directory:
        try:
            paddle.disable_static()
            with ready_to_trace(layer), framework.quiet(), _ir(legacy):
                layer.train() if training else layer.eval()
                paddle.jit.save(layer, os.path.join(directory, "layer"), input_spec=list(input_spec))
        except OSError as error:
            raise OSError(error.errno, f"{_TEMPORARY}: {error.strerror or error}", directory) from error
        finally:
            if not was_dygraph:
                paddle.enable_static()
        try:
            return load_program(find_model_files(directory))
        except ModelFileError as error:  # Paddle's writers do not notice a full disk
            raise OSError(errno.ENOSPC, f"{_TEMPORARY} whole: {error}", directory) from error


_TEMPORARY = "cannot write the traced network to the temporary directory"


def _ir(legacy: Optional[bool]) -> contextlib.AbstractContextManager[None]:
    if legacy is None:
        return contextlib.nullcontext()
    return framework.legacy_ir() if legacy else framework.pir_ir()
