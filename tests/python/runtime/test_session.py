# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import qslim
from qslim.exporters import dumps_qslim, save_qslim
from qslim.graph import Graph, Node, QuantParams, Tensor
from qslim.runtime import Config, Session, create_predictor


def _graph(height: Any = None, width: Any = None) -> Graph:
    """Conv 3x3 in int8, Relu, mean, and a second output."""
    rng = np.random.default_rng(0)
    graph = Graph(inputs=["x"], outputs=["mean", "relu"])
    weight = rng.standard_normal((5, 3, 3, 3)).astype(np.float32)
    graph.add_tensor(Tensor("x", "float32", (None, 3, height, width)))
    graph.add_tensor(Tensor("w", "float32", weight.shape, weight))
    graph.add_tensor(Tensor("conv", "float32", (None, 5, height, width)))
    graph.add_tensor(Tensor("relu", "float32", (None, 5, height, width)))
    graph.add_tensor(Tensor("mean", "float32", (None, 5, 1, 1)))
    graph.add_node(Node("Conv", ["x", "w"], ["conv"], {"pads": [1, 1, 1, 1], "strides": [1, 1]}))
    graph.add_node(Node("Relu", ["conv"], ["relu"]))
    graph.add_node(Node("GlobalAveragePool", ["relu"], ["mean"]))
    graph.tensors["x"].quantization = QuantParams.activation(3.0, 8, False)
    graph.tensors["relu"].quantization = QuantParams.activation(9.0, 8, True)
    graph.tensors["w"].quantization = QuantParams.weight(np.abs(weight).max(axis=(1, 2, 3)), 8, 0)
    return graph


def _images(*shape: int) -> NDArray[Any]:
    return np.random.default_rng(1).standard_normal(shape).astype(np.float32)


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = str(tmp_path / "model.qslim")
    save_qslim(_graph(), path)
    return path


def test_files_directories_and_graphs(file: str) -> None:
    x = _images(1, 3, 6, 7)
    expected = Session(_graph()).run({"x": x})
    for model in (file, Path(file), os.path.dirname(file)):
        for a, b in zip(expected, Session(model).run({"x": x})):
            np.testing.assert_array_equal(a, b)


def test_names_pick_the_outputs(file: str) -> None:
    session = Session(file)
    x = {"x": _images(2, 3, 5, 5)}
    mean, relu = session.run(None, x)
    assert mean.shape == (2, 5, 1, 1)
    assert relu.shape == (2, 5, 5, 5)
    (only,) = session.run(["relu"], x)
    np.testing.assert_array_equal(only, relu)
    with pytest.raises(ValueError, match="no output 'nope'"):
        session.run(["nope"], x)


def test_extents_may_change(file: str) -> None:
    session = Session(file, num_threads=2)
    for size in (1, 2, 3, 9, 30, 4, 3, 2, 1, 64, 17, 5):
        x = _images(1, 3, size, size + 1)
        np.testing.assert_array_equal(session.run({"x": x})[1], Session(file).run({"x": x})[1])


def test_what_it_says_of_itself(file: str) -> None:
    session = Session(file, num_threads=1, isa="scalar")
    assert [(spec.name, spec.dtype, spec.shape) for spec in session.inputs] == [
        ("x", "float32", (None, 3, None, None))
    ]
    assert [spec.name for spec in session.outputs] == ["mean", "relu"]
    assert (session.num_threads, session.isa) == (1, "scalar")
    assert "scalar" in repr(session)
    session.run({"x": _images(1, 3, 8, 8)})
    assert session.memory["file_bytes"] == os.path.getsize(file)
    assert session.memory["arena_bytes"] > 0


def test_the_profile_names_every_layer(file: str) -> None:
    session = Session(file, num_threads=1)
    with pytest.raises(ValueError, match="open extents"):
        session.profile()
    profile = session.profile({"x": _images(1, 3, 16, 16)}, runs=3)
    conv = next(layer for layer in profile if layer.op.startswith("Conv"))
    assert conv.type == "int8"
    assert conv.macs == 16 * 16 * 5 * 27
    assert conv.seconds > 0
    assert "u8s8" in conv.kernel
    assert profile.macs == conv.macs
    assert all(layer.op in str(profile) for layer in profile)


def test_float_layers_say_why() -> None:
    graph = _graph()
    graph.tensors["x"].quantization = None
    profile = Session(graph).profile({"x": _images(1, 3, 4, 4)}, runs=1)
    assert [layer.reason for layer in profile if layer.op.startswith("Conv")] == [
        "its input is not quantized to 8 bits"
    ]


