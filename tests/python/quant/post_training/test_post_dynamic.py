# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import numpy as np
import paddle
import pytest
from small_networks import IRS, images, save_network, small_network

import qslim as slim
from qslim.importers.paddle import find_model_files, load_program


@pytest.fixture(scope="module", params=IRS)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_network(small_network(), str(tmp_path_factory.mktemp(request.param)), request.param)


def _outputs(directory: Path) -> np.ndarray:
    return load_program(find_model_files(str(directory))).run_outputs({"image": images(8)})[0]


@pytest.mark.parametrize(("bits", "limit"), [(4, 0.5), (8, 0.03), (16, 1e-4)])
def test_weights_become_integers(model: str, tmp_path: Path, bits: int, limit: float) -> None:
    report = slim.quant.quant_post_dynamic(model, str(tmp_path), weight_bits=bits, generate_test_model=True)
    # conv2d and the matrix product; depthwise and transposed convolutions are not in the default list.
    assert len(report.weights) == 3
    assert report.activations == []
    expected = _outputs(Path(model))
    got = _outputs(tmp_path / "quantized_model")
    assert np.abs(got - expected).max() < limit * np.abs(expected).max()
    np.testing.assert_allclose(_outputs(tmp_path / "test_model"), got, rtol=1e-4, atol=1e-5)
    test_model = load_program(find_model_files(str(tmp_path / "test_model")))
    for weight in report.weights:
        np.testing.assert_array_equal(
            test_model.parameter(weight.name), weight.params.dequantize(weight.quantized)
        )
    assert paddle.in_dynamic_mode()


def test_conv_and_linear_axes(model: str, tmp_path: Path) -> None:
    report = slim.quant.quant_post_dynamic(
        model,
        str(tmp_path),
        quantizable_op_type=["conv2d", "depthwise_conv2d", "conv2d_transpose", "matmul_v2"],
    )
    assert {(weight.shape, weight.quant_axis) for weight in report.weights} == {
        ((8, 3, 3, 3), 0), ((8, 1, 3, 3), 0), ((8, 8, 1, 1), 0), ((8, 4, 2, 2), 1), ((4, 5), 1),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weight_bits": 12}, "weight_bits: expected 2 to 8, or 16"),
        ({"quantizable_op_type": ["conv1d"]}, "quantizable_op_type"),
        ({"quantizable_op_type": ["relu"]}, "no weight to quantize"),
        ({"model_filename": "other"}, "does not exist"),
    ],
    ids=str,
)
def test_bad_input(model: str, tmp_path: Path, options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        slim.quant.quant_post_dynamic(model, str(tmp_path / "out"), **options)  # type: ignore[arg-type]
    assert not (tmp_path / "out").exists()
