# SPDX-License-Identifier: Apache-2.0
"""Checkpoints into networks, quantized or not: of the float network, of ours, of PaddleSlim's QAT.

PaddleSlim 2.6 wraps layers, so its keys differ from the float network's; its ``_scale`` is the threshold of a
symmetric range:

    conv._layer.weight                                 conv.weight
    conv._layer._fake_quant_input._scale               conv._fake_quant_input._scale, signed
    conv._layer._act_preprocess.alpha                  where PACT clips: the threshold, if it is less
    conv._ma_output_scale.*                            nothing: outputs are not quantized
"""

from __future__ import annotations

import difflib
import os
import re
import types
import warnings
from collections.abc import Mapping
from typing import Any, Callable, Optional, Union

import numpy as np
import paddle

from qslim.errors import MissingFileError
from qslim.files.pickled import load_pickled
from qslim.logger import logger
from qslim.paddle import framework
from qslim.quant.quantizers.activation_quantizers import ActivationQuantizer
from qslim.quant.quantizers.tensors import array_of
from qslim.quant.quantizers.weight_quantizers import TrackedWeight

__all__ = ["load_checkpoint", "quiet_set_state_dict"]

_QUANTIZERS = (
    "_fake_quant_input",
    "_fake_quant_weight",
    "_fake_quant_output",
    "_act_preprocess",
    "_weight_preprocess",
)
# What a quantizer keeps: its place, and the name there.
_STATE = re.compile(rf"(?P<place>(?:.+\.)?(?:{'|'.join(_QUANTIZERS)}))\.(?P<name>.+)")
_SHOWN = 3

_State = dict[str, Any]


@framework.dygraph()
def load_checkpoint(
    model: Any, checkpoint: Union[str, os.PathLike[str], Mapping[str, Any]], *, allow_pickle: bool = False
) -> list[str]:
    """Load a checkpoint of the very network that `model` is, or nothing.

    Parameters
    ----------
    model : paddle.nn.Layer
        Float, or what ``QAT.quantize`` returned, or either in a ``paddle.DataParallel``.
    checkpoint : path or dict of name to Tensor or ndarray
        What ``paddle.save(net.state_dict(), path)`` wrote (".pdparams" may be left out), or such a dict: of
        the float network, of the quantized one under this or another configuration, or of PaddleSlim's.
    allow_pickle : bool, default=False
        Read the file with ``paddle.load``, which runs whatever code the file names. Without it only arrays,
        numbers, strings and containers are read.

    Returns
    -------
    list of str
        The layers whose input has got no parameters from it; the first training batches give them. All of
        them if it is a float checkpoint, none if `model` is not quantized.

    Raises
    ------
    ValueError : no such file, not a checkpoint, or one of another network: "12 of 20 tensors are missing".

    Examples
    --------
    >>> import paddle
    >>> import qslim as slim
    >>> trained = paddle.nn.Sequential(paddle.nn.Linear(4, 2))
    >>> net = slim.QAT().quantize(paddle.nn.Sequential(paddle.nn.Linear(4, 2)))
    >>> slim.quant.load_checkpoint(net, trained.state_dict())
    ['0']
    """
    network = model._layers if isinstance(model, paddle.DataParallel) else model
    if not isinstance(network, paddle.nn.Layer):
        raise ValueError(f"load_checkpoint: expected a paddle.nn.Layer, got {type(model).__name__}")
    source, given = _read(checkpoint, allow_pickle)
    own = network.state_dict()
    given = _renamed(given, own)
    _check_network(source, given, own)
    copied = {key: given[key] for key in own if key in given and not _STATE.fullmatch(key)}
    take_overs: list[Callable[[], None]] = []
    without = []
    for place, quantizer in _quantizers(network):
        kept, found = _below(place, own), _below(place, given)
        if {name: _shape(value) for name, value in found.items()} == _shapes(kept):
            copied.update({f"{place}.{name}": value for name, value in found.items()})
        elif not isinstance(quantizer, (ActivationQuantizer, TrackedWeight)):
            copied.update(
                {f"{place}.{name}": found[name] for name in kept if _same(found.get(name), kept[name])}
            )
        else:
            clip = given.get(f"{place.rpartition('.')[0]}._act_preprocess.alpha".lstrip("."))
            take_over = _take_over(quantizer, kept, found, clip)
            if take_over is not None:
                take_overs.append(take_over)
            elif isinstance(quantizer, ActivationQuantizer):
                without.append(place.rpartition(".")[0])
    for key, value in copied.items():
        own[key].set_value(paddle.to_tensor(_array(value)).astype(own[key].dtype))
    for take_over in take_overs:
        take_over()
    logger.info(
        "loaded %d tensors%s%s",
        len(copied),
        f" and {len(take_overs)} thresholds of another configuration" if take_overs else "",
        f"; {len(without)} layers take the parameters of their input from training" if without else "",
    )
    return without


