# SPDX-License-Identifier: Apache-2.0
"""Samples of layers' inputs in a network that is quantized from the front to the back.

Layers are asked for in that order, each time some way further behind. Once all tensors that lead further take
little space they are kept in place of the data, as the integers that they are if they are quantized, and the
next run starts there: every reader of a quantized tensor sees the values of its integers, so the samples are
those of a run from the start, to the bit.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, Optional

import numpy as np
from numpy.typing import NDArray

from qslim.graph import Graph
from qslim.quant import distributed
from qslim.quant.post_training.calibration_runs import EngineRunner, Watched, digests_of, watch
from qslim.quant.post_training.data_source import Feed, KeptBatches
from qslim.quant.post_training.layer_samples import LayerSamples

__all__ = ["QuantizedPrefix"]

# Tensors are kept where they take up to so many times the bytes of the data.
_MOST_KEPT = 1.5


class QuantizedPrefix:
    """The network in front of layers, as it is quantized by then.

    Parameters
    ----------
    graph : Graph
        In front of what has been asked for it must not change any more.
    feeds : KeptBatches
        This rank's batches.
    """

    def __init__(self, graph: Graph, feeds: KeptBatches, max_memory: Optional[int] = None) -> None:
        self._graph, self._feeds, self._max_memory = graph, feeds, max_memory
        self._start: list[str] = list(graph.inputs)
        self._kept = feeds  # values of the tensors self._start
        self._done: set[int] = set()  # nodes in front of self._start, by place in the Graph
        self._digests: Optional[list[NDArray[np.uint64]]] = None

    def samples(self, layers: Sequence[LayerSamples]) -> Optional[list[LayerSamples]]:
        """Return samples of `layers` in the network, of the same places; None where the engine cannot run it.

        Parameters
        ----------
        layers : samples of the float model's run of the same batches
        """
        with distributed.together("calibration") as parts:
            found = self._run([layer.empty() for layer in layers])
            parts.value = found or []
        first, *others = parts.values
        for part in others:
            for layer, other in zip(first, part):
                layer.merge(other)
        is_paired = len(first) == len(layers) and all(map(LayerSamples.has_patches_of, first, layers))
        return first if is_paired else None

    def _run(self, layers: list[LayerSamples]) -> Optional[list[LayerSamples]]:
        """Show the network's tensors to `layers`; start behind them the next time if that pays."""
        names = list(dict.fromkeys(layer.tensor for layer in layers))
        done = self._done | self._nodes_behind(names)
        further = self._leading_further(done)
        try:
            engine = EngineRunner.of(self._rest(), [*names, *further], self._max_memory)
        except ValueError:
            return None
        if engine is None:  # the layers read the data
            return None
        if self._digests is None:
            self._digests = [digests_of(feed) for feed in self._feeds]
        kept = KeptBatches() if self._takes_little_space(engine, further) else None
        for digests, batch in zip(self._digests, self._batches()):
            parts: dict[str, list[NDArray[Any]]] = {
                name: [] for name in (further if kept is not None else ())
            }

            def keep(name: str, array: NDArray[Any], parts: dict[str, list[NDArray[Any]]] = parts) -> None:
                if name in parts:
                    parts[name].append(self._stored(name, array))

            watch(engine, batch, list(dict.fromkeys([*names, *parts])), Watched({}, layers), keep, digests)
            if kept is not None:
                kept.append(
                    {
                        name: part[0] if len(part) == 1 else np.concatenate(part)
                        for name, part in parts.items()
                    }
                )
            distributed.report_progress()
        if kept is not None:
            self._start, self._kept, self._done = further, kept, done
        return layers

    def _nodes_behind(self, names: Sequence[str]) -> set[int]:
        """Return the nodes that `names` are computed with, by place in the Graph."""
        wanted, found = set(names), set()
        for place in reversed(range(len(self._graph.nodes))):
            node = self._graph.nodes[place]
            if place not in self._done and wanted.intersection(node.outputs):
                found.add(place)
                wanted.update(node.inputs)
        return found

    def _leading_further(self, done: set[int]) -> list[str]:
        """Return the tensors that all nodes but `done` are computed from."""
        graph = self._graph
        there = [
            *self._start,
            *(name for place in sorted(done - self._done) for name in graph.nodes[place].outputs),
        ]
        read = {name for place, node in enumerate(graph.nodes) if place not in done for name in node.inputs}
        return [name for name in there if name in read]

    def _rest(self) -> Graph:
        """Return the part of the network that is computed from the start."""
        rest = self._graph.copy()
        for node in [rest.nodes[place] for place in self._done]:
            rest.remove_node(node)
        rest.inputs = list(self._start)
        return rest

    def _takes_little_space(self, engine: EngineRunner, names: Sequence[str]) -> bool:
        first, data = next(iter(self._batches()), None), next(iter(self._feeds), None)
        tensors = [self._graph.tensors[name] for name in names]
        if first is None or data is None or any(tensor.dtype != "float32" for tensor in tensors):
            return False
        shapes = {**engine.shapes(first), **{name: first[name].shape for name in self._start}}
        widths = [4 if t.quantization is None else t.quantization.dtype.itemsize for t in tensors]
        size = sum(width * math.prod(shapes[name]) for name, width in zip(names, widths))
        return bool(size <= _MOST_KEPT * sum(array.nbytes for array in data.values()))

    def _stored(self, name: str, array: NDArray[Any]) -> NDArray[Any]:
        params = self._graph.tensors[name].quantization
        return array.copy() if params is None else params.quantize(array)

    def _batches(self) -> Iterator[Feed]:
        """Yield the values of the tensors at the start."""
        for batch in self._kept:
            yield {name: self._read(name, array) for name, array in batch.items()}

    def _read(self, name: str, array: NDArray[Any]) -> NDArray[Any]:
        params = self._graph.tensors[name].quantization
        return array if params is None or self._kept is self._feeds else params.dequantize(array)
