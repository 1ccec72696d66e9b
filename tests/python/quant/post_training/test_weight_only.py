# SPDX-License-Identifier: Apache-2.0
"""Linear layers and embeddings whose weights alone are integers, from quant_post_dynamic to the engine."""

from __future__ import annotations

import contextlib
import os
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import paddle
import pytest
from paddle import nn
from small_networks import IRS, dygraph

import qslim as slim
from qslim import _core
from qslim.exporters import dumps_qslim, export_onnx
from qslim.graph import Graph, Node, QuantParams, Tensor, evaluate
from qslim.graph.passes import prepare_for_runtime, quantize_dynamically
from qslim.graph.passes.merge_quantizers import same_params
from qslim.graph.weight_only import multiply_weight_only
from qslim.importers import load_qslim
from qslim.importers.paddle import find_model_files, load_program
from qslim.quant.post_training.group_scales import group_params
from qslim.runtime import Session

_F = np.float32
LAYERS = ["mul", "embedding"]


class Encoder(nn.Layer):
    """A table and two linear layers whose inner extent, 70, no size of groups divides."""

    def __init__(self, padding_idx: int | None = None) -> None:
        super().__init__()
        self.words = nn.Embedding(200, 70, padding_idx=padding_idx)
        self.wide = nn.Linear(70, 90)
        self.head = nn.Linear(90, 9, bias_attr=False)

    def forward(self, ids: Any) -> Any:
        return self.head(nn.functional.relu(self.wide(self.words(ids))))


def _ids(count: int, seed: int = 0) -> dict[str, np.ndarray]:
    return {"ids": np.random.default_rng(seed).integers(0, 200, (count, 5))}


def _save(net: nn.Layer, directory: Path, ir: str) -> str:
    spec = [paddle.static.InputSpec([None, 5], "int64", "ids")]
    guard = paddle.pir_utils.OldIrGuard() if ir == "legacy" else contextlib.nullcontext()
    with dygraph(), guard:
        paddle.jit.save(net, str(directory / "model"), input_spec=spec)
    return str(directory)


@pytest.fixture(scope="module", params=IRS)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    paddle.seed(3)
    return _save(Encoder().eval(), tmp_path_factory.mktemp(request.param), request.param)


def _run_paddle(directory: str, feeds: dict[str, np.ndarray]) -> np.ndarray:
    return load_program(find_model_files(directory)).run_outputs(feeds)[0]


def _expect_engine_equals_simulation(file: str, feeds: dict[str, np.ndarray]) -> np.ndarray:
    graph = load_qslim(file)
    [expected] = evaluate(graph, feeds).values()
    for isa in _core.available_isas():
        for threads in (1, 2):
            [got] = Session(file, num_threads=threads, isa=isa).run(feeds)
            np.testing.assert_array_equal(got, expected, err_msg=f"{isa}, {threads} threads")
    return expected


@pytest.mark.parametrize(
    ("options", "error", "size"),
    [
        ({"weight_bits": 8}, 0.01, 0.29),
        ({"weight_bits": 8, "group_size": 32}, 0.01, 0.33),
        ({"weight_bits": 4, "group_size": 64}, 0.15, 0.18),
        ({"weight_bits": 4}, 0.2, 0.17),
    ],
    ids=str,
)
def test_a_network_runs_with_integers(
    model: str, tmp_path: Path, options: dict[str, Any], error: float, size: float
) -> None:
    report = slim.quant.quant_post_dynamic(model, str(tmp_path), quantizable_op_type=LAYERS, **options)
    assert len(report.weights) == 3
    directory = str(tmp_path / "quantized_model")
    file = os.path.join(directory, "model.qslim")
    for count in (1, 7):  # 5 rows of linear layers, and 35
        feeds = _ids(count)
        got = _expect_engine_equals_simulation(file, feeds)
        expected = _run_paddle(model, feeds)
        assert np.abs(got - expected).max() < error * np.abs(expected).max()
        # Paddle sums in another order: 2 * 90 roundings of sums of that size.
        np.testing.assert_allclose(
            _run_paddle(directory, feeds), got, rtol=0, atol=180 * 2e-7 * np.abs(got).max()
        )
    kernels = {row.kernel for row in Session(file).profile(_ids(1), runs=1)}
    assert "gather_dequantized" in kernels
    assert any(kernel.startswith(f"weight_only_s{options['weight_bits']}") for kernel in kernels)
    floats = 4 * (200 * 70 + 70 * 90 + 90 * 9)
    assert os.path.getsize(file) - 3000 < size * floats  # 3000: names, shapes and the bias


