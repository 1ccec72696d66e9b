# SPDX-License-Identifier: Apache-2.0
"""Checkpoints of pruned networks that say what was cut, so that the uncut architecture can load them.

``paddle.save`` keeps a pruned network's values, but the class that builds the network makes the old shapes,
and ``set_state_dict`` does not change shapes. The file here is ``paddle.save``'s too, with

    format      "qslim.prune", version 1
    state       state_dict: key to array
    attributes  layer path to what repeats shapes there: _in_channels, _groups, num_heads, ...
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Union

import numpy as np

from qslim.errors import MissingFileError
from qslim.files.pickled import load_pickled
from qslim.files.staging import staged_file
from qslim.logger import logger
from qslim.paddle import framework
from qslim.paddle.tracing import forget_programs
from qslim.prune.attention import HEAD_ATTRIBUTES
from qslim.prune.model_edit import array_of, derived_attributes, dygraph, set_array, set_attributes

__all__ = ["load", "save"]

_FORMAT, _VERSION = "qslim.prune", 1


@dygraph()
def save(model: Any, path: Union[str, os.PathLike[str]]) -> None:
    """Write `model`, pruned or not, to one file.

    Parameters
    ----------
    model : paddle.nn.Layer
    path : str
        The file; it is written whole or not at all.

    Raises
    ------
    ValueError : not a Layer; `path` cannot be written.

    Examples
    --------
    >>> import paddle, qslim, tempfile
    >>> def build():
    ...     from paddle import nn
    ...     return nn.Sequential(nn.Conv2D(3, 8, 3), nn.ReLU(), nn.Conv2D(8, 4, 3))
    >>> net = build()
    >>> plan = qslim.dygraph.L1NormFilterPruner(net, [1, 3, 8, 8]).prune_vars({net[0].weight.name: 0.5}, 0)
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     qslim.prune.save(net, f"{directory}/pruned.pdparams")
    ...     other = qslim.prune.load(f"{directory}/pruned.pdparams", build())
    >>> list(other[0].weight.shape), other[2]._in_channels
    ([4, 3, 3, 3], 4)
    """
    paddle = framework.paddle_module()
    if not isinstance(model, paddle.nn.Layer):
        raise ValueError(f"prune.save: model: expected a paddle.nn.Layer, got {type(model).__name__}")
    content = {
        "format": _FORMAT,
        "version": _VERSION,
        "state": {key: array_of(tensor) for key, tensor in model.state_dict().items()},
        "attributes": {path: attributes for path, attributes in _attributes(model) if attributes},
    }
    with staged_file(path) as staged:
        paddle.save(content, staged)
    logger.info("wrote %s: %s bytes", os.fspath(path), f"{os.path.getsize(path):,}")


@dygraph()
def load(
    path_or_state: Union[str, os.PathLike[str], Mapping[str, Any]], model: Any, *, allow_pickle: bool = False
) -> Any:
    """Cut `model` to the shapes of a checkpoint and load its values.

    Parameters
    ----------
    path_or_state : str or dict
        A file of ``save``, or what ``paddle.load`` makes of it.
    model : paddle.nn.Layer
        The architecture as its class builds it. It is changed in place, parameters keep their objects.
    allow_pickle : bool, default=False
        Read the file with ``paddle.load``, which runs whatever code the file names. Without it only arrays,
        numbers, strings and containers are read, which is all that ``save`` writes.

    Returns
    -------
    `model`.

    Raises
    ------
    ValueError : no checkpoint of ``save``, or one of another network: the parameter is named, and `model` is
        left as it is.
    """
    paddle = framework.paddle_module()
    if not isinstance(model, paddle.nn.Layer):
        raise ValueError(f"prune.load: model: expected a paddle.nn.Layer, got {type(model).__name__}")
    source = "the checkpoint" if isinstance(path_or_state, Mapping) else repr(os.fspath(path_or_state))
    content = path_or_state if isinstance(path_or_state, Mapping) else _read(path_or_state, allow_pickle)
    state, attributes = _checked(content, source)
    tensors = model.state_dict()
    _check_fits(state, tensors, source)
    layers = dict(model.named_sublayers(include_self=True))
    _check_attributes(attributes, layers, source)
    for key, tensor in tensors.items():
        set_array(tensor, state[key])
    for path, values in attributes.items():
        set_attributes(layers[path], values)
    forget_programs(model)
    return model


def _attributes(model: Any) -> list[tuple[str, dict[str, Any]]]:
    found = []
    for path, layer in model.named_sublayers(include_self=True):
        values = derived_attributes(layer, {})
        for name in HEAD_ATTRIBUTES:
            if isinstance(getattr(layer, name, None), int):
                values[name] = getattr(layer, name)
        found.append((path, values))
    return found


def _read(path: Union[str, os.PathLike[str]], allow_pickle: bool) -> Any:
    path = os.fspath(path)
    if not os.path.isfile(path):
        raise MissingFileError(f"prune.load: {path!r} does not exist or is no file")
    try:
        return framework.paddle_module().load(path, return_numpy=True) if allow_pickle else load_pickled(path)
    except Exception as error:  # unpickling damaged bytes raises almost anything
        raise ValueError(
            f"prune.load: {path!r} is damaged or no checkpoint of qslim.prune.save: {error}"
        ) from error


def _checked(content: Any, source: str) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    if not isinstance(content, Mapping) or content.get("format") != _FORMAT:
        raise ValueError(
            f"prune.load: {source} is no checkpoint of qslim.prune.save; a plain state_dict does not "
            "say what was cut"
        )
    if content.get("version") != _VERSION:
        raise ValueError(
            f"prune.load: {source} has version {content.get('version')!r}, this qslim reads "
            f"version {_VERSION}"
        )
    return {key: np.asarray(value) for key, value in content["state"].items()}, dict(content["attributes"])


def _check_fits(state: Mapping[str, Any], tensors: Mapping[str, Any], source: str) -> None:
    """Check that both have the same keys, and no extent is larger than the uncut network's."""
    missing, unknown = sorted(set(tensors) - set(state)), sorted(set(state) - set(tensors))
    if missing or unknown:
        what = f"it lacks {missing[0]!r}" if missing else f"it has {unknown[0]!r}, which the model has not"
        raise ValueError(f"prune.load: {source} belongs to another network: {what}")
    for key, tensor in tensors.items():
        ours, theirs = tuple(tensor.shape), state[key].shape
        if len(ours) != len(theirs) or any(kept > extent for kept, extent in zip(theirs, ours)):
            raise ValueError(
                f"prune.load: {source} belongs to another network: {key!r} has shape {list(theirs)} there "
                f"and {list(ours)} in the model, of which it cannot be a part"
            )


def _check_attributes(
    attributes: Mapping[str, Mapping[str, Any]], layers: Mapping[str, Any], source: str
) -> None:
    for path, values in attributes.items():
        for name in values:
            if not hasattr(layers.get(path), name):
                raise ValueError(
                    f"prune.load: {source} belongs to another network: layer {path!r} has no "
                    f"attribute {name!r}"
                )
