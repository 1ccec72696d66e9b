# SPDX-License-Identifier: Apache-2.0
"""RNN, LSTM and GRU over [T, N, I], in one direction or both."""

from __future__ import annotations

from typing import Optional

import numpy as np

from qslim.graph.operators.operator import Array, Attributes, Operator, OperatorFunction, input_or_none, table

__all__ = ["RECURRENT"]


def _sigmoid(x: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-x)))


def _step(op_type: str, attributes: Attributes, gates: list[Array], state: list[Array]) -> list[Array]:
    """Return the state after a step; `gates` are x W^T + bw and h R^T + br."""
    x, r = gates
    h = state[0]
    if op_type == "LSTM":
        i, o, f, c = np.split(x + r, 4, axis=1)
        cell = _sigmoid(f) * state[1] + _sigmoid(i) * np.tanh(c)
        return [_sigmoid(o) * np.tanh(cell), cell]
    if op_type == "GRU":
        (xz, xr, xh), (rz, rr, rh) = np.split(x, 3, axis=1), np.split(r, 3, axis=1)
        z = _sigmoid(xz + rz)
        return [(1 - z) * np.tanh(xh + _sigmoid(xr + rr) * rh) + z * h]
    if attributes.get("activations", ["Tanh"])[0] == "Relu":
        return [np.maximum(x + r, 0)]
    return [np.tanh(x + r)]


def _recurrent(op_type: str) -> OperatorFunction:
    def operator(attributes: Attributes, inputs: list[Array]) -> list[Array]:
        x, w, r = (value.astype(np.float64) for value in inputs[:3])
        if op_type == "GRU" and not attributes.get("linear_before_reset", 0):
            raise NotImplementedError("GRU: linear_before_reset = 0")
        steps, batch = x.shape[:2]
        bias = input_or_none(inputs, 3)
        wide = np.zeros((len(w), 2 * w.shape[1])) if bias is None else bias.astype(np.float64)

        def initial(index: int, direction: int) -> Array:
            value: Optional[Array] = input_or_none(inputs, index)
            shape = (batch, r.shape[2])
            return np.zeros(shape) if value is None else value[direction].astype(np.float64)

        y = np.zeros((steps, len(w), batch, r.shape[2]))
        last = []
        for d in range(len(w)):
            of_input, of_state = np.split(wide[d], 2)
            state = [initial(5, d)] + ([initial(6, d)] if op_type == "LSTM" else [])
            is_reversed = d == 1 or attributes.get("direction", "forward") == "reverse"
            for t in range(steps)[:: -1 if is_reversed else 1]:
                gates = [x[t] @ w[d].T + of_input, state[0] @ r[d].T + of_state]
                state = _step(op_type, attributes, gates, state)
                y[t, d] = state[0]
            last.append(state)
        states = [np.stack(parts) for parts in zip(*last)]
        return [value.astype(inputs[0].dtype) for value in (y, *states)]

    return operator


# GRU's, LSTM's and RNN's outputs are several, so that ``compute`` on zeros gives their shapes.
RECURRENT = table(*(Operator(name, _recurrent(name), 7) for name in ("GRU", "LSTM", "RNN")))
