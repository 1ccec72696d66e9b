# SPDX-License-Identifier: Apache-2.0
"""Adaptive rounding and bias correction of a network's layers, those in front first.

The layers are taken in stages. The batches run once for each stage, through the part of the network in front
of it with all tensors and weights quantized, so that a layer is rounded for the inputs that it will get and
takes up errors of the layers before it. No layer of a stage stands in front of another one, since both would
take up the same errors.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Callable, Optional

import numpy as np
from numpy.typing import NDArray

from qslim.graph import Graph
from qslim.progress import progress_bar
from qslim.quant import distributed
from qslim.quant.post_training.adaptive_rounding import round_adaptively
from qslim.quant.post_training.bias_correction import correct_bias
from qslim.quant.post_training.layer_samples import LayerSamples

__all__ = ["SampleAgain", "adjust_layers"]

# Takes layers with samples of the float model, and returns samples of the same places in the Graph as it is
# quantized now; None where it cannot be run.
SampleAgain = Callable[[Sequence[LayerSamples]], Optional[list[LayerSamples]]]


def adjust_layers(
    graph: Graph,
    layers: Sequence[LayerSamples],
    rounded: Collection[str],
    corrected: Collection[str],
    written: Collection[str],
    again: Optional[SampleAgain] = None,
) -> dict[str, list[str]]:
    """Round weights adaptively and correct biases, in place; return the weights' names by what was done.

    Parameters
    ----------
    graph : its activations and weights have their parameters
    layers : samples of the float model, in the order of the Graph's nodes
    rounded, corrected : names of the weights to round, and of those whose layers' biases to correct
    written : names of the constants that exporters write from `graph`
    again : samples layers in `graph` as it is, in stages; None takes the float model's inputs, quantized
    """
    done: dict[str, list[str]] = {"rounded adaptively": [], "bias corrected": []}
    for layer, seen in _with_seen(graph, layers, again):
        if len(layer.patches) == 0:
            continue
        tensor, params = graph.tensors[layer.weight], graph.tensors[layer.tensor].quantization
        assert tensor.value is not None
        assert tensor.quantization is not None
        weight: NDArray[np.float32] = tensor.value
        inputs = seen.patches if params is None else params.fake_quantize(seen.patches)
        if layer.weight in rounded:
            value, is_better = round_adaptively(weight, tensor.quantization, layer, inputs)
            if is_better:
                tensor.value = value
                done["rounded adaptively"].append(layer.weight)
        if layer.weight in corrected and correct_bias(graph, layer, weight, inputs, written):
            done["bias corrected"].append(layer.weight)
    return done


def _with_seen(
    graph: Graph, layers: Sequence[LayerSamples], again: Optional[SampleAgain]
) -> Iterator[tuple[LayerSamples, LayerSamples]]:
    """Yield each layer, and samples of its inputs behind all that is adjusted by then."""
    if again is None:
        yield from zip(layers, layers)
        return
    stages = _stages(graph, layers)
    shown = stages if distributed.rank() else progress_bar(stages, "rounding weights", len(stages), "stage")
    for stage in shown:
        yield from zip(stage, again(stage) or stage)


def _stages(graph: Graph, layers: Sequence[LayerSamples]) -> list[list[LayerSamples]]:
    """Return `layers` in groups, by the most layers that stand one behind the other in front of each."""
    own = {layer.weight: layer for layer in layers}
    behind: dict[str, int] = {}  # by tensor, the layers in a row that lead to it
    stages: list[list[LayerSamples]] = []
    for node in graph.nodes:
        place = max((behind.get(name, 0) for name in node.inputs), default=0)
        found = [own[name] for name in node.inputs if name in own]
        if found:
            stages += [[] for _ in range(place + 1 - len(stages))]
            stages[place] += found
        behind.update(dict.fromkeys(node.outputs, place + len(found)))
    return stages
