# SPDX-License-Identifier: Apache-2.0
"""The error that quantization makes in a network's outputs, measured in the engine.

The error is the mean of |dy|^2 / |y|^2 over samples and outputs. Of probabilities y is the logits less their
mean along the axis of the softmax: a few samples show how these change, where probabilities show whether one
near a boundary happened to cross it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Optional

import numpy as np
from numpy.typing import NDArray

from qslim.exporters.engine_file import missing_operators, runnable_part, split_for_engine
from qslim.graph import Graph
from qslim.logger import logger
from qslim.quant.analysis.layers import Layer, with_quantized
from qslim.quant.analysis.quantization import Quantization
from qslim.quant.post_training.data_source import Feed
from qslim.runtime import Session

__all__ = ["OutputErrors", "noise_to_signal", "with_logits"]

# A measurement packs the network's weights once and runs it on some samples. All of them together pack at
# most so many bytes, and run it so often, or four times for each sample of the calibration if that is less.
_MOST_BYTES = 4 << 30
_MOST_RUNS = 256
_FEWEST_RUNS = 64


class OutputErrors:
    """Errors of the outputs of a network with some of its layers quantized.

    Attributes
    ----------
    most_layers : int
        So many single layers are worth measuring; 0 where the engine cannot run the network.
    """

    def __init__(self, quantization: Quantization) -> None:
        self._graph, self._axes = with_logits(quantization.graph)
        weights = max(1, self._graph.parameter_bytes())
        count = max(1, min(len(quantization.layers), _MOST_BYTES // weights))
        runs = min(_MOST_RUNS, max(_FEWEST_RUNS, 4 * quantization.calibration.samples))
        self._samples = quantization.samples[: max(1, runs // count)]
        self.most_layers = 0
        try:
            session = _session(self._graph)
            self._expected = [] if session is None else [_run(session, feed) for feed in self._samples]
        except ValueError as error:
            logger.debug("outputs are not measured: %s", error)
            return
        if self._expected and any(array.dtype.kind == "f" for array in self._expected[0].values()):
            self.most_layers = count

    def of(self, layers: Sequence[Layer]) -> Optional[float]:
        """Return the error with `layers` quantized; None where the engine cannot run the network."""
        if not self.most_layers:
            return None
        session = _session(with_quantized(self._graph, layers))
        if session is None:
            return None
        errors = [
            noise_to_signal(expected[name], outputs[name], self._axes.get(name))
            for feed, expected in zip(self._samples, self._expected)
            for outputs in [_run(session, feed)]
            for name in expected
            if expected[name].dtype.kind == "f" and name in outputs
        ]
        return float(np.mean(errors))


def _session(graph: Graph) -> Optional[Session]:
    """Return the part of `graph` that the engine runs; detections are left to the boxes in front of them."""
    part: Optional[Graph]
    part, tail = split_for_engine(graph)
    if tail is None and any(missing_operators(part, name) for name in part.outputs):
        part, _ = runnable_part(graph)
    return None if part is None else Session(part)


def with_logits(graph: Graph) -> tuple[Graph, dict[str, int]]:
    """Return a copy of `graph` that gives logits in the place of probabilities, with the axes of these."""
    copy = graph.copy()
    axes = {}
    for place, name in enumerate(copy.outputs):
        node = copy.producer(name)
        while node is not None and node.op_type == "Identity":
            node = copy.producer(node.inputs[0])
        if node is not None and node.op_type == "Softmax":
            copy.outputs[place] = node.inputs[0]
            axes[node.inputs[0]] = int(node.attributes.get("axis", -1))
    copy.outputs = list(dict.fromkeys(copy.outputs))
    return copy, axes


def _run(session: Session, feed: Feed) -> dict[str, NDArray[Any]]:
    results = session.run({spec.name: feed[spec.name] for spec in session.inputs})
    return dict(zip((spec.name for spec in session.outputs), results))


def noise_to_signal(expected: NDArray[Any], result: NDArray[Any], axis: Optional[int]) -> float:
    """Return |result - expected|^2 / |expected|^2, less the means along `axis`; 1 if the shapes differ."""
    if expected.shape != result.shape:
        return 1.0
    if axis is not None:
        expected, result = (each - each.mean(axis, keepdims=True) for each in (expected, result))
    noise = float(np.square(result - expected, dtype=np.float64).sum())
    signal = float(np.square(expected, dtype=np.float64).sum())
    return noise / signal if signal else float(noise > 0)
