# SPDX-License-Identifier: Apache-2.0
"""Small networks with the operators that quantization meets, saved in either of Paddle's IRs."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import paddle
from paddle import nn

IRS = ("pir", "legacy")


class SmallNetwork(nn.Layer):
    """Convolutions with and without bias and batch norm, depthwise, a residual, a matrix product."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2D(3, 8, 3, stride=2, padding=1, bias_attr=False)
        self.stem_norm = nn.BatchNorm2D(8)
        self.depthwise = nn.Conv2D(8, 8, 3, padding=1, groups=8)
        self.depthwise_norm = nn.BatchNorm2D(8)
        self.pointwise = nn.Conv2D(8, 8, 1)
        self.up = nn.Conv2DTranspose(8, 4, 2, stride=2)
        self.head = nn.Linear(4, 5)

    def forward(self, x: Any) -> Any:
        x = nn.functional.relu(self.stem_norm(self.stem(x)))
        y = nn.functional.hardswish(self.depthwise_norm(self.depthwise(x)))
        x = nn.functional.relu(x + self.pointwise(y))
        x = nn.functional.max_pool2d(self.up(x), 2)
        return self.head(paddle.flatten(nn.functional.adaptive_avg_pool2d(x, 1), 1))


def small_network(seed: int = 0) -> SmallNetwork:
    """Make a network with weights and batch-norm statistics that are neither zero nor one."""
    paddle.seed(seed)
    rng = np.random.default_rng(seed)
    net = SmallNetwork()
    for norm in (net.stem_norm, net.depthwise_norm):
        for tensor, low in ((norm._mean, -0.5), (norm._variance, 0.5), (norm.weight, 0.5), (norm.bias, -0.5)):
            tensor.set_value(rng.uniform(low, 1.5, tensor.shape).astype(np.float32))
    net.eval()
    return net


@contextlib.contextmanager
def dygraph() -> Iterator[None]:
    was_dygraph = paddle.in_dynamic_mode()
    paddle.disable_static()
    try:
        yield
    finally:
        if not was_dygraph:
            paddle.enable_static()


def save_network(net: Any, directory: str, ir: str, shape: tuple[Any, ...] = (None, 3, 16, 16)) -> str:
    """Save `net` as directory/model.* in `ir` and return `directory`."""
    os.makedirs(directory, exist_ok=True)
    spec = [paddle.static.InputSpec(list(shape), "float32", "image")]
    guard = paddle.pir_utils.OldIrGuard() if ir == "legacy" else contextlib.nullcontext()
    with dygraph(), guard:
        paddle.jit.save(net, os.path.join(directory, "model"), input_spec=spec)
    return directory


def images(count: int, seed: int = 0, size: int = 16) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, 3, size, size)).astype(np.float32)
