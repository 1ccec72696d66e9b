# SPDX-License-Identifier: Apache-2.0
"""Measured latencies of networks, and what each layer costs in fp32."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Optional

from qslim.graph import Graph
from qslim.quant.analysis.layers import Layer
from qslim.quant.analysis.quantization import Quantization
from qslim.quant.mixed_precision.network import Network
from qslim.runtime.profile import Profile

__all__ = ["costs_in_float", "latencies"]

# Of each profile; the least time of each step counts.
_RUNS = 10
_ROUNDS = 3
# Of the network's latency in int8: a layer's cost counts at least so much.
_LEAST_COST = 1e-3


def costs_in_float(quantization: Quantization) -> dict[str, float]:
    """Return the seconds that each layer takes longer in fp32 for one sample, by its name.

    Float and int8 network are profiled on the first sample; empty where the engine cannot run them.
    """
    in_float = _profile(Network(quantization, [layer.name for layer in quantization.layers]), quantization)
    int8 = _profile(Network(quantization, ()), quantization)
    if in_float is None or int8 is None:
        return {}
    before, after = _by_tensor(in_float), _by_tensor(int8)
    least = _LEAST_COST * int8.seconds
    costs = {}
    for layer in quantization.layers:
        steps = _steps_of(quantization.graph, layer, set(before) & set(after))
        costs[layer.name] = max(least, sum(before[step] - after[step] for step in steps))
    return costs


def latencies(quantization: Quantization, networks: Sequence[Network]) -> list[Optional[float]]:
    """Return the seconds that each network takes for one sample; None where the engine cannot run it.

    They are measured in turn, and the least of three rounds counts: the machine may be busy now and then.
    """
    rounds = [[_profile(network, quantization) for network in networks] for _ in range(_ROUNDS)]
    return [
        None if each[0] is None else min(profile.seconds for profile in each if profile is not None)
        for each in zip(*rounds)
    ]


def _profile(network: Network, quantization: Quantization) -> Optional[Profile]:
    session, feed = network.session, quantization.samples[0]
    if session is None:
        return None
    return session.profile({spec.name: feed[spec.name] for spec in session.inputs}, _RUNS)


def _by_tensor(profile: Profile) -> dict[str, float]:
    """Return the seconds of the steps by the tensor that they write; conversions are left out."""
    seconds: dict[str, float] = defaultdict(float)
    for step in profile:
        _, parenthesis, rest = step.name.partition("(")
        if parenthesis:
            seconds[rest[:-1]] += step.seconds
    return dict(seconds)


def _steps_of(graph: Graph, layer: Layer, steps: set[str]) -> set[str]:
    """Return those of `steps` that compute `layer`, each with what is fused behind a product."""
    found = set()
    for output in layer.outputs:
        name = output
        while name not in steps:
            reader = graph.only_reader(name)
            if reader is None:
                break
            name = reader.outputs[0]
        if name in steps:
            found.add(name)
    return found
