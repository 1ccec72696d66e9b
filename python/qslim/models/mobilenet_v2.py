# SPDX-License-Identifier: Apache-2.0
"""MobileNetV2: inverted residuals with linear bottlenecks.

A unit expands 1x1 by a factor t, filters 3x3 depthwise and projects 1x1 without activation; units of stride 1
inside a stage add their input. The first stage keeps its expansion (t = 1) as a 1x1 convolution, as
PaddleSlim's does.

Sources: Sandler et al. 2018 (arXiv:1801.04381), table 2; paddleslim 2.4.0, models/mobilenet_v2.py (names,
deeper variant).
"""

from __future__ import annotations

from typing import Any

from paddle import nn

from qslim.models.blocks import ConvBN, SoftmaxHead
from qslim.models.classification import ImageClassifier, check_class_dim, training_parameters

__all__ = [
    "MobileNetV2",
    "MobileNetV2_scale",
    "MobileNetV2_x0_5",
    "MobileNetV2_x0_25",
    "MobileNetV2_x1_0",
    "MobileNetV2_x1_5",
    "MobileNetV2_x2_0",
]

# (expansion t, out channels at scale 1, units, units of the deeper variant, stride of the first unit)
_STAGES = (
    (1, 16, 1, 1, 1),
    (6, 24, 2, 2, 2),
    (6, 32, 3, 5, 2),
    (6, 64, 4, 7, 2),
    (6, 96, 3, 5, 1),
    (6, 160, 3, 3, 2),
    (6, 320, 1, 1, 1),
)


class MobileNetV2(ImageClassifier):
    """MobileNetV2; `scale` multiplies channel counts, `change_depth` is a variant 1.4 times as deep."""

    def __init__(self, scale: float = 1.0, change_depth: bool = False) -> None:
        if int(16 * scale) < 1:
            raise ValueError(f"scale: expected at least 1/16, which leaves conv2 one channel, got {scale}")
        self.params = training_parameters([30, 60, 90])
        self.scale = scale
        self.change_depth = change_depth

    def layer(self, class_dim: int = 1000, *, in_channels: int = 3) -> Any:
        """Return the network as a ``paddle.nn.Layer``."""
        return _MobileNetV2Layer(check_class_dim(class_dim), self.scale, self.change_depth, in_channels)


def MobileNetV2_x0_25() -> MobileNetV2:
    return MobileNetV2(scale=0.25)


def MobileNetV2_x0_5() -> MobileNetV2:
    return MobileNetV2(scale=0.5)


def MobileNetV2_x1_0() -> MobileNetV2:
    return MobileNetV2(scale=1.0)


def MobileNetV2_x1_5() -> MobileNetV2:
    return MobileNetV2(scale=1.5)


def MobileNetV2_x2_0() -> MobileNetV2:
    return MobileNetV2(scale=2.0)


def MobileNetV2_scale() -> MobileNetV2:
    return MobileNetV2(scale=1.2, change_depth=True)


class _InvertedResidual(nn.Layer):  # type: ignore[misc]
    def __init__(
        self, channels: int, out: int, expansion: int, stride: int, has_shortcut: bool, name: str
    ) -> None:
        super().__init__()
        wide = channels * expansion
        self.expand = ConvBN(channels, wide, 1, act="relu6", name=f"{name}_expand")
        self.dwise = ConvBN(wide, wide, 3, stride=stride, groups=wide, act="relu6", name=f"{name}_dwise")
        self.linear = ConvBN(wide, out, 1, act=None, name=f"{name}_linear")
        self.has_shortcut = has_shortcut

    def forward(self, x: Any) -> Any:
        y = self.linear(self.dwise(self.expand(x)))
        return x + y if self.has_shortcut else y


class _MobileNetV2Layer(nn.Layer):  # type: ignore[misc]
    def __init__(self, class_dim: int, scale: float, change_depth: bool, in_channels: int) -> None:
        super().__init__()
        channels = int(32 * scale)
        self.conv1 = ConvBN(in_channels, channels, 3, stride=2, act="relu6", name="conv1_1")
        units = []
        for stage, (expansion, unscaled, shallow, deep, stride) in enumerate(_STAGES, start=2):
            out = int(unscaled * scale)
            for index in range(deep if change_depth else shallow):
                name = f"conv{stage}_{index + 1}"
                is_first = index == 0
                unit = _InvertedResidual(
                    channels, out, expansion, stride if is_first else 1, not is_first, name
                )
                units.append((name, unit))
                channels = out
        self.units = nn.Sequential(*units)
        last = int(1280 * max(1.0, scale))
        self.conv9 = ConvBN(channels, last, 1, act="relu6", name="conv9")
        self.head = SoftmaxHead(last, class_dim, weight_name="fc10_weights", bias_name="fc10_offset")

    def forward(self, x: Any) -> Any:
        return self.head(self.conv9(self.units(self.conv1(x))))
