# SPDX-License-Identifier: Apache-2.0
"""Training whose blocks are run again in the backward pass: the same bits as without."""

from __future__ import annotations

from typing import Any

import numpy as np
import paddle
import pytest
from paddle import nn
from paddle.autograd import PyLayer
from paddle.distributed.fleet.utils import recompute

import qslim

CONFIGS: dict[str, dict[str, Any]] = {
    "plain": {},
    "range": {"activation_quantize_type": "range_abs_max", "weight_quantize_type": "range_abs_max"},
    "abs_max": {"activation_quantize_type": "abs_max", "weight_quantize_type": "moving_average_abs_max"},
    "pact": {"activation_preprocess_type": "PACT", "weight_preprocess_type": "PACT"},
    "lsqplus": {"activation_quantize_type": "lsqplus_act", "weight_quantize_type": "lsq_weight"},
}


class OwnCheckpoint(PyLayer):
    """A function as projects write it for themselves."""

    @staticmethod
    def forward(ctx: Any, x: Any, block: Any) -> Any:
        ctx.block = block
        ctx.save_for_backward(x)
        with paddle.no_grad():
            return block(x)

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        (x,) = ctx.saved_tensor()
        x = x.detach()
        x.stop_gradient = False
        with paddle.enable_grad():
            y = ctx.block(x)
        paddle.autograd.backward([y], [grad])
        return x.grad


CHECKPOINTS: dict[str, Any] = {
    "none": lambda block, x: block(x),
    "reentrant": recompute,
    "without_reentrant": lambda block, x: recompute(block, x, use_reentrant=False),
    "without_random_state": lambda block, x: recompute(block, x, preserve_rng_state=False),
    "nested": lambda block, x: recompute(lambda x: block[2](block[1](recompute(block[0], x))), x),
    "own": OwnCheckpoint.apply,
}


class Net(nn.Layer):
    """A block that a step runs twice, on other data each time."""

    def __init__(self, checkpoint: str) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(16, 32), nn.Linear(32, 4)
        self.block = nn.Sequential(nn.Linear(32, 32), nn.GELU(), nn.Linear(32, 32))
        self.checkpoint = checkpoint

    def forward(self, x: Any) -> Any:
        run = CHECKPOINTS["none" if not self.training else self.checkpoint]
        x = self.first(x)
        if self.checkpoint == "own":
            x = x + (run(x, self.block) if self.training else self.block(x))
            return self.last(x + (run(3 * x, self.block) if self.training else self.block(3 * x)))
        x = x + run(self.block, x)
        return self.last(x + run(self.block, 3 * x))


def trained(checkpoint: str, config: dict[str, Any]) -> tuple[dict[str, bytes], list[float]]:
    paddle.seed(1)
    net = qslim.QAT({**config, "calibration_batches": 2}).quantize(Net(checkpoint))
    optimizer = paddle.optimizer.Momentum(1e-4, parameters=net.parameters())
    rng, losses = np.random.default_rng(1), []
    for step in range(6):
        x = paddle.to_tensor(rng.standard_normal((8, 16)).astype(np.float32) * (1 + step % 3))
        loss = net(x).square().mean()
        loss.backward()
        optimizer.step()
        optimizer.clear_grad()
        losses.append(float(loss))
    return {key: value.numpy().tobytes() for key, value in net.state_dict().items()}, losses


@pytest.mark.parametrize("checkpoint", [name for name in CHECKPOINTS if name != "none"])
@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_recompute_trains_to_the_same_bits(checkpoint: str, config: dict[str, Any]) -> None:
    once, losses = trained("none", config)
    twice, again = trained(checkpoint, config)
    assert again == losses
    assert [key for key in once if once[key] != twice[key]] == []


def test_a_repeated_batch_is_no_recomputed_one() -> None:
    net = qslim.QAT().quantize(Net("reentrant"))
    for _ in range(3):
        net(paddle.ones([4, 16])).square().mean().backward()
    assert net.first._fake_quant_input.batches == 3
    assert net.block[0]._fake_quant_input.batches == 6
