# SPDX-License-Identifier: Apache-2.0
"""A small network for digits, its training, and what moves in its quantizers meanwhile.

5x5 and 3x3 convolutions with stride 2, a depthwise and a pointwise one, each with batch normalization and
ReLU, then one Linear layer: every kind of layer that quantization treats in its own way.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any, Optional

import numpy as np
import paddle
from paddle import nn
from tqdm import tqdm

__all__ = ["Trajectory", "digits_network", "scores_of", "train"]


def digits_network() -> Any:
    """Return a network with scores [N, 10] from images [N, 1, 28, 28]."""
    return nn.Sequential(
        *_block(1, 16, kernel=5, stride=2),
        *_block(16, 32, kernel=3, stride=2),
        *_block(32, 32, kernel=3, groups=32),
        *_block(32, 64, kernel=1),
        nn.Flatten(),
        nn.Linear(64 * 7 * 7, 10),
    )


def _block(channels: int, filters: int, kernel: int, stride: int = 1, groups: int = 1) -> list[Any]:
    conv = nn.Conv2D(channels, filters, kernel, stride, kernel // 2, groups=groups, bias_attr=False)
    return [conv, nn.BatchNorm2D(filters), nn.ReLU()]


class Trajectory:
    """Thresholds of every quantized layer, one value a training step.

    ``inputs[layer]`` and ``weights[layer]`` are lists of floats; a weight with a threshold for each output
    channel counts with their mean. With LSQ+ the threshold of an input is the span of its grid.
    """

    def __init__(self) -> None:
        self.inputs: dict[str, list[float]] = defaultdict(list)
        self.weights: dict[str, list[float]] = defaultdict(list)

    def record(self, net: Any) -> None:
        for name, layer in net.named_sublayers():
            if hasattr(layer, "_fake_quant_input"):
                label = f"{name} ({_kind(layer)})"
                self.inputs[label].append(layer._fake_quant_input.threshold)
                grid = layer._fake_quant_weight.weight_params(layer.weight.numpy())
                self.weights[label].append(float(np.mean(grid.threshold)))


def _kind(layer: Any) -> str:
    if isinstance(layer, nn.Linear):
        return "linear"
    return "depthwise" if layer._groups > 1 else f"conv {layer._kernel_size[0]}x{layer._kernel_size[1]}"


def train(
    net: Any,
    images: Any,
    labels: Any,
    steps: int,
    rate: float,
    *,
    batch_size: int = 64,
    name: str = "train",
    trajectory: Optional[Trajectory] = None,
) -> None:
    """Train by momentum with a cosine learning rate on the same batches in every call; end in eval mode."""
    draw = np.random.default_rng(0)
    schedule = paddle.optimizer.lr.CosineAnnealingDecay(rate, T_max=steps)
    optimizer = paddle.optimizer.Momentum(schedule, 0.9, parameters=net.parameters(), weight_decay=1e-4)
    net.train()
    with tqdm(total=steps, desc=name, unit="step", ncols=90, mininterval=1.0) as bar:
        for _ in range(steps):
            batch = draw.integers(0, len(images), batch_size)
            scores = net(paddle.to_tensor(images[batch]))
            loss = nn.functional.cross_entropy(scores, paddle.to_tensor(labels[batch]))
            loss.backward()
            optimizer.step()
            optimizer.clear_grad()
            schedule.step()
            if trajectory is not None:
                trajectory.record(net)
            bar.set_postfix(loss=f"{float(loss):.3f}", refresh=False)
            bar.update()
    net.eval()


def scores_of(net: Any) -> Any:
    """Return `net`, a Layer or a loaded model, as a function of NumPy arrays, without gradients."""

    def run(images: Any) -> Any:
        with paddle.no_grad():
            return net(paddle.to_tensor(images)).numpy()

    return run
