# SPDX-License-Identifier: Apache-2.0
"""quant_post_static with accuracy_drop: the layers found, resuming, stopping, and what cannot be done."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import paddle
import pytest
from paddle import nn
from quantized import quantize_post_static
from small_networks import IRS, dygraph, images, save_network, small_network

from qslim.importers.paddle import find_model_files, load_program
from qslim.quant.analysis.quantization import options_of, quantize
from qslim.quant.mixed_precision.latency import _by_tensor, _steps_of, costs_in_float
from qslim.quant.mixed_precision.network import Network
from qslim.runtime import Session

# One scale for each weight as a whole: one large channel ruins all others of its layer.
PER_TENSOR = {"weight_quantize_type": "abs_max"}


def with_bad_layer() -> Any:
    """Return a network with a channel 1000 times as large in one layer, of which nothing passes on."""
    net = small_network()
    with dygraph():
        values = net.depthwise.weight.numpy()
        values[0] *= 1000
        net.depthwise.weight.set_value(values)
        values = net.depthwise_norm.weight.numpy()
        values[0] = 0
        net.depthwise_norm.weight.set_value(values)
    return net


@pytest.fixture
def equal_costs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every layer cost the same: times of networks as small as these rank them by chance."""

    def costs(quantization: Any) -> dict[str, float]:
        return {layer.name: 0.2 for layer in quantization.layers}

    monkeypatch.setattr("qslim.quant.mixed_precision.search.costs_in_float", costs)


def quantized(net: Any, tmp_path: Path, ir: str = "pir", **options: Any) -> Any:
    directory = save_network(net, str(tmp_path / "float"), ir)
    options = {"data_loader": [images(8)], **PER_TENSOR, **options}
    return quantize_post_static(directory, str(tmp_path / "out"), **options)


def output_of(tmp_path: Path) -> list[str]:
    return sorted(os.listdir(tmp_path / "out"))


@pytest.mark.parametrize("ir", IRS)
def test_exactly_the_bad_layer_stays_in_fp32(ir: str, tmp_path: Path) -> None:
    net = with_bad_layer()
    report = quantized(net, tmp_path, ir, accuracy_drop=2)
    found = report.mixed_precision
    name = str(net.depthwise.weight.name)
    assert found.in_float == [name]
    assert found.is_reached
    assert found.metric_int8 < 98 <= found.metric
    assert found.metric_float == 100
    in_fp32 = [row for row in report.operators if row.reason == "accuracy_drop leaves it in fp32"]
    assert [(row.op, row.dtype) for row in in_fp32] == [("depthwise_conv2d", "fp32")]
    assert name not in [weight.name for weight in report.weights]
    assert len(report.weights) == 4
    assert output_of(tmp_path) == sorted(
        f"model{ending}" for ending in (".json" if ir == "pir" else ".pdmodel", ".pdiparams", ".qslim")
    )
    x = images(3, 5)
    (result,) = Session(report.engine_file).run({"image": x})
    program = load_program(find_model_files(str(tmp_path / "out")))
    (paddles,) = program.run({"image": x}, program.graph.outputs)
    # A float layer's sum may round to another step of the next layer's input.
    np.testing.assert_allclose(paddles, result, atol=0.02 * np.abs(result).max())


class Reference:
    """An eval_function that counts its calls: minus the distance from the outputs of `net` in float."""

    def __init__(self, net: Any, fails_at: int = 0) -> None:
        self.calls, self._fails_at = 0, fails_at
        with dygraph():
            self._expected = net(paddle.to_tensor(images(8, 3))).numpy()

    def evaluate(self, network: Any) -> float:
        self.calls += 1
        if self.calls == self._fails_at:
            raise RuntimeError("the validation set is gone")
        return -float(np.abs(network(images(8, 3))[0] - self._expected).mean())

    def evaluate_program(self, executor: Any, program: Any, feeds: list[str], fetches: list[Any]) -> float:
        self.calls += 1
        (result,) = executor.run(program, feed={feeds[0]: images(8, 3)}, fetch_list=fetches)
        return -float(np.abs(result - self._expected).mean())


