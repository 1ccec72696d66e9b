# SPDX-License-Identifier: Apache-2.0
"""Evaluation of a Graph in NumPy: the simulation that every runtime must agree with.

A tensor with an annotation is quantized: whoever reads it sees q = clamp(rint(r * (1/s)) + z, qmin, qmax),
which stands for s * (q - z). An integer operator (``integer_operators.py``: which they are) computes

    acc  = sum of (qx - zx) * qw, exactly                           m = fl(sx * sw) for each output channel
    r    = fl(fl(float32(acc) * m) + bias)                          its result where that stays in float
    q    = clamp(rint(r * fl(1 / sy)) + zy, low, high)              where it writes integers (sy, zy) directly

with low and high the integers of a Relu's or a Clip's bounds, or qmin and qmax: q is what quantizing the
clipped r would give. fl() is one float32 operation; rint rounds ties to even. The average of
a quantized tensor is r = float32(sum of (qx - zx)) * fl(sx / count). Every other operator works in float32 on
real values (``operators/``).

A MatMul or Gemm of float data with a constant matrix of integers (``weight_only.py``) computes one chain of
fused multiply-adds a result, of the real values that the integers stand for.

Integers and these chains are exact: a runtime must give the same bits. Other floats are rounded once from
float64 where an operator sums, so a runtime may differ by the rounding of its own sums.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Optional

import numpy as np
from numpy.typing import NDArray

from qslim.graph.graph import Graph, Node, Tensor
from qslim.graph.integer_operators import IntegerOperator, find_integer_operator
from qslim.graph.operators import OPERATORS, OperatorFunction
from qslim.graph.operators.detection import DETECTION
from qslim.graph.operators.products import convolve, convolve_transposed
from qslim.graph.operators.windows import average_parts
from qslim.graph.quantization import QuantParams
from qslim.graph.weight_only import is_weight_only, multiply_weight_only

__all__ = ["can_evaluate", "evaluate"]

_Array = NDArray[Any]


def evaluate(
    graph: Graph, feeds: Mapping[str, _Array], outputs: Optional[Sequence[str]] = None
) -> dict[str, _Array]:
    """Compute the outputs of `graph` for `feeds`.

    Parameters
    ----------
    graph : Graph
    feeds : dict of ndarray
        One array for each input that is needed, in the dtype and shape that the graph gives for it.
    outputs : list of str, optional
        Tensors to return; the graph's outputs by default. Only what they depend on is computed.

    Returns
    -------
    dict of ndarray
        Real values. Those of a quantized tensor are dequantized integers, which
        ``tensor.quantization.quantize`` gives back. A tensor inside an integer operator's chain has the
        values that it would have in float.

    Raises
    ------
    ValueError : a feed is missing or has the wrong dtype or shape; an operator does not fit its operands.
    NotImplementedError : names an operator that has no definition in ``qslim.graph.operators``.

    Examples
    --------
    >>> graph = Graph(inputs=["x"], outputs=["y"])
    >>> _ = graph.add_tensor(Tensor("x", "float32", (None, 3)))
    >>> _ = graph.add_tensor(Tensor("y", "float32", (None, 3), None, QuantParams.activation(2.55, 8, True)))
    >>> graph.add_node(Node("Relu", ["x"], ["y"]))
    >>> evaluate(graph, {"x": np.float32([[-1, 1.004, 3]])})["y"]
    array([[0.  , 1.  , 2.55]], dtype=float32)
    """
    wanted = list(graph.outputs if outputs is None else outputs)
    for name in wanted:
        if name not in graph.tensors:
            raise ValueError(f"evaluate: the graph has no tensor {name!r}")
    run = _Run(graph, wanted)
    for name in graph.inputs:
        if name in run.needed:
            run.feed(name, feeds)
    for node in graph.nodes:
        run.step(node)
    return {name: run.real(name) for name in wanted}


def can_evaluate(node: Node) -> bool:
    """Return True if `node` has a definition here."""
    return _definition(node) is not None


def _definition(node: Node) -> Optional[OperatorFunction]:
    """Return the function of `node`: one of ONNX's operators, or of those that end Paddle's detectors."""
    if node.domain:
        return DETECTION.get(node.op_type) if node.domain == "paddle" else None
    row = OPERATORS.get(node.op_type)
    return None if row is None else row.compute


# What definitions raise where attributes or operands do not fit.
_UNFIT = (ArithmeticError, AssertionError, LookupError, MemoryError, TypeError, ValueError)


class _Run:
    """The values of one run. Readers see ``real`` values; integer operators look at ``_integers``."""

    def __init__(self, graph: Graph, wanted: Sequence[str]) -> None:
        self._graph = graph
        self._wanted = set(wanted)
        self._values: dict[str, _Array] = {}
        self._integers: dict[str, _Array] = {}
        self.needed, self._last_reader = _needed(graph, wanted)
        found = (find_integer_operator(graph, node) for node in graph.nodes)
        self._operators = {id(operator.node): operator for operator in found if operator is not None}
        self._chained = {
            id(node) for operator in self._operators.values() for node in (operator.add, operator.clamp)
        }

    def feed(self, name: str, feeds: Mapping[str, _Array]) -> None:
        if name not in feeds:
            raise ValueError(f"evaluate: input {name!r} is missing; got {sorted(feeds)}")
        self._store(name, _checked_feed(self._graph.tensors[name], np.asarray(feeds[name])))

    def real(self, name: str) -> _Array:
        """Return the values of `name` as its readers see them."""
        if name not in self._values:
            tensor = self._graph.tensors[name]
            if tensor.value is None:
                raise ValueError(f"evaluate: no node writes tensor {name!r}")
            self._store(name, tensor.value)
        return self._values[name]

    def step(self, node: Node) -> None:
        """Compute the outputs of `node` that are needed and not known yet."""
        outputs = [name for name in node.outputs if name in self.needed and name not in self._values]
        if outputs and id(node) not in self._chained:
            operator = self._operators.get(id(node))
            try:
                with np.errstate(all="ignore"):
                    if operator is None:
                        self._compute(node)
                    else:
                        self._compute_integers(operator)
            except _UNFIT as error:
                raise ValueError(f"evaluate: {node.label}: {error or type(error).__name__}") from error
        for name in self._last_reader.get(id(node), ()):
            self._values.pop(name, None)
            self._integers.pop(name, None)

    def _compute(self, node: Node) -> None:
        definition = _definition(node)
        if definition is None:
            op_type = f"{node.domain}.{node.op_type}" if node.domain else node.op_type
            raise NotImplementedError(
                f"evaluate: {node.label} is operator {op_type}, which has no definition in "
                "qslim.graph.operators"
            )
        if node.op_type in ("AveragePool", "GlobalAveragePool") and self._average_integers(node):
            return
        inputs = [self.real(name) if name else None for name in node.inputs]
        while inputs and inputs[-1] is None:
            inputs.pop()
        if is_weight_only(self._graph, node):
            results = [multiply_weight_only(node, inputs)]
        else:
            results = definition(node.attributes, inputs)  # type: ignore[arg-type]
        for name, result in zip(node.outputs, results):
            if name:
                self._store(name, result)

    def _average_integers(self, node: Node) -> bool:
        """Average a tensor with one scale and at most 8 bits; return False if it is another one."""
        params = self._graph.tensors[node.inputs[0]].quantization
        if params is None or params.dtype.itemsize != 1 or params.quant_axis is not None:
            return False
        self.real(node.inputs[0])
        centred = (self._integers[node.inputs[0]] - params.zero_point).astype(np.float64)
        sums, counts = average_parts(node.op_type, node.attributes, centred)
        self._store(node.outputs[0], sums.astype(np.float32) * (params.scale / counts.astype(np.float32)))
        return True

    def _store(self, name: str, values: _Array) -> None:
        params = self._graph.tensors[name].quantization
        if params is not None:
            self._integers[name] = _quantize(values, params)
            values = _dequantize(self._integers[name], params)
        self._values[name] = values

    def _compute_integers(self, operator: IntegerOperator) -> None:
        graph, node = self._graph, operator.node
        x, weight = (graph.tensors[name].quantization for name in node.inputs[:2])
        assert x is not None
        assert weight is not None
        for name in node.inputs[:2]:
            self.real(name)
        acc = _exact_sum(node, self._integers[node.inputs[0]] - x.zero_point, self._integers[node.inputs[1]])
        axis = -1 if node.op_type in ("MatMul", "Gemm") else -3
        channels = acc.shape[axis]
        # Of a grouped ConvTranspose the scales run over the channels of one group.
        multiplier = np.resize(x.scale * weight.scale, channels)
        bias = np.zeros(channels, np.float32) if operator.bias is None else operator.bias
        products = acc.astype(np.float32) * _along(multiplier, axis)
        inner = {node.outputs[0], operator.result} & self._wanted
        if operator.add is not None and node.outputs[0] in inner:
            self._values[node.outputs[0]] = products
        if operator.target is None:
            self._store(operator.result, products + _along(bias, axis))
            return
        if operator.result in inner and operator.clamp is not None:
            self._values[operator.result] = products + _along(bias, axis)
        y = graph.tensors[operator.target].quantization
        assert y is not None
        low, high = self._bounds(operator.clamp, y)
        steps = (products + _along(bias, axis)) * (np.float32(1) / y.scale)
        integers = np.rint(steps) + np.float32(y.zero_point)
        self._integers[operator.target] = np.clip(integers, low, high).astype(np.int32)
        self._values[operator.target] = _dequantize(self._integers[operator.target], y)

    def _bounds(self, clamp: Optional[Node], params: QuantParams) -> tuple[int, int]:
        """Return the least and the largest integer that `clamp` leaves of the quantized range."""

        def position(name: str, default: int) -> int:
            if not name:
                return default
            bound = np.float32(self.real(name).reshape(()))
            integer = np.rint(bound * (np.float32(1) / params.scale)) + np.float32(params.zero_point)
            return int(np.clip(integer, params.qmin, params.qmax))

        if clamp is None:
            return params.qmin, params.qmax
        if clamp.op_type == "Relu":
            return params.zero_point, params.qmax
        names = [*clamp.inputs[1:], "", ""]
        return position(names[0], params.qmin), position(names[1], params.qmax)


def _needed(graph: Graph, wanted: Sequence[str]) -> tuple[set[str], dict[int, list[str]]]:
    """Return the tensors that `wanted` depend on, and by node id those that no later node reads."""
    needed = set(wanted)
    last_reader: dict[int, list[str]] = {}
    seen = set(wanted)
    for node in reversed(graph.nodes):
        if not needed.intersection(filter(None, node.outputs)):
            continue
        for name in filter(None, node.inputs):
            needed.add(name)
            if name not in seen:
                seen.add(name)
                last_reader.setdefault(id(node), []).append(name)
    return needed, last_reader


def _checked_feed(tensor: Tensor, value: _Array) -> _Array:
    if value.dtype != tensor.dtype:
        raise ValueError(f"evaluate: input {tensor.name!r} has dtype {value.dtype}, expected {tensor.dtype}")
    shape = tensor.shape
    fits = shape is None or (
        len(shape) == value.ndim and all(want in (None, got) for want, got in zip(shape, value.shape))
    )
    if not fits:
        raise ValueError(f"evaluate: input {tensor.name!r} has shape {value.shape}, expected {shape}")
    return value


def _along(values: _Array, axis: int) -> _Array:
    """Reshape `values`, one for each channel, to broadcast along `axis`, which is negative."""
    return values.reshape((-1,) + (1,) * (-axis - 1))


def _exact_sum(node: Node, x: _Array, weight: _Array) -> _Array:
    """Sum the products in float64, where integers of this size are exact."""
    if node.op_type == "Conv":
        return convolve(x, weight, node.attributes)
    if node.op_type == "ConvTranspose":
        return convolve_transposed(x, weight, node.attributes)
    if node.attributes.get("transB", 0):
        weight = weight.T
    return np.asarray(np.matmul(x.astype(np.float64), weight.astype(np.float64)))


def _quantize(values: _Array, params: QuantParams) -> _Array:
    """Quantize `values` to int32; NaN becomes qmin, as no integer stands for it."""
    steps = np.rint(values * (np.float32(1) / params.scale_of(values.shape)))
    integers = steps + np.float32(params.zero_point)
    return np.asarray(np.fmin(np.fmax(integers, params.qmin), params.qmax)).astype(np.int32)


def _dequantize(integers: _Array, params: QuantParams) -> _Array:
    centred = (integers - params.zero_point).astype(np.float32)
    return np.asarray(centred * params.scale_of(integers.shape), np.float32)
