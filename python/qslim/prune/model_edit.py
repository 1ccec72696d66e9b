# SPDX-License-Identifier: Apache-2.0
"""Change a Layer's parameters where they are: shapes, the attributes that repeat them, the optimizer's state.

A parameter keeps its object and its name, so optimizers, state dicts and the user's own references stay
valid.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qslim.paddle import framework
from qslim.paddle.framework import dygraph
from qslim.prune.normed_weights import weight_tensor

__all__ = [
    "array_of",
    "derived_attributes",
    "dygraph",
    "floats_of",
    "named_tensors",
    "optimizer_tensors",
    "owners",
    "set_array",
    "set_attributes",
]


def named_tensors(model: Any) -> dict[str, Any]:
    """Return parameters and buffers of `model` by their own names ("conv2d_0.w_0"), each once."""
    return {tensor.name: tensor for tensor in (*model.parameters(), *model.buffers())}


def owners(model: Any) -> Iterator[tuple[str, Any, list[Any]]]:
    """Yield path, sub-layer and its own parameters and buffers, for `model` ("") and all its sub-layers."""
    for path, layer in model.named_sublayers(include_self=True):
        tensors = [*layer.parameters(include_sublayers=False), *layer.buffers(include_sublayers=False)]
        yield path, layer, tensors


def array_of(tensor: Any) -> NDArray[Any]:
    """Copy what `tensor` holds; bfloat16 as uint16, which ``set_array`` takes back."""
    return np.array(tensor.get_tensor())


def floats_of(tensor: Any) -> NDArray[np.float32]:
    """Copy the values of `tensor` as float32, to compute with."""
    with dygraph():
        return np.array(tensor.detach().astype("float32").numpy())


def set_array(tensor: Any, value: NDArray[Any]) -> None:
    """Let `tensor` hold `value`, of any shape, on the device where it is."""
    paddle = framework.paddle_module()
    place = tensor.place
    target = paddle.CUDAPlace(place.gpu_device_id()) if place.is_gpu_place() else paddle.CPUPlace()
    if tuple(tensor.shape) != value.shape and tensor.grad is not None:
        tensor.clear_gradient(False)  # to none; the next one would be added to it
    tensor.get_tensor().set(np.require(value, requirements="C"), target)  # which keeps a scalar one


def optimizer_tensors(optimizer: Any, name: str) -> list[Any]:
    """Return what `optimizer` keeps for parameter `name`: moments, velocity, the float32 master copy.

    Paddle has no public access to them by parameter; PaddleSlim reads the same dictionary.
    """
    if optimizer is None:
        return []
    kept = [by_parameter.get(name) for by_parameter in getattr(optimizer, "_accumulators", {}).values()]
    kept.append(getattr(optimizer, "_master_weights", {}).get(name))
    return [tensor for tensor in kept if tensor is not None]


def set_attributes(layer: Any, attributes: dict[str, Any]) -> dict[str, Any]:
    """Set those of `attributes` that `layer` has otherwise; returns what they were."""
    before = {
        name: getattr(layer, name) for name, value in attributes.items() if getattr(layer, name) != value
    }
    for name in before:
        setattr(layer, name, attributes[name])
    return before


def derived_attributes(layer: Any, old_shapes: dict[str, tuple[int, ...]]) -> dict[str, Any]:
    """Return the attributes of `layer` that repeat its parameters' shapes, as they follow from them now.

    Parameters
    ----------
    layer : paddle.nn.Layer
    old_shapes : dict
        Shapes before the cut, by parameter name: groups shrink in proportion, for they are cut whole.
    """
    nn = framework.paddle_module().nn
    weight = weight_tensor(layer)
    if isinstance(layer, (nn.layer.rnn.RNNBase, nn.layer.rnn.RNNCellBase)):
        sizes = [list(one.shape) for one in layer.parameters(include_sublayers=False) if len(one.shape) == 2]
        return {"input_size": sizes[0][1], "hidden_size": sizes[1][1]} if len(sizes) > 1 else {}
    matrices = (nn.Embedding, nn.Linear, nn.layer.conv._ConvNd)
    if weight is None or len(weight.shape) < (2 if isinstance(layer, matrices) else 1):
        return {}
    shape = tuple(weight.shape)
    old = old_shapes.get(weight.name, shape)
    values: dict[str, Any]
    if isinstance(layer, (nn.Conv1D, nn.Conv2D, nn.Conv3D)):
        groups = _scaled(layer._groups, old[0], shape[0])
        values = {"_in_channels": shape[1] * groups, "_out_channels": shape[0], "_groups": groups}
    elif isinstance(layer, (nn.Conv1DTranspose, nn.Conv2DTranspose, nn.Conv3DTranspose)):
        groups = _scaled(layer._groups, old[0], shape[0])
        values = {"_in_channels": shape[0], "_out_channels": shape[1] * groups, "_groups": groups}
    elif isinstance(layer, nn.GroupNorm):
        values = {"_num_channels": shape[0], "_num_groups": _scaled(layer._num_groups, old[0], shape[0])}
    elif isinstance(layer, nn.LayerNorm):
        values = {"_normalized_shape": list(shape)}
    elif isinstance(layer, nn.PReLU):
        values = {"_num_parameters": shape[0]}
    elif isinstance(layer, nn.Embedding):
        values = {"_size": list(shape), "_num_embeddings": shape[0], "_embedding_dim": shape[1]}
    elif isinstance(layer, nn.Linear):
        values = {"in_features": shape[0], "out_features": shape[1]}
    else:
        values = {"_num_features": shape[0]}  # batch and instance normalization
    return {name: value for name, value in values.items() if hasattr(layer, name)}


def _scaled(groups: int, old: int, new: int) -> int:
    return groups if groups == 1 else groups * new // old