def test_both_forms_of_eval_function_find_the_same(tmp_path: Path) -> None:
    net = with_bad_layer()
    found = []
    for place, form in (("a", "evaluate"), ("b", "evaluate_program")):
        function = getattr(Reference(net), form)
        report = quantized(net, tmp_path / place, accuracy_drop=0.02, eval_function=function)
        found.append(report.mixed_precision)
    assert found[0].in_float == found[1].in_float
    assert found[0].metric == pytest.approx(found[1].metric, abs=5e-3)
    assert found[0].metric_float == pytest.approx(0, abs=1e-5)
    assert found[0].metric >= found[0].target == pytest.approx(-0.02, abs=1e-5)


@pytest.mark.usefixtures("equal_costs")
def test_a_search_that_was_killed_goes_on_and_repeats_nothing(tmp_path: Path) -> None:
    net = small_network()
    whole = Reference(net)
    drop = 1e-3  # several layers have to stay in fp32
    expected = quantized(net, tmp_path / "whole", accuracy_drop=drop, eval_function=whole.evaluate)
    assert whole.calls == expected.mixed_precision.trials > 5
    first = Reference(net, fails_at=5)
    with pytest.raises(ValueError, match=r"eval_function raised RuntimeError with .*: the validation set"):
        quantized(net, tmp_path, accuracy_drop=drop, eval_function=first.evaluate)
    assert output_of(tmp_path) == ["model.json", "model.pdiparams", "model.qslim", "model.search-journal"]
    Session(str(tmp_path / "out"))  # the best so far, whole
    journal = json.loads((tmp_path / "out" / "model.search-journal").read_text())
    assert len(journal["trials"]) == 4
    second = Reference(net)
    report = quantized(net, tmp_path, accuracy_drop=drop, eval_function=second.evaluate)
    tried = {frozenset(trial["in_float"]) for trial in journal["trials"]}
    assert second.calls == report.mixed_precision.trials - len(tried)
    assert report.mixed_precision.is_reached
    assert output_of(tmp_path) == ["model.json", "model.pdiparams", "model.qslim"]


@pytest.mark.usefixtures("equal_costs")
def test_a_journal_of_another_model_or_data_is_not_used(tmp_path: Path) -> None:
    net = small_network()
    with pytest.raises(ValueError, match="keeps the 2 trials before: the same call goes on from there"):
        quantized(net, tmp_path, accuracy_drop=0, eval_function=Reference(net, fails_at=3).evaluate)
    other = Reference(net)
    report = quantized(
        net, tmp_path, accuracy_drop=0, eval_function=other.evaluate, data_loader=[images(8, 1)]
    )
    assert other.calls == report.mixed_precision.trials
    (tmp_path / "out" / "model.search-journal").write_text("{")
    assert quantized(net, tmp_path, accuracy_drop=9).mixed_precision.is_reached


def test_nothing_is_searched_where_int8_will_do(tmp_path: Path) -> None:
    net = small_network()
    function = Reference(net)
    report = quantized(net, tmp_path, accuracy_drop=1, eval_function=function.evaluate)
    assert function.calls == 2
    assert report.mixed_precision.in_float == []
    quantize_post_static(
        str(tmp_path / "float"), str(tmp_path / "plain"), data_loader=[images(8)], **PER_TENSOR
    )
    for name in ("model.json", "model.pdiparams", "model.qslim"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "plain" / name).read_bytes()


def test_without_time_int8_is_written_and_the_report_says_so(tmp_path: Path) -> None:
    report = quantized(with_bad_layer(), tmp_path, accuracy_drop=0, time_budget=0)
    found = report.mixed_precision
    assert not found.is_reached
    assert found.in_float == []
    assert "is NOT reached: time_budget ended the search; this is the best so far" in str(report)
    assert output_of(tmp_path) == ["model.json", "model.pdiparams", "model.qslim"]


def test_a_target_that_nothing_reaches_gives_the_best(tmp_path: Path) -> None:
    values = iter([1.0])
    net = small_network()

    def best_is_one_layer(network: Any) -> float:
        """Return 1 of the float network, the first that is judged, and less of all others."""
        first = next(values, None)
        return 0.5 - abs(len(network.in_float) - 1) / 10 if first is None else first

    report = quantized(net, tmp_path, accuracy_drop=0.1, eval_function=best_is_one_layer)
    found = report.mixed_precision
    assert not found.is_reached
    assert len(found.in_float) == 1
    assert found.metric == 0.5
    assert (
        "the target 0.9 is NOT reached: of what was tried the float network alone reaches it"
        in report.summary
    )
    row = [each for each in report.operators if each.reason == "accuracy_drop leaves it in fp32"]
    assert len(row) == 1


