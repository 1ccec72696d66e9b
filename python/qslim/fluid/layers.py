# SPDX-License-Identifier: Apache-2.0
"""Layers and schedules by fluid's names and arguments, in the current legacy program."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any, Optional, Union

from qslim.fluid.mode import static_paddle
from qslim.fluid.running import data as _whole_data
from qslim.fluid.running import steps_by_itself

__all__ = [
    "accuracy",
    "batch_norm",
    "concat",
    "conv2d",
    "cosine_decay",
    "cross_entropy",
    "data",
    "dropout",
    "elementwise_add",
    "elementwise_mul",
    "elementwise_sub",
    "embedding",
    "fc",
    "flatten",
    "leaky_relu",
    "mean",
    "one_hot",
    "piecewise_decay",
    "pool2d",
    "relu",
    "relu6",
    "reshape",
    "scale",
    "softmax",
    "softmax_with_cross_entropy",
    "square_error_cost",
    "swish",
    "transpose",
]

_Pair = Union[int, Sequence[int]]


def _functional() -> Any:
    return static_paddle().nn.functional


def _activated(value: Any, act: Optional[str]) -> Any:
    return value if act is None else getattr(_functional(), act)(value)


def _of_one_element(value: Any) -> Any:
    """Return a number as a tensor [1], which it was in fluid: scripts take its element."""
    return static_paddle().reshape(value, [1])


def data(
    name: str,
    shape: Sequence[int],
    append_batch_size: bool = True,
    dtype: str = "float32",
    lod_level: int = 0,
    type: Any = None,
    stop_gradient: bool = True,
) -> Any:
    """Return a Variable to feed; `shape` is that of one sample, unless append_batch_size=False."""
    del type
    has_batch = not append_batch_size or any(n is None or n < 0 for n in shape)
    variable = _whole_data(name, list(shape) if has_batch else [-1, *shape], dtype, lod_level)
    variable.stop_gradient = stop_gradient
    return variable


def fc(
    input: Any,
    size: int,
    num_flatten_dims: int = 1,
    param_attr: Any = None,
    bias_attr: Any = None,
    act: Optional[str] = None,
    name: Optional[str] = None,
) -> Any:
    """Return a fully connected layer of `input`."""
    return static_paddle().static.nn.fc(input, size, num_flatten_dims, param_attr, bias_attr, act, name)


def conv2d(*args: Any, **kwargs: Any) -> Any:
    """Return a convolution; arguments are those of ``paddle.static.nn.conv2d``, which fluid's were."""
    return static_paddle().static.nn.conv2d(*args, **kwargs)


def batch_norm(*args: Any, **kwargs: Any) -> Any:
    """Return a batch normalization; arguments are those of ``paddle.static.nn.batch_norm``."""
    return static_paddle().static.nn.batch_norm(*args, **kwargs)


def embedding(*args: Any, **kwargs: Any) -> Any:
    """Return rows of a table; arguments are those of ``paddle.static.nn.embedding``."""
    return static_paddle().static.nn.embedding(*args, **kwargs)


def pool2d(
    input: Any,
    pool_size: _Pair = -1,
    pool_type: str = "max",
    pool_stride: _Pair = 1,
    pool_padding: Any = 0,
    global_pooling: bool = False,
    use_cudnn: bool = True,
    ceil_mode: bool = False,
    name: Optional[str] = None,
    exclusive: bool = True,
    data_format: str = "NCHW",
) -> Any:
    """Return a pooling by "max" or "avg", over all places with global_pooling=True."""
    del use_cudnn
    functional = _functional()
    if pool_type not in ("max", "avg"):
        raise ValueError(f"fluid.layers.pool2d: pool_type: expected 'max' or 'avg', got {pool_type!r}")
    if global_pooling:
        if pool_type == "max":
            return functional.adaptive_max_pool2d(input, 1)
        return functional.adaptive_avg_pool2d(input, 1, data_format, name)
    if pool_type == "max":
        return functional.max_pool2d(
            input, pool_size, pool_stride, pool_padding, False, ceil_mode, data_format, name
        )
    return functional.avg_pool2d(
        input, pool_size, pool_stride, pool_padding, ceil_mode, exclusive, None, data_format, name
    )


def cross_entropy(input: Any, label: Any, soft_label: bool = False, ignore_index: int = -100) -> Any:
    """Return -log of the probability that `input` gives to `label`, [N, 1]; `input` is no logits."""
    return _functional().cross_entropy(
        input, label, ignore_index=ignore_index, reduction="none", soft_label=soft_label, use_softmax=False
    )


def softmax_with_cross_entropy(*args: Any, **kwargs: Any) -> Any:
    """Return the cross entropy of logits; arguments are those of ``paddle.nn.functional``."""
    return _functional().softmax_with_cross_entropy(*args, **kwargs)


def square_error_cost(input: Any, label: Any) -> Any:
    """Return (input - label) ** 2."""
    return _functional().square_error_cost(input, label)


def accuracy(input: Any, label: Any, k: int = 1, correct: Any = None, total: Any = None) -> Any:
    """Return the part of the samples whose label is among the `k` largest of `input`."""
    return _of_one_element(static_paddle().static.accuracy(input, label, k, correct, total))


def mean(x: Any, name: Optional[str] = None) -> Any:
    """Return the mean of all elements."""
    return _of_one_element(static_paddle().mean(x, name=name))


