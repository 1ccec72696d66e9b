# SPDX-License-Identifier: Apache-2.0
"""Activations with a zero point: where they are taken, what they gain, and the same bits in Paddle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import paddle
import pytest
from paddle import nn
from quantized import quantize_post_static
from small_networks import IRS, save_network

import qslim as slim
from qslim.functional import TensorStatistics, quantization_error
from qslim.graph import Graph, QuantParams
from qslim.importers.paddle import find_model_files, load_program
from qslim.quant.options import PostTrainingOptions
from qslim.quant.post_training.activation_params import activation_params


def data(n: int = 8) -> np.ndarray:
    return np.random.default_rng(7).normal(0, 1, [n, 3, 16, 16]).astype(np.float32)


def hard_swish_network() -> Any:
    """Of its inputs the image is symmetric, three are a hard-swish's, one is a ReLU's."""
    paddle.seed(5)
    net = nn.Sequential(
        nn.Conv2D(3, 8, 3, padding=1), nn.Hardswish(), nn.Conv2D(8, 8, 1), nn.ReLU(),
        nn.Conv2D(8, 8, 3, padding=1, groups=8), nn.Hardswish(),
        nn.Conv2D(8, 6, 1), nn.Hardswish(), nn.Flatten(), nn.Linear(6 * 256, 5),
    )  # fmt: skip
    for layer in net:
        if hasattr(layer, "weight"):  # large sums, so that the hard-swish's negative side is short
            layer.weight.set_value(layer.weight * 3)
    return net


@pytest.fixture(scope="module", params=IRS)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_network(hard_swish_network(), str(tmp_path_factory.mktemp(request.param)), request.param)


def chosen(x: np.ndarray, is_unsigned: bool = False, **options: Any) -> QuantParams:
    statistics = TensorStatistics()
    statistics.update(x.astype(np.float32))
    given = PostTrainingOptions(quantizable_op_type=["conv2d"], **options)
    return activation_params(Graph(), statistics, given, is_unsigned).params


def test_a_short_negative_side_gets_a_zero_point() -> None:
    x = np.random.default_rng(0).normal(0, 3, [2, 50_000])
    params = chosen(x * np.clip(x + 3, 0, 6) / 6, algo="abs_max")
    assert (params.qmin, params.qmax) == (0, 255)
    assert 0 < params.zero_point < 20
    assert str(params.dtype) == "uint8"


def test_a_tensor_that_is_alike_on_both_sides_stays_symmetric() -> None:
    params = chosen(np.random.default_rng(0).normal(0, 1, [2, 50_000]))
    assert (params.qmin, params.zero_point, params.qmax) == (-128, 0, 127)


@pytest.mark.parametrize(
    "options", [{"activation_scheme": "symmetric"}, {"deploy_backend": "arm"}, {"activation_bits": 16}]
)
def test_no_zero_point_where_the_options_forbid_it(options: dict[str, Any]) -> None:
    x = np.random.default_rng(0).normal(0, 3, [2, 50_000])
    assert chosen(x * np.clip(x + 3, 0, 6) / 6, **options).zero_point == 0


def test_a_tensor_that_is_negative_only_uses_all_integers() -> None:
    params = chosen(-np.random.default_rng(0).uniform(0, 1, [2, 50_000]), algo="abs_max")
    assert params.zero_point == 255
    assert float(params.scale) == pytest.approx(1 / 255, rel=1e-3)


def test_auto_without_readers_has_the_least_error_of_all_rules() -> None:
    x = np.random.default_rng(0).normal(0, 3, [2, 50_000])
    x = (x * np.clip(x + 3, 0, 6) / 6).astype(np.float32)
    statistics = TensorStatistics()
    statistics.update(x)

    def error(params: QuantParams) -> float:
        return quantization_error(
            statistics, float(params.scale), params.zero_point, params.qmin, params.qmax
        )

    auto = error(chosen(x, algo="auto"))
    for rule in ("hist", "mse", "emd", "KL", "avg", "abs_max"):
        assert auto <= error(chosen(x, algo=rule)), rule


@pytest.mark.parametrize("value", [float("nan"), "asymmetric", None])
def test_an_unknown_scheme_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="activation_scheme: expected one of 'auto', 'symmetric', got"):
        PostTrainingOptions(activation_scheme=value)


@pytest.mark.parametrize("algo", ["hist", "auto"])
def test_zero_points_lower_the_error(model: str, tmp_path: Path, algo: str) -> None:
    images = data()
    expected = load_program(find_model_files(model)).run_outputs({"image": images})[0]
    errors = {}
    for scheme in ("symmetric", "auto"):
        report = quantize_post_static(
            model, str(tmp_path / scheme), data_loader=[images], algo=algo, activation_scheme=scheme
        )
        affine = [row for row in report.activations if row.params.zero_point > 0]
        assert len(affine) == (3 if scheme == "auto" else 0)
        (ours,) = slim.runtime.Session(report.engine_file).run({"image": images})
        errors[scheme] = float(np.square(ours - expected).mean())
    assert errors["auto"] < 0.8 * errors["symmetric"]


def test_paddle_and_engine_give_the_same_bits_with_zero_points(tmp_path: Path) -> None:
    model = save_network(hard_swish_network(), str(tmp_path / "float"), "pir")
    images = data()
    report = quantize_post_static(model, str(tmp_path / "int8"), data_loader=[images], algo="auto")
    assert any(row.params.zero_point > 0 for row in report.activations)
    (paddles,) = load_program(find_model_files(str(tmp_path / "int8"))).run_outputs({"image": images})
    for threads in (1, 2):
        (ours,) = slim.runtime.Session(report.engine_file, num_threads=threads).run({"image": images})
        assert ours.tobytes() == paddles.tobytes()


def test_the_report_names_rules_and_zero_points(model: str, tmp_path: Path) -> None:
    report = quantize_post_static(model, str(tmp_path / "int8"), data_loader=[data()], algo="auto")
    assert all(row.rule for row in report.activations)
    notes = "\n".join(report.notes)
    assert "3 of 5 activations have a zero point" in notes
    assert "thresholds by " in notes
    assert "3 of 5 layers rounded adaptively" in notes
    assert "layers bias corrected" in notes
