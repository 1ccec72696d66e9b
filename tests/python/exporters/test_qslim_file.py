# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import doctest
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import qslim.exporters.qslim_file
import qslim.importers.qslim_file
from qslim.exporters import dumps_qslim, save_qslim
from qslim.graph import Graph, Node, QuantParams, Tensor
from qslim.importers import FormatError, load_qslim


def _weight(bits: int = 8) -> tuple[np.ndarray, QuantParams]:
    value = np.random.default_rng(0).standard_normal((4, 3, 3, 3)).astype(np.float32)
    return value, QuantParams.weight(np.abs(value).max(axis=(1, 2, 3)), bits, 0)


def _graph(bits: int = 8) -> Graph:
    """One of each: a quantized weight, a bias, a quantized activation, constants of other types."""
    graph = Graph(inputs=["x"], outputs=["y", "s"])
    value, params = _weight(bits)
    graph.add_tensor(Tensor("x", "float32", (None, 3, 5, 5), None, QuantParams.activation(2.5, 8, False)))
    graph.add_tensor(Tensor("w", "float32", value.shape, value, params))
    graph.add_tensor(Tensor("b", "float32", (4,), np.float32([1, -1, 0.5, 1e-30])))
    graph.add_tensor(Tensor("c", "float32", (None, 4, 3, 3)))
    graph.add_tensor(Tensor("shape", "int64", (2,), np.int64([0, -1])))
    graph.add_tensor(Tensor("flag", "bool", (3,), np.array([True, False, True])))
    graph.add_tensor(Tensor("zero", "float32", (), np.float32(0.1)))
    graph.add_tensor(Tensor("nothing", "float32", (0, 3), np.zeros((0, 3), np.float32)))
    graph.add_tensor(Tensor("unused", "float32", (1,), np.ones(1, np.float32)))
    graph.add_tensor(Tensor("y", "float32", None, None, QuantParams.activation(6.0, 8, True)))
    graph.add_tensor(Tensor("s", "float32", (None, 36)))
    conv = {"strides": [1, 1], "pads": [0, 0, 0, 0], "group": 1, "auto_pad": "NOTSET", "flag": True}
    graph.add_node(Node("Conv", ["x", "w", "b"], ["c"], conv, source_op="conv2d", path="/net/conv/"))
    graph.add_node(
        Node("odd", ["c", "", "flag", "zero", "nothing"], ["y"], {"t": (1, 2), "o": None}, "paddle")
    )
    graph.add_node(Node("Reshape", ["c", "shape"], ["s"]))
    return graph


def _load_header(data: bytes) -> tuple[dict[str, Any], bytes]:
    size = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + size]), data[8 + size :]


def _with_header(header: dict[str, Any], payload: bytes) -> bytes:
    text = json.dumps(header).encode()
    text += b" " * (-(8 + len(text)) % 64)
    return len(text).to_bytes(8, "little") + text + payload


@pytest.mark.parametrize("module", [qslim.exporters.qslim_file, qslim.importers.qslim_file])
def test_examples_run(module: Any) -> None:
    result = doctest.testmod(module)
    assert result.attempted > 0
    assert result.failed == 0


@pytest.mark.parametrize("bits", [2, 4, 8, 16])
def test_a_graph_comes_back(bits: int, tmp_path: Path) -> None:
    graph = _graph(bits)
    path = tmp_path / "deep" / "model.qslim"
    save_qslim(graph, path)
    assert [p.name for p in path.parent.iterdir()] == ["model.qslim"]
    assert path.read_bytes() == dumps_qslim(graph)
    loaded = load_qslim(path)
    assert (loaded.inputs, loaded.outputs) == (graph.inputs, graph.outputs)
    assert list(loaded.tensors) == [name for name in graph.tensors if name != "unused"]
    for name, tensor in loaded.tensors.items():
        before = graph.tensors[name]
        assert (tensor.dtype, tensor.shape) == (before.dtype, before.shape), name
        assert repr(tensor.quantization) == repr(before.quantization), name
        if tensor.value is None or before.value is None:
            assert tensor.value is before.value, name
        elif tensor.quantization is None or bits > 8:
            np.testing.assert_array_equal(tensor.value, before.value)
        else:
            integers = before.quantization.quantize(before.value)
            np.testing.assert_array_equal(tensor.quantization.quantize(tensor.value), integers)
            np.testing.assert_array_equal(tensor.value, tensor.quantization.dequantize(integers))
    for node, before in zip(loaded.nodes, graph.nodes):
        assert (node.op_type, node.domain, node.inputs, node.outputs, node.label) == (
            before.op_type, before.domain, before.inputs, before.outputs, before.label,
        )  # fmt: skip
    assert loaded.nodes[0].attributes == {**graph.nodes[0].attributes, "flag": 1}
    assert loaded.nodes[1].attributes == {"t": [1, 2], "o": "None"}
    assert dumps_qslim(loaded) == dumps_qslim(graph) if bits <= 8 else True


