# SPDX-License-Identifier: Apache-2.0
"""The command lines of the two PaddleClas tutorials, on a suite with PaddleClas's calls of paddleslim.

``clas/`` is that suite. Its files are copied, the commands run in the copy, and what they write is compared
with what was trained.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import paddle
import pytest

from qslim.importers.paddle import find_model_files, load_program
from qslim.runtime import Session

FLOAT = "ppcls/configs/ImageNet/ResNet/ResNet50_vd.yaml"
QUANTIZATION = "ppcls/configs/slim/ResNet50_vd_quantization.yaml"
PRUNING = "ppcls/configs/slim/ResNet50_vd_prune.yaml"
TRAIN_QUANTIZED = (
    *("-c", QUANTIZATION),
    *("-o", "Global.device=cpu"),
    *("-o", "Global.pretrained_model=./pretrained/ResNet50_vd/best_model"),
)
MOBILENET = "configs/MobileNetV3/MobileNetV3_large_x1_0.yaml"


class Suite:
    """A copy of ``clas/`` to run commands in."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def python(self, *arguments: str, **env: str) -> str:
        """``python -m qslim.paddleslim arguments``; what it printed."""
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-m", "qslim.paddleslim", *arguments],
            cwd=self.root,
            env={**os.environ, "GLOG_minloglevel": "2", "PYTHONDONTWRITEBYTECODE": "1", **env},
            timeout=300,
            check=False,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            pytest.fail(f"{arguments}\n{done.stdout[-3000:]}\n{done.stderr[-6000:]}", pytrace=False)
        return done.stdout

    def logits(self, code: str) -> np.ndarray:
        """The logits of the network that `code` makes as ``net``, in evaluation mode on the test images."""
        lines = [
            code,
            "import numpy as np, paddle",
            "from ppcls.data import Patterns",
            "net.eval()",
            "images = paddle.to_tensor(Patterns(96, 16, 2).images)",
            "np.save('logits.npy', net(images).numpy())",
        ]
        self.python("-c", "\n".join(lines))
        return np.load(self.root / "logits.npy")


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Suite:
    root = tmp_path_factory.mktemp("paddleclas") / "PaddleClas"
    shutil.copytree(Path(__file__).parent / "clas", root, ignore=shutil.ignore_patterns("__pycache__"))
    suite = Suite(root)
    log = suite.python("tools/train.py", "-c", FLOAT, "-o", "Global.output_dir=./pretrained/")
    assert best_top1(log) > 0.8
    return suite


def best_top1(log: str) -> float:
    return max(float(top1) for top1 in re.findall(r"top1: ([\d.]+)", log))


