# SPDX-License-Identifier: Apache-2.0
"""The error that quantization makes in each layer's own output.

Of an output channel c, over samples s with the mean square E_s of the output in float:

    noise_c = sum_s |dy_sc|^2 / E_s      signal_c = sum_s |y_sc|^2 / E_s
    error   = mean_c min(1, noise_c / (signal_c + 1e-8 mean(signal)))

Each sample counts alike, and so does each channel: 1 means that nothing of the layer is left, and one large
channel or sample does not hide the loss of all others. Channels that are dead in float, below 1e-4 of a
typical magnitude, count for little; where a normalization revives one the outputs show it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Callable, Optional

import numpy as np
from numpy.typing import NDArray

from qslim.exporters.engine_file import observing
from qslim.graph import Graph, QuantParams
from qslim.graph.evaluate import evaluate
from qslim.logger import logger
from qslim.quant.analysis.layers import Layer, graph_of
from qslim.quant.analysis.quantization import Quantization
from qslim.quant.op_types import CONVOLUTIONS
from qslim.runtime import Session

__all__ = ["LayerError", "float_activations", "layer_errors"]

_Array = NDArray[Any]
_DEAD = 1e-8  # of the mean square of all channels
_Run = Callable[[Mapping[str, _Array]], _Array]


@dataclass
class LayerError:
    """Errors of a layer's output with its activations, its weight, or both quantized.

    ``saturation`` is the share of the values that its quantized activations clip.
    """

    activation: float = 0.0
    weight: float = 0.0
    both: float = 0.0
    saturation: float = 0.0


@dataclass
class _Noise:
    """Noise and signal of the channels of one layer."""

    signal: Any = 0.0
    noise: dict[str, Any] = field(
        default_factory=lambda: dict.fromkeys(("activation", "weight", "both"), 0.0)
    )

    def error(self, kind: str) -> float:
        noise, signal = np.asarray(self.noise[kind]), np.asarray(self.signal)
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = np.where(noise > 0, noise / (signal + _DEAD * signal.mean()), 0.0)
        return float(np.minimum(ratio, 1.0).mean())


class _Operator:
    """One operator of a layer in float, with its weight and with its quantized weight."""

    def __init__(self, graph: Graph, layer: Layer, output: str) -> None:
        part = graph_of(graph, output)
        self.inputs = part.inputs
        self._layer = layer
        self._noise = _Noise()
        self._run = self._run_quantized = _runner(part)
        self._axis: Optional[int] = None  # without a weight all of the output is one channel
        if layer.weight is not None:
            self._axis = 1 if layer.operator in CONVOLUTIONS else -1
            layer.set_constants(part)
            part.tensors[layer.weight].quantization = None  # the real values of its integers, in float
            self._run_quantized = _runner(part)

    def measure(self, values: Mapping[str, _Array], quantized: Mapping[str, _Array]) -> None:
        """Count one sample in."""
        x = {name: values[name] for name in self.inputs}
        x_quantized = {name: quantized.get(name, values[name]) for name in self.inputs}
        y = self._run(x)
        mean = float(np.mean(np.square(y, dtype=np.float64))) or 1.0
        self._noise.signal += self._power(y) / mean
        results = {"both": self._run_quantized(x_quantized)}
        has_activation = any(name in self._layer.activations for name in self.inputs)
        results["activation"] = self._run(x_quantized) if has_activation else y
        results["weight"] = self._run_quantized(x) if self._layer.weight is not None else y
        for kind, result in results.items():
            self._noise.noise[kind] += self._power(result - y) / mean

    def _power(self, y: _Array) -> _Array:
        """Return the sum of squares of each channel."""
        axis = None if self._axis is None else self._axis % y.ndim
        others = tuple(each for each in range(y.ndim) if each != axis)
        return np.asarray(np.square(y, dtype=np.float64).sum(axis=others))

    def error(self, kind: str) -> float:
        return self._noise.error(kind)


def layer_errors(quantization: Quantization) -> dict[str, LayerError]:
    """Return the errors of all layers by name, measured on the kept samples."""
    operators = {
        layer.name: [_Operator(quantization.graph, layer, output) for output in layer.outputs]
        for layer in quantization.layers
    }
    needed = [name for each in operators.values() for operator in each for name in operator.inputs]
    clipped = {layer.name: [0, 0] for layer in quantization.layers}
    for values in float_activations(quantization, needed):
        for layer in quantization.layers:
            read = {name: params for name, params in layer.activations.items() if name in values}
            quantized = {name: params.fake_quantize(values[name]) for name, params in read.items()}
            for name, params in read.items():
                clipped[layer.name][0] += _clipped(values[name], params)
                clipped[layer.name][1] += values[name].size
            for operator in operators[layer.name]:
                operator.measure(values, quantized)
    return {
        name: LayerError(
            max(operator.error("activation") for operator in each),
            max(operator.error("weight") for operator in each),
            max(operator.error("both") for operator in each),
            clipped[name][0] / max(1, clipped[name][1]),
        )
        for name, each in operators.items()
    }


def float_activations(quantization: Quantization, names: list[str]) -> Iterator[dict[str, _Array]]:
    """Yield the tensors `names` of the float network for each kept sample."""
    names = list(dict.fromkeys(names))
    computed = [name for name in names if name not in quantization.graph.inputs]
    graph = observing(quantization.graph, computed) if computed else None
    session = None
    if graph is not None:
        try:
            session = Session(graph)
        except ValueError as error:
            logger.debug("the analysis runs the network in Paddle: %s", error)
    for feed in quantization.samples:
        values = {name: feed[name] for name in names if name in feed}
        if session is not None:
            values.update(zip(computed, session.run({spec.name: feed[spec.name] for spec in session.inputs})))
        elif computed:
            run = quantization.program.run(feed, computed)
            values.update((name, np.array(value)) for name, value in zip(computed, run))
        yield values


def _clipped(values: _Array, params: QuantParams) -> int:
    """Return how many of `values` lie outside of what `params` represent."""
    low, high = (
        params.scale * (bound - params.zero_point) for bound in (params.qmin - 0.5, params.qmax + 0.5)
    )
    return int(np.count_nonzero((values < low) | (values > high)))


def _runner(part: Graph) -> _Run:
    """Return a function that runs the operator `part`, in the engine or, where it cannot, in NumPy."""
    copy, output = part.copy(), part.outputs[0]
    try:
        session = Session(copy)
    except ValueError:
        return lambda feeds: evaluate(copy, feeds)[output]

    def run(feeds: Mapping[str, _Array]) -> _Array:
        return session.run({spec.name: feeds[spec.name] for spec in session.inputs})[0]

    return run
