# SPDX-License-Identifier: Apache-2.0
"""quant_post_hpo: the best setting is written, the data is read once, PaddleSlim's signature."""

from __future__ import annotations

import inspect
import os
from pathlib import Path
from typing import Any

import numpy as np
import paddle
import pytest
from quantized import quantize_post_static
from small_networks import IRS, images, save_network, small_network

import qslim as slim
from qslim.quant.post_training import post_hpo
from qslim.runtime import Session


def searched(tmp_path: Path, ir: str = "pir", **options: Any) -> Any:
    directory = save_network(small_network(), str(tmp_path / "float"), ir)
    place = paddle.CPUPlace()
    options = {"train_dataloader": [images(8, seed) for seed in range(3)], "batch_num": 3, **options}
    paddle.enable_static()
    try:
        return slim.quant.quant_post_hpo(
            paddle.static.Executor(place), place, directory, str(tmp_path / "out"), **options
        )
    finally:
        paddle.disable_static()


def test_the_signature_is_paddleslims() -> None:
    names = """
        executor place model_dir quantize_model_path train_sample_generator eval_sample_generator
        train_dataloader eval_dataloader eval_function model_filename params_filename save_model_filename
        save_params_filename scope quantizable_op_type is_full_quantize weight_bits activation_bits
        weight_quantize_type algo bias_correct hist_percent batch_size batch_num optimize_model onnx_format
        is_use_cache_file cache_dir runcount_limit
    """.split()  # noqa: SIM905
    signature = inspect.signature(slim.quant.quant_post_hpo)
    assert list(signature.parameters) == names
    assert signature.parameters["runcount_limit"].default == 30
    assert signature.parameters["hist_percent"].default == (0.98, 0.999)


@pytest.mark.parametrize("ir", IRS)
def test_the_setting_with_the_least_error_is_written(ir: str, tmp_path: Path) -> None:
    report = searched(tmp_path, ir, runcount_limit=12)
    assert "the best of 12 settings" in report.notes[-1]
    loss = float(report.notes[-1].split("loss of ")[1].split()[0])
    directory, x = str(tmp_path / "float"), np.concatenate([images(8, seed) for seed in range(3)])
    (expected,) = Session(directory).run({"image": x})

    def error(session: Session) -> float:
        (result,) = session.run({"image": x})
        noise = np.square(result - expected, dtype=np.float64).sum(axis=1)
        return float(np.mean(noise / np.square(expected, dtype=np.float64).sum(axis=1)))

    assert error(Session(report.engine_file)) == pytest.approx(loss, rel=1e-4)
    # Each of PaddleSlim's rules by itself does no better.
    for algo in ("KL", "avg", "mse"):
        for corrects in (True, False):
            other = quantize_post_static(
                directory, str(tmp_path / "other"), algo=algo, bias_correction=corrects,
                data_loader=[images(8, seed) for seed in range(3)],
            )  # fmt: skip
            assert error(Session(other.engine_file)) >= loss * (1 - 1e-6)
    program = ".json" if ir == "pir" else ".pdmodel"
    files = sorted(f"model{ending}" for ending in (program, ".pdiparams", ".qslim"))
    assert sorted(os.listdir(tmp_path / "out")) == files


def test_one_setting_is_quant_post_static(tmp_path: Path) -> None:
    searched(
        tmp_path, algo="mse", bias_correct=[True], hist_percent=0.99, weight_quantize_type="abs_max",
        runcount_limit=5, optimize_model=True,
    )  # fmt: skip
    quantize_post_static(
        str(tmp_path / "float"), str(tmp_path / "plain"), algo="mse", bias_correction=True,
        weight_quantize_type="abs_max", data_loader=[images(8, seed) for seed in range(3)],
        quantizable_op_type=["conv2d", "depthwise_conv2d", "mul"], optimize_model=True,
    )  # fmt: skip
    for name in ("model.json", "model.pdiparams", "model.qslim"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "plain" / name).read_bytes()


def test_data_is_read_once_for_each_number_of_batches(tmp_path: Path) -> None:
    read = []

    def samples() -> Any:
        read.append(0)
        for sample in images(40):
            read[-1] += 1
            yield (sample,)

    report = searched(
        tmp_path, train_dataloader=None, train_sample_generator=samples, batch_size=4, batch_num=[2, 4],
        runcount_limit=10,
    )  # fmt: skip
    assert len(read) == 2
    assert report.samples in (8, 16)
    once = iter([images(8, seed) for seed in range(3)])
    assert searched(tmp_path, train_dataloader=once, batch_num=[1, 3], runcount_limit=4).batches == 3


@pytest.mark.parametrize("takes_program", [False, True])
def test_the_metric_nearest_to_floats_wins(takes_program: bool, tmp_path: Path) -> None:
    metrics: list[float] = []

    def of_network(network: Any) -> float:
        metrics.append([10.0, 8.0, 9.5, 12.0][len(metrics)])
        assert network(images(2))[0].shape == (2, 5)
        return metrics[-1]

    def of_program(executor: Any, program: Any, feeds: list[str], fetches: list[Any]) -> float:
        (result,) = executor.run(program, feed={feeds[0]: images(2)}, fetch_list=fetches)
        return of_network(lambda _: [result])

    function = of_program if takes_program else of_network
    report = searched(tmp_path, eval_function=function, runcount_limit=3)
    assert "loss of 0.05 (|float - quantized| / |float|)" in report.notes[-1]
    assert len(metrics) == 4


def test_data_to_judge_on_may_be_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    judged = []
    agreement = post_hpo.Agreement

    def watch(quantization: Any, by_class: bool) -> Any:
        judged.extend(quantization.samples)
        return agreement(quantization, by_class)

    monkeypatch.setattr(post_hpo, "Agreement", watch)
    searched(tmp_path, eval_dataloader=lambda: iter([images(3, 9)]), runcount_limit=2)
    np.testing.assert_array_equal(np.concatenate([feed["image"] for feed in judged]), images(3, 9))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"algo": ["KL", "mes"]}, "algo: expected one of .*'mse'"),
        ({"algo": []}, "algo: expected one value or several, got none"),
        ({"runcount_limit": 0}, "runcount_limit: expected an int >= 1, got 0"),
        ({"train_dataloader": None}, "calibration data: give one of"),
        ({"eval_function": lambda network: None}, "expected a finite number with the float model, got None"),
        ({"eval_function": lambda a, b: 0}, "expected a function of one network, or"),
        ({"hist_percent": [2, 3]}, "hist_percent: expected a number in"),
    ],
)
def test_what_is_wrong_is_said_and_nothing_is_written(
    options: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=message):
        searched(tmp_path, **options)
    assert not (tmp_path / "out").exists()
