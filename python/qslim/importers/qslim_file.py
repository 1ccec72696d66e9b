# SPDX-License-Identifier: Apache-2.0
"""Reader of qslim's own model files: safetensors layout, the Graph as JSON among its metadata.

    8 bytes      length of the header, little-endian
    header       JSON object, entry name -> {dtype, shape, data_offsets}, with "__metadata__"; then spaces
    data         the entries, end to end, each at a multiple of its item size

``docs/engine.md`` specifies the format. A file may come from anywhere, so nothing in it is believed: every
number is checked before it is used, and whatever does not fit raises FormatError.
Source: the safetensors format, https://github.com/huggingface/safetensors.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import os
import re
from typing import Any, Optional, Union

import numpy as np
from numpy.typing import NDArray

from qslim.errors import MissingFileError
from qslim.files.digests import file_digests
from qslim.files.qslim_format import DTYPES, FORMAT_VERSION, FormatError, check_cut
from qslim.graph import Graph, Node, QuantParams, Tensor
from qslim.graph.host_tail import HostTail
from qslim.graph.quantization import unpacked_halves

__all__ = ["FormatError", "check_beside", "load_qslim", "load_tail"]

# How the header shows that there is a tail.
_TAIL_KEY = b'"tail":'
# The public package refuses larger headers too.
_MAX_HEADER_BYTES = 100_000_000
_MAX_DEPTH = 32
_STRINGS = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
_BRACKETS = re.compile(r"[\[{}\]]")
_INT64 = range(-(2**63), 2**63)


def load_qslim(source: Union[str, os.PathLike[str], bytes]) -> Graph:
    """Read a Graph from a .qslim file, or from the bytes of one.

    Parameters
    ----------
    source : path, or bytes

    Returns
    -------
    Graph
        The whole network, with what a Session computes behind the engine. Quantized constants hold the real
        values of their stored integers; quantizing them gives these back.

    Raises
    ------
    FormatError : a ValueError; the bytes are no whole and sound model file, and where and why.
    MissingFileError : a ValueError and a FileNotFoundError.
    OSError : the file cannot be read.

    Examples
    --------
    >>> from qslim.exporters import dumps_qslim
    >>> graph = Graph(inputs=["x"], outputs=["y"])
    >>> for name in "xy":
    ...     _ = graph.add_tensor(Tensor(name, "float32", (None, 3)))
    >>> graph.add_node(Node("Relu", ["x"], ["y"]))
    >>> load_qslim(dumps_qslim(graph))
    Graph(1 nodes, 2 tensors, inputs=['x'], outputs=['y'])
    """
    if isinstance(source, (bytes, bytearray, memoryview)):
        return _load_whole(bytes(source))
    try:
        with open(source, "rb") as file:
            data = file.read()
    except FileNotFoundError:
        raise MissingFileError(f"load_qslim: there is no file {os.fspath(source)!r}") from None
    try:
        return _load_whole(data)
    except FormatError as error:
        raise FormatError(f"{os.fspath(source)!r}: {error}") from None


def load_tail(source: Union[str, os.PathLike[str], bytes]) -> Optional[HostTail]:
    """Return the operators that a Session computes behind the engine; None for most .qslim files.

    Raises
    ------
    FormatError (a ValueError) : the tail is damaged.
    """
    if isinstance(source, bytes):
        text = source[: 8 + min(int.from_bytes(source[:8], "little"), _MAX_HEADER_BYTES)]
    else:
        text = _header_bytes(os.fspath(source))
    if _TAIL_KEY not in text:  # a header of many nodes takes its time to parse
        return None
    return _tail(_metadata(_read_header(text)[0]))


def _tail(metadata: dict[str, Any]) -> Optional[HostTail]:
    if "tail" not in metadata:
        return None
    what = 'the "tail"'
    description = _parse_json(metadata["tail"], what)
    feeds, encoded = description.get("feeds"), description.get("graph")
    is_listed = isinstance(feeds, list) and all(isinstance(name, str) for name in feeds)
    _require(is_listed and len(set(feeds or ())) == len(feeds or ()), f"{what} lists no feeds")
    try:
        _require(isinstance(encoded, str), f"{what} has no graph")
        data = base64.b64decode(str(encoded), validate=True)
    except binascii.Error as error:
        raise FormatError(f"{what}: its graph is not in base64: {error}") from None
    return HostTail(_load(data), list(feeds or ()))


def _load_whole(data: bytes) -> Graph:
    graph = _load(data)
    tail = _tail(_metadata(_read_header(data)[0]))
    if tail is None:
        return graph
    check_cut(tail, graph.inputs, graph.outputs)
    return tail.behind(graph)


def _header_bytes(path: str) -> bytes:
    with open(path, "rb") as file:
        start = file.read(8)
        return start + file.read(min(int.from_bytes(start, "little"), _MAX_HEADER_BYTES))


def check_beside(path: str) -> None:
    """Raise ValueError unless the .qslim file at `path` was written with the files beside it.

    Raises
    ------
    ValueError : they are not, or it does not say.
    """
    remedy = (
        "quantize the network again, remove the file that is out of date, or name the file that you mean "
        f"(Session({path!r}))"
    )
    metadata = _metadata(_read_header(_header_bytes(path))[0])
    if "beside" not in metadata:
        raise ValueError(
            f"{path!r} does not say that it belongs to the Paddle model beside it, which may be another "
            f"network: {remedy}"
        )
    for name, digest in _parse_json(metadata["beside"], 'the files "beside"').items():
        other = os.path.join(os.path.dirname(path), name)
        _require(
            os.path.basename(name) == name, f"{path!r}: expected a name without directories, got {name!r}"
        )
        if not os.path.isfile(other):
            raise ValueError(f"{path!r} belongs to {name!r}, which is not beside it: {remedy}")
        if file_digests([other]) != {name: digest}:
            raise ValueError(f"{path!r} belongs to another {name!r} than the one beside it: {remedy}")


def _metadata(header: dict[str, Any]) -> dict[str, Any]:
    metadata = header.pop("__metadata__", None)
    if not isinstance(metadata, dict) or metadata.get("format") != "qslim":
        raise FormatError('this is no qslim model: "__metadata__" with "format": "qslim" is missing')
    return metadata


def _load(data: bytes) -> Graph:
    header, start = _read_header(data)
    metadata = _metadata(header)
    entries = _read_entries(header, memoryview(data)[start:], start)
    graph = metadata.get("graph")
    description = _parse_json(graph if isinstance(graph, str) else None, 'the graph in "__metadata__"')
    return _GraphReader(description, entries).read()


def _require(condition: Any, message: str) -> None:
    if not condition:
        raise FormatError(message)


def _parse_json(text: Any, what: str) -> dict[str, Any]:
    """Return `text` as a JSON object whose keys are unique at every level."""
    _require(isinstance(text, (str, bytes)), f"{what} is missing")

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(pairs)
        if len(result) != len(pairs):
            keys = sorted(key for key, _ in pairs)
            twice = next(key for key, following in zip(keys, keys[1:]) if key == following)
            raise FormatError(f"{what} names a key twice: {twice!r}")
        return result

    def no_constant(name: str) -> Any:
        raise FormatError(f"{what} is no JSON: it holds {name}")

    def integer(digits: str) -> int:
        fits = len(digits) < 21 and int(digits) in _INT64
        _require(fits, f"{what} holds the integer {digits:.30}, which does not fit 64 bits")
        return int(digits)

    try:
        if isinstance(text, bytes):
            text = text.decode()
        _require(_depth(text) <= _MAX_DEPTH, f"{what} nests more than {_MAX_DEPTH} deep")
        value = json.loads(text, object_pairs_hook=unique, parse_constant=no_constant, parse_int=integer)
        if "\\u" in text:
            json.dumps(value, ensure_ascii=False).encode()  # half of a pair of surrogates is no character
    except FormatError:
        raise
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{what} is no JSON: {str(error) or type(error).__name__}") from None
    _require(isinstance(value, dict), f"{what}: expected a JSON object, got {type(value).__name__}")
    result: dict[str, Any] = value
    return result


def _depth(text: str) -> int:
    """Return the depth to which the brackets of a JSON text nest."""
    depth = deepest = 0
    for bracket in _BRACKETS.findall(_STRINGS.sub("", text)):
        depth += 1 if bracket in "[{" else -1
        deepest = max(deepest, depth)
    return deepest


def _read_header(data: bytes) -> tuple[dict[str, Any], int]:
    """Return the header and where the data starts."""
    _require(len(data) >= 8, f"the file is too short for a header: {len(data)} bytes")
    size = int.from_bytes(data[:8], "little")
    _require(
        size <= _MAX_HEADER_BYTES and 8 + size <= len(data),
        f"the header should be {size} bytes long, but the file has {len(data)}: it is damaged, cut short, "
        "or no qslim model",
    )
    return _parse_json(data[8 : 8 + size], "the header"), 8 + size


def _read_entries(header: dict[str, Any], data: memoryview, start: int) -> dict[str, NDArray[Any]]:
    """Return the arrays that `header` describes; together they must cover `data` exactly, in any order."""
    names = {short: dtype for dtype, short in DTYPES.items()}
    spans, arrays = [], {}
    for name, entry in header.items():
        what = f"entry {name!r}"
        _require(
            isinstance(entry, dict) and set(entry) == {"dtype", "shape", "data_offsets"},
            f"{what}: expected dtype, shape and data_offsets",
        )
        dtype_name = entry["dtype"]
        _require(isinstance(dtype_name, str) and dtype_name in names, f"{what}: unknown dtype {dtype_name!r}")
        dtype = np.dtype(names[dtype_name]).newbyteorder("<")
        shape = _naturals(entry["shape"], f"{what}, shape")
        offsets = _naturals(entry["data_offsets"], f"{what}, data_offsets")
        _require(len(offsets) == 2, f"{what}: data_offsets should be two numbers, got {offsets}")
        begin, end = offsets
        _require(
            begin <= end <= len(data),
            f"{what} lies at [{begin}, {end}), but the file has {len(data)} bytes of data: it was cut short",
        )
        nbytes = math.prod(shape) * dtype.itemsize
        _require(
            end - begin == nbytes,
            f"{what}: shape {shape} of {dtype_name} takes {nbytes} bytes, got {end - begin}",
        )
        if begin < end:
            _require(
                (start + begin) % dtype.itemsize == 0,
                f"{what}: its data should start at a multiple of {dtype.itemsize} bytes",
            )
            spans.append((begin, end, name))
        array = np.frombuffer(data[begin:end], dtype).reshape(shape)
        if dtype_name == "BOOL":
            _require((array.view(np.uint8) <= 1).all(), f"{what}: a bool must be 0 or 1")
        arrays[name] = array.astype(dtype.newbyteorder("="))
    position = 0
    for begin, end, name in sorted(spans):
        _require(
            begin == position, f"entry {name!r} starts at {begin}, but the one before ends at {position}"
        )
        position = end
    _require(position == len(data), f"the entries end at {position}, but there are {len(data)} bytes of data")
    return arrays


def _naturals(value: Any, what: str) -> list[int]:
    _require(
        isinstance(value, list) and all(type(item) is int and 0 <= item < 2**63 for item in value),
        f"{what}: expected a list of integers >= 0, got {value!r}",
    )
    result: list[int] = value
    return result


class _GraphReader:
    """The JSON description and the entries, put together."""

    def __init__(self, description: dict[str, Any], entries: dict[str, NDArray[Any]]) -> None:
        self._description = description
        self._entries = entries
        self._used: set[str] = set()

    def read(self) -> Graph:
        version = self._description.get("format_version")
        if type(version) is int and version > FORMAT_VERSION:
            raise FormatError(
                f"the file has format version {version}, this qslim reads up to {FORMAT_VERSION}: "
                "install a newer qslim, or export the model again"
            )
        _require(
            type(version) is int and version >= 1,
            f"format_version: expected 1 to {FORMAT_VERSION}, got {version!r}",
        )
        graph = Graph(
            _strings(self._description.get("inputs"), "inputs"),
            _strings(self._description.get("outputs"), "outputs"),
        )
        for item in _objects(self._description.get("tensors"), "tensors"):
            tensor = self._tensor(item)
            _require(tensor.name not in graph.tensors, f"tensor {tensor.name!r} is described twice")
            graph.add_tensor(tensor)
        unused = sorted(set(self._entries) - self._used)
        _require(not unused, f"no tensor of the graph has the stored entries {unused[:5]}")
        known = self._check_inputs(graph)
        for item in _objects(self._description.get("nodes"), "nodes"):
            self._add_node(graph, item, known)
        for name in graph.outputs:
            _require(name in known, f"output {name!r} is written by no node")
        return graph

    @staticmethod
    def _check_inputs(graph: Graph) -> set[str]:
        """Check the Graph's inputs and return the names that are known before any node runs."""
        _require(graph.outputs, "the graph has no outputs")
        _require(len(set(graph.inputs)) == len(graph.inputs), f"an input is named twice: {graph.inputs}")
        for name in graph.inputs:
            _require(name in graph.tensors, f"input {name!r} is no tensor of the graph")
            _require(not graph.tensors[name].is_constant, f"input {name!r} is a constant")
        return {*graph.inputs, *(name for name, tensor in graph.tensors.items() if tensor.is_constant)}

    def _tensor(self, item: dict[str, Any]) -> Tensor:
        name = item.get("name")
        if not isinstance(name, str) or not name:
            raise FormatError(f"a tensor's name should be a string that is not empty, got {name!r}")
        what = f"tensor {name!r}"
        _require(
            set(item) <= {"name", "dtype", "shape", "quantization"}, f"{what}: unknown keys {sorted(item)}"
        )
        dtype, extents = item.get("dtype"), item.get("shape")
        if not isinstance(dtype, str) or dtype not in DTYPES:
            raise FormatError(f"{what}: unknown dtype {dtype!r}; expected one of {', '.join(sorted(DTYPES))}")
        shape: Optional[tuple[Optional[int], ...]] = None
        if extents is not None:
            _require(isinstance(extents, list), f"{what}: expected a list as shape, got {extents!r}")
            _naturals([extent for extent in extents if extent is not None], f"{what}, shape")
            shape = tuple(extents)
        params = self._quantization(item["quantization"], what) if "quantization" in item else None
        if params is not None:
            _require(dtype == "float32", f"{what} is quantized, so its dtype must be float32, got {dtype!r}")
        value = self._entries.get(name)
        if value is not None:
            self._used.add(name)
            if params is not None and "packed_bits" in item["quantization"]:
                value = self._unpacked(value, shape, params, what)
            _require(shape == value.shape, f"{what} has another shape than its entry, {list(value.shape)}")
            value = self._constant(value, dtype, params, what)
        if params is not None and params.quant_axis is not None:
            _require(shape is not None and params.fits_shape(shape), _misfit(params, what))
        return Tensor(name, dtype, shape, value, params)

    @staticmethod
    def _constant(stored: NDArray[Any], dtype: str, params: Optional[QuantParams], what: str) -> NDArray[Any]:
        if params is not None and params.dtype.itemsize == 1:
            _require(
                stored.dtype == params.dtype,
                f"{what}: integers of dtype {params.dtype} expected, got {stored.dtype}",
            )
            _require(
                not stored.size or (stored.min() >= params.qmin and stored.max() <= params.qmax),
                f"{what}: an integer lies outside [{params.qmin}, {params.qmax}]",
            )
            _require(params.fits_shape(stored.shape), _misfit(params, what))
            return params.dequantize(stored).reshape(stored.shape)
        _require(stored.dtype == dtype, f"{what}: dtype {dtype} expected, its entry has {stored.dtype}")
        return stored

    @staticmethod
    def _unpacked(
        stored: NDArray[Any], shape: Optional[tuple[Optional[int], ...]], params: QuantParams, what: str
    ) -> NDArray[Any]:
        """Return integers of 4 bits, one a byte; what is left of a row's last byte must be 0."""
        _require(stored.dtype == np.uint8, f"{what}: packed integers are U8, got {stored.dtype}")
        _require(params.fits_half_a_byte and shape, f"{what}: only integers in [-8, 7] are packed")
        assert shape is not None
        width = shape[-1]
        if width is None or stored.ndim != len(shape) or stored.shape[-1] != (width + 1) // 2:
            raise FormatError(f"{what} has another shape than its entry, {list(stored.shape)}")
        rows = unpacked_halves(stored.reshape(-1, stored.shape[-1]))
        _require(not rows[:, width:].any(), f"{what}: what is left of a row's last byte is not 0")
        return rows[:, :width].reshape(*stored.shape[:-1], width)

    def _quantization(self, item: Any, what: str) -> QuantParams:
        _require(
            isinstance(item, dict)
            and set(item) - {"group_size", "packed_bits"}
            == {"dtype", "scale", "zero_point", "qmin", "qmax", "quant_axis"},
            f"{what}: quantization needs dtype, scale, zero_point, qmin, qmax and quant_axis",
        )
        group_size, bits = item.get("group_size"), item.get("packed_bits", 4)
        is_even = type(group_size) is int and group_size in range(2, 2**31, 2)
        message = f"{what}: group_size should be even and > 0, got {group_size!r}"
        _require(is_even or "group_size" not in item, message)
        _require(type(bits) is int and bits == 4, f"{what}: packed_bits should be 4, got {bits!r}")
        integers = [item["zero_point"], item["qmin"], item["qmax"]]
        _require(
            all(type(value) is int and -(2**31) <= value < 2**31 for value in integers),
            f"{what}: zero_point, qmin and qmax should be 32-bit integers, got {integers}",
        )
        scale, axis = item["scale"], item["quant_axis"]
        if isinstance(scale, str):
            _require(axis is not None, f"{what}: one scale needs quant_axis null, several an axis")
            _require(type(axis) is int and 0 <= axis < 64, f"{what}: bad quant_axis {axis!r}")
            array = self._entries.get(scale)
            axes = 1 if group_size is None else 2
            if array is None or array.dtype != np.float32 or array.ndim != axes:
                raise FormatError(
                    f"{what}: its scales {scale!r} should be a stored float32 entry of "
                    f"{'one axis' if axes == 1 else 'two axes'}"
                )
            self._used.add(scale)
            scale = array
        else:
            _require(axis is None, f"{what}: one scale needs quant_axis null, several an axis")
            _require(group_size is None, f"{what}: groups need stored scales")
            _require(type(scale) in (int, float), f"{what}: scale should be a number, got {scale!r}")
        zero_point, qmin, qmax = integers
        try:
            with np.errstate(over="ignore", under="ignore"):
                params = QuantParams(np.float32(scale), zero_point, qmin, qmax, axis, group_size)
            dtype = params.dtype
        except (ValueError, OverflowError) as error:
            raise FormatError(f"{what}: {error}") from None
        _require(params.scale.size, f"{what}: it has no scale")
        _require(item["dtype"] == str(dtype), f"{what}: its grid is one of {dtype}, not {item['dtype']!r}")
        return params

    @staticmethod
    def _add_node(graph: Graph, item: dict[str, Any], known: set[str]) -> None:
        op_type, domain, label = item.get("op_type"), item.get("domain"), item.get("label")
        if not (isinstance(op_type, str) and isinstance(domain, str) and isinstance(label, str)):
            raise FormatError(f"a node needs op_type, domain and label as strings, got {item!r:.200}")
        inputs, outputs = _strings(item.get("inputs"), f"{label}, inputs"), item.get("outputs")
        outputs = _strings(outputs, f"{label}, outputs")
        _require(outputs, f"{label} has no outputs")
        for name in filter(None, inputs):
            _require(name in known, f"{label} reads {name!r}, which no node before it writes")
        for name in filter(None, outputs):
            _require(name not in known, f"{label} writes {name!r}, which is written already")
            _require(name in graph.tensors, f"{label} writes {name!r}, which is no tensor of the graph")
            known.add(name)
        attributes = item.get("attributes")
        if not isinstance(attributes, dict):
            raise FormatError(f"{label}: expected an object as attributes, got {attributes!r:.100}")
        for key, value in attributes.items():
            _require(_is_attribute(value), f"{label}: attribute {key!r} has no valid value: {value!r:.100}")
        source_op = label.removesuffix(f"({outputs[0]})") if outputs else ""
        graph.add_node(
            Node(op_type, inputs, outputs, attributes, domain, "" if source_op == op_type else source_op)
        )


def _misfit(params: QuantParams, what: str) -> str:
    return f"{what}: {params.scale.size} scales along axis {params.quant_axis} do not fit its shape"


def _is_attribute(value: Any) -> bool:
    if isinstance(value, list):
        kinds = {isinstance(item, str) for item in value}
        return len(kinds) < 2 and all(_is_attribute(item) and not isinstance(item, list) for item in value)
    if type(value) is int:
        return value in _INT64
    return isinstance(value, str) or (type(value) is float and math.isfinite(value))


def _strings(value: Any, what: str) -> list[str]:
    _require(
        isinstance(value, list) and all(isinstance(item, str) for item in value),
        f"{what}: expected a list of names, got {value!r:.100}",
    )
    return list(value)


def _objects(value: Any, what: str) -> list[dict[str, Any]]:
    _require(
        isinstance(value, list) and all(isinstance(item, dict) for item in value),
        f"{what}: expected a list of objects, got {value!r:.100}",
    )
    return list(value)
