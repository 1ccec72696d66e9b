# SPDX-License-Identifier: Apache-2.0
"""Analysis of trained quantized models, from files and from Layers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import paddle
import pytest
from small_networks import IRS, dygraph, images, save_network, small_network

import qslim as slim
from qslim.quant.analysis import Analysis, AnalysisQAT

IMAGE = [paddle.static.InputSpec([None, 3, 16, 16], "float32", "image")]


def quantized_network(threshold: float) -> tuple[Any, Any]:
    """Return QAT and a network after some steps, with the activation that the first layer reads clipped."""
    net = small_network()
    qat = slim.QAT({"weight_bits": 8})
    qat.quantize(net)
    net.train()
    for seed in range(3):
        net(paddle.to_tensor(images(8, seed)))
    net.eval()
    net.stem._fake_quant_input._scale.set_value(paddle.to_tensor([threshold]))
    return qat, net


@pytest.mark.parametrize("ir", IRS)
def test_the_layer_with_a_bad_scale_is_ranked_first(ir: str, tmp_path: Path) -> None:
    directory = save_network(small_network(), str(tmp_path / "float"), ir)
    with dygraph():
        expected = small_network()(paddle.to_tensor(images(8, 5))).numpy()
        qat, net = quantized_network(0.3)
        quantized = str(tmp_path / "int8" / "model")
        qat.save_quantized_model(net, quantized, input_spec=IMAGE, legacy=ir == "legacy")

    def evaluate(executor: Any, program: Any, feeds: list[str], fetches: list[Any]) -> float:
        (result,) = executor.run(program, feed={feeds[0]: images(8, 5)}, fetch_list=fetches)
        return -float(np.abs(result - expected).mean())

    analysis = AnalysisQAT(
        str(tmp_path / "int8"), directory, data_loader=[images(8)], save_dir=str(tmp_path / "out"),
        eval_function=evaluate,
    )  # fmt: skip
    report = analysis.analysis()
    assert len(report.layers) == 4  # a transposed convolution is not among QAT's operators
    worst = report.layers[0]
    assert worst.layer.operator == "conv2d"
    assert list(worst.layer.activations) == ["image"]
    assert worst.own.saturation > 0.5
    assert analysis.nonquant_layer_metrics[worst.name] == max(analysis.layer_metrics.values()) > 0
    assert analysis.quant_metric is not None
    target = analysis.get_target_quant_model(0.5 * analysis.quant_metric)
    assert target.is_reached
    assert target.skip_tensor_list == [worst.name]


def test_layers_in_the_place_of_directories(tmp_path: Path) -> None:
    with dygraph():
        _, net = quantized_network(0.3)
        analysis = AnalysisQAT(
            net, small_network(), data_loader=[images(8)], save_dir=str(tmp_path), input_spec=IMAGE
        )
    report = analysis.metric_error_analyse()
    assert list(report.layers[0].layer.activations) == ["image"]
    assert report.layers[0].own.activation > 0.1


def test_models_that_are_not_quantized_or_not_float_are_refused(tmp_path: Path) -> None:
    directory = save_network(small_network(), str(tmp_path / "float"), "pir")
    with pytest.raises(ValueError, match="is not quantized: it holds no quantize"):
        AnalysisQAT(directory, directory, data_loader=[images(2)], save_dir=str(tmp_path / "out")).analysis()
    with dygraph():
        qat, net = quantized_network(1.0)
        qat.save_quantized_model(net, str(tmp_path / "int8" / "model"), input_spec=IMAGE)
    with pytest.raises(ValueError, match="quantized already"):
        Analysis(str(tmp_path / "int8"), data_loader=[images(2)], save_dir=str(tmp_path / "out")).analysis()
