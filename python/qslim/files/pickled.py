# SPDX-License-Identifier: Apache-2.0
"""Pickles of arrays, numbers, strings and containers, read without running anything that the file names.

``paddle.save`` and PaddleSlim's pruners write pickles, and a pickle may name any function to be called. Here
the few names that arrays need stand for functions of this module; any other name ends the reading. No array
takes more memory than its bytes in the file, and no index of the pickle's tables exceeds its entries.
Source: pickle's protocol 4 (PEP 3154); numpy's ndarray.__reduce__; paddle/framework/io.py.
"""

from __future__ import annotations

import math
import os
import pickle
import pickletools
from collections import OrderedDict
from typing import Any, BinaryIO, Callable, Optional, Union

import numpy as np
from numpy.typing import NDArray

__all__ = ["load_pickled"]

_NUMPY = (
    "numpy",
    "numpy.core.multiarray",
    "numpy._core.multiarray",
    "numpy.core.numeric",
    "numpy._core.numeric",
)
# Python 2, and Paddle on Python 3, say __builtin__.
_BUILTINS = ("builtins", "__builtin__")
_MEMO = ("PUT", "BINPUT", "LONG_BINPUT")
# What paddle.save adds: names of parameters, and arrays of more than 1 GB in parts.
_NAMES, _PARTS = "StructuredToParameterName@@", "UnpackBigParamInfor@@"


def load_pickled(path: Union[str, os.PathLike[str]], find: Optional[Callable[[str, str], Any]] = None) -> Any:
    """Return the contents of the pickle at `path`, arrays as ndarrays.

    Parameters
    ----------
    path : str or path
    find : function of module and name, optional
        What another name stands for, or None if the file may not hold it.

    Raises
    ------
    pickle.UnpicklingError : the file names something else, "it holds a posix.system"; or is damaged.
    """
    try:
        with open(path, "rb") as file:
            _check_operations(file)
            file.seek(0)
            loaded = _Unpickler(file, find).load()
        return _plain(loaded)
    except (pickle.UnpicklingError, OSError):
        raise
    except Exception as error:  # damaged bytes raise almost anything
        raise pickle.UnpicklingError(str(error) or type(error).__name__) from error


def _check_operations(file: BinaryIO) -> None:
    """Refuse indices for which Python would make a table larger than the file."""
    for count, (operation, argument, _) in enumerate(pickletools.genops(file)):
        if operation.name in _MEMO and (not isinstance(argument, int) or argument > count):
            raise pickle.UnpicklingError(f"it is damaged: entry {argument} of {count} at most")


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: BinaryIO, find: Optional[Callable[[str, str], Any]]) -> None:
        super().__init__(file, encoding="latin1")
        self._find = find

    def find_class(self, module: str, name: str) -> Any:
        found = None if self._find is None else self._find(module, name)
        if found is not None:
            return found
        if module in _NUMPY and name in _NUMPY_NAMES:
            return _NUMPY_NAMES[name]
        if module in _BUILTINS and name in _BUILTIN_NAMES:
            return _BUILTIN_NAMES[name]
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("_codecs", "encode"):
            return _encode
        raise pickle.UnpicklingError(f"it holds a {module}.{name}, which is not loaded from a file")

    def persistent_load(self, pid: Any) -> Any:
        raise pickle.UnpicklingError("it holds a reference to something outside of the file")


class _Dtype:
    """A dtype of numbers; any other one is refused."""

    def __init__(self, name: Any, *_: Any) -> None:
        text = name.decode("latin1") if isinstance(name, bytes) else name
        dtype = np.dtype(text) if isinstance(text, str) else None
        if dtype is None or dtype.kind not in "biufc" or dtype.names is not None:
            raise pickle.UnpicklingError(f"it holds an array of {text!r}, which are no numbers")
        self.value: np.dtype[Any] = dtype

    def __setstate__(self, state: Any) -> None:
        order = state[1]
        if isinstance(order, bytes):
            order = order.decode("latin1")
        if order in ("<", ">"):
            self.value = self.value.newbyteorder(order)


