# SPDX-License-Identifier: Apache-2.0
"""The loaders of paddleslim.common, and quant_recon_static."""

from __future__ import annotations

import doctest
from pathlib import Path
from typing import Any

import numpy as np
import paddle
import pytest

import qslim as slim
from qslim.auto_compression import loading
from qslim.paddle import framework

IMAGES = np.random.default_rng(0).normal(size=(8, 3, 8, 8)).astype(np.float32)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    paddle.seed(0)
    net = paddle.nn.Sequential(paddle.nn.Conv2D(3, 4, 3), paddle.nn.ReLU(), paddle.nn.Conv2D(4, 2, 3))
    net.eval()
    path = tmp_path_factory.mktemp("model")
    image = paddle.static.InputSpec([None, 3, 8, 8], "float32", "image")
    paddle.jit.save(net, str(path / "inference"), input_spec=[image])
    with framework.legacy_ir():
        paddle.jit.save(net, str(path / "legacy/inference"), input_spec=[image])
    np.save(path / "out.npy", net(paddle.to_tensor(IMAGES)).numpy())
    return path


def test_a_model_is_loaded_with_its_names(model: Path) -> None:
    executor = paddle.static.Executor(paddle.CPUPlace())
    try:
        for path, names in (
            (model, {}),
            (model / "inference", {}),
            (model, {"model_filename": "inference.pdmodel"}),
        ):
            with paddle.static.scope_guard(paddle.static.Scope()):
                program, feeds, fetches = slim.common.load_inference_model(str(path), executor, **names)
                assert feeds == ["image"]
                (out,) = executor.run(program, feed={"image": IMAGES}, fetch_list=fetches)
            np.testing.assert_array_equal(out, np.load(model / "out.npy"))
        with pytest.raises(ValueError, match="FLAGS_enable_pir_api=0"):
            slim.common.load_inference_model(str(model / "legacy"), executor)
    finally:
        paddle.disable_static()
    assert slim.common.get_feed_vars(str(model)) == ["image"]
    assert slim.common.get_feed_vars(str(model / "legacy")) == ["image"]
    assert slim.common.get_model_dir(str(model)) == (str(model), "inference.json", "inference.pdiparams")
    with pytest.raises(FileNotFoundError, match="did you mean"):
        slim.common.get_feed_vars(str(model), "inferense.pdmodel")


def test_configurations_come_back(tmp_path: Path) -> None:
    config = {"Global": {"batch_size": 32, "teacher": None}, "TrainConfig": {"learning_rate": 1e-5}}
    slim.common.save_config(config, str(tmp_path / "c.yaml"))
    assert slim.common.load_config(str(tmp_path / "c.yaml")) == config
    assert slim.common.load_config(None) is None
    (tmp_path / "c.yaml").write_text("- 1")
    with pytest.raises(ValueError, match=r"expected .* to hold keys"):
        slim.common.load_config(str(tmp_path / "c.yaml"))


def test_batches_of_every_form_become_dicts() -> None:
    x, y = np.ones((2, 3), np.float32), np.zeros((2, 1), np.int64)
    for batch in ([x, y], (paddle.to_tensor(x), y), {"x": x, "y": y, "more": y}, [{"x": x, "y": y}]):
        wrapped = slim.common.wrap_dataloader(lambda batch=batch: iter([batch]), ["x", "y"])
        for _ in range(2):
            (feed,) = wrapped()
            assert {name: value.dtype for name, value in feed.items()} == {"x": x.dtype, "y": y.dtype}
    assert slim.common.wrap_dataloader(None, ["x"]) is None
    with pytest.raises(ValueError, match="batch 0 has 1 values"):
        next(slim.common.wrap_dataloader([[x]], ["x", "y"])())


def test_reconstruction_is_adaptive_rounding(model: Path, tmp_path: Path) -> None:
    executor = paddle.static.Executor(paddle.CPUPlace())
    arguments: Any = (executor, str(model / "legacy"))
    options: Any = {"data_loader": [IMAGES], "weight_bits": 4}
    slim.quant.quant_recon_static(*arguments, str(tmp_path / "a"), **options, epochs=3, lr=0.1)
    slim.quant.quant_post_static(*arguments, str(tmp_path / "b"), **options, round_type="adaround")
    a, b = ((tmp_path / name / "model.pdiparams").read_bytes() for name in "ab")
    assert a == b
    for wrong in (
        {"recon_level": "region-wise"},
        {"simulate_activation_quant": True},
        {"regions": [["a", "b"]]},
    ):
        with pytest.raises(ValueError, match="quant_recon_static"):
            slim.quant.quant_recon_static(*arguments, str(tmp_path / "c"), **options, **wrong)
    assert not (tmp_path / "c").exists()


def test_examples() -> None:
    results = doctest.testmod(loading, extraglobs={"np": np})
    assert results.attempted > 0
    assert results.failed == 0


def test_a_model_becomes_onnx(model: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    path = tmp_path / "new/output.onnx"
    slim.common.export_onnx(str(model), save_file_path=str(path))
    (out,) = slim.runtime.Session(str(path)).run({"image": IMAGES})
    np.testing.assert_allclose(out, np.load(model / "out.npy"), rtol=1e-4, atol=1e-5)
