# SPDX-License-Identifier: Apache-2.0
"""Writer of qslim's own model files: safetensors layout, the Graph as JSON among its metadata.

``docs/engine.md`` specifies the format, ``qslim.importers.qslim_file`` reads it. The public safetensors
package opens these files as well; they need none of it.
"""

from __future__ import annotations

import base64
import json
import math
import os
from collections.abc import Iterator, Sequence
from typing import Any, Optional, Union

import numpy as np
from numpy.typing import NDArray

from qslim._core import __version__
from qslim.files.digests import file_digests
from qslim.files.qslim_format import DTYPES, FORMAT_VERSION
from qslim.files.staging import staged_file
from qslim.graph import Graph, Node, QuantParams, Tensor
from qslim.graph.host_tail import HostTail
from qslim.graph.quantization import packed_in_halves, stored_shape

__all__ = ["dumps_qslim", "save_qslim"]

# Data starts at a cache line, so that a mapped file needs no copy.
_ALIGNMENT = 64


def save_qslim(
    graph: Graph,
    path: Union[str, os.PathLike[str]],
    beside: Sequence[str] = (),
    tail: Optional[HostTail] = None,
) -> None:
    """Write `graph` to `path`, whole or not at all.

    Parameters
    ----------
    graph : Graph
        Constants quantized to at most 8 bits are stored as int8 or uint8, matrices of at most 4 bits with two
        integers in a byte, all others as they are. Tensors
        that no node reads or writes are left out.
    path : str or path
        By custom it ends in ".qslim". Missing directories are created.
    beside : sequence of str
        Paths of the Paddle model of the same network. Where a Paddle model lies beside the file,
        ``Session(directory)`` runs it only if these are its files.
    tail : HostTail, optional
        What ``Session`` computes behind `graph`.

    Raises
    ------
    ValueError : `path` cannot be written, or a tensor or an attribute has no place in the format; names it.

    Examples
    --------
    >>> import os, tempfile
    >>> from qslim.importers import load_qslim
    >>> graph = Graph(inputs=["x"], outputs=["y"])
    >>> weight = np.float32([[0.5, -1.27], [0.25, 0.01]])
    >>> for name, shape in (("x", (None, 2)), ("y", (None, 2))):
    ...     _ = graph.add_tensor(Tensor(name, "float32", shape))
    >>> _ = graph.add_tensor(Tensor("w", "float32", (2, 2), weight, QuantParams.weight(1.27, 8, None)))
    >>> graph.add_node(Node("MatMul", ["x", "w"], ["y"]))
    >>> path = os.path.join(tempfile.mkdtemp(), "model.qslim")
    >>> save_qslim(graph, path)
    >>> load_qslim(path).tensors["w"].value
    array([[ 0.5 , -1.27],
           [ 0.25,  0.01]], dtype=float32)
    """
    # Everything that can be wrong with the graph is found before a file is made.
    header, entries = _plan(graph, beside, tail)
    with staged_file(path) as temporary, open(temporary, "wb") as file:
        file.write(header)
        for data in _raw(entries):
            file.write(data)


def dumps_qslim(graph: Graph, tail: Optional[HostTail] = None) -> bytes:
    """Return the bytes that ``save_qslim`` writes."""
    header, entries = _plan(graph, (), tail)
    return b"".join([header, *_raw(entries)])


def _raw(entries: list[tuple[str, NDArray[Any]]]) -> Iterator[bytes]:
    for _, array in entries:
        yield array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()


def _plan(
    graph: Graph, beside: Sequence[str], tail: Optional[HostTail]
) -> tuple[bytes, list[tuple[str, NDArray[Any]]]]:
    """Return the length, the header and its padding; and the entries in the order of the data."""
    entries: dict[str, NDArray[Any]] = {}
    tensors = [graph.tensors[name] for name in _used_names(graph)]
    scales: dict[str, str] = {}
    for tensor in tensors:
        if tensor.value is not None:
            entries[tensor.name] = _stored(tensor)
    taken = {*graph.tensors, "__metadata__"}
    for tensor in tensors:
        params = tensor.quantization
        if params is not None and params.quant_axis is not None:
            name = tensor.name + "//scale"
            while name in taken:
                name += "_"
            taken.add(name)
            scales[tensor.name] = name
            entries[name] = params.scale
    description = {
        "format_version": FORMAT_VERSION if any(map(_needs_version_2, tensors)) else 1,
        "producer": f"qslim {__version__}",
        "inputs": graph.inputs,
        "outputs": graph.outputs,
        "tensors": [_describe_tensor(tensor, scales.get(tensor.name)) for tensor in tensors],
        "nodes": [_describe_node(node) for node in graph.nodes],
    }
    # Wide items first: with no holes between them, each entry then starts at a multiple of its item size.
    ordered = sorted(entries.items(), key=lambda item: -item[1].itemsize)
    header: dict[str, Any] = {
        "__metadata__": {"format": "qslim", "graph": json.dumps(description, allow_nan=False)}
    }
    if beside:
        header["__metadata__"]["beside"] = json.dumps(file_digests(beside))
    if tail is not None:
        ending = base64.b64encode(dumps_qslim(tail.graph)).decode()
        header["__metadata__"]["tail"] = json.dumps({"feeds": tail.feeds, "graph": ending})
    position = 0
    for name, array in ordered:
        header[name] = {
            "dtype": DTYPES[str(array.dtype)],
            "shape": list(array.shape),
            "data_offsets": [position, position + array.nbytes],
        }
        position += array.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-(8 + len(text)) % _ALIGNMENT)
    return len(text).to_bytes(8, "little") + text, ordered


