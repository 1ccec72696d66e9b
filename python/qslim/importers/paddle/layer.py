# SPDX-License-Identifier: Apache-2.0
"""Import of a paddle.nn.Layer: traced by paddle.jit, then read like a file."""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
from collections.abc import Sequence
from typing import Any, Optional

from qslim.errors import ModelFileError
from qslim.importers.paddle.load import load_program
from qslim.paddle import framework
from qslim.paddle.model_files import find_model_files
from qslim.paddle.program import PaddleProgram
from qslim.paddle.tracing import declared_spec, ready_to_trace

__all__ = ["import_layer"]


def import_layer(
    layer: Any,
    input_spec: Optional[Sequence[Any]] = None,
    legacy: Optional[bool] = None,
    training: bool = False,
) -> PaddleProgram:
    """Trace `layer` and return the loaded program.

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
                unread = _save(layer, os.path.join(directory, "layer"), list(map(_as_spec, input_spec)))
        except OSError as error:
            raise OSError(error.errno, f"{_TEMPORARY}: {error.strerror or error}", directory) from error
        finally:
            if not was_dygraph:
                paddle.enable_static()
        try:
            program = load_program(find_model_files(directory))
        except ModelFileError as error:  # Paddle's writers do not notice a full disk
            raise OSError(errno.ENOSPC, f"{_TEMPORARY} whole: {error}", directory) from error
    program.unread_inputs = unread
    return program


_TEMPORARY = "cannot write the traced network to the temporary directory"


def _as_spec(item: Any) -> Any:
    """Return an InputSpec of float32 for a shape with open extents, any other item as it is."""
    is_shape = isinstance(item, (list, tuple)) and any(extent is None for extent in item)
    if is_shape and all(extent is None or isinstance(extent, int) for extent in item):
        return framework.paddle_module().static.InputSpec(list(item), "float32")
    return item


def _save(layer: Any, prefix: str, input_spec: list[Any]) -> list[str]:
    """Run ``paddle.jit.save``; return the names of the inputs that `layer` does not read."""
    paddle = framework.paddle_module()
    try:
        paddle.jit.save(layer, prefix, input_spec=input_spec)
        return []
    except ValueError as error:
        if "is not involved in the target_vars" not in str(error):
            raise

    def as_input(item: Any) -> Any:  # which jit.save does, and to_static does not
        return paddle.static.InputSpec.from_tensor(item) if isinstance(item, paddle.Tensor) else item

    specs = paddle.utils.map_structure(as_input, input_spec)
    layer.forward = paddle.jit.to_static(layer.forward, input_spec=specs, full_graph=True)
    program = layer.forward.concrete_program
    inputs, outputs = (
        [value for value in paddle.utils.flatten(values) if framework.is_pir_value(value)]
        for values in (program.inputs, program.outputs)
    )
    read = _needed(outputs)
    kept = [
        paddle.static.InputSpec(list(value.shape), value.dtype, value.name)
        for value in inputs
        if value.name in read
    ]
    paddle.jit.save(layer, prefix, input_spec=kept)
    return [value.name for value in inputs if value.name not in read]


def _needed(outputs: list[Any]) -> set[str]:
    """Return names of the inputs that `outputs` of a PIR program are computed from."""
    names, seen, open_values = set(), set(), list(outputs)
    while open_values:
        value = open_values.pop()
        op = value.get_defining_op()
        if value.id in seen or op is None:
            continue
        seen.add(value.id)
        if op.name() in ("pd_op.data", "pd_op.feed"):
            names.add(op.attrs()["name"])
        open_values += [source for source in op.operands_source() if source.initialized()]
    return names


def _ir(legacy: Optional[bool]) -> contextlib.AbstractContextManager[None]:
    if legacy is None:
        return contextlib.nullcontext()
    return framework.legacy_ir() if legacy else framework.pir_ir()
