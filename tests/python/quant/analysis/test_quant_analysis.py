# SPDX-License-Identifier: Apache-2.0
"""Analysis of post-training quantization: injected bad layers, files, metrics, the target, bad input."""

from __future__ import annotations

import csv
import json
import math
import os
import re
from pathlib import Path
from typing import Any, Callable
from xml.etree import ElementTree

import numpy as np
import paddle
import pytest
from paddle import nn
from small_networks import IRS, dygraph, images, save_network, small_network

from qslim.importers.paddle import find_model_files
from qslim.quant import quant_post_static
from qslim.quant.analysis import Analysis, AnalysisPTQ, TargetModel
from qslim.runtime import Session

IMAGE = [paddle.static.InputSpec([None, 3, 16, 16], "float32", "image")]


def layer_analysis(net: Any, tmp_path: Path, data: Any = None, **arguments: Any) -> AnalysisPTQ:
    with dygraph():
        return AnalysisPTQ(
            net, data_loader=[images(8)] if data is None else data, save_dir=str(tmp_path / "out"),
            input_spec=IMAGE, **arguments,
        )  # fmt: skip


def saved_analysis(tmp_path: Path, **arguments: Any) -> Analysis:
    directory = save_network(small_network(), str(tmp_path / "float"), "pir")
    return Analysis(directory, data_loader=[images(8)], save_dir=str(tmp_path / "out"), **arguments)


def weight_name(net: Any, layer: str) -> str:
    return str(getattr(net, layer).weight.name)


@pytest.mark.parametrize("layer", ["stem", "depthwise", "pointwise", "up", "head"])
def test_a_weight_with_one_channel_scaled_by_1000_is_ranked_first(layer: str, tmp_path: Path) -> None:
    net = small_network()
    with dygraph():
        weight = getattr(net, layer).weight
        values = weight.numpy()
        np.moveaxis(values, 1 if layer in ("up", "head") else 0, 0)[0] *= 1000
        weight.set_value(values)
    analysis = layer_analysis(net, tmp_path, ptq_config={"weight_quantize_type": "abs_max"})
    worst = analysis.metric_error_analyse().layers[0]
    assert analysis.sensitivity_ranklist[0] == worst.name == weight_name(net, layer)
    assert worst.own.weight > 0.5  # all other channels round to zero
    assert worst.own.activation < 0.01


@pytest.mark.parametrize("size", [1e-3, 1e-7])
def test_a_dead_channel_that_its_normalization_revives_is_ranked_first(size: float, tmp_path: Path) -> None:
    net = small_network()
    with dygraph():
        values = net.depthwise.weight.numpy()
        values[1] *= size
        net.depthwise.weight.set_value(values)
        norm = net.depthwise_norm
        norm._epsilon = 1e-15
        for tensor, value in ((norm._variance, size**2), (norm._mean, 0.0)):
            values = tensor.numpy()
            values[1] = value
            tensor.set_value(values)
    analysis = layer_analysis(net, tmp_path, ptq_config={"weight_quantize_type": "abs_max"})
    report = analysis.metric_error_analyse()
    worst = report.layers[0]
    assert worst.name == weight_name(net, "depthwise")
    assert (worst.own.weight > 0.1) == (size == 1e-3)  # a channel of 1e-7 counts in the outputs alone
    assert worst.own.activation < 0.01
    assert report.skip_tensor_list == [worst.name]
    assert report.output_error is not None
    assert report.output_error_without is not None
    assert report.output_error_without < 0.1 * report.output_error


def test_an_activation_with_an_outlier_is_ranked_first(tmp_path: Path) -> None:
    net = small_network()
    with dygraph():
        values = net.pointwise.weight.numpy()
        values[:, 3] = 0  # nothing of the outlier passes on
        net.pointwise.weight.set_value(values)
        bias = net.depthwise_norm.bias.numpy()
        bias[3] = 3000
        net.depthwise_norm.bias.set_value(bias)
    report = layer_analysis(net, tmp_path, ptq_config={"algo": "abs_max"}).metric_error_analyse()
    worst = report.layers[0]
    assert worst.name == weight_name(net, "pointwise")
    assert worst.own.activation > 0.5
    assert worst.own.weight < 0.01
    assert report.skip_tensor_list == [worst.name]