def test_the_paddle_model_is_read_back_with_its_integers(model: str, tmp_path: Path) -> None:
    slim.quant.quant_post_dynamic(
        model, str(tmp_path), quantizable_op_type=LAYERS, weight_bits=4, group_size=32
    )
    directory = str(tmp_path / "quantized_model")
    written = load_qslim(os.path.join(directory, "model.qslim"))
    read = prepare_for_runtime(load_program(find_model_files(directory)).graph)
    quantized = {name: tensor for name, tensor in written.tensors.items() if tensor.quantization is not None}
    assert len(quantized) == 3
    for name, tensor in quantized.items():
        other = read.tensors[name]
        assert tensor.quantization is not None
        assert other.quantization is not None
        assert same_params(other.quantization, tensor.quantization)
        np.testing.assert_array_equal(other.value, tensor.value)


def test_rows_of_padding_stay_zero(tmp_path: Path) -> None:
    net = Encoder(padding_idx=3).eval()
    with dygraph():
        net.words.weight.set_value(np.ones((200, 70), _F))
    directory = _save(net, tmp_path, "pir")
    slim.quant.quant_post_dynamic(directory, str(tmp_path / "out"), quantizable_op_type=LAYERS)
    feeds = {"ids": np.int64([[0, 3, 3, 1, 2]])}
    expected = _run_paddle(directory, feeds)
    quantized = str(tmp_path / "out" / "quantized_model")
    for got in (_run_paddle(quantized, feeds), Session(os.path.join(quantized, "model.qslim")).run(feeds)[0]):
        assert np.abs(got - expected).max() < 0.01 * np.abs(expected).max()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"group_size": 48}, "group_size: expected None, 32, 64, 128, got 48"),
        ({"group_size": True}, "group_size"),
        ({"group_size": 64, "weight_bits": 16}, "needs no groups"),
        ({"weight_bits": 1}, "weight_bits: expected 2 to 8, or 16, got 1"),
        ({"weight_bits": 9}, "weight_bits"),
    ],
    ids=str,
)
def test_bad_input(model: str, tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        slim.quant.quant_post_dynamic(model, str(tmp_path / "out"), **options)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_weights_that_are_no_numbers(tmp_path: Path, value: float) -> None:
    net = Encoder().eval()
    with dygraph():
        weight = net.wide.weight.numpy()
        weight[3, 4] = value
        net.wide.weight.set_value(weight)
    directory = _save(net, tmp_path, "pir")
    with pytest.raises(ValueError, match="holds NaN or infinite values"):
        slim.quant.quant_post_dynamic(directory, str(tmp_path / "out"), weight_bits=4, group_size=32)
    assert not (tmp_path / "out").exists()


# ---- scales of groups ----


@pytest.mark.parametrize("quant_axis", [0, 1])
def test_scales_have_no_larger_error_than_any_of_many(quant_axis: int) -> None:
    weight = np.random.default_rng(0).laplace(size=(37, 70)).astype(_F)
    weight[:, 5] = 0
    weight[5] = 0
    params = group_params(weight, 4, quant_axis, 32)
    error = np.float64(weight - params.dequantize(params.quantize(weight))) ** 2
    channels, errors = (np.moveaxis(array, quant_axis, 0) for array in (weight, error))
    ratios = []
    for channel, found in zip(channels, errors):
        for first in range(0, len(channel), 32):
            group = np.float64(channel[first : first + 32])
            if not group.any():
                assert found[first : first + 32].max() == 0
                continue
            least = min(
                ((group - scale * np.clip(np.rint(group / scale), -7, 7)) ** 2).sum()
                for scale in np.abs(group).max() / 7 * np.linspace(0.3, 1.1, 400)
            )
            ratios.append(found[first : first + 32].sum() / least)
            if len(group) > 8:
                absmax = np.abs(group).max() / 7
                plain = ((group - absmax * np.rint(group / absmax)) ** 2).sum()
                assert found[first : first + 32].sum() <= plain * (1 + 1e-5)
    assert np.mean(ratios) < 1.05


# ---- the simulation ----


def _fused(a: np.float32, b: np.float32, c: np.float32) -> np.float32:
    """Return a * b + c rounded once, in rational arithmetic."""
    exact = Fraction(float(a)) * Fraction(float(b)) + Fraction(float(c))
    near = _F(float(exact))
    candidates = [near, np.nextafter(near, _F(np.inf)), np.nextafter(near, _F(-np.inf))]
    return min(candidates, key=lambda f: (abs(Fraction(float(f)) - exact), int(f.view(np.int32)) & 1))


def test_sums_are_chains_of_fused_multiply_adds() -> None:
    rng = np.random.default_rng(1)
    x = (rng.standard_normal((4, 30)) * 2.0 ** rng.integers(-20, 20, (4, 30))).astype(_F)
    weight = rng.standard_normal((30, 5)).astype(_F)
    # 1 + 2^-23 + (2^-24 - 2^-70): a sum in float64 loses the last term, and the tie then goes the wrong way.
    x = np.vstack([x, np.zeros((1, 30), _F)])
    x[4, :2] = 1, _F(2**-24) * (1 + _F(2**-23))
    weight[:2, 0] = 1 + _F(2**-23), 1 - _F(2**-23)
    got = multiply_weight_only(Node("MatMul", ["x", "w"], ["y"]), [x, weight])
    for m in range(5):
        for n in range(5):
            acc = _F(0)
            for k in range(30):
                acc = _fused(x[m, k], weight[k, n], acc)
            assert got[m, n] == acc
    assert got[4, 0] == 1 + _F(2**-23)


def _linear(params: QuantParams, weight: np.ndarray, x_params: QuantParams | None = None) -> Graph:
    graph = Graph(inputs=["x"], outputs=["y"])
    graph.add_tensor(Tensor("x", "float32", (None, weight.shape[0]), None, x_params))
    graph.add_tensor(Tensor("y", "float32", (None, weight.shape[1])))
    graph.add_tensor(Tensor("w", "float32", weight.shape, weight, params))
    graph.add_node(Node("MatMul", ["x", "w"], ["y"]))
    return graph


@pytest.mark.parametrize("rows", [1, 3, 17])
@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_odd_layers(rows: int, bits: int) -> None:
    rng = np.random.default_rng(bits)
    weight = rng.standard_normal((45, 19)).astype(_F)
    weight[:, 3] = 0
    x = rng.standard_normal((rows, 45)).astype(_F)
    x[rows // 2 :, 7] = 0
    # Quantized data in front of groups is read as real values.
    for x_params in (None, QuantParams.activation(2.0, 8, False)):
        graph = _linear(group_params(weight, bits, 1, 32), weight, x_params)
        assert load_qslim(dumps_qslim(graph)).tensors["w"].quantization is not None
        [expected] = evaluate(graph, {"x": x}).values()
        for isa in _core.available_isas():
            np.testing.assert_array_equal(Session(graph, 1, isa).run({"x": x})[0], expected)


def test_a_folded_transpose_keeps_its_groups() -> None:
    weight = np.random.default_rng(0).standard_normal((6, 70)).astype(_F)
    graph = Graph(inputs=["x"], outputs=["y"])
    for name, shape in (("x", (None, 70)), ("t", (70, 6)), ("y", (None, 6))):
        graph.add_tensor(Tensor(name, "float32", shape))
    graph.add_tensor(Tensor("w", "float32", (6, 70), weight, group_params(weight, 4, 0, 32)))
    graph.add_node(Node("Transpose", ["w"], ["t"], {"perm": [1, 0]}))
    graph.add_node(Node("MatMul", ["x", "t"], ["y"]))
    prepared = prepare_for_runtime(graph)
    params = prepared.tensors["t"].quantization
    assert params is not None
    assert (params.quant_axis, params.group_size, params.scale.shape) == (1, 32, (3, 6))
    x = np.random.default_rng(1).standard_normal((2, 70)).astype(_F)
    [got], [expected] = Session(prepared).run({"x": x}), evaluate(graph, {"x": x}).values()
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)


def test_groups_in_onnx(tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    weight = np.random.default_rng(0).standard_normal((64, 6)).astype(_F)
    graph = _linear(group_params(weight, 8, 1, 32), weight)
    with pytest.raises(ValueError, match="needs opset 21, got opset=17"):
        export_onnx(graph, tmp_path / "old.onnx", opset=17)
    export_onnx(graph, tmp_path / "new.onnx", opset=21)
    x = np.random.default_rng(1).standard_normal((2, 64)).astype(_F)
    [expected] = evaluate(graph, {"x": x}).values()
    options = onnxruntime.SessionOptions()
    # Its fusion would round the data as well.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(str(tmp_path / "new.onnx"), options)
    [got] = session.run(None, {"x": x})
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)


# ---- data that is measured in the run ----


def _measured(x: np.ndarray, weight: np.ndarray, scale: np.ndarray, per_row: bool) -> np.ndarray:
    """A plain computation of the formula of dynamic_quantization.py."""
    threshold = np.maximum(np.abs(x).max(axis=-1 if per_row else None, keepdims=True), _F(1e-8))
    q = np.clip(np.rint(x * (_F(127) / threshold)), -127, 127)
    sums = q.astype(np.int64) @ np.rint(weight / scale).astype(np.int64)
    return sums.astype(_F) * scale * (threshold / _F(127))


@pytest.mark.parametrize("per_row", [True, False])
def test_measured_data_equals_a_plain_computation(per_row: bool) -> None:
    rng = np.random.default_rng(0)
    scale = rng.uniform(0.001, 0.1, 19).astype(_F)
    weight = (rng.integers(-127, 128, (45, 19)) * scale).astype(_F)
    graph = _linear(QuantParams(scale, 0, -127, 127, 1), weight)
    assert len(quantize_dynamically(graph, graph.nodes, per_row=per_row)) == 1
    x = (rng.standard_normal((23, 45)) * 10.0 ** rng.integers(-3, 4, (23, 1))).astype(_F)
    x[4] = 0
    expected = _measured(x, weight, scale, per_row)
    np.testing.assert_array_equal(evaluate(graph, {"x": x})["y"], expected)
    for isa in _core.available_isas():
        np.testing.assert_array_equal(Session(graph, 2, isa).run({"x": x})[0], expected)
    if per_row:  # a row by itself gives what it gives in its batch
        np.testing.assert_array_equal(Session(graph).run({"x": x[9:10]})[0], expected[9:10])
    types = {row.type for row in Session(graph).profile({"x": x}, runs=1) if row.macs}
    assert types == {"int8"}


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_rows_that_are_no_numbers_have_no_numbers(value: float) -> None:
    weight = np.eye(4, dtype=_F)
    graph = _linear(QuantParams.weight(np.ones(4), 8, 1), weight)
    quantize_dynamically(graph, graph.nodes, per_row=True)
    x = np.ones((3, 4), _F)
    x[1, 2] = value
    for got in (evaluate(graph, {"x": x})["y"], Session(graph).run({"x": x})[0]):
        assert not np.isfinite(got[1]).any()
        np.testing.assert_array_equal(got[[0, 2]], np.ones((2, 4), _F))


@pytest.mark.parametrize("activation", ["per_token", "per_tensor"])
def test_a_network_computes_in_int8_without_calibration(model: str, tmp_path: Path, activation: str) -> None:
    slim.quant.quant_post_dynamic(model, str(tmp_path), quantizable_op_type=LAYERS, activation=activation)
    file = os.path.join(str(tmp_path), "quantized_model", "model.qslim")
    feeds = _ids(7)
    got = _expect_engine_equals_simulation(file, feeds)
    expected = _run_paddle(model, feeds)
    assert np.abs(got - expected).max() < 0.03 * np.abs(expected).max()
    assert {row.type for row in Session(file).profile(feeds, runs=1) if row.macs} == {"int8"}
    # Both files are of one network: the directory's runs as well.
    np.testing.assert_array_equal(Session(str(tmp_path / "quantized_model")).run(feeds)[0], got)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"activation": "per_row"}, "activation"),
        ({"activation": "per_token", "group_size": 64}, "no group_size"),
        ({"activation": "per_tensor", "weight_bits": 16}, "at most 8"),
    ],
    ids=str,
)
def test_bad_activation(model: str, tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        slim.quant.quant_post_dynamic(model, str(tmp_path / "out"), **options)
    assert not (tmp_path / "out").exists()
