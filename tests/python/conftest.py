# SPDX-License-Identifier: Apache-2.0
"""Fixtures shared by all tests: fixed seeds, Python in a subprocess of either IR, one trained MobileNetV1.

Paddle picks its IR when it is imported, so a test that needs the legacy IR runs its code in a subprocess. The
network is trained once a session (one to two minutes), and only if a test asks for it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Optional

import numpy as np
import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
NOTEBOOKS = REPOSITORY / "notebooks"

RunPython = Callable[..., str]


@pytest.fixture(autouse=True)
def _fixed_seeds() -> None:
    np.random.seed(0)  # noqa: NPY002  Paddle's transforms and loaders draw from the global generator
    paddle = sys.modules.get("paddle")  # a test that does not use Paddle need not import it
    if paddle is not None:
        paddle.seed(0)


@pytest.fixture(scope="session")
def run_python() -> RunPython:
    """Return ``run_python(code, legacy_ir=False, env=None, cwd=None, timeout=600)``, which returns stdout.

    `code` is dedented and runs in a new interpreter, with ``notebooks/`` importable. A failure fails the test
    with the script's own output. For an expected error, let the script catch and print it.
    """

    def run(
        code: str,
        *,
        legacy_ir: bool = False,
        env: Optional[Mapping[str, str]] = None,
        cwd: Optional[Path] = None,
        timeout: float = 600,
    ) -> str:
        path = os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), str(NOTEBOOKS)]))
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(code)],
            env={
                **os.environ,
                "PYTHONPATH": path,
                "FLAGS_enable_pir_api": "0" if legacy_ir else "1",
                "GLOG_minloglevel": "2",
                **(env or {}),
            },
            cwd=cwd,
            timeout=timeout,
            check=False,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            pytest.fail(
                f"the script ended with {done.returncode}\n{done.stdout[-4000:]}\n{done.stderr[-6000:]}",
                pytrace=False,
            )
        return done.stdout

    return run


@dataclass(frozen=True)
class TrainedMobileNet:
    """A MobileNetV1 of half width, trained on 28 x 28 digits and saved in every form.

    All tests share it: copy a folder before you write into it.

    Attributes
    ----------
    pir_dir : Path
        fp32.json, fp32.pdiparams. Feed "image" [None, 1, 28, 28], fetch the probabilities.
    legacy_dir : Path
        fp32.pdmodel, fp32.pdiparams as the tutorial saves them: feeds "image" and "label" [None, 1], fetches
        top-1, top-5 and mean loss.
    legacy_probabilities_dir : Path
        fp32.pdmodel, fp32.pdiparams with feed "image" and the probabilities as only fetch.
    state_file : Path
        ``paddle.save`` of the Layer's state_dict; ``MobileNet().layer(10, 0.5, in_channels=1)`` loads it.
    images, labels : ndarray
        512 test images [512, 1, 28, 28] float32 in [-1, 1], labels [512, 1] int64 (360 without MNIST).
    accuracy : float
        Top-1 on those, in evaluation mode.
    """

    root: Path
    images: Any
    labels: Any
    accuracy: float

    @property
    def pir_dir(self) -> Path:
        return self.root / "pir"

    @property
    def legacy_dir(self) -> Path:
        return self.root / "legacy"

    @property
    def legacy_probabilities_dir(self) -> Path:
        return self.root / "legacy_probabilities"

    @property
    def state_file(self) -> Path:
        return self.root / "mobilenet.pdparams"


@pytest.fixture(scope="session")
def trained_mobilenet(run_python: RunPython, tmp_path_factory: pytest.TempPathFactory) -> TrainedMobileNet:
    """Return a ``TrainedMobileNet``; the folder QSLIM_TEST_MODEL keeps it from session to session."""
    kept = os.environ.get("QSLIM_TEST_MODEL")
    root = Path(kept) if kept else tmp_path_factory.mktemp("trained_mobilenet")
    root.mkdir(parents=True, exist_ok=True)
    done = root / "accuracy.txt"
    if not done.exists():
        run_python(_TRAIN, cwd=root)
        run_python(_SAVE_LEGACY, legacy_ir=True, cwd=root)
        (root / "accuracy.tmp").rename(done)
    return TrainedMobileNet(
        root, np.load(root / "images.npy"), np.load(root / "labels.npy"), float(done.read_text())
    )


# Half width, because Paddle trains depthwise convolutions at 30 ms an image on a CPU at full width.
_TRAIN = """
    import numpy as np, paddle
    import paddle.vision.transforms as T
    import qslim as slim
    from mnist_data import Digits, have_mnist

    paddle.seed(1)
    np.random.seed(1)
    transform = T.Compose([T.Transpose(), T.Normalize([127.5], [127.5])])
    def dataset(mode):
        if have_mnist():
            return paddle.vision.datasets.MNIST(mode=mode, backend="cv2", transform=transform)
        return Digits(mode, transform)

    steps, batch_size = 200, 32
    train = dataset("train")
    order = np.random.permutation(len(train))
    net = slim.models.MobileNet().layer(class_dim=10, scale=0.5, in_channels=1)
    rate = paddle.optimizer.lr.CosineAnnealingDecay(0.02, T_max=steps)
    optimizer = paddle.optimizer.Momentum(rate, 0.9, parameters=net.parameters())
    for step in range(steps):
        chosen = order.take(range(step * batch_size, (step + 1) * batch_size), mode="wrap")
        images, labels = (np.stack(column) for column in zip(*(train[i] for i in chosen)))
        probabilities = net(paddle.to_tensor(images))
        loss = paddle.nn.functional.cross_entropy(probabilities, paddle.to_tensor(labels), use_softmax=False)
        loss.backward()
        optimizer.step()
        optimizer.clear_grad()
        rate.step()
    net.eval()

    test = dataset("test")
    images, labels = (np.stack(column) for column in zip(*(test[i] for i in range(min(512, len(test))))))
    np.save("images.npy", images)
    np.save("labels.npy", labels)
    with paddle.no_grad():
        parts = [net(paddle.to_tensor(part)).numpy() for part in np.array_split(images, 8)]
    top1 = np.concatenate(parts).argmax(1)
    open("accuracy.tmp", "w").write(str(np.mean(top1 == labels[:, 0])))

    paddle.save(net.state_dict(), "mobilenet.pdparams")
    # Static programs know parameters by their own names, not by the Layer's keys.
    by_name = {value.name: value.numpy() for value in net.state_dict().values()}
    np.savez("by_name.npz", **by_name)
    spec = paddle.static.InputSpec([None, 1, 28, 28], "float32", name="image")
    paddle.jit.save(net, "pir/fp32", input_spec=[spec])
