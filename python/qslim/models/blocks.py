# SPDX-License-Identifier: Apache-2.0
"""The two blocks that every classifier here is built of, with PaddleSlim's parameter names.

    ConvBN       act(batch_norm(conv(x)))             conv without bias, padding (kernel - 1) / 2
    SoftmaxHead  softmax(mean_hw(x) @ weight + bias)  [N, C, H, W] to probabilities [N, class_dim]

Both are plain ``paddle.nn.Layer``s: they run in dygraph, and in a static program of either IR.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, Optional

import paddle
from paddle import nn

__all__ = ["ConvBN", "SoftmaxHead", "free_name"]

_dygraph_uses: Counter[str] = Counter()


def free_name(name: str) -> str:
    """Return `name`, by which static programs share weights; in dygraph with a number from its second use.

    Paddle refuses a parameter name twice in one dygraph process, and two networks in it are ordinary.
    """
    if not paddle.in_dynamic_mode():
        return name
    uses = _dygraph_uses[name]
    _dygraph_uses[name] += 1
    return f"{name}_{uses}" if uses else name


class ConvBN(nn.Layer):  # type: ignore[misc]
    """Convolution without bias, batch normalization, and maybe an activation.

    Parameters
    ----------
    in_channels, out_channels, kernel_size, stride, groups : int
    name : str
        The weight is ``<name>_weights``.
    bn_name : str, optional
        Batch normalization is ``<bn_name>_scale, _offset, _mean, _variance``; by default ``<name>_bn``.
    act : {"relu", "relu6", "hardswish", None}
    initializer : paddle.nn.initializer, optional
        Of the weight; None is Paddle's default, Normal(0, sqrt(2 / (C * KH * KW))).
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        name: str,
        stride: int = 1,
        groups: int = 1,
        bn_name: Optional[str] = None,
        act: Optional[str] = "relu",
        initializer: Any = None,
    ) -> None:
        super().__init__()
        bn_name = free_name(f"{name}_bn" if bn_name is None else bn_name)
        self.conv = nn.Conv2D(
            in_channels,
            out_channels,
            kernel_size,
            stride=stride,
            padding=(kernel_size - 1) // 2,
            groups=groups,
            weight_attr=paddle.ParamAttr(name=free_name(f"{name}_weights"), initializer=initializer),
            bias_attr=False,
        )
        self.bn = nn.BatchNorm2D(
            out_channels,
            weight_attr=paddle.ParamAttr(name=f"{bn_name}_scale"),
            bias_attr=paddle.ParamAttr(name=f"{bn_name}_offset"),
            name=bn_name,  # Paddle appends _mean and _variance
        )
        acts = {"relu": nn.ReLU, "relu6": nn.ReLU6, "hardswish": nn.Hardswish, None: nn.Identity}
        self.act = acts[act]()

    def forward(self, x: Any) -> Any:
        return self.act(self.bn(self.conv(x)))


class SoftmaxHead(nn.Layer):  # type: ignore[misc]
    """Global average pooling, dropout (in training), one fully connected layer, softmax."""

    def __init__(
        self,
        in_channels: int,
        class_dim: int,
        *,
        weight_name: str,
        bias_name: str,
        initializer: Any = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2D(1)
        self.flatten = nn.Flatten()
        self.dropout = nn.Dropout(dropout) if dropout else nn.Identity()
        self.fc = nn.Linear(
            in_channels,
            class_dim,
            weight_attr=paddle.ParamAttr(name=free_name(weight_name), initializer=initializer),
            bias_attr=paddle.ParamAttr(name=free_name(bias_name), initializer=nn.initializer.Constant(0.0)),
        )
        self.softmax = nn.Softmax()

    def forward(self, x: Any) -> Any:
        return self.softmax(self.fc(self.dropout(self.flatten(self.pool(x)))))
