# SPDX-License-Identifier: Apache-2.0
"""Stand-ins for the suite's networks, under their names."""

from __future__ import annotations

from paddle import nn


class ConvBNLayer(nn.Layer):
    def __init__(self, in_channels, out_channels, kernel, stride=1, groups=1, act=None):
        super().__init__()
        self._conv = nn.Conv2D(
            in_channels, out_channels, kernel, stride, kernel // 2, groups=groups, bias_attr=False
        )
        self._batch_norm = nn.BatchNorm(out_channels, act=act)

    def forward(self, x):
        return self._batch_norm(self._conv(x))


class ResNet50_vd(nn.Layer):
    def __init__(self, class_num=1000):
        super().__init__()
        self.stem = ConvBNLayer(3, 16, 3, 2, act="relu")
        self.conv0 = ConvBNLayer(16, 8, 1, act="relu")
        self.conv1 = ConvBNLayer(8, 8, 3, act="relu")
        self.conv2 = ConvBNLayer(8, 16, 1)
        self.relu = nn.ReLU()
        self.avg_pool = nn.AdaptiveAvgPool2D(4)
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(16 * 16, class_num)

    def forward(self, x):
        x = self.stem(x)
        x = self.relu(x + self.conv2(self.conv1(self.conv0(x))))
        return self.fc(self.flatten(self.avg_pool(x)))


class MobileNetV3_large_x1_0(nn.Layer):
    def __init__(self, class_dim=1000):
        super().__init__()
        self.conv = ConvBNLayer(3, 16, 3, 2)
        self.depthwise = ConvBNLayer(16, 16, 3, groups=16)
        self.act = nn.Hardswish()
        self.pointwise = ConvBNLayer(16, 16, 1)
        self.pool = nn.AdaptiveAvgPool2D(4)
        self.out = nn.Linear(16 * 16, class_dim)

    def forward(self, x):
        x = self.act(self.conv(x))
        x = self.act(self.pointwise(self.act(self.depthwise(x))))
        return self.out(self.pool(x).flatten(1))
