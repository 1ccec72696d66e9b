# SPDX-License-Identifier: Apache-2.0
"""The changes that make a Paddle program compute what its quantized Graph says.

Computed once from the Graph's annotations; the PIR and the legacy writer carry it out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from qslim.graph import QuantParams
from qslim.graph.passes import FoldedBatchNorm
from qslim.paddle.program import PaddleProgram

__all__ = ["RewritePlan", "WeightRewrite", "WeightStorage", "plan_rewrite"]

WeightStorage = Literal["int8", "float32"]


@dataclass(frozen=True)
class WeightRewrite:
    """One constant as integers: ``weight ~= stored * params.broadcast_scale(ndim)``."""

    name: str
    stored: NDArray[Any]
    params: QuantParams


@dataclass(frozen=True)
class RewritePlan:
    """Everything that the writers need.

    Attributes
    ----------
    weights : integers for annotated constants.
    activations : quantization of annotated activations, by tensor name.
    folded, biases : batch normalizations that became a bias, and those biases by name.
    float_weights : constants that a pass changed but nobody quantized.
    """

    weights: list[WeightRewrite]
    activations: dict[str, QuantParams]
    folded: Sequence[FoldedBatchNorm]
    biases: dict[str, NDArray[np.float32]]
    float_weights: dict[str, NDArray[np.float32]]


def plan_rewrite(
    program: PaddleProgram, weight_storage: WeightStorage, folded: Sequence[FoldedBatchNorm]
) -> RewritePlan:
    if weight_storage not in ("int8", "float32"):
        raise ValueError(f"weight_storage: expected 'int8' or 'float32', got {weight_storage!r}")
    graph = program.graph
    weights, activations, float_weights = [], {}, {}
    for tensor in graph.tensors.values():
        params = tensor.quantization
        if params is None:
            continue
        if tensor.value is None:
            activations[tensor.name] = params
            continue
        stored = params.quantize(tensor.value)
        # Paddle's legacy dequantize_linear reads int8 only; PIR casts whatever integers there are.
        if weight_storage == "float32" or (program.is_legacy and params.dtype != np.int8):
            stored = stored.astype(np.float32)
        weights.append(WeightRewrite(tensor.name, stored, params))
    for name in program.parameter_names:
        tensor = graph.tensors[name]
        if tensor.quantization is None and tensor.value is not None:
            loaded = program.parameter(name)
            if tensor.value.tobytes() != loaded.tobytes():
                float_weights[name] = tensor.value
    biases = {item.bias: graph.tensors[item.bias].value for item in folded}
    return RewritePlan(weights, activations, list(folded), biases, float_weights)  # type: ignore[arg-type]
