# SPDX-License-Identifier: Apache-2.0
"""Convert what the user counts, a Layer, a program of either IR, a loaded model or a Graph, to a Graph.

Weights are read for their shapes alone; those of a live program are zeros without memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Optional, Union

import numpy as np
from numpy.typing import NDArray

from qslim.graph import Graph
from qslim.importers.paddle import PaddleProgram, import_layer
from qslim.importers.paddle.pir_walk import walk_program
from qslim.paddle import framework
from qslim.paddle.framework import legacy_ir, paddle_module, quiet

__all__ = ["ModelGraph", "graph_of"]

Dtypes = Optional[Union[str, Sequence[str]]]


@dataclass
class ModelGraph:
    """A Graph, the input shapes to count it for, and what the Layer calls its parameters."""

    graph: Graph
    input_shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    layer_names: dict[str, str] = field(default_factory=dict)


def graph_of(
    model: Any, inputs: Any, dtypes: Dtypes, function: str, parameter_value: float = 0.0
) -> ModelGraph:
    """Return `model` as a Graph.

    Parameters
    ----------
    model : paddle.nn.Layer, paddle.static.Program, PaddleProgram or Graph
    inputs : list of int, list of shapes, list of example inputs, or None
        A Layer needs them; a program has shapes of its own, whose unknown batch is 1.
    dtypes : str or list of str, optional
        Of inputs given by shape; float32 by default.
    function : str
        The name that errors start with.
    parameter_value : float
        What stands for the elements of a live program's parameters.

    Raises
    ------
    ValueError : no inputs for a Layer, or shapes that are none; says what was expected and seen.
    TypeError : not a model.
    """
    if isinstance(model, Graph):
        return ModelGraph(model, _shapes_by_name(model.inputs, inputs, function))
    if isinstance(model, PaddleProgram):
        return ModelGraph(model.graph, _shapes_by_name(model.graph.inputs, inputs, function))
    paddle = paddle_module()
    if isinstance(model, paddle.nn.Layer):
        specs = _input_specs(inputs, dtypes, function)
        try:
            program = import_layer(model, specs)
        except (TypeError, ValueError, RuntimeError) as error:
            shapes = [list(spec.shape) if hasattr(spec, "shape") else spec for spec in specs]
            raise ValueError(
                f"{function}: {type(model).__name__} cannot run on inputs {shapes}: {_reason(error)}"
            ) from error
        with framework.dygraph():
            names = {parameter.name: name for name, parameter in model.named_parameters()}
        return ModelGraph(program.graph, layer_names=names)
    if not hasattr(model, "global_block"):
        raise TypeError(
            f"{function}: expected a paddle.nn.Layer, a paddle.static.Program or a qslim Graph, "
            f"got {type(model).__name__}"
        )
    is_legacy = hasattr(model, "desc")
    graph = _legacy_graph(model, parameter_value) if is_legacy else _pir_graph(model, {}, parameter_value)
    return ModelGraph(graph, _shapes_by_name(graph.inputs, inputs, function))


def _reason(error: Exception) -> str:
    """Return the line of a Paddle error that says what is wrong; the rest is the way through the code."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return next((line for line in reversed(lines) if "Error:" in line), lines[0] if lines else repr(error))


# ---- inputs ------------------------------------------------------------------------------------------


def _shapes(inputs: Any, function: str) -> list[Any]:
    """Return shapes as tuples of positive integers; an example input, which is no shape, stays as it is."""
    if not isinstance(inputs, (list, tuple)) or not inputs:
        raise ValueError(
            f"{function}: inputs must be a shape ([1, 3, 224, 224]), a list of shapes or a list of example "
            f"inputs, got {inputs!r}"
        )
    if all(isinstance(item, (int, float, np.number)) or item is None for item in inputs):
        inputs = [inputs]
    return [_shape(item, function) if isinstance(item, (list, tuple)) else item for item in inputs]


def _shape(shape: Sequence[Any], function: str) -> tuple[int, ...]:
    extents = [1 if axis == 0 and extent in (None, -1) else extent for axis, extent in enumerate(shape)]
    if not extents or any(not isinstance(e, (int, np.integer)) or e <= 0 for e in extents):
        raise ValueError(
            f"{function}: a shape is a list of positive integers (the batch alone may be -1), "
            f"got {list(shape)}"
        )
    return tuple(int(extent) for extent in extents)


