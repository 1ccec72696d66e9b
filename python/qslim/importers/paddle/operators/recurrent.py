# SPDX-License-Identifier: Apache-2.0
"""The row of recurrent layers: one ONNX operator for each layer.

Paddle stacks gates as input, forget, cell, output (LSTM) and reset, update, candidate (GRU); ONNX as input,
output, forget, cell and update, reset, candidate. Weights come as all (W, R) by layer and direction, then all
pairs of biases.
"""

from __future__ import annotations

from typing import Any, Optional

import numpy as np

from qslim.importers.paddle.operators.source_op import ConvertedOp, Converter, SourceOp

__all__ = ["RECURRENT"]

_GATES = {"LSTM": [0, 3, 1, 2], "GRU": [1, 0, 2], "RNN_TANH": [0], "RNN_RELU": [0]}


def _rnn(op: SourceOp) -> Optional[ConvertedOp]:
    mode, layers = str(op.attributes["mode"]), int(op.attributes["num_layers"])
    hidden, directions = int(op.attributes["hidden_size"]), 1 + int(op.attributes["is_bidirec"])
    states, weights = op.operands[1], op.operands[2]
    if mode not in _GATES or not op.attributes.get("is_test") or not isinstance(states, list):
        return None
    if not isinstance(weights, list) or (len(op.operands) > 3 and op.operands[3]):  # sequence lengths
        return None
    values = [op.graph.constant(name) for name in weights]
    if any(value is None for value in values) or len(values) != 4 * layers * directions:
        return None
    turned = [
        np.concatenate([np.split(value, len(_GATES[mode]))[gate] for gate in _GATES[mode]])
        for value in values
        if value is not None
    ]
    pairs, biases = turned[: len(turned) // 2], turned[len(turned) // 2 :]
    x_shape = op.shape(0)
    steps, batch = (None, None) if x_shape is None else x_shape[:2]
    attributes: dict[str, Any] = {
        "hidden_size": hidden,
        "direction": "bidirectional" if directions == 2 else "forward",
    }
    op_type = mode if mode in ("LSTM", "GRU") else "RNN"
    if op_type == "GRU":
        attributes["linear_before_reset"] = 1
    if op_type == "RNN":
        attributes["activations"] = ["Relu" if mode == "RNN_RELU" else "Tanh"] * directions
    name, finals = op.inputs[0], []
    for layer in range(layers):
        at = slice(2 * layer * directions, 2 * (layer + 1) * directions)
        w, r = (np.stack(pairs[at][kind::2]) for kind in (0, 1))
        b = np.stack([np.concatenate(biases[at][2 * d : 2 * d + 2]) for d in range(directions)])
        initial = [_of_layer(op, state, layer, directions, (batch, hidden)) for state in states]
        operands = [name, *map(op.new_constant, (w, r, b)), "", *initial]
        state_shape = (directions, batch, hidden)
        outputs = [op.new_tensor(shape) for shape in [(steps, *state_shape)] + [state_shape] * len(states)]
        op.preceding.append(ConvertedOp(op_type, operands, dict(attributes), outputs=outputs))
        finals.append(outputs[1:])
        # [T, D, N, H] to [T, N, D * H]
        if directions == 1:
            name = op.before("Squeeze", [outputs[0], op.new_ints([1])], shape=(steps, batch, hidden))
        else:
            side = op.before("Transpose", [outputs[0]], shape=(steps, batch, 2, hidden), perm=[0, 2, 1, 3])
            whole = op.new_ints([0, 0, 2 * hidden])
            name = op.before("Reshape", [side, whole], shape=(steps, batch, 2 * hidden))
    results = [
        op.before("Concat", list(parts), shape=(layers * directions, batch, hidden), axis=0)
        for parts in zip(*finals)
    ]
    return ConvertedOp("Identity", [name], keeps_first_output=True, list_results=results)


def _of_layer(op: SourceOp, state: str, layer: int, directions: int, shape: tuple[Optional[int], int]) -> str:
    """Slice the rows that belong to `layer` from a state."""
    bounds = [op.new_ints([(layer + step) * directions]) for step in (0, 1)]
    return op.before("Slice", [state, *bounds, op.new_ints([0])], shape=(directions, *shape))


RECURRENT: dict[str, Converter] = {"rnn": _rnn}
