# SPDX-License-Identifier: Apache-2.0
"""Time a step of quantization-aware training beside the float step, for qslim and for PaddleSlim.

MobileNetV1, batch 8 at 224x224, SGD: forward, backward, update. One step of each network in turn, round after
round, so that all of them share whatever else the machine does; medians, and medians of the ratios of one
round. PaddleSlim is left out where it is not installed.

    make bench-qat
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import Any, Callable, Optional

import numpy as np
import paddle

import qslim

PACT = {"activation_preprocess_type": "PACT"}


def network(quantize: Optional[Callable[[Any], Any]], size: int) -> Callable[[], float]:
    """Return a function that trains one step and returns its seconds."""
    paddle.seed(0)
    net = paddle.vision.models.mobilenet_v1(num_classes=1000)
    if quantize is not None:
        quantize(net)
    net.train()
    optimizer = paddle.optimizer.SGD(1e-3, parameters=net.parameters())
    rng = np.random.default_rng(0)
    images = paddle.to_tensor(rng.standard_normal((8, 3, size, size)).astype(np.float32))
    labels = paddle.to_tensor(rng.integers(0, 1000, 8))

    def step() -> float:
        begin = time.perf_counter()
        loss = paddle.nn.functional.cross_entropy(net(images), labels)
        loss.backward()
        optimizer.step()
        optimizer.clear_grad()
        return time.perf_counter() - begin

    return step


def networks(size: int) -> dict[str, Callable[[], float]]:
    steps = {
        "float": network(None, size),
        "qslim QAT": network(qslim.QAT().quantize, size),
        "qslim PACT": network(qslim.QAT(PACT).quantize, size),
    }
    try:
        import paddleslim
    except ImportError:
        print("PaddleSlim is not installed; its rows are left out")
        return steps
    steps["PaddleSlim QAT"] = network(paddleslim.QAT().quantize, size)
    steps["PaddleSlim PACT"] = network(paddleslim.QAT(PACT).quantize, size)
    return steps


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--size", type=int, default=224, help="height and width of the images")
    arguments = parser.parse_args()
    steps = networks(arguments.size)
    for step in steps.values():  # warms up, and brings PACT past its calibration
        for _ in range(5):
            step()
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(arguments.rounds):
        for name, step in steps.items():
            times[name].append(step())
    print(f"{'':16} {'step':>8} {'of float':>9}   ({arguments.rounds} rounds, medians)")
    for name, own in times.items():
        ratio = statistics.median(mine / base for mine, base in zip(own, times["float"]))
        print(f"{name:16} {statistics.median(own):6.3f} s {ratio:9.3f}")


if __name__ == "__main__":
    main()
