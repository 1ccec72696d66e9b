# SPDX-License-Identifier: Apache-2.0
"""The dictionaries that PaddleClas, PaddleDetection and PaddleSeg pass, key by key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import paddle
import pytest
from paddle import nn
from paddle.nn import functional as F

import qslim as slim
from qslim.quant.programs.config import StaticQATConfig

QAT_CONFIG: dict[str, Any] = {
    "weight_preprocess_type": None,
    "activation_preprocess_type": "PACT",
    "weight_quantize_type": "channel_wise_abs_max",
    "activation_quantize_type": "moving_average_abs_max",
    "weight_bits": 8,
    "activation_bits": 8,
    "dtype": "int8",
    "window_size": 10000,
    "moving_rate": 0.9,
    "quantizable_layer_type": ["Conv2D", "Linear"],
    "fuse_conv_bn": True,
    "onnx_format": False,
}
STATIC_CONFIG: dict[str, Any] = {
    "weight_quantize_type": "channel_wise_abs_max",
    "activation_quantize_type": "moving_average_abs_max",
    "weight_bits": 8,
    "activation_bits": 8,
    "not_quant_pattern": ["skip_quant"],
    "quantize_op_types": ["conv2d", "depthwise_conv2d", "mul"],
    "dtype": "int8",
    "window_size": 10000,
    "moving_rate": 0.9,
    "for_tensorrt": False,
    "is_full_quantize": False,
    "onnx_format": True,
    "quant_post_first": False,
    "scale_trainable": True,
    "deploy_backend": None,
}
GMP_CONFIGS: dict[str, Any] = {
    "pruning_strategy": "gmp",
    "stable_iterations": 0,
    "pruning_iterations": 4500.0,
    "tunning_iterations": 4500,
    "resume_iteration": -1,
    "pruning_steps": np.int64(100),
    "initial_ratio": 0.15,
}


class Config(dict[str, Any]):
    """PaddleClas and PaddleDetection read their YAML into classes of their own."""

    __getattr__ = dict.__getitem__


def network() -> Any:
    return nn.Sequential(nn.Conv2D(3, 8, 1), nn.BatchNorm2D(8), nn.ReLU(), nn.Conv2D(8, 4, 1))


def test_qat() -> None:
    net = slim.QAT(config=Config(QAT_CONFIG)).quantize(network())
    assert net[0]._fake_quant_weight._norm is net[1]
    given = {"weight_bits": np.int64(4), "moving_rate": np.float32(0.5), "window_size": np.int32(3)}
    config = slim.QAT(config={**QAT_CONFIG, **given}).config
    assert (config.weight_bits, config.moving_rate, config.window_size) == (4, 0.5, 3)
    for value in (1, 1.5, "0.9", True, float("nan")):
        with pytest.raises(ValueError, match=r"moving_rate: expected a float in \[0, 1\)"):
            slim.QAT(config={"moving_rate": value})


def test_static_qat() -> None:
    assert StaticQATConfig.from_dict(Config(STATIC_CONFIG)).op_types == StaticQATConfig().op_types


@pytest.mark.parametrize(
    "config",
    [
        {"activation_quantizer": "HistQuantizer", "upsample_bins": 127, "hist_percent": 0.999},
        {"activation_quantizer": "KLQuantizer", "bins": 512, "upsample_bins": 64, "quant_bits": 8},
        {"activation_quantizer": "AbsmaxQuantizer", "weight_quantizer": "AbsmaxQuantizer"},
    ],
    ids=lambda config: config["activation_quantizer"],
)
def test_ptq(config: dict[str, Any], tmp_path: Path) -> None:
    net = network()
    net.eval()
    ptq = slim.PTQ(**Config(config))
    quantized = ptq.quantize(net, fuse=True, fuse_list=[["0", "1"]])
    quantized(paddle.randn([2, 3, 4, 4]))
    spec = [[None, 3, None, None]]
    report = ptq.save_quantized_model(quantized, str(tmp_path / "model"), input_spec=spec)
    assert all(layer.weight is not None for layer in report.layers)


def test_gmp() -> None:
    pruner = slim.GMPUnstructuredPruner(
        network(), ratio=0.75, skip_params_func=None, prune_params_type="conv1x1_only", local_sparsity=True,
        configs=Config(GMP_CONFIGS),
    )  # fmt: skip
    known = {key: value for key, value in GMP_CONFIGS.items() if key != "pruning_strategy"}
    known.update(resume_iteration=0, pruning_iterations=4500)
    plain = slim.GMPUnstructuredPruner(network(), ratio=0.75, configs=known)
    assert pruner.ratios_stack == plain.ratios_stack
    pruner.step()
    assert pruner.ratio == 0.15


def test_gmp_starts_no_higher_than_it_ends() -> None:
    pruner = slim.GMPUnstructuredPruner(network(), ratio=0.1, configs={"pruning_iterations": 10})
    assert set(pruner.ratios_stack) == {0.1}
    with pytest.raises(ValueError, match="initial_ratio must not be above ratio"):
        slim.GMPUnstructuredPruner(
            network(), ratio=0.1, configs={"pruning_iterations": 10, "initial_ratio": 0.15}
        )


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("pruning_iterations", "10", "expected a whole number of iterations or steps, got '10'"),
        ("pruning_steps", 2.5, "expected a whole number"),
        ("initial_ratio", None, r"expected a number in \[0, 1\), got None"),
        ("pruning_strategy", "movement", "pruning_strategy: expected 'gmp', got 'movement'"),
        ("pruning_stategy", "gmp", "did you mean"),
        ("resume_iteration", -2, "must be >= 0"),
    ],
)
def test_mistakes_in_gmp_configs_are_named(key: str, value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        slim.GMPUnstructuredPruner(network(), ratio=0.5, configs={"pruning_iterations": 10, key: value})


class Detector(nn.Layer):
    """Takes a dict and does not read all of it, as PaddleDetection's networks without NMS."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2D(3, 8, 3), nn.Conv2D(8, 4, 3)

    def forward(self, inputs: dict[str, Any]) -> dict[str, Any]:
        boxes = self.head(F.relu(self.conv(inputs["image"])))
        return {"boxes": boxes * inputs["scale_factor"].mean()}


