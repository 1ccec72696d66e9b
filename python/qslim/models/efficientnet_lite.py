# SPDX-License-Identifier: Apache-2.0
"""EfficientNet-Lite0: EfficientNet-B0 without squeeze-and-excitation, with ReLU6 for Swish.

Both changes make it friendly to integers: ReLU6 bounds every activation, and no product of two computed
tensors is left. A unit expands 1x1 (but for the first stage), filters 3x3 or 5x5 depthwise and projects 1x1.

Sources: Tan and Le 2019 (arXiv:1905.11946), table 1; tensorflow/tpu, models/official/efficientnet/lite.
"""

from __future__ import annotations

from typing import Any

from paddle import nn

from qslim.models.blocks import ConvBN, SoftmaxHead
from qslim.models.classification import ImageClassifier, check_class_dim, training_parameters

__all__ = ["EfficientNetLite0"]

# (expansion, out channels, units, stride of the first unit, kernel)
_STAGES = (
    (1, 16, 1, 1, 3),
    (6, 24, 2, 2, 3),
    (6, 40, 2, 2, 5),
    (6, 80, 3, 2, 3),
    (6, 112, 3, 1, 5),
    (6, 192, 4, 2, 5),
    (6, 320, 1, 1, 3),
)


class EfficientNetLite0(ImageClassifier):
    """EfficientNet-Lite0, 4.65 million weights.

    Examples
    --------
    >>> import paddle
    >>> net = EfficientNetLite0().layer(class_dim=10)
    >>> net(paddle.zeros([2, 3, 32, 32])).shape
    [2, 10]
    """

    def __init__(self) -> None:
        self.params = training_parameters([30, 60, 90])

    def layer(self, class_dim: int = 1000, *, in_channels: int = 3) -> Any:
        """Return the network as a ``paddle.nn.Layer``."""
        return _EfficientNetLite(check_class_dim(class_dim), in_channels)


class _Unit(nn.Layer):  # type: ignore[misc]
    def __init__(self, channels: int, out: int, expansion: int, stride: int, kernel: int, name: str) -> None:
        super().__init__()
        wide = channels * expansion
        steps = []
        if expansion != 1:
            steps.append(ConvBN(channels, wide, 1, act="relu6", name=f"{name}_expand"))
        steps.append(
            ConvBN(wide, wide, kernel, stride=stride, groups=wide, act="relu6", name=f"{name}_dwise")
        )
        steps.append(ConvBN(wide, out, 1, act=None, name=f"{name}_linear"))
        self.steps = nn.Sequential(*steps)
        self.has_shortcut = stride == 1 and channels == out

    def forward(self, x: Any) -> Any:
        y = self.steps(x)
        return x + y if self.has_shortcut else y


class _EfficientNetLite(nn.Layer):  # type: ignore[misc]
    def __init__(self, class_dim: int, in_channels: int) -> None:
        super().__init__()
        channels = 32
        self.stem = ConvBN(in_channels, channels, 3, stride=2, act="relu6", name="stem")
        units = []
        for stage, (expansion, out, count, stride, kernel) in enumerate(_STAGES, start=1):
            for index in range(count):
                name = f"stage{stage}_{index + 1}"
                unit = _Unit(channels, out, expansion, stride if index == 0 else 1, kernel, name)
                units.append((name, unit))
                channels = out
        self.units = nn.Sequential(*units)
        self.top = ConvBN(channels, 1280, 1, act="relu6", name="top")
        self.head = SoftmaxHead(1280, class_dim, weight_name="fc_weights", bias_name="fc_offset", dropout=0.2)

    def forward(self, x: Any) -> Any:
        return self.head(self.top(self.units(self.stem(x))))
