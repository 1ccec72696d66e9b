# SPDX-License-Identifier: Apache-2.0
"""A small network of every quantizable layer, and what a saved one computes in Paddle and in the engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import paddle
from numpy.typing import NDArray
from paddle import nn

from qslim.runtime import Session

SHAPE = (2, 6, 6)


class Net(nn.Layer):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2D(2, 8, 3, padding=1, bias_attr=False)
        self.norm = nn.BatchNorm2D(8)
        self.relu = nn.ReLU()
        self.depthwise = nn.Conv2D(8, 8, 3, padding=1, groups=8)
        self.up = nn.Conv2DTranspose(8, 4, 2, stride=2)
        self.head = nn.Linear(4 * 144, 5)

    def forward(self, x: Any) -> Any:
        x = self.relu(self.norm(self.conv(x)))
        x = self.up(self.relu(x + self.depthwise(x)))
        return self.head(paddle.flatten(x, 1))


def network(seed: int = 0) -> Net:
    """Return a Net in evaluation mode whose normalization is not the identity."""
    paddle.seed(seed)
    rng = np.random.default_rng(seed)
    net = Net()
    for tensor in (net.norm._mean, net.norm._variance, net.norm.weight, net.norm.bias):
        tensor.set_value(rng.uniform(0.3, 1.5, tensor.shape).astype(np.float32))
    net.eval()
    return net


def batch(seed: int, size: int = 4) -> Any:
    return paddle.to_tensor(np.random.default_rng(seed).normal(size=(size, *SHAPE)).astype(np.float32))


def train(net: Any, steps: int = 3, learning_rate: float = 0.01) -> None:
    """Train some steps by SGD; leave `net` in training mode."""
    net.train()
    optimizer = paddle.optimizer.SGD(learning_rate, parameters=net.parameters())
    for step in range(steps):
        net(batch(step)).square().mean().backward()
        optimizer.step()
        optimizer.clear_grad()


def assert_saved_as_evaluated(tool: Any, net: Any, directory: Path, x: Any, **options: Any) -> Any:
    """Save `net` by `tool`: dygraph, Paddle's executor and the engine must give the same bits."""
    net.eval()
    path = str(directory / "model")
    spec = [paddle.static.InputSpec([None, *x.shape[1:]], "float32", "x")]
    report = tool.save_quantized_model(net, path, input_spec=spec, **options)
    evaluated = net(x).numpy()
    np.testing.assert_array_equal(_by_paddle(path, x.numpy()), evaluated)
    np.testing.assert_array_equal(Session(path + ".qslim").run({"x": x.numpy()})[0], evaluated)
    return report


def _by_paddle(path: str, x: NDArray[np.float32]) -> NDArray[np.float32]:
    paddle.enable_static()
    try:
        with paddle.static.scope_guard(paddle.static.Scope()):
            executor = paddle.static.Executor(paddle.CPUPlace())
            program, feeds, fetches = paddle.static.load_inference_model(path, executor)
            return np.asarray(executor.run(program, feed={feeds[0]: x}, fetch_list=fetches)[0])
    finally:
        paddle.disable_static()
