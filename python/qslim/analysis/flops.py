# SPDX-License-Identifier: Apache-2.0
"""Multiply-adds and parameter counts of a model."""

from __future__ import annotations

import math
from typing import Any, Union

from qslim.analysis.model_graph import Dtypes, graph_of
from qslim.graph import Graph
from qslim.graph.flops import count, parameters_of
from qslim.importers.paddle import PaddleProgram
from qslim.paddle import framework
from qslim.paddle.framework import paddle_module

__all__ = ["dygraph_flops", "flops", "model_size"]

Flops = Union[int, tuple[int, dict[str, int]]]


def flops(
    model: Any, inputs: Any = None, dtypes: Dtypes = None, only_conv: bool = True, detail: bool = False
) -> Flops:
    """Count the multiply-adds of one forward pass, for one sample.

    Parameters
    ----------
    model : paddle.nn.Layer, paddle.static.Program of either IR, or qslim Graph
        A training program counts with its forward part.
    inputs : list, required for a Layer
        The shape of the input ([1, 3, 224, 224]), a list of shapes, or example inputs for ``forward``. The
        batch does not count. A program has shapes of its own.
    dtypes : str or list of str, optional
        Of inputs given by shape; "float32" by default.
    only_conv : bool, default=True
        Convolutions and matrix products alone. With False also relu, relu6, sigmoid, batch norm and average
        pooling, as PaddleSlim counts them; ``qslim.graph.flops`` has the formulas.
    detail : bool, default=False
        Also return the number for each parameter.

    Returns
    -------
    int, or (int, dict of parameter name to int) with `detail`

    Raises
    ------
    ValueError : inputs are missing, are no shapes, or do not fit the network; names them.

    References
    ----------
    paddleslim 2.6.0, analysis/flops.py. ConvTranspose and products of any rank count here, too.

    Examples
    --------
    >>> import paddle
    >>> from qslim.analysis import flops
    >>> net = paddle.nn.Sequential(paddle.nn.Conv2D(3, 8, 3), paddle.nn.ReLU())
    >>> flops(net, [1, 3, 10, 10]) == 8 * 8 * 8 * 27
    True
    """
    return _flops(model, inputs, dtypes, only_conv, detail, "flops")


def dygraph_flops(
    model: Any, inputs: Any, dtypes: Dtypes = None, only_conv: bool = False, detail: bool = False
) -> Flops:
    """Count the multiply-adds of a Layer: `flops` with `only_conv` off by default.

    Raises
    ------
    TypeError : `model` is no paddle.nn.Layer.

    Examples
    --------
    >>> import paddle
    >>> from qslim.analysis import dygraph_flops
    >>> net = paddle.nn.Sequential(paddle.nn.Linear(20, 5), paddle.nn.ReLU())
    >>> dygraph_flops(net, [1, 20])
    105
    """
    if not isinstance(model, paddle_module().nn.Layer):
        raise TypeError(f"dygraph_flops: expected a paddle.nn.Layer, got {type(model).__name__}")
    return _flops(model, inputs, dtypes, only_conv, detail, "dygraph_flops")


def _flops(model: Any, inputs: Any, dtypes: Dtypes, only_conv: bool, detail: bool, function: str) -> Flops:
    found = graph_of(model, inputs, dtypes, function)
    macs = count(found.graph, found.input_shapes, only_conv=only_conv)
    total = sum(macs.values())
    if not detail:
        return total
    of_parameter: dict[str, int] = {}
    for node in found.graph.nodes:
        weights = parameters_of(found.graph, node) if node.outputs and node.outputs[0] in macs else []
        if weights:
            of_parameter[weights[0]] = of_parameter.get(weights[0], 0) + macs[node.outputs[0]]
    return total, of_parameter


def model_size(program: Any) -> int:
    """Count the elements of all parameters, running means and variances of batch norms included.

    Parameters
    ----------
    program : paddle.static.Program of either IR, paddle.nn.Layer or qslim Graph
        The name is PaddleSlim's.

    Examples
    --------
    >>> import paddle
    >>> from qslim.analysis import model_size
    >>> model_size(paddle.nn.Linear(20, 5))
    105
    """
    if isinstance(program, PaddleProgram):
        stored = (program.graph.constant(name) for name in program.parameter_names)
        return sum(int(value.size) for value in stored if value is not None)
    if isinstance(program, Graph):
        read = {name for node in program.nodes for name in node.inputs if name}
        values = (program.constant(name) for name in read)
        # Shapes, axes and bounds are constants, too; parameters are float arrays.
        return sum(int(v.size) for v in values if v is not None and v.ndim > 0 and v.dtype.kind == "f")
    if isinstance(program, paddle_module().nn.Layer):
        with framework.dygraph():
            parameters = program.parameters()
    elif hasattr(program, "desc"):
        parameters = program.all_parameters()
    elif hasattr(program, "global_block"):
        parameters = program.global_block().all_parameters()
    else:
        raise TypeError(
            "model_size: expected a paddle.nn.Layer, a paddle.static.Program or a qslim Graph, "
            f"got {type(program).__name__}"
        )
    return sum(math.prod(parameter.shape) for parameter in parameters)