# ---- reading ------------------------------------------------------------------------------------------


def _read(checkpoint: Any, allow_pickle: bool) -> tuple[str, _State]:
    """Return a name of the checkpoint for messages, and its tensors."""
    source = "the checkpoint"
    if isinstance(checkpoint, (str, os.PathLike)):
        path = os.fspath(checkpoint)
        found = [each for each in (path, path + ".pdparams") if os.path.isfile(each)]
        if not found:
            raise MissingFileError(f"load_checkpoint: there is no file {path!r} or {path + '.pdparams'!r}")
        source = repr(found[0])
        try:
            checkpoint = paddle.load(found[0]) if allow_pickle else load_pickled(found[0])
        except Exception as error:  # whatever unpickling raises
            raise ValueError(f"load_checkpoint: {source} is no file of paddle.save: {error}") from error
    if not isinstance(checkpoint, Mapping):
        raise ValueError(
            f"load_checkpoint: expected a path or a dict of tensors, got {type(checkpoint).__name__}"
        )
    tensors = {str(key): value for key, value in checkpoint.items() if isinstance(_shape(value), tuple)}
    if not tensors:
        raise ValueError(f"load_checkpoint: {source} holds no tensors")
    return source, tensors


def _renamed(given: _State, own: Mapping[str, Any]) -> _State:
    """Return `given` under the keys of the network; PaddleSlim's observers of outputs are left out."""
    renamed = {}
    for key, value in given.items():
        if key not in own:
            parts = [part for part in key.split(".") if part != "_layer"]
            if "_ma_output_scale" in parts:
                continue
            if parts[0] == "_layers" and len(parts) > 1:  # the wrapper's own state_dict
                parts = parts[1:]
            key = ".".join(parts)
        renamed[key] = value
    return renamed


def _quantizers(network: Any) -> list[tuple[str, Any]]:
    """Return places and layers of all quantizers, in the order of the network."""
    return [
        (name, layer) for name, layer in network.named_sublayers() if name.rpartition(".")[2] in _QUANTIZERS
    ]


def _below(place: str, state: Mapping[str, Any]) -> _State:
    return {key[len(place) + 1 :]: value for key, value in state.items() if key.startswith(place + ".")}


def _shape(value: Any) -> Optional[tuple[int, ...]]:
    if isinstance(value, tuple) and len(value) == 2:  # (name, array), as older Paddles save parameters
        value = value[1]
    shape = getattr(value, "shape", None)
    return None if shape is None else tuple(int(size) for size in shape)


def _shapes(state: Mapping[str, Any]) -> dict[str, Optional[tuple[int, ...]]]:
    return {name: _shape(value) for name, value in state.items()}


def _same(given: Any, own: Any) -> bool:
    return given is not None and _shape(given) == _shape(own)


def _array(value: Any) -> Any:
    if isinstance(value, tuple):
        value = value[1]
    return np.array(array_of(value) if isinstance(value, paddle.Tensor) else value)


# ---- another network's --------------------------------------------------------------------------------


