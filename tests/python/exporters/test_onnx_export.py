# SPDX-License-Identifier: Apache-2.0
"""Exported models against the simulation, in ONNX Runtime."""

from __future__ import annotations

import builtins
import doctest
import importlib
from pathlib import Path
from typing import Any, Callable

import numpy as np
import onnx
import pytest
from small_networks import images, save_network, small_network

from qslim.exporters import export_onnx
from qslim.graph import Graph, Node, QuantParams, Tensor, evaluate
from qslim.graph.passes import non_negative_tensors, prepare_for_runtime
from qslim.importers.paddle import find_model_files, load_program

_F = np.float32


def _run(
    path: Path, feeds: dict[str, np.ndarray], names: list[str], *, fuses: bool = False
) -> list[np.ndarray]:
    onnxruntime = pytest.importorskip("onnxruntime")
    options = onnxruntime.SessionOptions()
    # Its fusions would compute in their own way what is compared here step by step.
    if not fuses:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    result: list[np.ndarray] = session.run(names, feeds)
    return result


def _network(tmp_path: Path, bits: int | None = None) -> Graph:
    """The small network, every product's operands and result quantized to `bits`."""
    program = load_program(find_model_files(save_network(small_network(), str(tmp_path), "pir")))
    graph = prepare_for_runtime(program.graph)
    if bits is None:
        return graph
    unsigned = non_negative_tensors(graph)
    names = [name for name, tensor in graph.tensors.items() if not tensor.is_constant]
    values = evaluate(graph, {"image": images(4)}, names)
    for node in graph.nodes:
        if node.op_type not in ("Conv", "ConvTranspose", "MatMul"):
            continue
        weight = graph.tensors[node.inputs[1]]
        assert weight.value is not None
        axis = 0 if node.op_type == "Conv" else 1
        others = tuple(i for i in range(weight.value.ndim) if i != axis)
        weight.quantization = QuantParams.weight(np.abs(weight.value).max(axis=others), bits, axis)
        for name in (node.inputs[0], node.outputs[0], *graph.outputs):
            threshold = float(np.abs(values[name]).max())
            graph.tensors[name].quantization = QuantParams.activation(threshold, bits, name in unsigned)
    return graph


def test_examples_run() -> None:
    result = doctest.testmod(importlib.import_module("qslim.exporters.onnx"))
    assert result.attempted > 0
    assert result.failed == 0


