# SPDX-License-Identifier: Apache-2.0
"""Weights that a program computes of its parameters are parameters to the quantizer."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any

import numpy as np
import paddle
import pytest
from numpy.typing import NDArray
from paddle import nn
from small_networks import IRS, dygraph

import qslim as slim
from qslim.importers.paddle import find_model_files, fold_weights, import_model, load_program

X = np.random.default_rng(0).standard_normal((4, 8, 40)).astype(np.float32)


class _Lines(nn.Layer):
    """Conv1D and its transpose: Paddle unsqueezes their weights at run time."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1D(8, 16, 5, padding=2)
        self.up = nn.Conv1DTranspose(16, 4, 4, stride=2)
        self.head = nn.Linear(82, 6)

    def forward(self, x: Any) -> Any:
        return self.head(self.up(nn.functional.relu(self.conv(x))))


class _Volumes(nn.Layer):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv3D(1, 4, 3, padding=1)
        self.grouped = nn.Conv3D(4, 4, (3, 1, 2), stride=(2, 1, 1), groups=2)

    def forward(self, x: Any) -> Any:
        return self.grouped(nn.functional.relu(self.conv(x.reshape([-1, 1, 8, 8, 5]))))


class _Computed(nn.Layer):
    """Weights behind a transpose, a product, a concatenation, a reshape and a cast; two share a parameter."""

    def __init__(self) -> None:
        super().__init__()
        for name, shape in (("turned", [6, 40]), ("shared", [6, 12]), ("gain", [6, 1]), ("small", [4, 6])):
            setattr(self, name, self.create_parameter(shape))

    def forward(self, x: Any) -> Any:
        x = paddle.matmul(x, self.turned.transpose([1, 0]))
        x = paddle.matmul(x, self.shared * self.gain)
        x = paddle.matmul(x, paddle.concat([self.shared, self.shared]).reshape([12, 12]))
        weight = self.small.astype("float16").astype("float32").reshape([4, 6, 1])
        return nn.functional.conv1d(x[:, :6], weight) + self.small.sum()


def _saved(net: nn.Layer, directory: Path, ir: str) -> str:
    net.eval()
    guard = paddle.pir_utils.OldIrGuard() if ir == "legacy" else contextlib.nullcontext()
    with dygraph(), guard:
        spec = [paddle.static.InputSpec([None, 8, 40], "float32", "x")]
        paddle.jit.save(net, os.fspath(directory / "model"), input_spec=spec)
    return os.fspath(directory)


def _paddle(directory: str) -> NDArray[Any]:
    return load_program(find_model_files(directory)).run_outputs({"x": X})[0]


_NETWORKS = {"lines": (_Lines, 3), "volumes": (_Volumes, 2), "computed": (_Computed, 4)}
# Paddle traces matmul and conv3d of a Layer in PIR only.
_CASES = [(name, ir) for name in _NETWORKS for ir in IRS if ir == "pir" or name == "lines"]


@pytest.mark.parametrize(("name", "ir"), _CASES)
def test_computed_weights_run_in_int8(name: str, ir: str, tmp_path: Path) -> None:
    paddle.seed(0)
    kind, products = _NETWORKS[name]
    model = _saved(kind(), tmp_path / "float", ir)
    expected = _paddle(model)
    paddle.enable_static()
    try:
        executor = paddle.static.Executor(paddle.CPUPlace())
        quantized = str(tmp_path / "int8")
        report = slim.quant.quant_post_static(executor, model, quantized, data_loader=[{"x": X}])
    finally:
        paddle.disable_static()
    assert sum(row.dtype == "int8" for row in report.operators) == products
    assert len(report.weights) == products
    (scores,) = slim.runtime.Session(report.engine_file).run({"x": X})
    assert np.abs(scores - expected).max() < 0.05 * np.abs(expected).max()
    ours = slim.runtime.Session(import_model(quantized)).run({"x": X})[0]
    np.testing.assert_array_equal(ours, scores)  # what was written reads back as the same network
    tolerance = 0 if ir == "pir" else 1e-6 * np.abs(expected).max()
    np.testing.assert_allclose(_paddle(quantized), scores, rtol=0, atol=tolerance)


