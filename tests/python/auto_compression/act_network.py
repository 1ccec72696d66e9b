# SPDX-License-Identifier: Apache-2.0
"""A small trained classifier as an inference model of each IR, its data, and what tests measure of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import numpy as np
import paddle
from paddle import nn

from qslim.importers.paddle import find_model_files, load_program
from qslim.paddle import framework

IRS = ("legacy", "pir")
RNG = np.random.default_rng(0)
LABELS = RNG.integers(0, 4, 256)
IMAGES = RNG.normal(0, 1.0, (256, 1, 8, 8)).astype(np.float32)
for _image, _label in zip(IMAGES, LABELS):
    _image[0, 4 * (_label // 2) : 4 * (_label // 2) + 4, 4 * (_label % 2) : 4 * (_label % 2) + 4] += 0.6


def save_models(folder: Path) -> dict[str, Path]:
    """A trained classifier with normalizations and a softmax, saved in each IR."""
    paddle.disable_static()
    paddle.seed(1)
    net = nn.Sequential(
        nn.Conv2D(1, 8, 3, padding=1),
        nn.BatchNorm2D(8),
        nn.ReLU(),
        nn.Conv2D(8, 8, 3, stride=2),
        nn.BatchNorm2D(8),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(72, 4),
        nn.Softmax(),
    )
    optimizer = paddle.optimizer.Adam(0.01, parameters=net.parameters())
    for step in range(60):
        part = slice(32 * (step % 8), 32 * (step % 8) + 32)
        loss = nn.functional.cross_entropy(
            net(paddle.to_tensor(IMAGES[part])), paddle.to_tensor(LABELS[part]), use_softmax=False
        )
        loss.backward()
        optimizer.step()
        optimizer.clear_grad()
    net.eval()
    spec = [paddle.static.InputSpec([None, 1, 8, 8], "float32", "image")]
    with framework.pir_ir():
        paddle.jit.save(net, str(folder / "pir/inference"), input_spec=spec)
    with framework.legacy_ir():
        paddle.jit.save(net, str(folder / "legacy/inference"), input_spec=spec)
    return {ir: folder / ir for ir in IRS}


def loader() -> Iterator[dict[str, Any]]:
    for begin in range(0, 256, 32):
        yield {"image": IMAGES[begin : begin + 32], "label": LABELS[begin : begin + 32]}


def outputs(directory: Path) -> np.ndarray:
    program = load_program(find_model_files(str(directory)))
    return program.run_outputs({"image": IMAGES})[0]


def callback(wanted: np.ndarray, seen: list[float]) -> Callable[..., float]:
    def evaluate(executor: Any, program: Any, feeds: list[str], fetches: list[Any]) -> float:
        assert feeds == ["image"]
        assert len(fetches) == 1
        (out,) = executor.run(program, feed={"image": IMAGES}, fetch_list=fetches)
        seen.append(-float(np.mean((out - wanted) ** 2)))
        return seen[-1]

    return evaluate