@pytest.mark.parametrize(
    ("feeds", "error", "message"),
    [
        ({"y": _images(1, 3, 4, 4)}, ValueError, r"expected feeds for \['x'\]"),
        ({}, ValueError, r"expected feeds for \['x'\]"),
        ({"x": _images(1, 4, 4, 4)}, ValueError, r"shape \(\?, 3, \?, \?\), got \(1, 4, 4, 4\)"),
        ({"x": _images(3, 4, 4)}, ValueError, "got .3, 4, 4."),
        ({"x": _images(0, 3, 4, 4)}, ValueError, "at least one element"),
        ({"x": np.zeros((1, 3, 4, 4), complex)}, TypeError, "must be float32, got complex128"),
        ([1, 2], TypeError, "dict of arrays"),
    ],
)
def test_bad_feeds(file: str, feeds: Any, error: type[Exception], message: str) -> None:
    session = Session(file)
    with pytest.raises(error, match=message):
        session.run(feeds)
    assert session.run({"x": _images(1, 3, 4, 4)})[0].shape == (1, 5, 1, 1)


def test_other_floats_and_strides_are_taken(file: str) -> None:
    session = Session(file)
    x = _images(1, 3, 6, 6)
    expected = session.run({"x": x})[1]
    np.testing.assert_array_equal(session.run({"x": x.astype(np.float64)})[1], expected)
    np.testing.assert_array_equal(session.run({"x": np.asfortranarray(x)})[1], expected)
    np.testing.assert_array_equal(session.run({"x": x.tolist()})[1], expected)


def test_bad_models(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cannot open model file"):
        Session(tmp_path / "missing.qslim")
    with pytest.raises(ValueError, match=r"expected one \.qslim file"):
        Session(tmp_path)
    data = dumps_qslim(_graph())
    for size in (0, 7, 8, 100, len(data) - 1):
        (tmp_path / "cut.qslim").write_bytes(data[:size])
        with pytest.raises(qslim.FormatError, match=r"cut\.qslim': "):
            Session(tmp_path / "cut.qslim")
    graph = _graph()
    graph.nodes[1].op_type = "Frobnicate"
    with pytest.raises(ValueError, match="no kernel for: Frobnicate"):
        Session(graph)
    with pytest.raises(ValueError, match="isa"):
        Session(_graph(), isa="mmx")
    with pytest.raises(ValueError, match="num_threads"):
        Session(_graph(), num_threads=0)


def test_threads_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QSLIM_NUM_THREADS", "3")
    assert Session(_graph()).num_threads == 3
    monkeypatch.setenv("QSLIM_NUM_THREADS", "many")
    with pytest.raises(ValueError, match="QSLIM_NUM_THREADS"):
        Session(_graph())


def test_several_threads_run_one_session(file: str) -> None:
    session = Session(file, num_threads=2)
    inputs = [_images(1 + i % 3, 3, 5 + i, 6) for i in range(8)]
    expected = [session.run({"x": x})[1] for x in inputs]
    problems: list[str] = []

    def work(first: int) -> None:
        for repeat in range(20):
            i = (first + repeat) % len(inputs)
            if not np.array_equal(session.run({"x": inputs[i]})[1], expected[i]):
                problems.append(f"input {i}")

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not problems


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_session_survives_fork(file: str) -> None:
    session = Session(file, num_threads=2)
    x = _images(4, 3, 9, 9)
    expected = session.run({"x": x})[1]
    child = os.fork()
    if child == 0:
        os._exit(0 if np.array_equal(session.run({"x": x})[1], expected) else 1)
    assert os.waitpid(child, 0)[1] == 0
    np.testing.assert_array_equal(session.run({"x": x})[1], expected)


def test_code_for_paddle_inference(file: str) -> None:
    config = Config(file.replace(".qslim", ".pdmodel"), file.replace(".qslim", ".pdiparams"))
    config.disable_gpu()
    config.enable_mkldnn()
    config.set_cpu_math_library_num_threads(2)
    predictor = create_predictor(config)
    assert predictor.get_input_names() == ["x"]
    x = _images(1, 3, 6, 6)
    handle = predictor.get_input_handle("x")
    handle.reshape(x.shape)
    handle.copy_from_cpu(x)
    predictor.run()
    expected = Session(file).run({"x": x})
    for name, want in zip(predictor.get_output_names(), expected):
        output = predictor.get_output_handle(name)
        assert output.shape() == list(want.shape)
        np.testing.assert_array_equal(output.copy_to_cpu(), want)
    np.testing.assert_array_equal(predictor.clone().run([x])[0], expected[0])
    with pytest.raises(ValueError, match="runs on the CPU"):
        config.enable_use_gpu(100, 0)
    with pytest.raises(ValueError, match="no input 'y'"):
        predictor.get_input_handle("y")
    with pytest.raises(ValueError, match="names no model"):
        create_predictor(Config())