"""

_SAVE_LEGACY = """
    import numpy as np, paddle
    import qslim as slim

    paddle.enable_static()
    program, startup = paddle.static.Program(), paddle.static.Program()
    with paddle.static.program_guard(program, startup):
        image = paddle.static.data(name="image", shape=[None, 1, 28, 28], dtype="float32")
        label = paddle.static.data(name="label", shape=[None, 1], dtype="int64")
        gt = paddle.reshape(label, [-1, 1])
        out = slim.models.MobileNet().net(input=image, class_dim=10, scale=0.5)
        avg_cost = paddle.mean(x=paddle.nn.functional.loss.cross_entropy(input=out, label=gt))
        acc_top1 = paddle.metric.accuracy(input=out, label=gt, k=1)
        acc_top5 = paddle.metric.accuracy(input=out, label=gt, k=5)
    executor = paddle.static.Executor(paddle.CPUPlace())
    executor.run(startup)
    program = program.clone(for_test=True)
    paddle.static.set_program_state(program, dict(np.load("by_name.npz")))
    paddle.static.save_inference_model(
        "legacy/fp32", [image, label], [acc_top1, acc_top5, avg_cost], executor, program=program
    )
    paddle.static.save_inference_model("legacy_probabilities/fp32", [image], [out], executor, program=program)
"""
