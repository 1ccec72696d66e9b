# SPDX-License-Identifier: Apache-2.0
"""Mistaken arguments get one sentence that names them and the remedy."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Callable

import numpy as np
import paddle
import pytest
from paddle import nn
from small_networks import dygraph, images, save_network, small_network

import qslim as slim
from qslim.errors import MissingFileError
from qslim.exporters import export_onnx
from qslim.graph.passes import prepare_for_runtime
from qslim.importers.paddle import import_model


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_network(small_network(), str(tmp_path_factory.mktemp("pir")), "pir")


def _quantize(model: str, out: Path, **options: Any) -> Any:
    paddle.enable_static()
    try:
        executor = paddle.static.Executor(paddle.CPUPlace())
        return slim.quant.quant_post_static(executor, model, str(out), data_loader=[images(2)], **options)
    finally:
        paddle.disable_static()


class _Half(nn.Layer):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 4))
        self.body.to(dtype="bfloat16")

    def forward(self, x: Any) -> Any:
        return self.body(x.astype("bfloat16")).astype("float32")


def test_bfloat16_runs_as_float32_and_is_not_quantized(tmp_path: Path) -> None:
    paddle.seed(0)
    net, x = _Half(), np.random.default_rng(0).standard_normal((3, 6)).astype(np.float32)
    net.eval()
    with dygraph():
        paddle.jit.save(
            net, str(tmp_path / "model"), input_spec=[paddle.static.InputSpec([None, 6], "float32", "x")]
        )
        wide = _Half()
        wide.set_state_dict(net.state_dict())
        wide.body.to(dtype="float32")
        expected = wide.body(paddle.to_tensor(x)).numpy()
    (got,) = slim.runtime.Session(tmp_path).run({"x": x})
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)
    for quantize in (
        lambda: _quantize(str(tmp_path), tmp_path / "int8"),
        lambda: slim.quant.quant_post_dynamic(str(tmp_path), str(tmp_path / "int8")),
    ):
        with pytest.raises(ValueError, match=r"computes in bfloat16 .* net\.astype\('float32'\)"):
            quantize()


def test_an_onnx_file_is_called_one(model: str, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    export_onnx(prepare_for_runtime(import_model(model)), path)
    assert slim.runtime.Session(path).outputs
    with pytest.raises(ValueError, match="is an ONNX file"):
        import_model(path)
    _quantize(str(tmp_path), tmp_path / "out", model_filename="model.onnx")  # which reads both kinds
    assert sorted(os.listdir(tmp_path / "out")) == ["model.onnx", "model.qslim"]


@pytest.mark.parametrize("what", [small_network, lambda: None, lambda: 3])
def test_a_session_of_no_model(what: Callable[[], Any]) -> None:
    given = what()
    with pytest.raises(
        TypeError, match=f"expected the path of a model or a Graph, got.*{type(given).__name__}"
    ):
        slim.runtime.Session(given)


def test_a_loaded_program_has_no_layers_to_quantize(model: str) -> None:
    with dygraph(), pytest.raises(ValueError, match=r"loaded by paddle\.jit\.load"):
        slim.QAT().quantize(paddle.jit.load(model + "/model"))


def test_missing_files_are_file_not_found_errors(model: str, tmp_path: Path) -> None:
    nothing = str(tmp_path / "nothing")
    calls: list[Callable[[], Any]] = [
        lambda: slim.runtime.Session(nothing),
        lambda: slim.runtime.Session(tmp_path),
        lambda: import_model(nothing),
        lambda: import_model(tmp_path),
        lambda: import_model(model, "other.json"),
        lambda: import_model(model, params_filename="other"),
        lambda: slim.importers.load_qslim(nothing),
        lambda: slim.prune.load(nothing, small_network()),
        lambda: slim.quant.load_checkpoint(small_network(), nothing),
    ]
    for call in calls:
        with pytest.raises(MissingFileError) as caught:
            call()
        assert isinstance(caught.value, (FileNotFoundError, ValueError))
        assert isinstance(caught.value, FileNotFoundError)


def test_everything_skipped_says_so(model: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="skip_tensor_list leaves no operator"):
        _quantize(model, tmp_path, skip_tensor_list=["*"])


@pytest.mark.parametrize("name", ["lookup_table", "lookup_table_v2", "embedding"])
def test_embeddings_are_named_for_what_they_are(model: str, tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match=f"'{name}' is an embedding"):
        _quantize(model, tmp_path, quantizable_op_type=["conv2d", name])


def test_layers_and_parameters_are_skipped(tmp_path: Path) -> None:
    net = small_network()
    model = save_network(net, str(tmp_path / "float"), "pir")
    report = _quantize(model, tmp_path / "int8", skip_tensor_list=[net.stem, net.head.weight])
    assert {row.op for row in report.operators if "skip_tensor_list" in row.reason} == {"conv2d", "matmul"}
    assert len(report.weights) == 3
    with pytest.raises(ValueError, match="the Layer ReLU has no parameters"):
        _quantize(model, tmp_path / "int8", skip_tensor_list=[nn.ReLU()])


def test_attribute_paths_of_a_legacy_model_are_skipped(tmp_path: Path) -> None:
    model = save_network(small_network(), str(tmp_path / "float"), "legacy")
    report = _quantize(model, tmp_path / "int8", skip_tensor_list=["stem", "head"])
    assert {row.op for row in report.operators if "skip_tensor_list" in row.reason} >= {"conv2d", "matmul"}
    assert len(report.weights) == 3


def test_an_unmatched_name_lists_candidates(model: str, tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"'stem' matches no .* the nearest names are '.*give that Layer itself"
    ):
        _quantize(model, tmp_path, skip_tensor_list=["stem"])


def test_the_path_of_the_program_names_the_model(model: str) -> None:
    assert len(import_model(model + "/model.json").nodes) == len(import_model(model).nodes)