def test_errors_are_those_of_a_plain_numpy_computation(tmp_path: Path) -> None:
    with dygraph():
        net = nn.Linear(6, 4)
        weight, bias = net.weight.numpy().astype(np.float64), net.bias.numpy().astype(np.float64)
    x = np.random.default_rng(1).standard_normal((5, 6)).astype(np.float32)
    with dygraph():
        analysis = AnalysisPTQ(
            net, data_loader=[x], save_dir=str(tmp_path),
            ptq_config={"algo": "abs_max", "activation_scheme": "symmetric"},
            input_spec=[paddle.static.InputSpec([None, 6], "float32", "x")],
        )  # fmt: skip
    (layer,) = analysis.metric_error_analyse().layers

    def rounded(values: Any, scale: Any) -> Any:
        return np.rint(values / scale) * scale

    xq = rounded(x.astype(np.float64), np.abs(x).max() / 127)
    wq = rounded(weight, np.abs(weight).max(axis=0) / 127)
    y = x @ weight

    def own(product: Any) -> float:
        energy = np.square(y).mean(axis=1, keepdims=True)
        noise, signal = (np.square(values) / energy for values in (product - y, y))
        return float((noise.sum(axis=0) / signal.sum(axis=0)).mean())

    # Integers at ties may differ between float32 and float64; there are none here.
    assert layer.own.activation == pytest.approx(own(xq @ weight), rel=1e-3)
    assert layer.own.weight == pytest.approx(own(x @ wq), rel=1e-3)
    assert layer.own.both == pytest.approx(own(xq @ wq), rel=1e-3)
    outputs = np.square(xq @ wq - y).sum(axis=1) / np.square(y + bias).sum(axis=1)
    assert layer.output_error == pytest.approx(outputs.mean(), rel=1e-3)