def _used_names(graph: Graph) -> list[str]:
    """Return the tensors that inputs, outputs and nodes name, in the graph's order."""
    used = {*graph.inputs, *graph.outputs}
    for node in graph.nodes:
        used.update(filter(None, (*node.inputs, *node.outputs)))
    if "__metadata__" in used:
        raise ValueError("save_qslim: '__metadata__' is reserved and cannot be a tensor's name")
    missing = used - graph.tensors.keys()
    if missing:
        raise ValueError(f"save_qslim: the graph has no tensors {sorted(missing)[:5]}")
    return [name for name in graph.tensors if name in used]


def _stored(tensor: Tensor) -> NDArray[Any]:
    """Return the constant as the file holds it."""
    assert tensor.value is not None
    params = tensor.quantization
    if params is not None and params.dtype.itemsize == 1:
        integers = params.quantize(tensor.value).reshape(tensor.value.shape)
        return packed_in_halves(integers) if _is_packed(tensor) else integers
    return np.asarray(tensor.value, order="C")


def _is_packed(tensor: Tensor) -> bool:
    value, params = tensor.value, tensor.quantization
    return value is not None and params is not None and stored_shape(value.shape, params) != value.shape


def _needs_version_2(tensor: Tensor) -> bool:
    params = tensor.quantization
    return params is not None and (params.group_size is not None or _is_packed(tensor))


def _describe_tensor(tensor: Tensor, scales: Union[str, None]) -> dict[str, Any]:
    value = tensor.value
    dtype = tensor.dtype if value is None else str(value.dtype)
    if dtype not in DTYPES:
        raise ValueError(
            f"save_qslim: tensor {tensor.name!r} has dtype {dtype!r}, which a .qslim file cannot hold "
            f"(it holds {', '.join(sorted(DTYPES))})"
        )
    shape = tensor.shape if value is None else value.shape
    described: dict[str, Any] = {
        "name": tensor.name,
        "dtype": dtype,
        "shape": None if shape is None else [None if extent is None else int(extent) for extent in shape],
    }
    if tensor.quantization is not None:
        described["quantization"] = _describe_params(tensor.quantization, scales)
        if tensor.quantization.group_size is not None:
            described["quantization"]["group_size"] = int(tensor.quantization.group_size)
        if _is_packed(tensor):
            described["quantization"]["packed_bits"] = 4
    return described


def _describe_params(params: QuantParams, scales: Union[str, None]) -> dict[str, Any]:
    return {
        "dtype": str(params.dtype),
        "scale": float(params.scale) if scales is None else scales,
        "zero_point": int(params.zero_point),
        "qmin": int(params.qmin),
        "qmax": int(params.qmax),
        "quant_axis": params.quant_axis,
    }


def _describe_node(node: Node) -> dict[str, Any]:
    if not node.outputs:
        raise ValueError(f"save_qslim: {node.label} has no outputs")
    return {
        "op_type": node.op_type,
        "domain": node.domain,
        "inputs": node.inputs,
        "outputs": node.outputs,
        "attributes": {name: _attribute(node, name, value) for name, value in node.attributes.items()},
        "label": node.label,
    }


def _attribute(node: Node, name: str, value: Any) -> Any:
    """Return `value` for JSON; a framework's own objects, which foreign operators have, as their names."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, (int, str)) or (isinstance(value, float) and math.isfinite(value)):
        return value
    if isinstance(value, (list, tuple)):
        items = [_attribute(node, name, item) for item in value]
        if not any(isinstance(item, list) for item in items) and len({isinstance(i, str) for i in items}) < 2:
            return items
    if node.domain:
        return str(value)
    raise ValueError(
        f"save_qslim: {node.label} has attribute {name!r} = {value!r}; expected integers, finite floats, "
        "strings, or a list of numbers or of strings"
    )