@pytest.mark.parametrize("opset", [17, 18, 19, 20, 21])
def test_a_float_model_computes_the_same(opset: int, tmp_path: Path) -> None:
    graph = _network(tmp_path)
    path = tmp_path / "model.onnx"
    export_onnx(graph, path, opset=opset)
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    assert model.opset_import[0].version == opset
    assert "QuantizeLinear" not in {node.op_type for node in model.graph.node}
    x = {"image": images(3)}
    # Sums of at most 72 products of magnitude 10.
    (expected,) = evaluate(graph, x).values()
    np.testing.assert_allclose(_run(path, x, graph.outputs)[0], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_a_quantized_network_stays_on_the_simulation(bits: int, tmp_path: Path) -> None:
    graph = _network(tmp_path, bits)
    path = tmp_path / "model.onnx"
    export_onnx(graph, path)
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    grids = {
        name: t.quantization for name, t in graph.tensors.items() if t.quantization and not t.is_constant
    }
    (output,) = graph.outputs
    assert output in grids
    kinds = [node.op_type for node in model.graph.node]
    assert kinds.count("QuantizeLinear") == len(grids)
    assert kinds.count("DequantizeLinear") == len(grids) + 5  # as many weights
    stored = {item.name: onnx.numpy_helper.to_array(item) for item in model.graph.initializer}
    for name, tensor in graph.tensors.items():
        if tensor.quantization and tensor.value is not None:
            np.testing.assert_array_equal(stored[name], tensor.quantization.quantize(tensor.value))
    x = {"image": images(64)}
    readers = {name: name if name == output else name + ".dequantized" for name in grids}
    del model.graph.output[:]
    model.graph.output.extend(
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in readers.values()
    )
    onnx.save(model, path)
    got = _run(path, x, list(readers.values()))
    expected = evaluate(graph, x, list(grids))
    for name, value in zip(grids, got):
        params = grids[name]
        assert params is not None
        steps = (value - expected[name]) / params.scale
        np.testing.assert_allclose(steps, np.rint(steps), atol=1e-3)
    # A rounding that falls on the other side moves what is computed from it. Quantization must do far more.
    (floats,) = evaluate(_network(tmp_path / "float"), x).values()
    from_simulation = np.abs(got[list(grids).index(output)] - expected[output]).mean()
    assert from_simulation < 0.01 * np.abs(expected[output] - floats).mean()


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("kind", ["Conv", "ConvTranspose"])
@pytest.mark.parametrize("clamp", [None, "Relu", "Clip"])
def test_integers_of_one_operator_differ_by_a_step_at_most(
    bits: int, kind: str, clamp: str | None, tmp_path: Path
) -> None:
    rng = np.random.default_rng(bits)
    graph = Graph(inputs=["x"], outputs=["y"])
    weight = rng.standard_normal((3, 3, 3, 3)).astype(_F)
    axis = 0 if kind == "Conv" else 1
    params = QuantParams.weight(np.abs(weight).max(axis=(1 - axis, 2, 3)), bits, axis)
    graph.add_tensor(Tensor("x", "float32", (None, 3, 16, 16), None, QuantParams.activation(2.0, 8, False)))
    graph.add_tensor(Tensor("w", "float32", weight.shape, weight, params))
    graph.add_tensor(Tensor("b", "float32", (3,), rng.standard_normal(3).astype(_F)))
    graph.add_tensor(Tensor("low", "float32", (), _F(-0.3)))
    graph.add_tensor(Tensor("high", "float32", (), _F(6.0)))
    y = QuantParams.activation(8.0, bits, clamp == "Relu")
    graph.add_tensor(Tensor("y", "float32", (None, 3, None, None), None, y))
    target = "y"
    if clamp is not None:
        target = "c"
        graph.add_tensor(Tensor("c", "float32", (None, 3, None, None)))
    graph.add_node(Node(kind, ["x", "w", "b"], [target], {"strides": [2, 2], "pads": [1, 1, 1, 1]}))
    if clamp is not None:
        graph.add_node(Node(clamp, ["c", "low", "high"] if clamp == "Clip" else ["c"], ["y"]))
    export_onnx(graph, tmp_path / "model.onnx")
    x = {"x": images(8)}
    got = _run(tmp_path / "model.onnx", x, ["y"])[0]
    steps = np.abs(got - evaluate(graph, x)["y"]) / y.scale
    assert steps.max() < 1.001
    # A float sum of 27 products is off by some 2^-20 of a step, and few values lie so close to a tie.
    assert np.mean(steps > 0.5) < 1e-3


def test_a_runtime_that_rounds_biases_finds_room_for_them(tmp_path: Path) -> None:
    value = np.ones((3, 4, 1, 1), _F)
    value[1] = 0
    # Of the second channel's steps a bias of 1.75 takes more than 2^31.
    params = QuantParams.weight(np.maximum(np.abs(value).max(axis=(1, 2, 3)), _F(1e-8)), 8, 0)
    y = QuantParams.activation(4.0, 8, False)
    graph = Graph(inputs=["x"], outputs=["y"])
    graph.add_tensor(Tensor("x", "float32", (None, 4, 8, 8), None, QuantParams.activation(2.0, 8, False)))
    graph.add_tensor(Tensor("w", "float32", value.shape, value, params))
    graph.add_tensor(Tensor("b", "float32", (3,), _F([0.25, 1.75, -0.5])))
    graph.add_tensor(Tensor("y", "float32", (None, 3, 8, 8), None, y))
    graph.add_node(Node("Conv", ["x", "w", "b"], ["y"], {"strides": [1, 1], "pads": [0, 0, 0, 0]}))
    export_onnx(graph, tmp_path / "model.onnx")
    assert graph.tensors["w"].quantization is params  # its own steps stay
    x = {"x": np.random.default_rng(0).standard_normal((1, 4, 8, 8)).astype(_F)}
    for fuses in (False, True):
        (got,) = _run(tmp_path / "model.onnx", x, ["y"], fuses=fuses)
        assert (got[:, 1] == y.dequantize(y.quantize(_F([1.75])))).all(), fuses


def _small(op_type: str, inputs: list[str], **attributes: Any) -> Graph:
    graph = Graph(inputs=["x"], outputs=["y"])
    graph.add_tensor(Tensor("x", "float32", (None, 3, 4, 4)))
    graph.add_tensor(Tensor("y", "float32", (None, None, None, None)))
    graph.add_tensor(Tensor("axes", "int64", (2,), np.int64([2, 3])))
    graph.add_tensor(Tensor("scales", "float32", (2,), _F([2, 3])))
    graph.add_node(Node(op_type, inputs, ["y"], attributes))
    return graph


@pytest.mark.parametrize(("opset", "expected"), [(17, b"bilinear"), (20, b"linear")])
def test_modes_of_GridSample_are_the_opset_s(opset: int, expected: bytes, tmp_path: Path) -> None:
    graph = Graph(inputs=["x", "grid"], outputs=["y"])
    for name, shape in (("x", (1, 2, 4, 4)), ("grid", (1, 3, 3, 2)), ("y", (1, 2, 3, 3))):
        graph.add_tensor(Tensor(name, "float32", shape))
    graph.add_node(Node("GridSample", ["x", "grid"], ["y"], {"mode": "linear"}))
    export_onnx(graph, tmp_path / "model.onnx", opset=opset)
    (node,) = onnx.load(tmp_path / "model.onnx").graph.node
    assert [attribute.s for attribute in node.attribute if attribute.name == "mode"] == [expected]
    rng = np.random.default_rng(0)
    feeds = {
        "x": rng.standard_normal((1, 2, 4, 4)).astype(_F),
        "grid": rng.uniform(-1, 1, (1, 3, 3, 2)).astype(_F),
    }
    got = _run(tmp_path / "model.onnx", feeds, ["y"])[0]
    np.testing.assert_allclose(got, evaluate(graph, feeds)["y"], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("opset", [17, 21])
@pytest.mark.parametrize(
    "build",
    [
        lambda: _small("ReduceMean", ["x", "axes"], keepdims=1),
        lambda: _small(
            "Resize",
            ["x", "", "scales"],
            axes=[2, 3],
            mode="linear",
            coordinate_transformation_mode="half_pixel",
        ),
    ],
)
def test_older_opsets_write_it_their_way(build: Callable[[], Graph], opset: int, tmp_path: Path) -> None:
    graph = build()
    export_onnx(graph, tmp_path / "model.onnx", opset=opset)
    x = {"x": images(2, size=4)}
    got = _run(tmp_path / "model.onnx", x, ["y"])[0]
    np.testing.assert_allclose(got, evaluate(graph, x)["y"], rtol=1e-5, atol=1e-6)
    # A Resize that names its axes is valid from opset 18, and ONNX Runtime stumbles over a quantized one.
    (node,) = onnx.load(tmp_path / "model.onnx").graph.node
    assert node.op_type != "Resize" or "axes" not in {attribute.name for attribute in node.attribute}


def test_quantized_inputs_and_sixteen_bits(tmp_path: Path) -> None:
    graph = _small("Relu", ["x"])
    graph.tensors["x"].quantization = QuantParams.activation(2.0, 8, False)
    graph.tensors["y"].quantization = QuantParams.activation(1.5, 12, True)
    export_onnx(graph, tmp_path / "model.onnx")
    x = {"x": images(2, size=4)}
    got = _run(tmp_path / "model.onnx", x, ["y"])[0]
    np.testing.assert_allclose(got, evaluate(graph, x)["y"], atol=1.5 / 4095 * 1.01)
    with pytest.raises(ValueError, match="tensor 'y' is quantized to uint16, which opset 20"):
        export_onnx(graph, tmp_path / "other.onnx", opset=20)


def test_what_onnx_cannot_say_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "model.onnx"
    graph = _small("Relu", ["x"])
    graph.nodes[0].domain = "paddle"
    with pytest.raises(ValueError, match=r"Relu\(y\) is paddle's own operator 'Relu'"):
        export_onnx(graph, path)
    with pytest.raises(ValueError, match="opset: expected 17 to 21, got 16"):
        export_onnx(graph, path, opset=16)
    with pytest.raises(ValueError, match=r"Mish\(y\) \(Mish\) needs opset 18, got opset=17"):
        export_onnx(_small("Mish", ["x"]), path, opset=17)
    with pytest.raises(ValueError, match="ONNX refuses the model"):
        export_onnx(_small("NoSuchOperator", ["x"]), path)
    graph = _small("Relu", ["x"])
    graph.outputs = ["x"]
    with pytest.raises(ValueError, match="output 'x' is an input or a constant"):
        export_onnx(graph, path)
    assert list(tmp_path.iterdir()) == []
    real_import = builtins.__import__

    def without_onnx(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "onnx":
            raise ImportError(name)
        return real_import(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without_onnx)
    with pytest.raises(ImportError, match=r"pip install 'qslim\[onnx\]'"):
        export_onnx(_small("Relu", ["x"]), path)