def test_every_file_is_written_and_the_page_stands_alone(tmp_path: Path) -> None:
    analysis = saved_analysis(tmp_path)
    report = analysis.analysis()
    out = tmp_path / "out"
    assert sorted(os.listdir(out)) == [
        "analysis.csv", "analysis.html", "analysis.json", "analysis.txt", "statistic.csv",
    ]  # fmt: skip
    lines = (out / "analysis.txt").read_text().splitlines()
    found = [re.fullmatch(r"layer name: (\S+), sensitivity metric: (\S+)", line) for line in lines]
    assert [match[1] for match in found if match] == analysis.sensitivity_ranklist
    metrics = [float(match[2]) for match in found if match]
    assert metrics == sorted(metrics, reverse=True)
    assert sum(metrics) == pytest.approx(1)
    with open(out / "analysis.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["layer"] for row in rows] == analysis.sensitivity_ranklist
    loaded = json.loads((out / "analysis.json").read_text())
    assert [each["layer"] for each in loaded["layers"]] == analysis.sensitivity_ranklist
    with open(out / "statistic.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["Var Type"] for row in rows} == {"Activation", "Weight"}
    image = next(row for row in rows if row["Var Name"] == "image")
    assert float(image["FP32 Mean"]) == pytest.approx(images(8).mean(), abs=1e-4)
    page = (out / "analysis.html").read_text()
    assert "://" not in page
    pictures = re.findall(r"<svg.*?</svg>", page)
    assert len(pictures) > 10
    assert not any("nan" in picture or "inf" in picture for picture in pictures)
    for picture in pictures:
        ElementTree.fromstring(picture)
    assert all(each.name in page for each in report.layers)
    assert "linear_0.w_0" in str(report)


def metric_of(net: Any) -> Callable[..., float]:
    """Return an eval_function: minus the distance from the outputs of `net` in float."""
    with dygraph():
        expected = net(paddle.to_tensor(images(8, 3))).numpy()

    def evaluate(executor: Any, program: Any, feeds: list[str], fetches: list[Any]) -> float:
        (result,) = executor.run(program, feed={feeds[0]: images(8, 3)}, fetch_list=fetches)
        return -float(np.abs(result - expected).mean())

    return evaluate


@pytest.mark.parametrize("ir", IRS)
def test_the_first_layers_are_evaluated_and_the_fewest_stay_in_float(ir: str, tmp_path: Path) -> None:
    net = small_network()
    directory = save_network(net, str(tmp_path / "float"), ir)
    analysis = Analysis(
        directory, data_loader=[images(8)], eval_function=metric_of(net), save_dir=str(tmp_path / "out")
    )
    report = analysis.metric_error_analyse(num_evaluated=2)
    assert len(report.layers) == 5
    assert len(analysis.layer_metrics) == 2
    assert analysis.sensitivity_ranklist[:2] == list(analysis._metrics())
    assert analysis.base_metric == pytest.approx(0, abs=1e-6)
    assert analysis.quant_metric is not None
    assert analysis.quant_metric < -1e-3
    assert min(analysis.layer_metrics.values()) > 0
    target = 0.5 * analysis.quant_metric
    model = analysis.get_target_quant_model(target)
    assert model.is_reached
    assert model.metric >= target
    assert model.skip_tensor_list == analysis.sensitivity_ranklist[: len(model.skip_tensor_list)]
    assert 0 < len(model.skip_tensor_list) < 5
    files = find_model_files(str(tmp_path / "out" / "target_quant_model"))
    assert files == model.files
    session = Session(str(tmp_path / "out" / "target_quant_model" / "model.qslim"))
    assert session.run({"image": images(2)})[0].shape == (2, 5)


def test_a_target_that_cannot_be_reached_gives_the_best_that_was_found(tmp_path: Path) -> None:
    calls: list[float] = []

    def evaluate(*_: Any) -> float:
        calls.append(1.0)
        return 0.5 if len(calls) != 4 else 0.75  # one layer in fp32

    model = saved_analysis(tmp_path, eval_function=evaluate)
    model.metric_error_analyse(num_evaluated=1)
    target = model.get_target_quant_model(0.9)
    assert isinstance(target, TargetModel)
    assert not target.is_reached
    assert (target.metric, len(target.skip_tensor_list)) == (0.75, 1)
    assert "cannot be reached; the best that was found: metric 0.75 with 1 layers in fp32" in str(target)


def test_few_evaluations_find_the_fewest_layers() -> None:
    from qslim.quant.analysis.metrics import fewest

    for most in range(7):
        for least in range(most + 2):
            seen: list[int] = []

            def reaches(count: int, least: int = least, seen: list[int] = seen) -> bool:
                seen.append(count)
                return count >= least

            assert fewest(most, reaches) == (least if least <= most else None)
            assert len(set(seen)) == len(seen)


@pytest.mark.parametrize("bad", [math.nan, None, "x", RuntimeError("out of memory")])
def test_a_metric_that_is_none_is_named_and_the_rest_is_kept(bad: Any, tmp_path: Path) -> None:
    calls: list[int] = []

    def evaluate(*_: Any) -> Any:
        calls.append(1)
        if len(calls) != 4:
            return 0.5
        if isinstance(bad, Exception):
            raise bad
        return bad

    analysis = saved_analysis(tmp_path, eval_function=evaluate)
    with pytest.raises(
        ValueError, match=r"eval_function.*layer '.*' alone quantized.*checkpoint\.pkl' keeps"
    ):
        analysis.metric_error_analyse()
    assert (tmp_path / "out" / "analysis.html").exists()
    assert len(calls) == 4
    again = saved_analysis(tmp_path, eval_function=evaluate, resume=True)
    assert len(again.layer_metrics) == 1
    again.metric_error_analyse()
    assert len(calls) == 4 + 2 + 4  # both models, and the four layers that are left
    assert list(again.layer_metrics.values()) == [0.0] * 5


def test_bad_input_is_refused_in_a_sentence(tmp_path: Path) -> None:
    directory = save_network(small_network(), str(tmp_path / "float"), "pir")
    with pytest.raises(ValueError, match="data_loader: an analysis needs data, got None"):
        Analysis(directory, save_dir=str(tmp_path / "out")).analysis()
    with pytest.raises(ValueError, match="yielded no batch"):
        layer_analysis(small_network(), tmp_path, data=[]).analysis()
    with pytest.raises(ValueError, match="did you mean 'algo'"):
        saved_analysis(tmp_path, quant_config={"algos": "KL"})
    with pytest.raises(ValueError, match="eval_function: expected a function or None, got 3"):
        saved_analysis(tmp_path, eval_function=3)
    with pytest.raises(ValueError, match="get_target_quant_model: needs an eval_function"):
        saved_analysis(tmp_path).get_target_quant_model(1.0)
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="expected an output directory"):
        Analysis(str(tmp_path / "float"), data_loader=[images(1)], save_dir=str(tmp_path / "file"))
    (tmp_path / "out" / "analysis_checkpoint.pkl").write_bytes(b"damaged")
    with pytest.raises(ValueError, match="is no checkpoint of an analysis"):
        saved_analysis(tmp_path, resume=True)


@pytest.mark.parametrize(
    "config",
    [
        {"is_full_quantize": True},
        {"optimize_model": True, "weight_bits": 4},
        {"round_type": "adaround", "bias_correction": True},
        {"skip_tensor_list": ["conv2d_0.w_0"], "onnx_format": False},
    ],
)
def test_options_of_quant_post_static(config: Any, tmp_path: Path) -> None:
    net = small_network()
    directory = save_network(net, str(tmp_path / "float"), "pir")
    analysis = Analysis(
        directory, data_loader=lambda: iter([images(8)]), eval_function=metric_of(net), quant_config=config,
        save_dir=str(tmp_path / "out"),
    )  # fmt: skip
    report = analysis.metric_error_analyse(None)
    assert len(report.layers) == {"is_full_quantize": 11, "skip_tensor_list": 4}.get(next(iter(config)), 5)
    assert analysis.get_target_quant_model(1.0).is_reached is False


class _Unusual(nn.Layer):
    """Two convolutions around an operator that the engine lacks, and products without weights."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2D(3, 4, 3), nn.Conv2D(4, 4, 3)

    def forward(self, x: Any) -> Any:
        x = self.second(paddle.lgamma(paddle.abs(self.first(x)) + 1)).flatten(2)
        return paddle.matmul(nn.functional.softmax(paddle.matmul(x, x, transpose_y=True)), x)


def test_a_network_that_the_engine_cannot_run_is_ranked_by_its_own_errors(tmp_path: Path) -> None:
    with dygraph():
        net = _Unusual()
    report = layer_analysis(net, tmp_path).analysis()
    assert len(report.layers) >= 4
    assert all(each.output_error is None for each in report.layers)
    assert sum(each.share for each in report.layers) == pytest.approx(1)
    assert all(0 < each.own.both < 0.1 for each in report.layers)


@pytest.mark.parametrize(
    ("config", "skipped"),
    [
        ({"algo": "auto"}, 0),
        ({"bias_correction": True}, 0),
        ({"optimize_model": True}, 0),
        ({"algo": "KL"}, 2),
        ({"activation_scheme": "symmetric", "onnx_format": False}, 3),
    ],
)
def test_the_target_is_what_quant_post_static_writes_with_its_skip_list(
    config: Any, skipped: int, tmp_path: Path
) -> None:
    analysis = saved_analysis(tmp_path, quant_config=config, eval_function=lambda *_: 0.0)
    analysis.metric_error_analyse(num_evaluated=0)
    analysis._metric_of = lambda layers, what: float(5 - len(layers))  # type: ignore[method-assign]
    target = analysis.get_target_quant_model(float(skipped))
    assert target.skip_tensor_list == analysis.sensitivity_ranklist[:skipped]
    quant_post_static(
        paddle.static.Executor(paddle.CPUPlace()), str(tmp_path / "float"), str(tmp_path / "int8"),
        data_loader=[images(8)], skip_tensor_list=target.skip_tensor_list, **config,
    )  # fmt: skip
    for ending in ("json", "pdiparams"):
        written = tmp_path / "out" / "target_quant_model" / f"model.{ending}"
        assert written.read_bytes() == (tmp_path / "int8" / f"model.{ending}").read_bytes()
    sessions = [Session(str(path)) for path in (written.parent, tmp_path / "int8")]
    results = [session.run({"image": images(4, 7)})[0] for session in sessions]
    np.testing.assert_array_equal(*results)