def _input_specs(inputs: Any, dtypes: Dtypes, function: str) -> list[Any]:
    if inputs is None:
        raise ValueError(f"{function}: a Layer needs inputs, the shape of each, for example [1, 3, 224, 224]")
    if not isinstance(inputs, (list, tuple)):
        inputs = [inputs]  # one example tensor
    items = _shapes(inputs, function)
    kinds = [dtypes or "float32"] * len(items) if dtypes is None or isinstance(dtypes, str) else list(dtypes)
    if len(kinds) != len(items):
        raise ValueError(f"{function}: {len(items)} inputs but {len(kinds)} dtypes")
    paddle = paddle_module()
    specs = []
    for index, (item, dtype) in enumerate(zip(items, kinds)):
        if isinstance(item, tuple):
            specs.append(paddle.static.InputSpec(list(item), dtype, f"input_{index}"))
        elif hasattr(item, "shape") and hasattr(item, "dtype"):
            specs.append(_spec_of(paddle, item, index))
        else:
            specs.append(item)
    return specs


def _spec_of(paddle: Any, example: Any, index: int) -> Any:
    if isinstance(example, (np.ndarray, paddle.static.InputSpec)):
        shape = [1 if extent in (None, -1) else extent for extent in example.shape]
        dtype = str(example.dtype).rsplit(".", 1)[-1]
        return paddle.static.InputSpec(shape, dtype, f"input_{index}")
    return paddle.static.InputSpec.from_tensor(example, f"input_{index}")


def _shapes_by_name(names: list[str], inputs: Any, function: str) -> dict[str, tuple[int, ...]]:
    if inputs is None:
        return {}
    items = [tuple(item.shape) if hasattr(item, "shape") else item for item in _shapes(inputs, function)]
    if len(items) > len(names):
        raise ValueError(f"{function}: {len(items)} inputs for a model that has {len(names)}: {names}")
    return dict(zip(names, items))


# ---- live programs -----------------------------------------------------------------------------------


def _pir_graph(program: Any, names: dict[str, str], parameter_value: float) -> Graph:
    """Return a PIR program as a Graph whose inputs are the program's data; its outputs are not looked at."""
    operators = program.global_block().ops
    shapes = {
        op.attrs()["parameter_name"]: tuple(op.result(0).shape)
        for op in operators
        if op.name() == "builtin.parameter"
    }

    def parameter(name: str) -> NDArray[Any]:
        return np.broadcast_to(np.float32(parameter_value), shapes[name])

    graph = walk_program(program, names, parameter).graph
    # An optimizer's accumulators are data, too, but persistable.
    data = [op for op in operators if op.name() in ("pd_op.data", "pd_op.feed")]
    graph.inputs = [op.attrs()["name"] for op in data if not op.result(0).persistable]
    return graph


def _legacy_graph(program: Any, parameter_value: float) -> Graph:
    """Translate a legacy program to PIR, with feed and fetch operators if it has none; return its Graph."""
    paddle = paddle_module()
    with legacy_ir(), quiet():
        if not any(op.type == "feed" for op in program.global_block().ops):
            program = program.clone(for_test=True)
            block = program.global_block()
            read = {name for op in block.ops for name in op.input_arg_names}
            written = (name for op in block.ops for slot in _RESULTS for name in _written(op, slot))
            leaves = [block.var(name) for name in dict.fromkeys(written) if name not in read]
            feeds = [variable for variable in program.list_vars() if variable.is_data]
            program = paddle.static.normalize_program(program, feeds, leaves)
        translated, variables = framework.translated_to_pir(program.desc)
        names: dict[str, str] = {}
        for name, values in variables.items():
            for count, value in enumerate(values):
                names[value.id] = name if count == 0 else f"{name}@{count}"
        return _pir_graph(translated, names, parameter_value)


_RESULTS = ("Out", "Output", "Y", "Loss")


def _written(op: Any, slot: str) -> list[str]:
    return list(op.output(slot)) if slot in op.output_names else []
