# SPDX-License-Identifier: Apache-2.0
"""One small network for tests of the Compressor, with its data and a Compressor of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import paddle
from paddle import nn

import qslim as slim
from qslim.compressor.network import active

IRS = ("legacy", "pir")
CPU = paddle.CPUPlace()
RNG = np.random.default_rng(0)
LABELS = RNG.integers(0, 4, 64)
# A class is the place of a bright quarter.
IMAGES = RNG.normal(0, 0.3, (64, 1, 8, 8)).astype(np.float32)
for _image, _label in zip(IMAGES, LABELS):
    _image[0, 4 * (_label // 2) : 4 * (_label // 2) + 4, 4 * (_label % 2) : 4 * (_label % 2) + 4] += 1


def reader() -> Iterator[list[tuple[Any, Any]]]:
    """Batches of samples, images flat, as ``paddle.batch`` of ``paddle.dataset.mnist`` gives them."""
    for begin in range(0, 64, 16):
        yield [(IMAGES[i].reshape(-1), int(LABELS[i])) for i in range(begin, begin + 16)]


class Built:
    """A classifier in a program of its own."""

    def __init__(self, ir: str, train: bool, prefix: str = "") -> None:
        self.program, self.startup = paddle.static.Program(), paddle.static.Program()
        with paddle.utils.unique_name.guard(prefix), paddle.static.program_guard(self.program, self.startup):
            image = paddle.static.data("image", [None, 1, 8, 8])
            label = paddle.static.data("label", [None, 1], "int64")
            net = nn.Sequential(
                nn.Conv2D(1, 8, 3, padding=1, weight_attr=prefix + "conv1_weights", bias_attr=False),
                nn.BatchNorm2D(8),
                nn.ReLU(),
                nn.Conv2D(8, 8, 3, padding=1, stride=2, weight_attr=prefix + "conv2_weights"),
                nn.ReLU(),
                nn.AdaptiveAvgPool2D(2),
                nn.Flatten(),
                nn.Linear(32, 4, weight_attr=prefix + "fc_weights"),
            )
            if not train:
                net.eval()
            self.scores = net(image)
            probabilities = nn.functional.softmax(self.scores)
            self.loss = paddle.mean(nn.functional.cross_entropy(self.scores, label))
            self.top1 = paddle.metric.accuracy(probabilities, label, k=1)
            self.probabilities = probabilities
        self.ir = ir

    def name(self, value: Any) -> Any:
        return value.name if self.ir == "legacy" else value


FEEDS = [("image", "image"), ("label", "label")]


def compressor(ir: str, scope: Any, path: Path, **options: Any) -> slim.Compressor:
    paddle.seed(3)
    train, test = Built(ir, True), Built(ir, False)
    paddle.static.Executor(CPU).run(train.startup, scope=scope)
    arguments: dict[str, Any] = {
        "train_reader": reader,
        "train_feed_list": FEEDS,
        "train_fetch_list": [("loss", train.name(train.loss))],
        "eval_program": test.program,
        "eval_reader": reader,
        "eval_feed_list": FEEDS,
        "eval_fetch_list": [("top1", test.name(test.top1)), ("scores", test.name(test.scores))],
        "checkpoint_path": str(path / "checkpoints"),
        "train_optimizer": paddle.optimizer.Momentum(0.05, 0.9),
        **options,
    }
    return slim.Compressor(CPU, scope, train.program, **arguments)


def quantization(path: Path, epoch: int = 3, **keys: Any) -> dict[str, Any]:
    block = {
        "class": "QuantizationStrategy",
        "end_epoch": epoch - 1,
        "float_model_save_path": str(path / "float"),
        "int8_model_save_path": str(path / "int8"),
        "mobile_model_save_path": str(path / "mobile"),
        "activation_quantize_type": "moving_average_abs_max",
        "save_in_nodes": ["image"],
        "save_out_nodes": ["scores"],
        **keys,
    }
    return {"strategies": {"q": block}, "compressor": {"epoch": epoch, "strategies": ["q"]}}


def array(scope: Any, name: str) -> np.ndarray:
    return np.array(scope.find_var(name).get_tensor())


def parameters_of(directory: Path) -> dict[str, np.ndarray]:
    """Parameters of a saved model, by Paddle."""
    own, executor = paddle.static.Scope(), paddle.static.Executor(CPU)
    is_pir = (directory / "model.json").exists()
    with active(is_pir, own):
        name = "model.json" if is_pir else "model"
        program, _, _ = paddle.static.load_inference_model(
            str(directory), executor, model_filename=name, params_filename="weights"
        )
        names = slim.compressor.Network(program, [], {}).state_names()
        return {name: array(own, name) for name in names}
