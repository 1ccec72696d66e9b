# SPDX-License-Identifier: Apache-2.0
"""PP-LCNet: depthwise separable blocks with HardSwish, made for CPUs; the backbone of PP-OCR and others.

A block is a depthwise and a 1x1 convolution, each with batch normalization and HardSwish. The last two filter
5x5 and weigh their channels by squeeze-and-excitation, where it costs least. Behind the pooling a 1x1
convolution widens to 1280 channels.

Source: Cui et al. 2021 (arXiv:2109.15099), table 1.
"""

from __future__ import annotations

from typing import Any

import paddle
from paddle import nn

from qslim.models.blocks import ConvBN, free_name
from qslim.models.classification import ImageClassifier, check_class_dim, training_parameters

__all__ = ["PPLCNet", "PPLCNet_x0_5", "PPLCNet_x0_25", "PPLCNet_x1_0"]

# (name, out channels at scale 1, stride, kernel, squeeze-and-excitation)
_BLOCKS = (
    ("block2_1", 32, 1, 3, False),
    ("block3_1", 64, 2, 3, False),
    ("block3_2", 64, 1, 3, False),
    ("block4_1", 128, 2, 3, False),
    ("block4_2", 128, 1, 3, False),
    ("block5_1", 256, 2, 3, False),
    ("block5_2", 256, 1, 5, False),
    ("block5_3", 256, 1, 5, False),
    ("block5_4", 256, 1, 5, False),
    ("block5_5", 256, 1, 5, False),
    ("block5_6", 256, 1, 5, False),
    ("block6_1", 512, 2, 5, True),
    ("block6_2", 512, 1, 5, True),
)


class PPLCNet(ImageClassifier):
    """PP-LCNet; `scale` multiplies channel counts, which are kept divisible by 8.

    Examples
    --------
    >>> import paddle
    >>> net = PPLCNet(scale=0.25).layer(class_dim=10)
    >>> net(paddle.zeros([2, 3, 32, 32])).shape
    [2, 10]
    """

    def __init__(self, scale: float = 1.0) -> None:
        if scale <= 0:
            raise ValueError(f"scale: expected more than 0, got {scale}")
        self.params = training_parameters([30, 60, 90])
        self.scale = scale

    def layer(self, class_dim: int = 1000, *, in_channels: int = 3) -> Any:
        """Return the network as a ``paddle.nn.Layer``."""
        return _PPLCNetLayer(check_class_dim(class_dim), self.scale, in_channels)


def PPLCNet_x0_25() -> PPLCNet:
    return PPLCNet(scale=0.25)


def PPLCNet_x0_5() -> PPLCNet:
    return PPLCNet(scale=0.5)


def PPLCNet_x1_0() -> PPLCNet:
    return PPLCNet(scale=1.0)


def _divisible(channels: float) -> int:
    """Return the nearest multiple of 8 that takes no more than a tenth away."""
    nearest = max(8, int(channels + 4) // 8 * 8)
    return nearest + 8 if nearest < 0.9 * channels else nearest


class _SqueezeExcitation(nn.Layer):  # type: ignore[misc]
    def __init__(self, channels: int, name: str) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2D(1)
        self.reduce = _conv(channels, channels // 4, f"{name}_se_1")
        self.widen = _conv(channels // 4, channels, f"{name}_se_2")
        self.relu = nn.ReLU()
        self.gate = nn.Hardsigmoid()

    def forward(self, x: Any) -> Any:
        return x * self.gate(self.widen(self.relu(self.reduce(self.pool(x)))))


def _conv(channels: int, out: int, name: str, has_bias: bool = True) -> Any:
    return nn.Conv2D(
        channels,
        out,
        1,
        weight_attr=paddle.ParamAttr(name=free_name(f"{name}_weights")),
        bias_attr=paddle.ParamAttr(name=free_name(f"{name}_offset")) if has_bias else False,
    )


class _PPLCNetLayer(nn.Layer):  # type: ignore[misc]
    def __init__(self, class_dim: int, scale: float, in_channels: int) -> None:
        super().__init__()
        channels = _divisible(16 * scale)
        steps = [("conv1", ConvBN(in_channels, channels, 3, stride=2, act="hardswish", name="conv1"))]
        for name, unscaled, stride, kernel, has_gate in _BLOCKS:
            out = _divisible(unscaled * scale)
            depthwise = ConvBN(
                channels, channels, kernel, stride=stride, groups=channels, act="hardswish", name=f"{name}_dw"
            )
            gate = [_SqueezeExcitation(channels, name)] if has_gate else []
            pointwise = ConvBN(channels, out, 1, act="hardswish", name=f"{name}_sep")
            steps.append((name, nn.Sequential(depthwise, *gate, pointwise)))
            channels = out
        self.blocks = nn.Sequential(*steps)
        self.pool = nn.AdaptiveAvgPool2D(1)
        self.last_conv = _conv(channels, 1280, "last_conv", has_bias=False)
        self.act = nn.Hardswish()
        self.dropout = nn.Dropout(0.2)
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(
            1280,
            class_dim,
            weight_attr=paddle.ParamAttr(name=free_name("fc_weights")),
            bias_attr=paddle.ParamAttr(name=free_name("fc_offset")),
        )
        self.softmax = nn.Softmax()

    def forward(self, x: Any) -> Any:
        x = self.act(self.last_conv(self.pool(self.blocks(x))))
        return self.softmax(self.fc(self.flatten(self.dropout(x))))
