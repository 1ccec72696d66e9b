# SPDX-License-Identifier: Apache-2.0
"""A network is saved as it was trained: evaluation, exported Paddle model and engine give the same bits."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import paddle
import pytest
from paddle import nn
from small_networks import dygraph, images, small_network

import qslim
from qslim.runtime import Session

CONFIGS: dict[str, dict[str, Any]] = {
    "plain": {},
    "four bits": {"weight_bits": 4, "activation_bits": 4, "activation_preprocess_type": "PACT"},
    "lsqplus": {"activation_quantize_type": "lsqplus_act", "weight_quantize_type": "lsq_weight"},
    "folded": {"fuse_conv_bn": True, "weight_quantize_type": "abs_max", "weight_preprocess_type": "PACT"},
    "signed": {"activation_is_signed": True, "activation_quantize_type": "abs_max"},
    "all layers": {"quantizable_layer_type": ["Conv2D", "Conv2DTranspose", "Linear"]},
}


def spec(*shape: Any) -> list[Any]:
    return [paddle.static.InputSpec(list(shape), "float32", "image")]


def trained(net: Any, config: dict[str, Any], size: int = 16, steps: int = 6) -> tuple[Any, Any]:
    quanter = qslim.QAT(config)
    quanter.quantize(net)
    net.train()
    optimizer = paddle.optimizer.Momentum(0.01, parameters=net.parameters())
    for seed in range(steps):
        loss = net(paddle.to_tensor(images(4, seed, size))).square().mean()
        loss.backward()
        optimizer.step()
        optimizer.clear_grad()
    net.eval()
    return quanter, net


def run_paddle(prefix: str, x: np.ndarray, legacy: bool = False) -> np.ndarray:
    guard = paddle.pir_utils.OldIrGuard() if legacy else contextlib.nullcontext()
    paddle.enable_static()
    try:
        with guard:
            executor = paddle.static.Executor(paddle.CPUPlace())
            program, feeds, fetches = paddle.static.load_inference_model(prefix, executor)
            (result,) = executor.run(program, feed={feeds[0]: x}, fetch_list=fetches)
            return np.array(result)
    finally:
        paddle.disable_static()


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_all_three_agree_to_the_bit(config: dict[str, Any], tmp_path: Path) -> None:
    quanter, net = trained(small_network(), config)
    x = images(32, 99) * 1.5
    expected = net(paddle.to_tensor(x)).numpy()
    prefix = str(tmp_path / "out" / "model")
    report = quanter.save_quantized_model(net, prefix, input_spec=spec(None, 3, 16, 16))
    assert sorted(os.listdir(tmp_path / "out")) == ["model.json", "model.pdiparams", "model.qslim"]
    (integers,) = Session(report.engine_file).run({"image": x})
    np.testing.assert_array_equal(integers, expected)
    np.testing.assert_array_equal(run_paddle(prefix, x), expected)
    # Evaluation goes on as before, and so does training.
    np.testing.assert_array_equal(net(paddle.to_tensor(x)).numpy(), expected)
    assert paddle.in_dynamic_mode()


def test_legacy_form(tmp_path: Path) -> None:
    for name in ("plain", "lsqplus"):
        quanter, net = trained(small_network(), CONFIGS[name])
        x = images(16, 99)
        expected = net(paddle.to_tensor(x)).numpy()
        prefix = str(tmp_path / name / "model")
        quanter.save_quantized_model(net, prefix, input_spec=spec(None, 3, 16, 16), legacy=True)
        assert os.path.exists(prefix + ".pdmodel")
        # Its dequantized operands are rounded before the sum: a step here and there.
        step = np.abs(expected).max() / 127
        assert np.abs(run_paddle(prefix, x, legacy=True) - expected).max() <= step


@pytest.mark.parametrize(
    "name", ["mobilenet_v1", "mobilenet_v2", "mobilenet_v3_small", "resnet18", "shufflenet_v2_x0_25"]
)
def test_vision_models(name: str, tmp_path: Path) -> None:
    net = getattr(paddle.vision.models, name)(num_classes=10)
    quanter, net = trained(net, {}, size=32, steps=2)
    x = images(8, 99, 32)
    expected = net(paddle.to_tensor(x)).numpy()
    prefix = str(tmp_path / "model")
    report = quanter.save_quantized_model(net, prefix, input_spec=spec(None, 3, 32, 32))
    assert all(layer.activation is not None and layer.weight is not None for layer in report.layers)
    (integers,) = Session(report.engine_file).run({"image": x})
    np.testing.assert_array_equal(integers, expected)
    np.testing.assert_array_equal(run_paddle(prefix, x), expected)


def test_weights_are_stored_as_integers_and_norms_are_gone(tmp_path: Path) -> None:
    quanter, net = trained(small_network(), {})
    report = quanter.save_quantized_model(net, str(tmp_path / "model"), input_spec=spec(None, 3, 16, 16))
    paddle.enable_static()
    try:
        executor = paddle.static.Executor(paddle.CPUPlace())
        program, _, _ = paddle.static.load_inference_model(str(tmp_path / "model"), executor)
        names = [op.name() for op in program.global_block().ops]
    finally:
        paddle.disable_static()
    assert not any("batch_norm" in name or "print" in name or "fake" in name for name in names)
    assert names.count("pd_op.quantize_linear") == 4
    assert "2 batch normalizations folded" in report.notes
    assert "stem" in str(report)
    assert "uint8" in str(report)
    found = json.loads(report.to_json())
    assert [row["layer"] for row in found["layers"]] == [layer.name for layer in report.layers]
    assert report._repr_html_().count("<tr>") == 1 + len(report.layers)


def test_a_tensor_that_two_layers_read_is_quantized_once_in_the_engine(tmp_path: Path) -> None:
    class Branches(nn.Layer):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Conv2D(3, 4, 3)
            self.left, self.right = nn.Conv2D(4, 4, 1), nn.Conv2D(4, 4, 3, padding=1)

        def forward(self, x: Any) -> Any:
            x = nn.functional.relu(self.stem(x))
            return self.left(x) + self.right(x) + x

    quanter, net = trained(Branches(), {})
    x = images(4)
    expected = net(paddle.to_tensor(x)).numpy()
    report = quanter.save_quantized_model(net, str(tmp_path / "model"), input_spec=spec(None, 3, 16, 16))
    (integers,) = Session(report.engine_file).run({"image": x})
    np.testing.assert_array_equal(integers, expected)
    np.testing.assert_array_equal(run_paddle(str(tmp_path / "model"), x), expected)


def test_what_no_batch_has_passed_stays_in_float(tmp_path: Path) -> None:
    quanter = qslim.QAT()
    net = quanter.quantize(small_network())
    report = quanter.save_quantized_model(net, str(tmp_path / "model"), input_spec=spec(None, 3, 16, 16))
    assert all(layer.activation is None for layer in report.layers)
    assert "stem and 3 more: stays in float: no training batch has passed through it" in report.notes


def test_networks_in_data_parallel_and_in_training_mode(tmp_path: Path) -> None:
    quanter, net = trained(small_network(), {})
    net.train()
    quanter.save_quantized_model(paddle.DataParallel(net), str(tmp_path / "model"), spec(None, 3, 16, 16))
    assert net.training
    assert net.stem._fake_quant_input.training


def test_a_normalization_with_an_activation_of_its_own(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Conv2D(3, 8, 3), nn.BatchNorm(8, act="relu"), nn.Conv2D(8, 4, 1))
    quanter, net = trained(net, {})
    x = images(4, 1)
    expected = net(paddle.to_tensor(x)).numpy()
    report = quanter.save_quantized_model(net, str(tmp_path / "model"), input_spec=spec(None, 3, 16, 16))
    (integers,) = Session(report.engine_file).run({"image": x})
    np.testing.assert_array_equal(integers, expected)


class Doubled(nn.Layer):
    def forward(self, x: Any) -> Any:
        return 2.0 * x


def test_users_own_layers_are_exported(tmp_path: Path) -> None:
    quanter = qslim.QAT(act_preprocess=Doubled, weight_preprocess=Doubled)
    net = quanter.quantize(small_network())
    net.train()
    net(paddle.to_tensor(images(4)))
    net.eval()
    x = images(4, 1)
    expected = net(paddle.to_tensor(x)).numpy()
    report = quanter.save_quantized_model(net, str(tmp_path / "model"), input_spec=spec(None, 3, 16, 16))
    (integers,) = Session(report.engine_file).run({"image": x})
    np.testing.assert_array_equal(integers, expected)


def attempt(net: Any, path: Any, message: str, **arguments: Any) -> None:
    before = paddle.in_dynamic_mode()
    with pytest.raises(ValueError, match=message):
        qslim.QAT().save_quantized_model(net, path, **arguments)
    assert paddle.in_dynamic_mode() == before


def test_mistakes_leave_nothing_behind(tmp_path: Path) -> None:
    _, net = trained(small_network(), {})
    out = tmp_path / "out"
    good = spec(None, 3, 16, 16)
    attempt(net, str(out / "model"), "input_spec is missing")
    attempt(net, str(out / "model"), "could not be traced with", input_spec=spec(None, 4, 16, 16))
    attempt(net, str(out) + "/", "prefix of the files", input_spec=good)
    attempt(net, 3, "prefix of the files", input_spec=good)
    attempt("net", str(out / "model"), "expected a paddle.nn.Layer", input_spec=good)
    attempt(small_network(), str(out / "model"), "no quantized layer", input_spec=good)
    attempt(net, str(out / "model"), "did you mean|expected one of 'legacy'", input_spec=good, legacy_ir=True)
    (tmp_path / "file").write_text("in the way")
    attempt(net, str(tmp_path / "file" / "model"), "file", input_spec=good)
    assert not out.exists()
    assert not net.stem._is_exporting
    assert net.stem._fake_quant_input._marker is None
    with dygraph():
        net(paddle.to_tensor(images(1)))
