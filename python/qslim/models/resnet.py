# SPDX-License-Identifier: Apache-2.0
"""ResNet of 18, 34, 50, 101 and 152 layers.

Stage s has blocks res<s>a, res<s>b, ... (res4a, res4b1, res4b2, ... for 101 and 152 layers); a block has
branches 2a, 2b (and 2c) and, where the shape changes, a 1x1 convolution "branch1" as its shortcut. ReLU
follows the addition, as in the paper; PaddleSlim 2.0 and later lost it when it moved off fluid.

Sources: He et al. 2016 (arXiv:1512.03385), table 1; paddleslim 2.4.0, models/resnet.py (names; its basic
blocks put a convolution on the very first shortcut too, and so do ours).
"""

from __future__ import annotations

import math
from typing import Any, Optional

import paddle
from paddle import nn

from qslim.models.blocks import ConvBN, SoftmaxHead
from qslim.models.classification import ImageClassifier, check_class_dim, input_channels, training_parameters

__all__ = ["ResNet", "ResNet18", "ResNet34", "ResNet50", "ResNet101", "ResNet152"]

_DEPTHS = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
}
_CHANNELS = (64, 128, 256, 512)


class ResNet(ImageClassifier):
    """ResNet of `layers` layers; `prefix_name` starts every parameter name, for two nets in one program."""

    def __init__(self, layers: int = 50, prefix_name: str = "") -> None:
        if layers not in _DEPTHS:
            raise ValueError(f"layers: expected one of {', '.join(map(str, _DEPTHS))}, got {layers}")
        self.params = training_parameters([10, 16, 30])
        self.layers = layers
        self.prefix_name = prefix_name

    def layer(
        self,
        class_dim: int = 1000,
        conv1_name: str = "conv1",
        fc_name: Optional[str] = None,
        *,
        in_channels: int = 3,
    ) -> Any:
        """Return the network as a ``paddle.nn.Layer``.

        `conv1_name` names the first convolution. The classifier's parameters are ``<fc_name>.w_0`` and
        ``.b_0``; with None they take Paddle's next free name, ``fc_0`` at first.
        """
        prefix = f"{self.prefix_name}_" if self.prefix_name else ""
        fc = paddle.utils.unique_name.generate("fc") if fc_name is None else prefix + fc_name
        return _ResNetLayer(self.layers, check_class_dim(class_dim), in_channels, prefix, conv1_name, fc)

    def net(
        self, input: Any, class_dim: int = 1000, conv1_name: str = "conv1", fc_name: Optional[str] = None
    ) -> Any:
        """Build into the current static program; return probabilities [N, class_dim] for images `input`."""
        return self.layer(class_dim, conv1_name, fc_name, in_channels=input_channels(input))(input)


def ResNet18(prefix_name: str = "") -> ResNet:
    return ResNet(18, prefix_name)


def ResNet34(prefix_name: str = "") -> ResNet:
    return ResNet(34, prefix_name)


def ResNet50(prefix_name: str = "") -> ResNet:
    return ResNet(50, prefix_name)


def ResNet101(prefix_name: str = "") -> ResNet:
    return ResNet(101, prefix_name)


def ResNet152(prefix_name: str = "") -> ResNet:
    return ResNet(152, prefix_name)


def _conv_bn(
    prefix: str, name: str, channels: int, out: int, kernel_size: int, *, stride: int = 1, act: Optional[str]
) -> ConvBN:
    """Return a ConvBN with PaddleSlim's names: res2a_branch2a_weights with bn2a_branch2a_scale."""
    bn_name = "bn_conv1" if name == "conv1" and not prefix else f"bn{name[3:]}"
    return ConvBN(
        channels, out, kernel_size, stride=stride, act=act, name=prefix + name, bn_name=prefix + bn_name
    )


class _Block(nn.Layer):  # type: ignore[misc]
    """relu(shortcut(x) + branch(x)); the branch is 3x3, 3x3 or, as a bottleneck, 1x1, 3x3, 1x1 to 4 * mid."""

    def __init__(
        self,
        channels: int,
        mid: int,
        stride: int,
        prefix: str,
        name: str,
        *,
        is_bottleneck: bool,
        is_first: bool,
    ) -> None:
        super().__init__()
        out = mid * 4 if is_bottleneck else mid
        shapes: tuple[tuple[str, int, int, int, int], ...]  # (branch, in, out, kernel, stride)
        if is_bottleneck:
            shapes = (("2a", channels, mid, 1, 1), ("2b", mid, mid, 3, stride), ("2c", mid, out, 1, 1))
        else:
            shapes = (("2a", channels, mid, 3, stride), ("2b", mid, out, 3, 1))
        last = shapes[-1][0]
        self.branch = nn.Sequential(
            *(
                _conv_bn(
                    prefix,
                    f"{name}_branch{part}",
                    cin,
                    cout,
                    kernel_size,
                    stride=step,
                    act=None if part == last else "relu",
                )
                for part, cin, cout, kernel_size, step in shapes
            )
        )
        needs_conv = channels != out or stride != 1 or is_first
        self.shortcut = (
            _conv_bn(prefix, f"{name}_branch1", channels, out, 1, stride=stride, act=None)
            if needs_conv
            else nn.Identity()
        )
        self.relu = nn.ReLU()
        self.out_channels = out

    def forward(self, x: Any) -> Any:
        return self.relu(self.shortcut(x) + self.branch(x))


class _ResNetLayer(nn.Layer):  # type: ignore[misc]
    def __init__(
        self, layers: int, class_dim: int, in_channels: int, prefix: str, conv1_name: str, fc_name: str
    ) -> None:
        super().__init__()
        is_bottleneck = layers >= 50
        self.conv1 = _conv_bn(prefix, conv1_name, in_channels, 64, 7, stride=2, act="relu")
        self.pool = nn.MaxPool2D(3, stride=2, padding=1)
        blocks = []
        channels = 64
        for stage, (depth, mid) in enumerate(zip(_DEPTHS[layers], _CHANNELS)):
            for index in range(depth):
                name = f"res{stage + 2}{_block_letter(layers, stage, index)}"
                block = _Block(
                    channels,
                    mid,
                    2 if index == 0 and stage > 0 else 1,
                    prefix,
                    name,
                    is_bottleneck=is_bottleneck,
                    is_first=stage == index == 0,
                )
                blocks.append((name, block))
                channels = block.out_channels
        self.blocks = nn.Sequential(*blocks)
        bound = 1.0 / math.sqrt(channels)
        self.head = SoftmaxHead(
            channels,
            class_dim,
            weight_name=f"{fc_name}.w_0",
            bias_name=f"{fc_name}.b_0",
            initializer=nn.initializer.Uniform(-bound, bound),
        )

    def forward(self, x: Any) -> Any:
        return self.head(self.blocks(self.pool(self.conv1(x))))


def _block_letter(layers: int, stage: int, index: int) -> str:
    """Return a, b, c, ...; in stage 4 of the deep networks a, b1, b2, ..."""
    if layers >= 101 and stage == 2 and index > 0:
        return f"b{index}"
    return chr(ord("a") + index)