def images_and_labels() -> tuple[np.ndarray, np.ndarray]:
    spec = importlib.util.spec_from_file_location("data", Path(__file__).parent / "clas/ppcls/data.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    dataset = module.Patterns(96, 16, 2)
    return dataset.images, dataset.labels


def compare_with_deployed(logits: np.ndarray, directory: Path, *, is_softmax: bool = False) -> None:
    """The exported model in Paddle and in the engine give the `logits` of the trained network."""
    images, _ = images_and_labels()
    program = load_program(find_model_files(str(directory), "inference"))
    deployed = program.run_outputs({program.feeds[0].name: images})[0]
    session = Session(str(directory / "inference.qslim"))
    (ran,) = session.run({session.inputs[0].name: images})
    expected = np.asarray(paddle.nn.functional.softmax(paddle.to_tensor(logits))) if is_softmax else logits
    # A step of the last layer's accumulator changes nothing visible; a wrong scale changes all.
    tolerance = 1e-4 * np.abs(expected).max()
    np.testing.assert_allclose(deployed, expected, rtol=0, atol=tolerance)
    np.testing.assert_allclose(ran, expected, rtol=0, atol=tolerance)


_BUILD = """
import paddle
from ppcls.arch import build_model
from ppcls.config import get_config
net = build_model(get_config({config!r}, []), {mode!r})
net.set_state_dict(paddle.load({checkpoint!r}))
"""


def quantized_logits(suite: Suite, mode: str) -> np.ndarray:
    checkpoint = "./output/ResNet50_vd/best_model.pdparams"
    return suite.logits(_BUILD.format(config=QUANTIZATION, mode=mode, checkpoint=checkpoint))


@pytest.fixture(scope="module")
def trained(suite: Suite) -> float:
    """Top-1 of the network that quantization-aware training leaves in ./output/."""
    log = suite.python("tools/train.py", *TRAIN_QUANTIZED, "-o", "Global.output_dir=./output/")
    return best_top1(log)


def test_online_quantization_training(suite: Suite, trained: float) -> None:
    pretrained = "Global.pretrained_model=./output/ResNet50_vd/best_model"
    evaluated = suite.python("tools/eval.py", "-c", QUANTIZATION, "-o", pretrained)
    assert best_top1(evaluated) == trained > 0.8
    suite.python(
        "tools/export_model.py",
        *("-c", QUANTIZATION),
        *("-o", pretrained),
        *("-o", "Global.save_inference_dir=./inference"),
    )
    compare_with_deployed(quantized_logits(suite, "export"), suite.root / "inference")


def test_the_exporting_process_has_the_trained_grids(suite: Suite, trained: float) -> None:
    # It quantizes without PACT and loads what was trained with it.
    np.testing.assert_array_equal(quantized_logits(suite, "export"), quantized_logits(suite, "eval"))


def test_training_in_two_processes(suite: Suite) -> None:
    launch = ["-m", "paddle.distributed.launch", "--nproc_per_node", "2", "--log_dir", "log"]
    suite.python(*launch, "tools/train.py", *TRAIN_QUANTIZED, "-o", "Global.output_dir=./output/two")
    logs = [(suite.root / "log" / f"workerlog.{rank}").read_text() for rank in range(2)]
    assert min(best_top1(log) for log in logs) > 0.8
    assert (suite.root / "output/two/ResNet50_vd/best_model.pdparams").exists()


def test_offline_quantization(suite: Suite) -> None:
    directory = "./deploy/models/class_ResNet50_vd_ImageNet_infer"
    # The script wants inference.pdmodel, which Paddle 3 writes in its legacy IR only.
    suite.python(
        "tools/export_model.py",
        *("-c", FLOAT),
        *("-o", "Global.pretrained_model=./pretrained/ResNet50_vd/best_model"),
        *("-o", f"Global.save_inference_dir={directory}"),
        FLAGS_enable_pir_api="0",
    )
    suite.python(
        "deploy/slim/quant_post_static.py",
        *("-c", FLOAT),
        *("-o", f"Global.save_inference_dir={directory}"),
    )
    images, labels = images_and_labels()
    quantized = suite.root / directory / "quant_post_static_model"
    assert sorted(path.name for path in quantized.iterdir()) == [
        "model.pdiparams",
        "model.pdmodel",
        "model.qslim",
    ]
    tops = []
    for path in (suite.root / directory, quantized):
        program = load_program(find_model_files(str(path)))
        tops.append((program.run_outputs({"x": images})[0].argmax(1) == labels).mean())
    assert abs(tops[1] - tops[0]) < 0.05
    assert tops[0] > 0.8


def test_pruning(suite: Suite) -> None:
    log = suite.python(
        "tools/train.py", "-c", PRUNING, "-o", "Global.device=cpu", "-o", "Global.output_dir=./pruned"
    )
    before, after = (float(g) for g in re.findall(r"FLOPs (?:before|after) pruning: ([\d.e-]+)GFLOPs", log))
    assert 0.4 < after / before < 0.8
    assert best_top1(log) > 0.8
    suite.python(
        "tools/export_model.py",
        *("-c", PRUNING),
        *("-o", "Global.pretrained_model=./pruned/ResNet50_vd/best_model"),
        *("-o", "Global.save_inference_dir=./inference/pruned"),
    )
    images, labels = images_and_labels()
    program = load_program(find_model_files(str(suite.root / "inference/pruned")))
    assert (program.run_outputs({"x": images})[0].argmax(1) == labels).mean() > 0.8


def test_quantization_as_in_release_2_1(suite: Suite) -> None:
    suite.python(
        "-c",
        "import paddle; from ppcls.arch.networks import *; from ppcls.data import build_dataloader\n"
        "paddle.seed(3); net = MobileNetV3_large_x1_0(4)\n"
        "optimizer = paddle.optimizer.Momentum(0.05, parameters=net.parameters())\n"
        "for images, labels in [*build_dataloader('Train', [3, 16, 16], 32)] * 4:\n"
        "    paddle.nn.functional.cross_entropy(net(images), labels).backward()\n"
        "    optimizer.step(); optimizer.clear_grad()\n"
        "paddle.save(net.state_dict(), 'MobileNetV3_large_x1_0_pretrained.pdparams')",
    )
    log = suite.python(
        "deploy/slim/quant/quant.py",
        *("-c", MOBILENET),
        *("-o", "pretrained_model=./MobileNetV3_large_x1_0_pretrained"),
        *("-o", "LEARNING_RATE.params.lr=0.005"),
        *("-o", "epochs=2"),
    )
    top1 = max(float(value) for value in re.findall(r"The best top1 acc ([\d.]+), in epoch", log))
    assert top1 > 0.8
    log = suite.python(
        "deploy/slim/quant/export_model.py",
        *("-m", "MobileNetV3_large_x1_0"),
        *("-p", "output/MobileNetV3_large_x1_0/best_model/ppcls"),
        *("-o", "./MobileNetV3_large_x1_0_infer/"),
        "--img_size=16",
        "--class_dim=4",
    )
    assert "inference QAT model is saved to ./MobileNetV3_large_x1_0_infer/inference" in log
    code = """
import paddle
from paddleslim.dygraph.quant import QAT
from ppcls.arch.networks import MobileNetV3_large_x1_0
net = QAT().quantize(MobileNetV3_large_x1_0(4))
net.set_state_dict(paddle.load("output/MobileNetV3_large_x1_0/best_model/ppcls.pdparams"))
"""
    logits = suite.logits(code)
    compare_with_deployed(logits, suite.root / "MobileNetV3_large_x1_0_infer", is_softmax=True)