def softmax(input: Any, use_cudnn: bool = False, name: Optional[str] = None, axis: int = -1) -> Any:
    """Return the softmax along `axis`."""
    del use_cudnn
    return _functional().softmax(input, axis, name=name)


def relu(x: Any, name: Optional[str] = None) -> Any:
    """Return max(x, 0)."""
    return _functional().relu(x, name)


def relu6(x: Any, threshold: float = 6.0, name: Optional[str] = None) -> Any:
    """Return `x` within [0, threshold]."""
    if threshold != 6.0:
        return static_paddle().clip(x, 0.0, threshold, name)
    return _functional().relu6(x, name)


def leaky_relu(x: Any, alpha: float = 0.02, name: Optional[str] = None) -> Any:
    """Return `x`, times `alpha` where it is negative."""
    return _functional().leaky_relu(x, alpha, name)


def swish(x: Any, beta: float = 1.0, name: Optional[str] = None) -> Any:
    """Return x * sigmoid(x)."""
    if beta != 1.0:
        raise ValueError(f"fluid.layers.swish: beta: expected 1.0, which Paddle 3 has, got {beta!r}")
    return _functional().swish(x, name)


def dropout(
    x: Any,
    dropout_prob: float,
    is_test: bool = False,
    seed: Optional[int] = None,
    name: Optional[str] = None,
    dropout_implementation: str = "downgrade_in_infer",
) -> Any:
    """Return `x` with a part of its elements zero in training; see ``paddle.nn.functional.dropout``."""
    del seed
    mode = "downscale_in_infer" if dropout_implementation == "downgrade_in_infer" else dropout_implementation
    return _functional().dropout(x, dropout_prob, training=not is_test, mode=mode, name=name)


def concat(input: Sequence[Any], axis: int = 0, name: Optional[str] = None) -> Any:
    """Return tensors joined along `axis`."""
    return static_paddle().concat(input, axis, name)


def reshape(
    x: Any,
    shape: Any,
    actual_shape: Any = None,
    act: Optional[str] = None,
    inplace: bool = False,
    name: Any = None,
) -> Any:
    """Return `x` in another shape."""
    del actual_shape, inplace
    return _activated(static_paddle().reshape(x, shape, name), act)


def transpose(x: Any, perm: Sequence[int], name: Optional[str] = None) -> Any:
    """Return `x` with its axes in another order."""
    return static_paddle().transpose(x, perm, name)


def flatten(x: Any, axis: int = 1, name: Optional[str] = None) -> Any:
    """Return the matrix whose rows are the first `axis` axes."""
    del name
    if axis != 1:
        raise ValueError(f"fluid.layers.flatten: axis: expected 1, got {axis!r}; use reshape")
    return static_paddle().flatten(x, 1)


def scale(
    x: Any,
    scale: float = 1.0,
    bias: float = 0.0,
    bias_after_scale: bool = True,
    act: Any = None,
    name: Any = None,
) -> Any:
    """Return scale * x + bias."""
    return _activated(static_paddle().scale(x, scale, bias, bias_after_scale, name=name), act)


def one_hot(input: Any, depth: int, allow_out_of_range: bool = False) -> Any:
    """Return rows of `depth` elements with a 1 at `input`, [N, 1]."""
    del allow_out_of_range
    return static_paddle().squeeze(_functional().one_hot(input, depth), 1)


def _elementwise(function: Any, x: Any, y: Any, axis: int, act: Optional[str]) -> Any:
    rank, other = len(x.shape), len(y.shape)
    if axis not in (-1, rank - other):
        y = static_paddle().reshape(y, [*y.shape, *[1] * (rank - axis - other)])
    return _activated(function(x, y), act)  # paddle.multiply builds no legacy operators


def elementwise_add(
    x: Any, y: Any, axis: int = -1, act: Optional[str] = None, name: Optional[str] = None
) -> Any:
    """Return x + y; the axes of `y` are those of `x` from `axis` on."""
    del name
    return _elementwise(operator.add, x, y, axis, act)


def elementwise_sub(
    x: Any, y: Any, axis: int = -1, act: Optional[str] = None, name: Optional[str] = None
) -> Any:
    """Return x - y; the axes of `y` are those of `x` from `axis` on."""
    del name
    return _elementwise(operator.sub, x, y, axis, act)


def elementwise_mul(
    x: Any, y: Any, axis: int = -1, act: Optional[str] = None, name: Optional[str] = None
) -> Any:
    """Return x * y; the axes of `y` are those of `x` from `axis` on."""
    del name
    return _elementwise(operator.mul, x, y, axis, act)


def piecewise_decay(boundaries: Sequence[int], values: Sequence[float]) -> Any:
    """Return a learning rate of steps, which moves on with each run of the program."""
    return steps_by_itself(static_paddle().optimizer.lr.PiecewiseDecay(list(boundaries), list(values)))


def cosine_decay(learning_rate: float, step_each_epoch: int, epochs: int) -> Any:
    """Return learning_rate / 2 * (cos(epoch * pi / epochs) + 1); `epoch` counts whole epochs."""

    def factor(step: int) -> float:
        return 0.5 * (math.cos(step // step_each_epoch * math.pi / epochs) + 1)

    return steps_by_itself(static_paddle().optimizer.lr.LambdaDecay(learning_rate, factor))
