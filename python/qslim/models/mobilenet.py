# SPDX-License-Identifier: Apache-2.0
"""MobileNetV1: a 3x3 convolution, thirteen depthwise separable blocks, a classifier.

A block is a 3x3 depthwise convolution and a 1x1 convolution, each with batch normalization and ReLU. Extents
halve at conv1 and at four blocks: 224 becomes 7, and 28 (MNIST) becomes 14, 7, 4, 2, 1.

Sources: Howard et al. 2017 (arXiv:1704.04861), table 1; paddleslim 2.4.0, models/mobilenet.py (names).
"""

from __future__ import annotations

from typing import Any

from paddle import nn

from qslim.models.blocks import ConvBN, SoftmaxHead
from qslim.models.classification import ImageClassifier, check_class_dim, input_channels, training_parameters

__all__ = ["MobileNet"]

# (name, out channels at scale 1, stride)
_BLOCKS = (
    ("conv2_1", 64, 1),
    ("conv2_2", 128, 2),
    ("conv3_1", 128, 1),
    ("conv3_2", 256, 2),
    ("conv4_1", 256, 1),
    ("conv4_2", 512, 2),
    ("conv5_1", 512, 1),
    ("conv5_2", 512, 1),
    ("conv5_3", 512, 1),
    ("conv5_4", 512, 1),
    ("conv5_5", 512, 1),
    ("conv5_6", 1024, 2),
    ("conv6", 1024, 1),
)


class MobileNet(ImageClassifier):
    """MobileNetV1.

    Examples
    --------
    >>> import paddle
    >>> net = MobileNet().layer(class_dim=10, in_channels=1)
    >>> net(paddle.zeros([2, 1, 28, 28])).shape
    [2, 10]
    """

    def __init__(self) -> None:
        self.params = training_parameters([10, 16, 30])

    def layer(self, class_dim: int = 1000, scale: float = 1.0, *, in_channels: int = 3) -> Any:
        """Return the network as a ``paddle.nn.Layer``; `scale` multiplies every channel count."""
        return _MobileNetLayer(check_class_dim(class_dim), scale, in_channels)

    def net(self, input: Any, class_dim: int = 1000, scale: float = 1.0) -> Any:
        """Build into the current static program; return probabilities [N, class_dim] for images `input`."""
        return self.layer(class_dim, scale, in_channels=input_channels(input))(input)


class _MobileNetLayer(nn.Layer):  # type: ignore[misc]
    def __init__(self, class_dim: int, scale: float, in_channels: int) -> None:
        super().__init__()
        channels = int(32 * scale)
        if channels < 1:
            raise ValueError(f"scale: expected at least 1/32, which leaves conv1 one channel, got {scale}")
        init = nn.initializer.KaimingUniform()
        self.conv1 = ConvBN(in_channels, channels, 3, stride=2, name="conv1", initializer=init)
        blocks = []
        for name, unscaled, stride in _BLOCKS:
            out = int(unscaled * scale)
            depthwise = ConvBN(
                channels, channels, 3, stride=stride, groups=channels, name=f"{name}_dw", initializer=init
            )
            pointwise = ConvBN(channels, out, 1, name=f"{name}_sep", initializer=init)
            blocks.append((name, nn.Sequential(("dw", depthwise), ("sep", pointwise))))
            channels = out
        self.blocks = nn.Sequential(*blocks)
        self.head = SoftmaxHead(
            channels, class_dim, weight_name="fc7_weights", bias_name="fc7_offset", initializer=init
        )

    def forward(self, x: Any) -> Any:
        return self.head(self.blocks(self.conv1(x)))