def _check_network(source: str, given: _State, own: Mapping[str, Any]) -> None:
    """Raise if `given` has not all of the network's tensors in their shapes, or has others."""
    expected = [key for key in own if not _STATE.fullmatch(key)]
    missing = [key for key in expected if key not in given]
    unexpected = [key for key in given if key not in own and not _STATE.fullmatch(key)]
    others = [key for key in expected if key in given and not _same(given[key], own[key])]
    if not missing and not unexpected and not others:
        return
    parts = []
    if missing:
        parts.append(f"{len(missing)} of {len(expected)} tensors are missing ({_listed(missing)})")
    if unexpected:
        named = []
        for key in unexpected[:_SHOWN]:
            near = difflib.get_close_matches(key, missing or expected, 1, 0.6)
            named.append(f"{key}, nearest is {near[0]}" if near else key)
        named += unexpected[_SHOWN:]
        parts.append(f"{len(unexpected)} are not the network's ({_listed(named)})")
    if others:
        shapes = [f"{key}: {_shape(given[key])} for {_shape(own[key])}" for key in others]
        parts.append(f"{len(others)} have another shape ({_listed(shapes)})")
    raise ValueError(
        f"load_checkpoint: {source} is of another network, nothing was loaded: " + "; ".join(parts)
    )


def _listed(names: list[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")


# ---- another configuration's --------------------------------------------------------------------------


def _take_over(quantizer: Any, kept: _State, found: _State, clip: Any) -> Optional[Callable[[], None]]:
    """Return a function that starts `quantizer` from another kind's state `found`; None if it cannot."""
    values = {name: _array(value).reshape(-1) for name, value in found.items()}
    if "_scale" not in values or values["_scale"].size != 1:
        return None
    if "_batches" in values:
        is_trained = values["_batches"][0] > 0
    else:  # PaddleSlim's: accum = state = 1 until the first batch, thresholds are 0.001
        is_trained = values["_scale"][0] != np.float32(0.001)
    threshold, is_signed = np.float32(values["_scale"][0]), bool(values.get("_signed", [1])[0])
    if not is_trained or not np.isfinite(threshold) or threshold <= 0:
        return None
    if "_zero_point" in values:  # LSQ+: the width of the range
        levels = np.float32(2**quantizer.quant_bits - 1)
        share = np.clip(values["_zero_point"][0] / levels, 0, 1)
        threshold, is_signed = threshold * max(share, 1 - share), bool(share > 0)
    if clip is not None and "_batches" not in values:
        threshold = min(threshold, np.float32(_array(clip).reshape(-1)[0]))
    average = [name for name in ("_state", "_accum") if name in kept and _same(found.get(name), kept[name])]

    def take_over() -> None:
        quantizer.take_over(float(threshold), is_signed)
        for name in average:
            quantizer._write(name, values[name])

    return take_over


# ---- Paddle's own loader ------------------------------------------------------------------------------


def quiet_set_state_dict(model: Any) -> None:
    """Let ``model.set_state_dict(float_state)`` say in one sentence what Paddle warns of for each buffer."""
    method = types.MethodType(_set_state_dict, model)
    for name in ("set_state_dict", "set_dict", "load_dict"):
        setattr(model, name, method)


def _as_float(key: Any, value: Any) -> Any:
    """Return a quantizer's counter as a float; older checkpoints hold int64, which Paddle refuses."""
    is_counter = str(key).endswith(("._batches", "._calibrated", "._zero_point"))
    return value.astype("float32") if is_counter and "int" in str(getattr(value, "dtype", "")) else value


def _set_state_dict(self: Any, state_dict: Any, *args: Any, **kwargs: Any) -> Any:
    if isinstance(state_dict, Mapping):
        state_dict = {key: _as_float(key, value) for key, value in state_dict.items()}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = type(self).set_state_dict(self, state_dict, *args, **kwargs)
    places = {match["place"] for match in map(_STATE.fullmatch, map(str, state_dict)) if match}
    absent = set()
    for each in caught:
        skipped = re.match(r"Skip loading for (\S+)\. \S+ is not found", str(each.message))
        state = skipped and _STATE.fullmatch(skipped[1])
        # A quantizer with a part of its state only is another matter.
        if state and state["place"] not in places:
            absent.add(state["place"].rpartition(".")[0])
        else:
            warnings.warn_explicit(each.message, each.category, each.filename, each.lineno)
    if absent:
        logger.info(
            "the state_dict holds nothing for the quantizers of %d layers; training gives their parameters",
            len(absent),
        )
    return result
