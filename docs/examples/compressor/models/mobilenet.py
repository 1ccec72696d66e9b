# SPDX-License-Identifier: Apache-2.0
"""MobileNetV1 (Howard et al. 2017, arXiv:1704.04861) in fluid's layers; the output is probabilities."""

import paddle.fluid as fluid

__all__ = ["MobileNet", "MobileNet_x0_25"]

# (name, output channels, stride) of the depthwise separable blocks.
BLOCKS = (
    ("conv2_1", 64, 1),
    ("conv2_2", 128, 2),
    ("conv3_1", 128, 1),
    ("conv3_2", 256, 2),
    ("conv4_1", 256, 1),
    ("conv4_2", 512, 2),
    *((f"conv5_{i}", 512, 1) for i in range(1, 6)),
    ("conv5_6", 1024, 2),
    ("conv6", 1024, 1),
)


class MobileNet:
    """MobileNetV1; ``net`` adds it to the current program."""

    scale = 1.0

    def net(self, input, class_dim=1000):
        channels = int(32 * self.scale)
        x = self.conv_bn(input, channels, 3, stride=2, name="conv1")
        for name, unscaled, stride in BLOCKS:
            x = self.conv_bn(x, channels, 3, stride=stride, groups=channels, name=name + "_dw")
            channels = int(unscaled * self.scale)
            x = self.conv_bn(x, channels, 1, name=name + "_sep")
        x = fluid.layers.pool2d(x, pool_type="avg", global_pooling=True)
        return fluid.layers.fc(
            x,
            class_dim,
            act="softmax",
            param_attr=fluid.ParamAttr("fc7_weights", initializer=fluid.initializer.MSRA()),
            bias_attr=fluid.ParamAttr("fc7_offset"),
        )

    def conv_bn(self, input, channels, size, name, stride=1, groups=1):
        x = fluid.layers.conv2d(
            input,
            channels,
            size,
            stride=stride,
            padding=size // 2,
            groups=groups,
            param_attr=fluid.ParamAttr(name + "_weights", initializer=fluid.initializer.MSRA()),
            bias_attr=False,
        )
        return fluid.layers.batch_norm(
            x,
            act="relu",
            param_attr=fluid.ParamAttr(name + "_bn_scale"),
            bias_attr=fluid.ParamAttr(name + "_bn_offset"),
            moving_mean_name=name + "_bn_mean",
            moving_variance_name=name + "_bn_variance",
        )


class MobileNet_x0_25(MobileNet):
    """A quarter of the channels: seconds an epoch on a CPU."""

    scale = 0.25
