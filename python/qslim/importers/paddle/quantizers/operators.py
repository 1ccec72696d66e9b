# SPDX-License-Identifier: Apache-2.0
"""Quantization parameters of Paddle's quantizing operators, read from their operands and attributes.

    quantize_linear                            q = clip(rne(x * qmax / threshold), -qmax - 1, qmax)
    fake_quantize_<statistic>, round_type 0    the same, with qmax = 2^(bits - 1) - 1
    fake_quantize_<statistic>, round_type 1    q = clip(round_half_away(...), -qmax, qmax)
    fake_..._quantize_dequantize_...           the same, times threshold / qmax

Half away differs from our rounding where x lies half-way between two steps. An operator that only observes,
as PaddleSlim puts behind every operator whose result Paddle itself leaves in float, passes its input on.

Paddle stores thresholds. From one the step cannot be told exactly for one float in 128, so our exporters put
the step where a trained program has its accumulator, which inference does not read.
"""

from __future__ import annotations

from typing import Optional

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qslim import functional
from qslim.functional.fake_quant import THRESHOLD_FLOOR
from qslim.graph.graph import Graph, Node
from qslim.graph.quantization import QuantParams

__all__ = [
    "FAKE_QUANTIZERS",
    "QUANTIZERS",
    "WEIGHT_QUANTIZERS",
    "activation_params",
    "is_observer",
    "is_quantizer",
    "step_of_reciprocal",
    "weight_params",
]

_STATISTICS = ("abs_max", "moving_average_abs_max", "range_abs_max")
QUANTIZERS = frozenset(("quantize_linear", *(f"fake_quantize_{name}" for name in _STATISTICS)))
# They give real values.
FAKE_QUANTIZERS = frozenset(f"fake_quantize_dequantize_{name}" for name in _STATISTICS)
WEIGHT_QUANTIZERS = frozenset(
    ("fake_quantize_dequantize_abs_max", "fake_channel_wise_quantize_dequantize_abs_max")
)


def is_quantizer(node: Node) -> bool:
    """Return True if `node` quantizes, dequantizes or does both."""
    return node.domain == "paddle" and "quantize" in node.op_type


def is_observer(node: Node) -> bool:
    """Return True if `node` collects a statistic and passes its first input on."""
    return node.op_type.startswith("moving_average_abs_max_scale") or bool(
        node.attributes.get("only_observer")
    )


def activation_params(graph: Graph, node: Node) -> Optional[QuantParams]:
    """Return the parameters with which `node` quantizes an activation; None if they vary or are several."""
    threshold = _positive(graph.constant(node.inputs[1]) if len(node.inputs) > 1 else None)
    if threshold is None or threshold.size != 1:
        return None
    attributes = node.attributes
    if node.op_type in ("quantize_linear", "dequantize_linear"):
        qmax = int(attributes.get("qmax", 127))
        is_unsigned = attributes.get("qmin", -qmax - 1) == 0
    else:
        qmax, is_unsigned = 2 ** (int(attributes.get("bit_length", 8)) - 1) - 1, False
    qmin = 0 if is_unsigned else -qmax if attributes.get("round_type", 1) == 1 else -qmax - 1
    step = _step(threshold.reshape(()), qmax, _kept_step(graph, node))
    return QuantParams(step, 0, qmin, qmax)


def step_of_reciprocal(graph: Graph, node: Node, reciprocal: np.float32) -> Optional[NDArray[np.float32]]:
    """Return the step of a quantizer whose input was multiplied by `reciprocal` before."""
    with np.errstate(divide="ignore"):
        steps = [_kept_step(graph, node), np.float32(1) / reciprocal]
        for step in steps:
            if step is not None and np.isfinite(step) and step > 0 and np.float32(1) / step == reciprocal:
                return np.asarray(step, np.float32)
    return None


def weight_params(graph: Graph, node: Node) -> Optional[QuantParams]:
    """Return the quantization parameters of the constant that `node` dequantizes or fake-quantizes."""
    value, attributes = graph.constant(node.inputs[0]), node.attributes
    if value is None:
        return None
    if node.op_type == "dequantize_linear":
        qmax = int(attributes.get("qmax", 127))
        threshold = _positive(graph.constant(node.inputs[1]))
        axis = int(attributes.get("quant_axis", -1))
        kept = _kept_step(graph, node)
    else:
        qmax = 2 ** (int(attributes.get("bit_length", 8)) - 1) - 1
        axis = int(attributes.get("quant_axis", 0)) if "channel_wise" in node.op_type else -1
        threshold = _positive(functional.abs_max(value, quant_axis=axis if axis >= 0 else None))
        kept = None
    if threshold is None or (axis < 0 and threshold.size != 1):
        return None
    threshold = threshold.reshape(()) if axis < 0 else threshold.reshape(-1)
    if axis >= 0 and threshold.shape != value.shape[axis : axis + 1]:
        return None
    step = _step(threshold, qmax, kept)
    return QuantParams(step, 0, -qmax, qmax, axis if axis >= 0 else None)


def _positive(threshold: Optional[ArrayLike]) -> Optional[NDArray[np.float32]]:
    if threshold is None:
        return None
    values = np.asarray(threshold, np.float32)
    if not np.isfinite(values).all() or (values < 0).any():
        return None
    return np.asarray(np.maximum(values, THRESHOLD_FLOOR))


def _kept_step(graph: Graph, node: Node) -> Optional[NDArray[np.float32]]:
    """Return the scale that our exporters store in place of the accumulator of training."""
    value = graph.constant(node.inputs[3]) if len(node.inputs) > 3 and node.inputs[3] else None
    if value is None or value.dtype != np.float32:
        return None
    return value.reshape(()) if value.size == 1 else value


def _step(
    threshold: NDArray[np.float32], qmax: int, kept: Optional[NDArray[np.float32]]
) -> NDArray[np.float32]:
    """Return threshold / qmax, or the scale that the threshold was made of."""
    if kept is not None and kept.size == threshold.size:
        kept = kept.reshape(threshold.shape)
        if (kept * np.float32(qmax) == threshold).all():
            return kept
    return np.asarray(threshold / np.float32(qmax), np.float32)
