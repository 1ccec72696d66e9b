# SPDX-License-Identifier: Apache-2.0
"""One small network as static programs of either IR and as a Layer, with the same weights."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Callable, Optional

import numpy as np
import paddle
from paddle import nn

from qslim.paddle.framework import legacy_ir, pir_ir, quiet, static_mode

IMAGES = np.random.default_rng(0).standard_normal((8, 3, 12, 12)).astype(np.float32)
LABELS = np.random.default_rng(1).integers(0, 5, (8, 1))
FEED = {"image": IMAGES, "label": LABELS}
RATE = 0.05


class Network(nn.Layer):
    """A residual, a tensor that two convolutions read, and a matrix product."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2D(3, 8, 3, padding=1, bias_attr=False)
        self.norm = nn.BatchNorm2D(8)
        self.depthwise = nn.Conv2D(8, 8, 3, padding=1, groups=8)
        self.left = nn.Conv2D(8, 8, 1)
        self.right = nn.Conv2D(8, 8, 1)
        self.head = nn.Linear(8, 5)

    def forward(self, x: Any) -> Any:
        x = nn.functional.relu(self.norm(self.stem(x)))
        x = nn.functional.relu(self.depthwise(x) + x)
        x = self.left(x) + self.right(x)
        return self.head(paddle.flatten(nn.functional.adaptive_avg_pool2d(x, 1), 1))


def initial_weights() -> dict[str, np.ndarray]:
    """Return weights by the names that parameters have under a new ``unique_name.guard()``."""
    rng = np.random.default_rng(2)
    shapes = {
        "conv2d_0.w_0": (8, 3, 3, 3),
        "conv2d_1.w_0": (8, 1, 3, 3),
        "conv2d_2.w_0": (8, 8, 1, 1),
        "conv2d_3.w_0": (8, 8, 1, 1),
        "linear_0.w_0": (8, 5),
    }
    return {name: rng.normal(0, 0.4, shape).astype(np.float32) for name, shape in shapes.items()}


@dataclass
class Built:
    """A program, what to fetch from it, and its startup program."""

    program: Any
    startup: Any
    out: Any
    loss: Any


@contextlib.contextmanager
def static_session(ir: str) -> Iterator[Any]:
    """Enter static mode in `ir`, in a scope of its own; yield that scope."""
    with legacy_ir() if ir == "legacy" else pir_ir(), quiet(), static_mode() as scope:
        yield scope


def build(train: bool, minimize: bool = True) -> Built:
    """Build the network with its loss, and with an optimizer's operators if `train` and `minimize`."""
    main, startup = paddle.static.Program(), paddle.static.Program()
    with paddle.utils.unique_name.guard(), paddle.static.program_guard(main, startup):
        image = paddle.static.data("image", [None, 3, 12, 12], "float32")
        label = paddle.static.data("label", [None, 1], "int64")
        net = Network()
        if not train:
            net.eval()
        out = net(image)
        loss = paddle.mean(nn.functional.cross_entropy(out, label))
        if train and minimize:
            paddle.optimizer.Momentum(RATE, 0.9).minimize(loss)
    return Built(main, startup, out, loss)


def start(built: Built, scope: Any, executor: Any) -> None:
    """Run the initializers, then set the weights of ``initial_weights``."""
    executor.run(built.startup)
    for name, value in initial_weights().items():
        scope.find_var(name).get_tensor().set(value, paddle.CPUPlace())


def value_of(scope: Any, name: str) -> np.ndarray:
    return np.array(scope.find_var(name).get_tensor())


def run(
    executor: Any, program: Any, fetched: Any, steps: int = 1, feed: Optional[dict[str, Any]] = None
) -> Any:
    """Return the fetched value of each step."""
    fetch: Callable[[Any], Any] = lambda item: getattr(item, "name", item) if _is_legacy(item) else item  # noqa: E731
    return [executor.run(program, feed=feed or FEED, fetch_list=[fetch(fetched)])[0] for _ in range(steps)]


def _is_legacy(item: Any) -> bool:
    return isinstance(item, paddle.base.framework.Variable)