@pytest.mark.parametrize(("name", "ir"), _CASES)
def test_computed_weights_are_stored_as_integers(name: str, ir: str, tmp_path: Path) -> None:
    paddle.seed(0)
    kind, _ = _NETWORKS[name]
    model = _saved(kind(), tmp_path / "float", ir)
    expected = _paddle(model)
    report = slim.quant.quant_post_dynamic(
        model,
        str(tmp_path / "int8"),
        quantizable_op_type=["conv2d", "conv3d", "conv2d_transpose", "depthwise_conv2d", "mul"],
    )
    assert all(weight.quantized.dtype == np.int8 for weight in report.weights)
    written = str(tmp_path / "int8" / "quantized_model")
    (scores,) = slim.runtime.Session(written).run({"x": X})
    assert np.abs(scores - expected).max() < 0.03 * np.abs(expected).max()
    np.testing.assert_allclose(_paddle(written), scores, atol=1e-5 * np.abs(expected).max())
    # Weights that are computed of integers are left alone.
    assert fold_weights(load_program(find_model_files(written))) == []
    with pytest.raises(ValueError, match="quantized already"):
        slim.quant.quant_post_dynamic(written, str(tmp_path / "again"))


def test_folded_weights_keep_the_parameters_name_where_nothing_else_reads_it(tmp_path: Path) -> None:
    program = load_program(find_model_files(_saved(_Computed(), tmp_path / "computed", "pir")))
    before = program.run_outputs({"x": X})[0]
    turned, gained, joined, half = fold_weights(program)
    assert turned == program.graph.nodes[0].inputs[1]
    assert (".folded_" in gained, ".folded_" in joined, ".folded_" in half) == (True, False, True)
    np.testing.assert_array_equal(program.run_outputs({"x": X})[0], before)
    assert program.graph.tensors[turned].shape == (40, 6)


def test_a_weight_that_is_random_in_every_run_stays(tmp_path: Path) -> None:
    class Noisy(nn.Layer):
        def __init__(self) -> None:
            super().__init__()
            self.weight = self.create_parameter([40, 6])

        def forward(self, x: Any) -> Any:
            return paddle.matmul(x, self.weight + paddle.randn([40, 6]))

    program = load_program(find_model_files(_saved(Noisy(), tmp_path / "noisy", "pir")))
    assert fold_weights(program) == []


class _Returned(nn.Layer):
    """Returns its weight turned, what it was made of, and an activation that a product reads on a grid."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = self.create_parameter([40, 40])
        self.own = self.create_parameter([40, 40])
        self.head = nn.Linear(40, 6)

    def forward(self, x: Any) -> Any:
        weight = self.weight.t()
        y = nn.functional.linear(nn.functional.linear(x, weight), self.own)
        return y, self.head(y), weight, self.own


@pytest.mark.parametrize("ir", IRS)
def test_weights_and_activations_that_the_network_returns_stay_in_float(ir: str, tmp_path: Path) -> None:
    paddle.seed(0)
    model = _saved(_Returned(), tmp_path / "float", ir)
    expected = load_program(find_model_files(model)).run_outputs({"x": X})
    quantized = str(tmp_path / "int8")
    paddle.enable_static()
    try:
        executor = paddle.static.Executor(paddle.CPUPlace())
        report = slim.quant.quant_post_static(executor, model, quantized, data_loader=[{"x": X}])
    finally:
        paddle.disable_static()
    ours = slim.runtime.Session(report.engine_file).run({"x": X})
    theirs = load_program(find_model_files(quantized)).run_outputs({"x": X})
    for engine, written, real in zip(ours, theirs, expected):
        np.testing.assert_allclose(written, engine, rtol=0, atol=1e-6 * np.abs(real).max())
        assert np.abs(engine - real).max() < 0.05 * np.abs(real).max()
    for place in (2, 3):
        np.testing.assert_array_equal(ours[place], expected[place])
