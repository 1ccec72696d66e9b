# SPDX-License-Identifier: Apache-2.0
"""The tutorial's compress.py, opt and light_api from the shell, in both IRs, on a few small pictures."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_runner import runner

from qslim.cli.main import qslim
from qslim.paddle import framework
from qslim.runtime import Session

CONFIG = """
version: 1.0
strategies:
    quantization_strategy:
        class: 'QuantizationStrategy'
        start_epoch: 0
        end_epoch: 0
        float_model_save_path: './output/float'
        mobile_model_save_path: './output/mobile'
        int8_model_save_path: './output/int8'
        weight_bits: 8
        activation_bits: 8
        weight_quantize_type: 'abs_max'
        activation_quantize_type: 'moving_average_abs_max'
        save_in_nodes: ['image']
        save_out_nodes: ['fc_0.tmp_2']
compressor:
    epoch: 1
    checkpoint_path: './checkpoints_quan/'
    strategies:
        - quantization_strategy
"""
NETWORK = ("--model", "MobileNet", "--class_dim", "10", "--image_shape", "1,32,32")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "quantization.yaml").write_text(CONFIG)
    pictures = np.random.default_rng(0).random((4, 1, 32, 32), dtype=np.float32)
    np.savez("data.npz", image=pictures, label=np.arange(4))
    return tmp_path


def compress(*arguments: str) -> Any:
    data = ("--train_data", "data.npz", "--compress_config", "quantization.yaml", "--learning_rate", "0.001")
    return runner().invoke(qslim, ["compress", "--batch_size", "4", *NETWORK, *data, *arguments])


@pytest.mark.parametrize("ir", ["legacy", "pir"])
def test_the_tutorials_commands(ir: str, folder: Path) -> None:
    with framework.legacy_ir() if ir == "legacy" else contextlib.nullcontext():
        done = compress("--eval_data", "data.npz", "--quant_only", "True", "--json")
        assert done.exit_code == 0, (done.output, done.exception)
        results = json.loads(done.stdout)["result"]
    assert {name: len(values) for name, values in results.items()} == {"acc_top1": 1, "acc_top5": 1}
    assert sorted(os.listdir("output")) == ["float", "int8", "mobile"]
    outputs = []
    for form in ("float", "int8", "mobile"):
        files = (f"--model_file=output/{form}/model", f"--param_file=output/{form}/weights")
        opt = ("opt", *files, "--optimize_out_type=naive_buffer", f"--optimize_out=opt_{form}", "--json")
        done = runner().invoke(qslim, opt)
        assert (done.exit_code, done.stderr) == (0, "")
        written = json.loads(done.stdout)["result"]
        assert written["int8_products"] == written["products"] == 28
        outputs.append(Session(f"opt_{form}", num_threads=1).run({"image": np.load("data.npz")["image"]})[0])
    np.testing.assert_array_equal(outputs[0], outputs[1])
    np.testing.assert_array_equal(outputs[0], outputs[2])
    np.testing.assert_allclose(outputs[0].sum(1), 1, rtol=1e-5)
    listing = runner().invoke(qslim, ["run", "opt_float", "-q"]).stdout
    assert listing.startswith("Output dim: 10\nOutput[0]: 0.")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--model", "MobileNt"), "the nearest are 'MobileNet'"),
        (("--image_shape", "32"), "image_shape: expected C,H,W, got '32'"),
        (("--compress_config", "none.yaml"), "'none.yaml' is no file"),
        (("--pretrained_model", "nothing"), "expected a directory with a file for each parameter"),
        (("--pretrained_model", "."), "has no file with the name of a parameter"),
        (("--use_gpu", "maybe"), "use_gpu: expected true or false"),
        (("-o", "Eval.batch_size=0"), "Eval.batch_size: expected a number of at least 1"),
    ],
)
def test_bad_input(arguments: tuple[str, ...], message: str, folder: Path) -> None:
    before = sorted(os.listdir())
    done = compress(*arguments)
    assert (done.exit_code, done.stderr.count("\n")) == (2, 1), done.output
    assert message in done.stderr
    assert sorted(os.listdir()) == before


def test_pretrained_parameters_are_read_from_a_file_each(folder: Path) -> None:
    """The layout of fluid's save_vars: version, no levels, a description and the data."""
    os.mkdir("pretrained")
    offset = np.full(10, 3, np.float32)
    description = bytes([0x08, 5, 0x10, 10])
    head = np.uint32(0).tobytes() + np.uint64(0).tobytes() + np.uint32(0).tobytes()
    record = head + np.int32(len(description)).tobytes() + description + offset.tobytes()
    Path("pretrained/fc7_offset").write_bytes(record)
    config = "compressor: {epoch: 0, checkpoint_path: ./checkpoints, strategies: []}\n"
    Path("quantization.yaml").write_text(config)
    assert "pretrained_model" in compress("--pretrained_model", "pretrained").stdout
    Path("pretrained/fc7_offset").write_bytes(record.replace(bytes([0x10, 10]), bytes([0x10, 9]))[:-4])
    done = compress("--pretrained_model", "pretrained")
    assert done.exit_code == 2
    assert "holds [[9]], expected float32 [10]" in done.stderr
