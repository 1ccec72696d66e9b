# SPDX-License-Identifier: Apache-2.0
"""Small networks that tie their channels together in the ways that real ones do."""

from __future__ import annotations

from typing import Any, Callable

import numpy as np
import paddle
from paddle import nn
from paddle.nn import functional as F


def unlike_at_birth(net: Any, seed: int = 0) -> Any:
    """Give norms scales, shifts and statistics that are neither one nor zero; evaluation mode."""
    rng = np.random.default_rng(seed)
    for layer in net.sublayers():
        for attribute, low in (("_mean", -0.4), ("_variance", 0.5), ("weight", 0.5), ("bias", -0.4)):
            tensor = getattr(layer, attribute, None)
            if tensor is not None and isinstance(layer, (nn.BatchNorm2D, nn.GroupNorm, nn.LayerNorm)):
                tensor.set_value(rng.uniform(low, low + 1, tensor.shape).astype(np.float32))
    net.eval()
    return net


class Residual(nn.Layer):
    """Two branches added up, depthwise inside, flattened into Linear."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2D(3, 8, 3, padding=1, bias_attr=False)
        self.norm = nn.BatchNorm2D(8)
        self.expand = nn.Conv2D(8, 16, 1)
        self.depthwise = nn.Conv2D(16, 16, 3, padding=1, groups=16)
        self.project = nn.Conv2D(16, 8, 1)
        self.head = nn.Linear(8 * 16, 5)

    def forward(self, x: Any) -> Any:
        x = F.relu(self.norm(self.stem(x)))
        x = x + self.project(F.hardswish(self.depthwise(F.relu6(self.expand(x)))))
        return self.head(F.max_pool2d(x, 4).flatten(1))


class Squeezed(nn.Layer):
    """Squeeze-and-excitation, concatenation, groups, and the mean over height and width."""

    def __init__(self) -> None:
        super().__init__()
        self.left = nn.Conv2D(3, 8, 3)
        self.right = nn.Conv2D(3, 4, 3)
        self.squeeze = nn.Conv2D(12, 4, 1)
        self.excite = nn.Conv2D(4, 12, 1)
        self.grouped = nn.Conv2D(12, 24, 3, groups=3)
        self.head = nn.Linear(24, 5)

    def forward(self, x: Any) -> Any:
        x = F.silu(paddle.concat([self.left(x), self.right(x)], axis=1))
        gate = F.hardsigmoid(self.excite(F.relu(self.squeeze(F.adaptive_avg_pool2d(x, 1)))))
        x = self.grouped(x * gate)
        return self.head(x.mean([2, 3]))


class UNet(nn.Layer):
    """Down, up by transposed convolutions (one depthwise), concatenation, group norm, resizing, padding."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Conv2D(3, 8, 3, padding=1)
        self.down_norm = nn.GroupNorm(4, 8)
        self.bottom = nn.Conv2D(8, 12, 3)
        self.up = nn.Conv2DTranspose(12, 8, 2, stride=2)
        self.blur = nn.Conv2DTranspose(16, 16, 2, stride=2, groups=16)
        self.out = nn.Conv2D(16, 2, 1)

    def forward(self, x: Any) -> Any:
        skip = F.leaky_relu(self.down_norm(self.down(x)))
        y = self.bottom(F.pad(F.avg_pool2d(skip, 2), [1, 1, 1, 1]))
        y = paddle.concat([F.interpolate(self.up(y), scale_factor=1, mode="nearest"), skip], axis=1)
        return self.out(self.blur(y))


class Shuffled(nn.Layer):
    """Split, channel shuffle by reshape and transpose; extents are computed from tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2D(3, 16, 3, padding=1)
        self.inner = nn.Conv2D(8, 12, 1)
        self.outer = nn.Conv2D(12, 8, 1)
        self.head = nn.Conv2D(16, 4, 1)

    def forward(self, x: Any) -> Any:
        keep, change = paddle.split(self.stem(x), 2, axis=1)
        x = paddle.concat([keep, self.outer(F.relu(self.inner(change)))], axis=1)
        batch, channels, height, width = x.shape
        x = x.reshape([batch, 2, channels // 2, height, width]).transpose([0, 2, 1, 3, 4])
        return self.head(x.reshape([batch, channels, height, width]))


class Unshuffled(nn.Layer):
    """Blocks of pixels become channels, and channels pixels again."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2D(3, 8, 3, padding=1)
        self.second = nn.Conv2D(32, 8, 1)
        self.head = nn.Conv2D(2, 4, 1)

    def forward(self, x: Any) -> Any:
        x = F.relu(self.second(F.pixel_unshuffle(self.first(x), 2)))
        return self.head(F.pixel_shuffle(x, 2))


class Transformer(nn.Layer):
    """A vision transformer of two blocks: class token, positions, layer norm, multi-head attention."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2D(3, 16, 4, stride=4)
        self.token = self.create_parameter([1, 1, 16])
        self.position = self.create_parameter([1, 17, 16])
        self.blocks = nn.LayerList(
            [nn.TransformerEncoderLayer(16, 4, 32, normalize_before=True) for _ in "12"]
        )
        self.norm = nn.LayerNorm(16)
        self.head = nn.Linear(16, 5)

    def forward(self, x: Any) -> Any:
        x = self.patch(x).flatten(2).transpose([0, 2, 1])
        x = paddle.concat([self.token.expand([x.shape[0], 1, x.shape[2]]), x], axis=1) + self.position
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x)[:, 0])


class WrittenDown(nn.Layer):
    """Extents as literals in the code, `where`: a reshape, a slice in two, or an operator without a rule."""

    def __init__(self, where: str) -> None:
        super().__init__()
        self.where = where
        self.first = nn.Conv2D(3, 16, 3)
        self.second = nn.Conv2D(16, 16, 3)
        self.part = nn.Conv2D(8, 8, 1)
        self.head = nn.Conv2D(16, 4, 1)

    def forward(self, x: Any) -> Any:
        x = F.relu(self.second(self.first(x)))
        if self.where == "reshape":
            x = x.reshape([-1, 16, x.shape[2] * x.shape[3], 1])
        elif self.where == "slice":
            x = paddle.concat([self.part(x[:, :8]), x[:, 8:]], axis=1)
        else:
            x = paddle.cumsum(x, axis=1)
        return self.head(x)


# Each with the masters that must be prunable: (sub-layer, axis).
NETWORKS: dict[str, tuple[Callable[[], Any], list[tuple[str, int]]]] = {
    "residual": (Residual, [("stem", 0), ("expand", 0)]),
    "squeezed": (Squeezed, [("left", 0), ("squeeze", 0)]),
    "unet": (UNet, [("down", 0), ("bottom", 0), ("up", 1)]),
    "shuffled": (Shuffled, [("stem", 0), ("inner", 0)]),
    "pixel_unshuffle": (Unshuffled, [("first", 0), ("second", 0)]),
}


def images(count: int = 2, size: int = 16, seed: int = 0) -> Any:
    return paddle.to_tensor(
        np.random.default_rng(seed).standard_normal((count, 3, size, size)).astype(np.float32)
    )


def values(net: Any) -> dict[str, Any]:
    """Copy all that a network holds."""
    return {name: tensor.numpy() for name, tensor in net.state_dict().items()}


def assert_same_values(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert one.keys() == other.keys()
    for name, value in one.items():
        np.testing.assert_array_equal(value, other[name], err_msg=name)