def test_layout() -> None:
    data = dumps_qslim(_graph())
    header, payload = _load_header(data)
    assert (len(data) - len(payload)) % 64 == 0
    sizes = {"I64": 8, "F32": 4, "I8": 1, "BOOL": 1}
    position = 0
    for name, entry in list(header.items())[1:]:
        assert entry["data_offsets"][0] == position
        assert position % sizes[entry["dtype"]] == 0, name
        position = entry["data_offsets"][1]
    assert position == len(payload)
    assert header["w"] == {"dtype": "I8", "shape": [4, 3, 3, 3], "data_offsets": header["w"]["data_offsets"]}
    assert header["w//scale"]["shape"] == [4]
    assert "unused" not in header


def test_scale_entries_get_names_of_their_own() -> None:
    graph = _graph()
    graph.add_tensor(Tensor("w//scale", "int64", (), np.int64(3)))
    graph.add_tensor(Tensor("copy", "int64", ()))
    graph.add_node(Node("Identity", ["w//scale"], ["copy"]))
    loaded = load_qslim(dumps_qslim(graph))
    assert loaded.constant("w//scale") == 3
    np.testing.assert_array_equal(loaded.tensors["w"].quantization.scale, _weight()[1].scale)


def test_the_public_package_opens_it(tmp_path: Path) -> None:
    safetensors_numpy = pytest.importorskip("safetensors.numpy")
    graph = _graph()
    graph.nodes.pop(1)  # the package has trouble with no part of it but tensors of no elements
    save_qslim(graph, tmp_path / "model.qslim")
    entries = safetensors_numpy.load_file(tmp_path / "model.qslim")
    value, params = _weight()
    np.testing.assert_array_equal(entries["w"], params.quantize(value))
    np.testing.assert_array_equal(entries["w//scale"], params.scale)
    np.testing.assert_array_equal(entries["shape"], [0, -1])


def test_what_has_no_place_in_the_format_is_named(tmp_path: Path) -> None:
    graph = _graph()
    graph.nodes[0].attributes["value"] = np.inf
    with pytest.raises(ValueError, match=r"conv2d\(c\) has attribute 'value' = inf"):
        save_qslim(graph, tmp_path / "model.qslim")
    graph = _graph()
    graph.tensors["c"].dtype = "object"
    with pytest.raises(ValueError, match="tensor 'c' has dtype 'object'"):
        dumps_qslim(graph)
    with pytest.raises(ValueError, match="is a directory"):
        save_qslim(_graph(), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_lists_that_a_reader_would_refuse_are_not_written() -> None:
    graph = _graph()
    for odd in ([1, "a"], [[1], [2]]):
        graph.nodes[1].attributes["odd"] = odd
        assert load_qslim(dumps_qslim(graph)).nodes[1].attributes["odd"] == str(odd)
    graph.nodes[0].attributes["odd"] = [1, "a"]
    with pytest.raises(ValueError, match=r"conv2d\(c\) has attribute 'odd' = \[1, 'a'\]"):
        dumps_qslim(graph)
    graph = _graph()
    graph.nodes[2].outputs = []
    with pytest.raises(ValueError, match="has no outputs"):
        dumps_qslim(graph)


def test_nothing_is_left_when_writing_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: Any) -> Iterator[bytes]:
        yield b"half"
        raise OSError("disk full")

    path = tmp_path / "model.qslim"
    path.write_bytes(b"before")
    monkeypatch.setattr(qslim.exporters.qslim_file, "_raw", broken)
    with pytest.raises(OSError, match="disk full"):
        save_qslim(_graph(), path)
    assert [p.name for p in tmp_path.iterdir()] == ["model.qslim"]
    assert path.read_bytes() == b"before"


def test_damage_is_named_with_the_file(tmp_path: Path) -> None:
    path = tmp_path / "model.qslim"
    path.write_bytes(dumps_qslim(_graph())[:-5])
    with pytest.raises(FormatError, match=r"model.qslim': entry .* the file has \d+ bytes of data"):
        load_qslim(path)
    assert issubclass(FormatError, ValueError)


@pytest.mark.parametrize("keep", [0, 7, 8, 100, 2000])
def test_a_file_that_was_cut_short(keep: int) -> None:
    with pytest.raises(FormatError):
        load_qslim(dumps_qslim(_graph())[:keep])


def _graph_json(change: Callable[[dict[str, Any]], Any]) -> bytes:
    header, payload = _load_header(dumps_qslim(_graph()))
    graph = json.loads(header["__metadata__"]["graph"])
    change(graph)
    header["__metadata__"]["graph"] = json.dumps(graph)
    return _with_header(header, payload)


def _tensor(graph: dict[str, Any], name: str) -> dict[str, Any]:
    return next(tensor for tensor in graph["tensors"] if tensor["name"] == name)


