# SPDX-License-Identifier: Apache-2.0
"""Recurrent layers as Paddle has them: a hidden unit is cut in every gate, layer and direction.

``rnn`` reads x [T, N, I], its initial states and, of each layer and direction, w_ih [gates * H, I or D * H],
w_hh [gates * H, H] and two biases [gates * H]; it writes [T, N, D * H] and the last states [L * D, N, H].
H is one number for all layers, so the same units go in each. A unit of which all weights are zero stays at
zero, if its initial state is.
"""

from __future__ import annotations

import numpy as np

from qslim.graph import Node
from qslim.prune.atoms import Labels
from qslim.prune.channels import Channels, Factors
from qslim.prune.operators.rule import CannotFollow, Rule

__all__ = ["RECURRENT"]

_GATES = {"LSTM": 4, "GRU": 3, "RNN_TANH": 1, "RNN_RELU": 1}


def _rnn(channels: Channels, node: Node) -> list[Factors]:
    gates = _GATES.get(str(node.attributes.get("mode")))
    hidden, layers = int(node.attributes["hidden_size"]), int(node.attributes["num_layers"])
    directions = 1 + int(node.attributes["is_bidirec"])
    states = 2 if gates == 4 else 1
    initial, weights = node.inputs[1 : 1 + states], node.inputs[1 + states :][: 4 * layers * directions]
    if gates is None or hidden < 2 or len(weights) != 4 * layers * directions:
        raise CannotFollow("its weights are not those of an LSTM, a GRU or a SimpleRNN")
    if any(name not in channels.parameters or 0 not in channels.parameters[name] for name in weights):
        raise CannotFollow("its weights are computed")
    for name in initial:
        value = channels.graph.constant(name)
        if value is None or value.any():
            raise CannotFollow("it starts from a state that is given")
    units: Labels = channels.atoms.new(hidden)
    for name in weights:  # gates lie one after the other
        labels = channels.parameters[name][0]
        if labels.size != gates * hidden:
            raise CannotFollow("it projects its states")
        channels.atoms.unite(labels.reshape(gates, hidden), units)
    whole = np.tile(units, directions)
    for index, name in enumerate(weights[: len(weights) // 2]):
        axes = channels.parameters[name]
        if index % 2:
            channels.atoms.unite(axes[1], units)
        elif index >= 2 * directions:
            channels.atoms.unite(axes[1], whole)
        elif 1 in axes:
            _couple_inputs(channels, node, axes[1])
    channels.add_columns(weights[0], 0)
    return [_of_output(channels, name, units, whole) for name in node.outputs]


def _couple_inputs(channels: Channels, node: Node, labels: Labels) -> None:
    """Couple what runs over the inputs of a weight with the last axis of x."""
    shape, factors = channels.shape(node.inputs[0]), channels.factors(node.inputs[0])
    channels.freeze([f for f in factors if max(f.shape[:2]) > 1], f"{node.label} runs over it")
    inputs = [f for f in factors if max(f.shape[:2]) == 1]
    extents = (1, 1, shape[2])
    channels.couple(
        [(extents, inputs), (extents, [labels.reshape(extents)])],
        f"{node.label} reads channels that cannot be cut",
    )


def _of_output(channels: Channels, name: str, units: Labels, whole: Labels) -> Factors:
    """Return the factor of the output, or of the last states; nothing of the working memory."""
    shape = channels.graph.tensors[name].shape if name else None
    if shape is None or len(shape) != 3 or shape[2] not in (units.size, whole.size):
        return []
    return [(units if shape[2] == units.size else whole).reshape(1, 1, -1)]


RECURRENT: dict[str, Rule] = {"paddle.rnn": _rnn}
