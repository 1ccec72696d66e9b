# SPDX-License-Identifier: Apache-2.0
"""Image classifiers of PaddleSlim's ``slim.models``, for static programs in either IR and for dygraph.

``model.net(input=image, class_dim=10)`` builds into the current static program, as the tutorials do;
``model.layer(class_dim=10, in_channels=1)`` gives the same network as a ``paddle.nn.Layer``. Both return
softmax probabilities and name their parameters as PaddleSlim does (``conv2_1_dw_weights``, ``fc7_offset``);
EfficientNetLite0 and PPLCNet, which PaddleSlim lacks, follow its style.
"""

from qslim.paddle.framework import paddle_module as _paddle_module

_paddle_module()  # says in one sentence what to install where Paddle is missing

from qslim.models.classification import ImageClassifier, ProgramOutputs  # noqa: E402
from qslim.models.efficientnet_lite import EfficientNetLite0  # noqa: E402
from qslim.models.mobilenet import MobileNet  # noqa: E402
from qslim.models.mobilenet_v2 import (  # noqa: E402
    MobileNetV2,
    MobileNetV2_scale,
    MobileNetV2_x0_5,
    MobileNetV2_x0_25,
    MobileNetV2_x1_0,
    MobileNetV2_x1_5,
    MobileNetV2_x2_0,
)
from qslim.models.pplcnet import PPLCNet, PPLCNet_x0_5, PPLCNet_x0_25, PPLCNet_x1_0  # noqa: E402
from qslim.models.ready_to_train import image_classification  # noqa: E402
from qslim.models.resnet import ResNet, ResNet18, ResNet34, ResNet50, ResNet101, ResNet152  # noqa: E402

__all__ = [
    "EfficientNetLite0",
    "ImageClassifier",
    "MobileNet",
    "MobileNetV2",
    "MobileNetV2_scale",
    "MobileNetV2_x0_5",
    "MobileNetV2_x0_25",
    "MobileNetV2_x1_0",
    "MobileNetV2_x1_5",
    "MobileNetV2_x2_0",
    "PPLCNet",
    "PPLCNet_x0_5",
    "PPLCNet_x0_25",
    "PPLCNet_x1_0",
    "ProgramOutputs",
    "ResNet",
    "ResNet18",
    "ResNet34",
    "ResNet50",
    "ResNet101",
    "ResNet152",
    "image_classification",
]
