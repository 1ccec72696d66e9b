# SPDX-License-Identifier: Apache-2.0
"""Graphs for tests of the engine: Paddle layers imported, and quantized without Paddle's executor."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qslim.graph import Graph, QuantParams, evaluate
from qslim.graph.passes import non_negative_tensors
from qslim.quant.op_types import DEFAULT_OP_TYPES, all_op_types, pir_names
from qslim.quant.post_training.operator_selection import select
from qslim.quant.post_training.weight_rounding import quantize_weights

__all__ = ["import_net", "quantize_graph", "quantize_post_static"]


def import_net(layer: Any, *shape: int, batch: Any = None) -> Graph:
    """Return the Graph of `layer` for an input "x" of [batch, *shape]."""
    import paddle

    from qslim.importers.paddle import import_layer

    layer.eval()
    return import_layer(layer, [paddle.static.InputSpec([batch, *shape], "float32", "x")]).graph


def quantize_graph(
    graph: Graph, feeds: Mapping[str, NDArray[Any]], *, is_full: bool = False, bits: int = 8
) -> Graph:
    """Annotate `graph` in place with thresholds at the largest magnitudes that `feeds` cause."""
    selection = select(
        graph, pir_names(all_op_types() if is_full else DEFAULT_OP_TYPES), quantize_outputs=is_full
    )
    names = [name for name in selection.activations if graph.tensors[name].dtype == "float32"]
    values = evaluate(graph, feeds, names)
    never_negative = non_negative_tensors(graph)
    for name in names:
        threshold = float(np.abs(values[name]).max()) or 1.0
        graph.tensors[name].quantization = QuantParams.activation(threshold, bits, name in never_negative)
    quantize_weights(graph, selection.weights, min(bits, 8))
    return graph


def quantize_post_static(model: str, out: str, **options: Any) -> Any:
    """Quantize the saved `model` into `out` on the CPU and return the report; dygraph mode afterwards."""
    import paddle

    import qslim as slim

    paddle.enable_static()
    try:
        return slim.quant.quant_post_static(paddle.static.Executor(paddle.CPUPlace()), model, out, **options)
    finally:
        paddle.disable_static()