def test_a_network_of_one_layer_stays_in_int8(tmp_path: Path) -> None:
    with dygraph():
        net = nn.Sequential(nn.Conv2D(3, 8, 3), nn.ReLU())
        net.eval()
        expected = net(paddle.to_tensor(images(2, 3))).numpy()

    def evaluate(network: Any) -> float:
        return float(np.allclose(network(image=images(2, 3))[0], expected, atol=1e-6))

    report = quantized(net, tmp_path, accuracy_drop=0.5, eval_function=evaluate)
    found = report.mixed_precision
    assert (found.in_float, found.metric_float, found.metric) == ([], 1, 0)
    assert not found.is_reached
    assert len(report.weights) == 1


@pytest.mark.parametrize("value", [float("nan"), None, "good", float("inf")])
def test_a_metric_that_is_no_number_is_refused(value: Any, tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match="eval_function: expected a finite number with the float network, got"
    ):
        quantized(small_network(), tmp_path, accuracy_drop=1, eval_function=lambda network: value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"accuracy_drop": -1}, "accuracy_drop: expected a number >= 0 or None, got -1"),
        ({"accuracy_drop": float("nan")}, "accuracy_drop: expected a number"),
        ({"accuracy_drop": 1, "time_budget": "1"}, "time_budget: expected a number"),
        ({"time_budget": 3}, "time_budget: is for mixed precision, which accuracy_drop asks for"),
        ({"eval_function": len}, "eval_function: is for mixed precision"),
        ({"accuracy_drop": 1, "eval_function": 3}, "eval_function: expected a function or None, got 3"),
        ({"accuracy_drop": 1, "eval_function": lambda a, b: 0}, "expected a function of one network, or"),
        ({"accuracy_drop": 1, "data_loader": []}, "data_loader"),
        ({"max_memory": 0}, "max_memory: expected an int >= 1, got 0"),
        ({"max_memory": 1000}, "max_memory: the engine cannot calibrate within 1,000 bytes"),
    ],
)
def test_bad_options_are_refused(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        quantized(small_network(), tmp_path, **options)
    assert not (tmp_path / "out").exists()


def test_a_network_without_a_class_is_judged_by_its_error(tmp_path: Path) -> None:
    with dygraph():
        net = nn.Sequential(nn.Conv2D(3, 8, 3), nn.ReLU(), nn.Conv2D(8, 4, 3))
        net.eval()
    report = quantized(net, tmp_path, accuracy_drop=0.01)
    found = report.mixed_precision
    assert "energy" in found.measure
    assert found.metric_int8 < 99.99 <= found.metric
    x = images(8)
    with dygraph():
        expected = net(paddle.to_tensor(x)).numpy().astype(np.float64)
    (result,) = Session(report.engine_file).run({"image": x})
    errors = [np.square(a - b).sum() / np.square(b).sum() for a, b in zip(result, expected)]
    assert found.metric == pytest.approx(100 * (1 - np.mean(errors)), abs=1e-5)


@pytest.mark.parametrize(
    "options",
    [
        {"optimize_model": True},
        {"algo": "auto"},
        {"round_type": "adaround", "bias_correction": True},
        {"is_full_quantize": True},
        {
            "onnx_format": False,
            "save_model_filename": "other.pdmodel",
            "save_params_filename": "other.pdiparams",
        },
    ],
)
def test_other_options_are_kept(options: dict[str, Any], tmp_path: Path) -> None:
    net = with_bad_layer()
    report = quantized(
        net, tmp_path, "legacy", accuracy_drop=2e-3, eval_function=Reference(net).evaluate, **options
    )
    found = report.mixed_precision
    assert 0 < len(found.in_float) < 10
    assert found.is_reached
    assert found.metric_int8 < found.target
    x = images(8, 3)
    (result,) = Session(report.engine_file).run({"image": x})
    assert Reference(net).evaluate(lambda _: [result]) == found.metric
    program = load_program(report.files)
    (paddles,) = program.run({"image": x}, program.graph.outputs)
    np.testing.assert_allclose(paddles, result, atol=0.02 * np.abs(result).max())
    stem = os.path.splitext(options.get("save_model_filename", "model"))[0]
    assert output_of(tmp_path) == [f"{stem}{ending}" for ending in (".pdiparams", ".pdmodel", ".qslim")]


class WithoutKernel(nn.Layer):
    """A network with an operator that the engine has not."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(6, 16), nn.Linear(16, 4)

    def forward(self, x: Any) -> Any:
        return self.second(paddle.digamma(paddle.nn.functional.relu(self.first(x)) + 1))


def test_a_network_that_the_engine_cannot_run_is_judged_in_paddle(tmp_path: Path) -> None:
    with dygraph():
        paddle.seed(0)
        net = WithoutKernel()
        values = net.first.weight.numpy()
        values[:, 0] *= 1000
        net.first.weight.set_value(values)
        values = net.second.weight.numpy()
        values[0] = 0
        net.second.weight.set_value(values)
        net.eval()
    directory = save_network(net, str(tmp_path / "float"), "pir", (None, 6))
    x = np.random.default_rng(0).standard_normal((16, 6)).astype(np.float32)
    report = quantize_post_static(
        directory, str(tmp_path / "out"), data_loader=[x], accuracy_drop=20, **PER_TENSOR
    )
    found = report.mixed_precision
    assert found.in_float == [str(net.first.weight.name)]
    assert found.is_reached
    assert found.seconds is None
    assert "equal argmax" in found.measure


def test_costs_are_found_for_every_layer_with_a_weight(tmp_path: Path) -> None:
    directory = save_network(small_network(), str(tmp_path / "float"), "pir", (None, 3, 64, 64))
    options = options_of({})
    quantization = quantize(find_model_files(directory, None, None), [images(2, size=64)], options)
    costs = costs_in_float(quantization)
    assert set(costs) == {layer.name for layer in quantization.layers}
    steps = _by_tensor(Network(quantization, ()).session.profile({"image": images(1, size=64)}))
    for layer in quantization.layers:
        assert len(_steps_of(quantization.graph, layer, set(steps))) == 1


def test_several_processes_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qslim.quant.mixed_precision.post_training.distributed.world_size", lambda: 2)
    with pytest.raises(ValueError, match="accuracy_drop: the search for layers runs in one process"):
        quantized(small_network(), tmp_path, accuracy_drop=1)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("ir", IRS)
def test_what_equalize_changes_is_written_as_it_was_judged(ir: str, tmp_path: Path) -> None:
    factors = np.geomspace(0.1, 30, 16).astype(np.float32)
    with dygraph():
        paddle.seed(1)
        net = nn.Sequential(nn.LayerNorm(16), nn.Linear(16, 12), nn.ReLU(), nn.Linear(12, 8), nn.Linear(8, 4))
        net[0].weight.set_value(factors)
        net[1].weight.set_value(net[1].weight.numpy() / factors[:, None])
        net.eval()
    directory = save_network(net, str(tmp_path / "float"), ir, (None, 16))
    x = np.random.default_rng(2).standard_normal((24, 16)).astype(np.float32)
    (expected,) = Session(directory).run({"image": x})

    def evaluate(network: Any) -> float:
        return -float(np.abs(network(x)[0] - expected).mean())

    report = quantize_post_static(
        directory, str(tmp_path / "out"), data_loader=[x], equalize=True, accuracy_drop=1,
        eval_function=evaluate,
    )  # fmt: skip
    assert any("equalized" in weight.methods for weight in report.weights)
    found = report.mixed_precision
    assert found.in_float == []  # so that the equalized layer is among those in int8
    (result,) = Session(report.engine_file).run({"image": x})
    assert -float(np.abs(result - expected).mean()) == found.metric
    (paddles,) = load_program(report.files).run_outputs({"image": x})
    assert -float(np.abs(paddles - expected).mean()) == pytest.approx(found.metric, abs=1e-3)