_GRAPH_DAMAGE: list[tuple[str, Callable[[dict[str, Any]], Any]]] = [
    ("newer qslim", lambda g: g.update(format_version=3)),
    ("format_version: expected 1", lambda g: g.update(format_version="1")),
    ("no outputs", lambda g: g.update(outputs=[])),
    ("output 'q' is written by no node", lambda g: g["outputs"].append("q")),
    ("input 'q' is no tensor", lambda g: g["inputs"].append("q")),
    ("input 'w' is a constant", lambda g: g["inputs"].append("w")),
    ("which no node before it writes", lambda g: g["nodes"].reverse()),
    ("written already", lambda g: g["nodes"][2].update(outputs=["c"])),
    ("is no tensor of the graph", lambda g: g["nodes"][2].update(outputs=["r"])),
    ("is described twice", lambda g: g["tensors"].append(g["tensors"][0])),
    ("unknown dtype 'complex64'", lambda g: _tensor(g, "c").update(dtype="complex64")),
    ("expected a list as shape", lambda g: _tensor(g, "c").update(shape="3")),
    ("integers >= 0", lambda g: _tensor(g, "c").update(shape=[-1])),
    ("another shape than its entry", lambda g: _tensor(g, "w").update(shape=[3, 4, 3, 3])),
    ("dtype float64 expected", lambda g: _tensor(g, "b").update(dtype="float64")),
    ("quantization needs", lambda g: _tensor(g, "x").update(quantization={})),
    ("scale must be finite and > 0", lambda g: _tensor(g, "x")["quantization"].update(scale=-1.0)),
    ("scale must be finite and > 0", lambda g: _tensor(g, "x")["quantization"].update(scale=1e300)),
    ("does not fit 64 bits", lambda g: _tensor(g, "x")["quantization"].update(scale=10**400)),
    ("32-bit integers", lambda g: _tensor(g, "x")["quantization"].update(qmax=2**40)),
    ("its grid is one of int16", lambda g: _tensor(g, "x")["quantization"].update(qmax=300)),
    ("lies outside", lambda g: _tensor(g, "w")["quantization"].update(qmin=-1, qmax=1)),
    ("should be a stored float32 entry", lambda g: _tensor(g, "w")["quantization"].update(scale="q")),
    ("do not fit its shape", lambda g: _tensor(g, "w")["quantization"].update(quant_axis=1)),
    ("bad quant_axis", lambda g: _tensor(g, "w")["quantization"].update(quant_axis=-1)),
    ("has no valid value", lambda g: g["nodes"][0]["attributes"].update(group=None)),
    ("does not fit 64 bits", lambda g: g["nodes"][0]["attributes"].update(group=2**70)),
    ("needs op_type", lambda g: g["nodes"][0].pop("op_type")),
]


@pytest.mark.parametrize(("message", "change"), _GRAPH_DAMAGE)
def test_a_graph_that_cannot_be(message: str, change: Callable[[dict[str, Any]], Any]) -> None:
    with pytest.raises(FormatError, match=message):
        load_qslim(_graph_json(change))


def test_an_entry_that_nobody_reads() -> None:
    header, payload = _load_header(dumps_qslim(_graph()))
    header["unread"] = {"dtype": "I8", "shape": [1], "data_offsets": [len(payload), len(payload) + 1]}
    with pytest.raises(FormatError, match=r"no tensor of the graph has the stored entries \['unread'\]"):
        load_qslim(_with_header(header, payload + b"\0"))


def _change_header(change: Callable[[dict[str, Any]], Any]) -> bytes:
    header, payload = _load_header(dumps_qslim(_graph()))
    change(header)
    return _with_header(header, payload)


@pytest.mark.parametrize(
    ("message", "change"),
    [
        ("this is no qslim model", lambda h: h.pop("__metadata__")),
        ("this is no qslim model", lambda h: h["__metadata__"].update(format="pt")),
        ("the graph in .* is missing", lambda h: h["__metadata__"].pop("graph")),
        ("nests more than 32 deep", lambda h: h["__metadata__"].update(graph="[" * 100_000)),
        ("expected a JSON object", lambda h: h["__metadata__"].update(graph="[]")),
        ("holds NaN", lambda h: h["__metadata__"].update(graph='{"a": NaN}')),
        ("names a key twice", lambda h: h["__metadata__"].update(graph='{"a": 1, "a": 2}')),
        ("expected dtype, shape", lambda h: h["w"].pop("shape")),
        ("unknown dtype 'F8'", lambda h: h["w"].update(dtype="F8")),
        ("takes 8589934592 bytes", lambda h: h["b"].update(shape=[2**31])),
        ("list of integers >= 0", lambda h: h["b"].update(shape=[-4])),
        ("it was cut short", lambda h: h["w"].update(data_offsets=[0, 10**9])),
        ("but the one before ends at", lambda h: h["b"].update(data_offsets=h["w//scale"]["data_offsets"])),
    ],
)
def test_a_header_that_cannot_be(message: str, change: Callable[[dict[str, Any]], Any]) -> None:
    with pytest.raises(FormatError, match=message):
        load_qslim(_change_header(change))


@given(st.data())
def test_no_byte_can_do_more_than_raise(data: st.DataObject) -> None:
    original = bytearray(dumps_qslim(_graph()))
    for _ in range(data.draw(st.integers(1, 4))):
        original[data.draw(st.integers(0, len(original) - 1))] = data.draw(st.integers(0, 255))
    try:
        graph = load_qslim(bytes(original))
    except FormatError:
        return
    dumps_qslim(graph)  # what was accepted is a whole graph
