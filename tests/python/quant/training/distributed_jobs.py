# SPDX-License-Identifier: Apache-2.0
"""A training run of QAT for the tests of several processes: the same on any number of ranks."""

from __future__ import annotations

from typing import Any

import numpy as np
import paddle
from paddle import nn
from small_networks import images

import qslim
from qslim.quant import distributed

__all__ = ["CONFIGS", "network", "quantizer_state", "trained_states"]

CONFIGS: dict[str, dict[str, Any]] = {
    "plain": {},
    "range": {"activation_quantize_type": "range_abs_max", "window_size": 2},
    "abs_max": {"activation_quantize_type": "abs_max", "weight_quantize_type": "abs_max"},
    "tracked": {"weight_quantize_type": "moving_average_abs_max"},
    "pact": {
        "activation_preprocess_type": "PACT",
        "weight_preprocess_type": "PACT",
        "calibration_batches": 2,
    },
    "lsq": {
        "activation_quantize_type": "lsqplus_act",
        "weight_quantize_type": "channel_wise_lsq_weight",
        "calibration_batches": 2,
        "activation_bits": 4,
    },
}
BATCH = 8


def network(config: dict[str, Any], seed: int = 0) -> Any:
    """Return a quantized network without batch normalization, whose statistics would be of half a batch."""
    paddle.seed(seed)
    net = nn.Sequential(
        nn.Conv2D(3, 8, 3, stride=2),
        nn.ReLU(),
        nn.Conv2D(8, 8, 3, groups=8),
        nn.Hardswish(),
        nn.Flatten(),
        nn.Linear(8 * 5 * 5, 5),
    )
    qslim.QAT(config).quantize(net)
    net.train()
    return net


def quantizer_state(net: Any) -> dict[str, np.ndarray]:
    """Return the quantizers' buffers and what they learn, by the network's names without DataParallel."""
    state = getattr(net, "_layers", net).state_dict()
    return {key: np.array(value.numpy()) for key, value in state.items() if "_fake_quant_" in key}


def trained_states(config: dict[str, Any], steps: int, learning_rate: float) -> list[dict[str, np.ndarray]]:
    """Return `quantizer_state` after the forward pass of each step, each rank trained on its part.

    Every rank starts from weights of its own; DataParallel gives all of them rank 0's.
    """
    rank, world = distributed.rank(), distributed.world_size()
    net = network(config, seed=rank)
    if world > 1:
        net = paddle.DataParallel(net)
    optimizer = paddle.optimizer.SGD(learning_rate, parameters=net.parameters())
    share = BATCH // world
    states = []
    for step in range(steps):
        # Each batch is larger than the one before, and the largest value may be any rank's.
        batch = images(BATCH, seed=step)[rank * share : (rank + 1) * share] * np.float32(1 + step / 3)
        loss = net(paddle.to_tensor(batch)).square().mean()
        states.append(quantizer_state(net))
        loss.backward()
        optimizer.step()
        optimizer.clear_grad()
    return states
