# SPDX-License-Identifier: Apache-2.0
"""Judges of a network: a function of the user's, or agreement with the float network."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any, Callable, Optional, Protocol, Union

import numpy as np
from numpy.typing import NDArray

from qslim.graph import Graph
from qslim.quant.analysis.metrics import ProgramMetric, checked_metric, program_metric
from qslim.quant.analysis.output_errors import noise_to_signal, with_logits
from qslim.quant.analysis.quantization import Quantization
from qslim.quant.mixed_precision.network import Network

__all__ = ["Agreement", "EvalFunction", "Judge", "UserMetric", "takes_program"]

_Array = NDArray[Any]
EvalFunction = Union[Callable[[Network], float], ProgramMetric]


class Judge(Protocol):
    """A measure of networks; larger is better. ``description`` says what it is, and its unit."""

    description: str

    def of(self, network: Network, what: str) -> float:
        """Return the metric; `what` names the network in messages."""
        ...


class UserMetric:
    """The metric that an eval_function returns."""

    def __init__(self, eval_function: EvalFunction) -> None:
        self._function: Any = eval_function
        self._takes_program = takes_program(eval_function)
        self.description = "the metric of eval_function"

    def of(self, network: Network, what: str) -> float:
        if not self._takes_program:
            return checked_metric(lambda: self._function(network), what)
        with network.files() as files:
            return checked_metric(lambda: program_metric(self._function, files), what)


class Agreement:
    """Agreement with the float network on samples of the calibration data, in percent.

    Of a classifier, whose outputs are all probabilities or the single result of a matrix product, it is the
    share of the places with the same argmax; of other networks 100 (1 - mean of |dy|^2 / |y|^2).
    """

    def __init__(self, quantization: Quantization, by_class: bool = True) -> None:
        self._samples = quantization.samples
        self._axes = _class_axes(quantization.graph) if by_class else []
        network = Network(quantization, [layer.name for layer in quantization.layers])
        self._expected = [self._results(network.run(feed)) for feed in self._samples]
        what = "of equal argmax" if self._axes else "of the outputs' energy without the error's"
        self.description = (
            f"share {what}, in percent, beside the float network on {len(self._samples)} samples of the "
            "calibration data"
        )

    def of(self, network: Network, what: str) -> float:
        results = (self._results(network.run(feed)) for feed in self._samples)
        pairs = [pair for mine, theirs in zip(self._expected, results) for pair in zip(mine, theirs)]
        if self._axes:
            equal = sum(np.count_nonzero(mine == theirs) for mine, theirs in pairs)
            return 100.0 * float(equal) / sum(mine.size for mine, _ in pairs)
        return 100.0 * (1.0 - float(np.mean([noise_to_signal(*pair, None) for pair in pairs])))

    def _results(self, outputs: Sequence[_Array]) -> list[_Array]:
        if self._axes:
            return [output.argmax(axis) for output, axis in zip(outputs, self._axes)]
        return [output for output in outputs if output.dtype.kind == "f"]


def _class_axes(graph: Graph) -> list[int]:
    """Return the axis of the classes of each output; empty if the network is no classifier."""
    _, of_logits = with_logits(graph)
    axes: list[Optional[int]] = []
    for name in graph.outputs:
        node = graph.producer(name)
        while node is not None and node.op_type == "Identity":
            node = graph.producer(node.inputs[0])
        axes.append(of_logits.get(node.inputs[0]) if node is not None and node.op_type == "Softmax" else None)
    shape = graph.tensors[graph.outputs[0]].shape or ()
    if axes == [None] and len(shape) == 2 and (shape[1] or 2) > 1 and _is_product(graph, graph.outputs[0]):
        return [-1]
    return [axis for axis in axes if axis is not None] if None not in axes else []


def _is_product(graph: Graph, name: str) -> bool:
    """Return True if `name` is a matrix product, with a constant added or without."""
    node = graph.producer(name)
    while node is not None and node.op_type in ("Identity", "Add"):
        computed = [each for each in node.inputs if not graph.tensors[each].is_constant]
        node = graph.producer(computed[0]) if len(computed) == 1 else None
    return node is not None and node.op_type in ("MatMul", "Gemm")


def takes_program(eval_function: EvalFunction) -> bool:
    """Return True if `eval_function` has PaddleSlim's form, False if it takes a Network.

    Raises
    ------
    ValueError : it takes neither one argument nor four.
    """
    if not callable(eval_function):
        raise ValueError(f"eval_function: expected a function or None, got {eval_function!r}")
    try:
        signature = inspect.signature(eval_function)
    except (TypeError, ValueError):  # of a builtin
        return False
    for count in (1, 4):
        try:
            signature.bind(*range(count))
        except TypeError:
            continue
        return count == 4
    raise ValueError(
        "eval_function: expected a function of one network, or PaddleSlim's of (executor, program, feed "
        f"names, fetch targets); got one of {signature}"
    )
