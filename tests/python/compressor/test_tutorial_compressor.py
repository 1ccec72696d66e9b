# SPDX-License-Identifier: Apache-2.0
"""The tutorial of compress.py, from training to light_api: the scripts of docs/examples/compressor."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import paddle
import pytest
from guides import blocks, run_commands, text_of

from qslim.exporters.engine_file import write_engine_file
from qslim.importers.paddle import import_model
from qslim.runtime import Session

ROOT = Path(__file__).resolve().parents[3]
MNIST = Path.home() / ".cache/paddle/dataset/mnist/t10k-images-idx3-ubyte.gz"
LIGHT_API = Path(os.environ.get("QSLIM_LIGHT_API", ROOT / "build/cpp/cpp/apps/light_api"))

pytestmark = pytest.mark.skipif(not MNIST.exists(), reason="Paddle has no MNIST in its cache")


def script(cwd: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "FLAGS_enable_pir_api"}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "qslim.paddleslim", *arguments],
        cwd=cwd,
        env={**environment, "GLOG_minloglevel": "2"},
        timeout=240,
        check=False,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        pytest.fail(f"{arguments}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}", pytrace=False)
    return done


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tutorial's folder after its commands, with fewer images and channels."""
    cwd = tmp_path_factory.mktemp("tutorial") / "compressor"
    shutil.copytree(ROOT / "docs/examples/compressor", cwd)
    trained = script(cwd, "train.py", "--model", "MobileNet_x0_25", "--train_images", "2560")
    assert "FLAGS_enable_pir_api=0" in trained.stderr
    compressed = script(
        cwd, "compress.py",
        "--batch_size", "64",
        "--model", "MobileNet_x0_25",
        "--pretrained_model", "./pretrain/MobileNetV1_pretrained",
        "--compress_config", "./configs/quantization.yaml",
        "--quant_only", "True",
        "--train_images", "640",
        "--val_images", "512",
    )  # fmt: skip
    (cwd / "log.txt").write_text(compressed.stderr)
    return cwd


def test_the_directories_hold_what_the_tutorial_says(folder: Path) -> None:
    for name in ("float", "int8", "mobile"):
        assert sorted(os.listdir(folder / "output" / name)) == ["model", "weights"]
    sizes = {name: (folder / "output" / name / "weights").stat().st_size for name in ("float", "int8")}
    assert sizes["int8"] < 0.35 * sizes["float"]
    assert sorted(os.listdir(folder / "checkpoints_quan")) == ["0", "1"]
    log = (folder / "log.txt").read_text()
    assert "epoch:0; batch_id:0; loss = " in log
    assert "Final eval result: acc_top1=" in log


def test_the_engine_has_the_accuracy_of_training(folder: Path, tmp_path: Path) -> None:
    """The step of the optimizing tool, and the engine on the images that were evaluated."""
    graph = import_model(str(folder / "output/float"), "model", "weights")
    assert graph.inputs == ["image"]
    assert graph.outputs == ["fc_0.tmp_2"]
    engine = write_engine_file(graph, tmp_path / "mobilenet_v1_quant_opt.qslim")
    session = Session(engine.path)
    samples = [sample for _, sample in zip(range(512), paddle.dataset.mnist.test()())]
    images = np.stack([image.reshape(1, 28, 28) for image, _ in samples])
    (probabilities,) = session.run({"image": images})
    top1 = np.mean(probabilities.argmax(1) == [label for _, label in samples])
    log = (folder / "log.txt").read_text()
    trained = float(log.rsplit("acc_top1=", 1)[1].split(";")[0])
    assert trained > 0.2  # twice chance: a few dozen steps of training
    # One image is 1/512: a score next to a tie may fall to the other side.
    assert abs(top1 - trained) <= 2 / 512
    report = str(session.profile({"image": images[:1]}, runs=1))
    assert "int8" in report
    (ones,) = session.run({"image": np.ones((1, 1, 28, 28), np.float32)})
    if LIGHT_API.exists():
        done = subprocess.run(
            [LIGHT_API, f"--model_dir={tmp_path}", "--shape=1,1,28,28"],
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.splitlines()[:2] == ["Output dim: 10", f"Output[0]: {ones[0, 0]:.6f}"]


def test_the_commands_for_deployment(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`opt` and `run` as docs/tutorials has them; the test above compares the numbers."""
    monkeypatch.chdir(folder)
    page = text_of("tutorials/003_compressor_opt_light_api.md")
    out = run_commands(blocks(page, "sh"), others=("cd docs/examples", "python -m qslim.paddleslim "))
    assert "Output dim: 10" in out


def test_the_command_goes_on_from_its_checkpoints(folder: Path) -> None:
    config = ("--compress_config", "./configs/quantization.yaml")
    again = script(folder, "compress.py", "--model", "MobileNet_x0_25", *config)
    assert "goes on from the checkpoint ./checkpoints_quan/1, with epoch 2" in again.stderr
    assert "batch_id" not in again.stderr