class _Array:
    """An array whose state is still to come."""

    value: Optional[NDArray[Any]] = None

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, is_fortran, data = state
        self.value = _filled(data, dtype, shape, "F" if is_fortran else "C")


class _NdarrayName:
    """A stand-in for ``numpy.ndarray``: a name to hand on, nothing to call."""


def _filled(data: Any, dtype: Any, shape: Any, order: str) -> NDArray[Any]:
    if isinstance(data, (str, bytearray)):
        data = data.encode("latin1") if isinstance(data, str) else bytes(data)
    extents = tuple(shape) if isinstance(shape, (tuple, list)) else (shape,)
    if not isinstance(dtype, _Dtype) or not all(type(extent) is int and extent >= 0 for extent in extents):
        raise pickle.UnpicklingError("it is damaged: an array has no dtype or no shape")
    if not isinstance(data, bytes) or len(data) != math.prod(extents) * dtype.value.itemsize:
        raise pickle.UnpicklingError(f"it is damaged: an array of shape {list(extents)} has other data")
    array = np.frombuffer(data, dtype.value).reshape(extents, order="F" if order == "F" else "C")
    return array.astype(dtype.value.newbyteorder("="))  # a copy: writeable


def _reconstruct(*_: Any) -> _Array:
    return _Array()


def _scalar(dtype: Any, data: Any = b"") -> Any:
    return _filled(data, dtype, (), "C")[()]


def _frombuffer(data: Any, dtype: Any, shape: Any, order: Any = "C") -> NDArray[Any]:
    return _filled(data, dtype, shape, str(order))


def _encode(text: Any, encoding: Any = "latin1") -> bytes:
    """Return the bytes that protocol 2 writes as text."""
    if not isinstance(text, str) or encoding != "latin1":
        raise pickle.UnpicklingError(f"it is damaged: expected text in latin1, got {encoding!r}")
    return text.encode("latin1")


def _bytes(data: Any = b"", encoding: Any = "latin1") -> bytes:
    """Return bytes by their names of old protocols; never a number of them."""
    return _encode(data, encoding) if data or isinstance(data, str) else b""


def _the_data(expression: Any, values: Any) -> Any:
    """Return the array of ``eval("data", {"data": array})``, as which paddle.save writes a DenseTensor."""
    if expression != "data" or not isinstance(values, dict) or set(values) != {"data"}:
        raise pickle.UnpicklingError("it holds a builtins.eval, which is not loaded from a file")
    return values["data"]


_NUMPY_NAMES: dict[str, Any] = {
    "ndarray": _NdarrayName, "dtype": _Dtype, "_reconstruct": _reconstruct, "scalar": _scalar,
    "_frombuffer": _frombuffer,
}  # fmt: skip
_BUILTIN_NAMES: dict[str, Callable[..., Any]] = {"tuple": tuple, "bytes": _bytes, "eval": _the_data}


def _plain(value: Any) -> Any:
    """Return `value` with its arrays as ndarrays, each container copied once."""
    if isinstance(value, _Array):
        if value.value is None:
            raise pickle.UnpicklingError("it is damaged: an array has no data")
        return value.value
    if isinstance(value, dict):
        return _joined({_plain(key): _plain(item) for key, item in value.items()})
    if isinstance(value, (list, tuple)):
        return type(value)(_plain(item) for item in value)
    if isinstance(value, (_Dtype, _NdarrayName)) or value is _NdarrayName:
        raise pickle.UnpicklingError("it holds a dtype outside of an array")
    return value


def _joined(state: dict[Any, Any]) -> dict[Any, Any]:
    """Return `state` without the keys that paddle.save adds, and with its large arrays in one piece."""
    for name, described in state.pop(_PARTS, {}).items():
        parts = [state.pop(part) for part in described["slices"]]
        state[name] = np.concatenate(parts).reshape(described["OriginShape"])
    state.pop(_NAMES, None)
    return state
