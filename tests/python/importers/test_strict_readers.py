# SPDX-License-Identifier: Apache-2.0
"""One list of broken model files: load_qslim and Session refuse each with the same words."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from qslim import _core
from qslim.exporters import dumps_qslim
from qslim.graph import Graph, Node, QuantParams, Tensor
from qslim.importers import FormatError, load_qslim


def _whole() -> bytes:
    """y = Relu(MatMul(x, w) + c), w quantized for each channel."""
    graph = Graph(inputs=["x"], outputs=["y"])
    for name in ("x", "h", "s", "y"):
        graph.add_tensor(Tensor(name, "float32", (None, 2)))
    weight = np.float32([[0.5, -1.0], [0.25, 0.75]])
    grid = QuantParams.weight(np.float32([0.5, 1.0]), 8, 1)
    graph.add_tensor(Tensor("w", "float32", (2, 2), weight, grid))
    graph.add_tensor(Tensor("c", "float32", (2,), np.float32([1, -2])))
    graph.add_tensor(Tensor("axes", "int64", (1,), np.int64([0])))
    graph.add_node(Node("MatMul", ["x", "w"], ["h"]))
    graph.add_node(Node("Add", ["h", "c"], ["s"]))
    graph.add_node(Node("Relu", ["s"], ["y"]))
    graph.add_tensor(Tensor("u", "float32", (1, None, 2)))
    graph.add_node(Node("Unsqueeze", ["y", "axes"], ["u"]))
    return dumps_qslim(graph)


_DATA = _whole()
_SIZE = int.from_bytes(_DATA[:8], "little")
_HEADER, _PAYLOAD = json.loads(_DATA[8 : 8 + _SIZE]), _DATA[8 + _SIZE :]


def _pack(header: Any, payload: bytes = _PAYLOAD) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    text += b" " * (-(8 + len(text)) % 64)
    return len(text).to_bytes(8, "little") + text + payload


def _header(change: Callable[[dict[str, Any]], Any], payload: bytes = _PAYLOAD) -> bytes:
    header = json.loads(json.dumps(_HEADER))
    change(header)
    return _pack(header, payload)


def _graph(change: Callable[[dict[str, Any]], Any]) -> bytes:
    def in_header(header: dict[str, Any]) -> None:
        graph = json.loads(header["__metadata__"]["graph"])
        change(graph)
        header["__metadata__"]["graph"] = json.dumps(graph)

    return _header(in_header)


def _graph_text(change: Callable[[str], str]) -> bytes:
    def in_header(header: dict[str, Any]) -> None:
        header["__metadata__"]["graph"] = change(header["__metadata__"]["graph"])

    return _header(in_header)


def _moved(name: str, by: int) -> Callable[[dict[str, Any]], Any]:
    def move(header: dict[str, Any]) -> None:
        header[name]["data_offsets"] = [offset + by for offset in header[name]["data_offsets"]]

    return move


def _tensor(graph: dict[str, Any], name: str) -> dict[str, Any]:
    return next(tensor for tensor in graph["tensors"] if tensor["name"] == name)


def _grid(name: str, **values: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda graph: _tensor(graph, name)["quantization"].update(values)


def _node(index: int, **values: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda graph: graph["nodes"][index].update(values)


def _attribute(value: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda graph: graph["nodes"][0]["attributes"].update(a=value)


def _narrowed(header: dict[str, Any]) -> None:
    """The entries of 4 bytes begin after 2."""
    for entry in header.values():
        if "data_offsets" in entry:
            entry["data_offsets"] = [offset + 2 for offset in entry["data_offsets"]]
    header["odd"] = {"dtype": "U8", "shape": [2], "data_offsets": [0, 2]}


_LAST = max(entry["data_offsets"][1] for name, entry in _HEADER.items() if name != "__metadata__")
_GRID = {"dtype": "int8", "scale": 0.5, "zero_point": 0, "qmin": -128, "qmax": 127, "quant_axis": None}

# What is broken, the file, and what both readers say.
BROKEN: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "too short for a header: 0 bytes"),
    "a header longer than the file": (
        b"\xff" * 64,
        "the header should be .* bytes long, but the file has 64",
    ),
    "cut in the header": (_DATA[:100], "it is damaged, cut short, or no qslim model"),
    "cut in the data": (_DATA[:-1], "bytes of data: it was cut short"),
    "bytes after the data": (
        _DATA + b"PK\3\4",
        rf"the entries end at {_LAST}, but there are {_LAST + 4} bytes",
    ),
    "a hole": (_header(_moved("w", 8), _PAYLOAD + b"\0" * 8), "starts at .*, but the one before ends at"),
    "an overlap": (_header(_moved("w//scale", -8)), "starts at .*, but the one before ends at"),
    "an unused entry": (
        _header(
            lambda h: h.update(zz={"dtype": "U8", "shape": [4], "data_offsets": [_LAST, _LAST + 4]}),
            _PAYLOAD + b"\0" * 4,
        ),
        r"no tensor of the graph has the stored entries \['zz'\]",
    ),
    "an unused empty entry": (
        _header(lambda h: h.update(zz={"dtype": "F32", "shape": [0], "data_offsets": [0, 0]})),
        r"no tensor of the graph has the stored entries \['zz'\]",
    ),
    "an entry twice": (
        _pack((json.dumps(_HEADER)[:-1] + f',"c":{json.dumps(_HEADER["c"])}}}').encode()),
        "the header names a key twice: 'c'",
    ),
    "a key of the graph twice": (
        _graph_text(lambda text: text[:-1] + ',"outputs":["s"]}'),
        "names a key twice: 'outputs'",
    ),
    "an attribute twice": (
        _graph_text(lambda text: text.replace('"attributes": {}', '"attributes": {"a": 1, "a": 2}', 1)),
        "names a key twice: 'a'",
    ),
    "an entry with another key": (
        _header(lambda h: h["c"].update(note=1)),
        "expected dtype, shape and data_of",
    ),
    "an entry without its shape": (
        _header(lambda h: h["c"].pop("shape")),
        "expected dtype, shape and data_of",
    ),
    "an entry that is a list": (_header(lambda h: h.update(c=[])), "expected dtype, shape and data_offsets"),
    "an unknown entry dtype": (_header(lambda h: h["c"].update(dtype="F8")), "entry 'c': unknown dtype 'F8'"),
    "a negative extent": (_header(lambda h: h["c"].update(shape=[-2])), "expected a list of integers >= 0"),
    "another extent": (_header(lambda h: h["c"].update(shape=[3])), "takes 12 bytes, got 8"),
    "three offsets": (
        _header(lambda h: h["c"]["data_offsets"].append(9)),
        "data_offsets should be two numbers",
    ),
    "data at an odd place": (_header(_narrowed, b"\0\0" + _PAYLOAD), "should start at a multiple of"),
    "another format": (_header(lambda h: h["__metadata__"].update(format="pt")), "this is no qslim model"),
    "no format": (_header(lambda h: h["__metadata__"].pop("format")), "this is no qslim model"),
    "no metadata": (_header(lambda h: h.pop("__metadata__")), "this is no qslim model"),
    "no graph": (_header(lambda h: h["__metadata__"].pop("graph")), "the graph in .* is missing"),
    "a graph that is an object": (
        _header(lambda h: h["__metadata__"].update(graph={})),
        "the graph in .* is missing",
    ),
    "a graph that is a list": (_graph_text(lambda text: "[]"), "expected a JSON object"),
    "a graph that breaks off": (_graph_text(lambda text: text[:-1]), "is no JSON"),
    "a graph with more behind it": (_graph_text(lambda text: text + "1"), "is no JSON"),
    "a graph with NUL behind it": (_graph_text(lambda text: text + "\0 {}"), "is no JSON"),
    "a graph with a byte-order mark": (_graph_text(lambda text: "\ufeff" + text), "is no JSON"),
    "a header in UTF-16": (_pack(json.dumps(_HEADER).encode("utf-16")), "is no JSON"),
    "half a character": (
        _graph_text(lambda text: text.replace('"label": "', '"label": "\\ud800', 1)),
        "is no JSON",
    ),
    "not a number": (
        _graph_text(lambda text: text.replace('"format_version": 1', '"x": NaN', 1)),
        "is no JSON",
    ),
    "deep brackets": (_graph_text(lambda text: '{"a":' * 40 + "1" + "}" * 40), "nests more than 32 deep"),
    "an integer of 65 bits": (_graph(_attribute(2**64)), "holds the integer .*, which does not fit 64 bits"),
    "an integer of 64 bits without sign": (_graph(_attribute(2**63)), "which does not fit 64 bits"),
    "a newer version": (
        _graph(lambda g: g.update(format_version=3)),
        "format version 3, this qslim reads up to 2",
    ),
    "an older version": (
        _graph(lambda g: g.update(format_version=0)),
        "format_version: expected 1 to 2, got 0",
    ),
    "no outputs": (_graph(lambda g: g.update(outputs=[])), "the graph has no outputs"),
    "an output that is not there": (
        _graph(lambda g: g["outputs"].append("q")),
        "output 'q' is written by no node",
    ),
    "an input that is not there": (_graph(lambda g: g["inputs"].append("q")), "input 'q' is no tensor"),
    "an input that is a constant": (_graph(lambda g: g["inputs"].append("c")), "input 'c' is a constant"),
    "an input twice": (_graph(lambda g: g["inputs"].append("x")), "an input is named twice"),
    "a tensor twice": (
        _graph(lambda g: g["tensors"].append(g["tensors"][0])),
        "tensor 'x' is described twice",
    ),
    "a tensor without a name": (_graph(lambda g: g["tensors"][0].update(name="")), "not empty"),
    "a tensor with another key": (
        _graph(lambda g: g["tensors"][0].update(note=1)),
        "tensor 'x': unknown keys",
    ),
    "an unknown dtype": (
        _graph(lambda g: g["tensors"][0].update(dtype="f")),
        "tensor 'x': unknown dtype 'f'",
    ),
    "a shape that is a text": (
        _graph(lambda g: g["tensors"][0].update(shape="2")),
        "expected a list as shape",
    ),
    "a shape below zero": (_graph(lambda g: g["tensors"][0].update(shape=[-1])), "a list of integers >= 0"),
    "a constant of another shape": (
        _graph(lambda g: _tensor(g, "c").update(shape=[1, 2])),
        "another shape than",
    ),
    "a constant of another dtype": (
        _graph(lambda g: _tensor(g, "c").update(dtype="int32")),
        "dtype int32 expected, its entry has",
    ),
    "a quantized tensor that is no float": (
        _graph(lambda g: g["tensors"][0].update(dtype="int32", quantization=_GRID)),
        "is quantized, so its dtype must be float32",
    ),
    "a grid with another key": (_graph(_grid("w", note=1)), "quantization needs dtype, scale, zero_point"),
    "a grid of another dtype": (_graph(_grid("w", dtype="int16")), "its grid is one of int8, not 'int16'"),
    "a zero point outside": (_graph(_grid("w", zero_point=128)), "lies outside"),
    "an integer outside": (_graph(_grid("w", qmin=-5, qmax=5)), r"an integer lies outside \[-5, 5\]"),
    "unsigned integers stored signed": (
        _graph(_grid("w", qmin=0, qmax=255, dtype="uint8")),
        "integers of dtype uint8 expected",
    ),
    "scales that are not there": (_graph(_grid("w", scale="q")), "its scales 'q' should be a stored float32"),
    "scales without an axis": (_graph(_grid("w", quant_axis=None)), "one scale needs quant_axis null"),
    "one scale with an axis": (_graph(_grid("w", scale=0.5)), "one scale needs quant_axis null"),
    "scales along an axis that is not there": (
        _graph(_grid("w", quant_axis=2)),
        "scales along axis 2 do not fit",
    ),
    "a scale of zero": (
        _graph(lambda g: g["tensors"][0].update(quantization={**_GRID, "scale": 0.0})),
        "scale must be finite and > 0",
    ),
    "nodes out of order": (
        _graph(lambda g: g["nodes"].reverse()),
        "reads 'y', which no node before it writes",
    ),
    "a cycle": (_graph(_node(0, inputs=["y", "w"])), "reads 'y', which no node before it writes"),
    "a value written twice": (_graph(_node(2, outputs=["h"])), "writes 'h', which is written already"),
    "a node that writes a constant": (
        _graph(_node(2, outputs=["c"])),
        "writes 'c', which is written already",
    ),
    "a node that writes no tensor": (_graph(_node(2, outputs=["q"])), "writes 'q', which is no tensor"),
    "a node without outputs": (_graph(_node(3, outputs=[])), "has no outputs"),
    "a node without a label": (_graph(lambda g: g["nodes"][0].pop("label")), "label"),
    "attributes that are a list": (_graph(_node(0, attributes=[])), "expected an object as attributes"),
    "an attribute that is null": (_graph(_attribute(None)), "attribute 'a' has no valid value"),
    "an attribute that is true": (_graph(_attribute(True)), "attribute 'a' has no valid value"),
    "an attribute that is an object": (_graph(_attribute({})), "attribute 'a' has no valid value"),
    "an attribute of lists": (_graph(_attribute([[1], [2]])), "attribute 'a' has no valid value"),
    "an attribute of numbers and texts": (_graph(_attribute([1, "a"])), "attribute 'a' has no valid value"),
}


def test_the_whole_file_is_read_by_both() -> None:
    x = np.float32([[1, 2]])
    (y,) = _core.Session(_DATA).run([x])
    assert load_qslim(_DATA).outputs == ["y"]
    np.testing.assert_allclose(
        y, np.maximum(x @ np.float32([[0.5, -1.0], [0.25, 0.75]]) + [1, -2], 0), atol=0.05
    )


@pytest.mark.parametrize("name", BROKEN)
def test_both_readers_refuse_what_the_format_forbids(name: str) -> None:
    data, message = BROKEN[name]
    for read in (load_qslim, _core.Session):
        with pytest.raises(FormatError) as caught:
            read(data)
        assert re.search(message, str(caught.value)), f"{read}: {caught.value}"


def test_any_other_spelling_of_the_same_file_is_read_by_both() -> None:
    """Keys in another order, escapes, no padding, entries in another order, more metadata."""

    def respelled(header: dict[str, Any]) -> None:
        metadata = header.pop("__metadata__")
        names = sorted(header)
        entries = {name: header.pop(name) for name in names}
        header.update(entries)
        header["__metadata__"] = {"note": "\u00e9", **dict(sorted(metadata.items()))}

    data = _header(respelled)
    assert load_qslim(data).outputs == ["y"]
    assert _core.Session(data).run([np.zeros((1, 2), np.float32)])[0].shape == (1, 2)