def batch() -> dict[str, Any]:
    return {
        "image": paddle.randn([1, 3, 16, 16]),
        "im_shape": paddle.full([1, 2], 16.0),
        "scale_factor": paddle.full([1, 2], 0.5),
    }


def test_pruners_take_a_batch_of_a_detector() -> None:
    net = Detector()
    pruner = slim.FPGMFilterPruner(net, [batch()])
    pruner.prune_vars({net.conv.weight.name: 0.5}, [0])
    assert net.head.weight.shape == [4, 4, 3, 3]
    assert slim.dygraph_flops(net, [batch()]) > 0
    report = pruner.report(runs=1)
    assert report.after.milliseconds is not None
    assert report.after.flops < report.before.flops


def test_inputs_that_the_network_does_not_read_are_left_out_with_a_note(tmp_path: Path) -> None:
    net = Detector()
    quanter = slim.QAT()
    quanter.quantize(net)
    net(batch())
    net.eval()
    spec = {
        name: paddle.static.InputSpec([None, *tensor.shape[1:]], "float32", name)
        for name, tensor in batch().items()
    }
    report = quanter.save_quantized_model(net, str(tmp_path / "model"), input_spec=[spec])
    assert "the network does not read 'im_shape', which the written model does not take" in report.notes
    session = slim.runtime.Session(report.engine_file)
    assert [feed.name for feed in session.inputs] == ["image", "scale_factor"]
    given = batch()
    (boxes,) = session.run({name: given[name].numpy() for name in ("image", "scale_factor")})
    np.testing.assert_array_equal(boxes, net(given)["boxes"].numpy())
