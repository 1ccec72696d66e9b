# SPDX-License-Identifier: Apache-2.0
"""The notebooks run from top to bottom with a few steps; table, models and plots are as they should be."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

paddle = pytest.importorskip("paddle")
pytest.importorskip("nbclient")

NOTEBOOKS = Path(__file__).resolve().parents[3] / "notebooks"
sys.path.insert(0, str(NOTEBOOKS))

from classify import agreement, classify, latencies, top  # noqa: E402
from comparison import Comparison  # noqa: E402
from plots import ALGORITHMS  # noqa: E402
from qat_training import Trajectory, digits_network, train  # noqa: E402
from run_demo import NOTEBOOKS as NAMES  # noqa: E402
from run_demo import execute  # noqa: E402

import qslim  # noqa: E402

QAT = "qat_pact.ipynb"
FEW = {"QSLIM_DEMO_STEPS": "24", "QSLIM_DEMO_TEST_IMAGES": "128"}


@pytest.mark.parametrize(("name", "program"), [(NAMES[0], "pdmodel"), (NAMES[1], "json")])
def test_notebook_runs(name: str, program: str, tmp_path: Path) -> None:
    content = execute(NOTEBOOKS / name, tmp_path, live=False, env=FEW)

    table = {row.model: row for row in Comparison.load(tmp_path / "comparison.json").rows}
    assert set(ALGORITHMS) <= set(table)
    for algo in ALGORITHMS:
        # 24 steps leave a network that hardly beats chance, and on 128 images chance itself varies by 5 %
        # (two standard deviations). What this catches is a quantized model that answers nonsense.
        assert abs(table[algo].top1 - table["float"].top1) <= 0.15, (algo, table)
        assert table[algo].size < 0.3 * table["float"].size
        assert table[algo].seconds > 0

    engine = table["int8 engine"]
    assert abs(engine.top1 - table["float"].top1) <= 0.15, table
    assert engine.size == (tmp_path / "quant_post_static_model" / "model.qslim").stat().st_size
    assert engine.size < 0.27 * table["float"].size

    assert (tmp_path / "inference_model" / f"fp32.{program}").stat().st_size > 10_000
    for directory in ["quant_post_static_model", *(f"quantized_with_{algo}_model" for algo in ALGORITHMS)]:
        for ending in (program, "pdiparams"):
            assert (tmp_path / directory / f"model.{ending}").stat().st_size > 10_000
    for plot in ("models", "layer_errors", "weights", "activations", "thresholds"):
        assert (tmp_path / "plots" / f"{plot}.png").read_bytes().startswith(b"\x89PNG")

    assert (tmp_path / name).exists()
    printed = "".join(output.get("text", "") for cell in content.cells for output in cell.get("outputs", ()))
    assert re.search(r"train: 100%.*(24/24|8/8)", printed)
    assert "top1=" in printed
    assert "engine and simulation agree on 128 of 128 images" in printed
    in_paddle = re.search(r"engine and Paddle agree on (\d+) of 128 images", printed)
    # A value one step off turns the answer of a network that has learnt next to nothing, here for every tenth
    # image; nonsense would agree on a tenth. test_engine_file.py looks at a trained network.
    assert in_paddle is not None
    assert int(in_paddle[1]) >= 90
    assert "int8 engine beside float, oneDNN: " in printed
    assert table["float, oneDNN"].top1 == table["float"].top1


def test_qat_notebook_runs(tmp_path: Path) -> None:
    few = {"QSLIM_DEMO_STEPS": "6", "QSLIM_DEMO_TEST_IMAGES": "128"}
    content = execute(NOTEBOOKS / QAT, tmp_path, live=False, env=few)

    table = {row.model: row for row in Comparison.load(tmp_path / "comparison.json").rows}
    methods = ("post-training", "plain QAT", "PACT", "LSQ+")
    assert set(table) == {"float", *(f"{name}, {bits} bits" for name in methods for bits in (8, 4, 3))}
    for name, row in table.items():
        # 16 steps in float and 6 quantized ones: better than chance (10 %) by far, if not good.
        assert row.top1 >= 0.3, (name, table)
        assert name == "float" or row.size < 0.32 * table["float"].size

    printed = "".join(output.get("text", "") for cell in content.cells for output in cell.get("outputs", ()))
    assert printed.count("the same bits, so the same answers for 128 of 128 images") == 9
    assert "5 of 5 layers quantized, input and weight" in printed
    for plot in (
        "accuracy",
        "clipping_values",
        "weight_thresholds",
        "pact_over_bits",
        "fast_clipping_values",
    ):
        assert (tmp_path / "plots" / f"{plot}.png").read_bytes().startswith(b"\x89PNG")
    for method in ("plain_QAT", "PACT", "LSQ+"):
        for ending in ("json", "pdiparams", "qslim"):
            assert (tmp_path / f"{method}_4_model" / f"model.{ending}").stat().st_size > 1000


def test_trajectories_follow_training() -> None:
    """Plain training records Paddle's moving average, and the largest weight of each channel."""
    net = digits_network()
    qslim.QAT().quantize(net)
    images = np.random.default_rng(0).uniform(-1, 1, (32, 1, 28, 28)).astype("float32")
    images[:, 0, 0, 0] = 3.0
    trajectory = Trajectory()
    train(net, images, np.arange(32) % 10, 3, 1e-6, batch_size=8, trajectory=trajectory)
    layers = ["0 (conv 5x5)", "3 (conv 3x3)", "6 (depthwise)", "9 (conv 1x1)", "13 (linear)"]
    assert list(trajectory.inputs) == list(trajectory.weights) == layers
    averages = [(0.9 + 3) / 1.9, (0.81 + 5.7) / 2.71, (0.729 + 8.13) / 3.439]
    np.testing.assert_allclose(trajectory.inputs[layers[0]], averages, rtol=1e-5)
    largest = np.abs(net[13].weight.numpy()).max(axis=0).mean()
    np.testing.assert_allclose(trajectory.weights[layers[4]][-1], largest, rtol=1e-6)
    assert not net.training


@pytest.mark.parametrize("name", [*NAMES, QAT])
def test_notebook_is_committed_without_outputs(name: str) -> None:
    check = [sys.executable, str(NOTEBOOKS / "check_stripped.py"), str(NOTEBOOKS / name)]
    done = subprocess.run(check, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_outputs_are_found_and_removed(tmp_path: Path) -> None:
    file = tmp_path / "with_outputs.ipynb"
    notebook: dict[str, Any] = json.loads((NOTEBOOKS / NAMES[0]).read_text(encoding="utf-8"))
    code = next(cell for cell in notebook["cells"] if cell["cell_type"] == "code")
    code["outputs"], code["execution_count"] = [{"output_type": "stream", "name": "stdout", "text": "x"}], 7
    file.write_text(json.dumps(notebook), encoding="utf-8")
    check = [sys.executable, str(NOTEBOOKS / "check_stripped.py")]
    assert subprocess.run([*check, str(file)], check=False, capture_output=True).returncode == 1
    assert subprocess.run([*check, "--fix", str(file)], check=False, capture_output=True).returncode == 1
    assert file.read_text(encoding="utf-8") == (NOTEBOOKS / NAMES[0]).read_text(encoding="utf-8")


def test_digits_stand_in_for_mnist(run_python: Any) -> None:
    """Without MNIST the same kinds of objects come out: (28, 28) images, flat samples, int labels."""
    out = run_python("""
        import numpy as np
        import paddle.vision.transforms as T
        import mnist_data
        from mnist_data import Digits, digits_test, images_and_labels

        mnist_data.have_mnist = lambda: False

        transform = T.Compose([T.Transpose(), T.Normalize([127.5], [127.5])])
        for mode, count in (("train", 1437), ("test", 360)):
            data = Digits(mode, transform)
            assert len(data) == count
            image, label = data[count - 1]
            assert image.shape == (1, 28, 28) and image.dtype == np.float32
            assert label.shape == (1,) and label.dtype == np.int64
        samples = list(digits_test()())
        assert len(samples) == 360
        flat, label = samples[3]
        assert flat.shape == (784,) and flat.dtype == np.float32 and type(label) is int
        assert -1.0 <= flat.min() < -0.9 and 0.5 < flat.max() <= 1.0
        assert np.allclose(flat.reshape(28, 28), Digits("test", transform)[3][0][0], atol=1e-6)
        images, labels = images_and_labels("test")
        assert images.shape == (360, 1, 28, 28) and images.dtype == np.float32 and labels.shape == (360,)
        assert np.allclose(images[3], Digits("test", transform)[3][0], atol=1e-6)
        print("alike")
    """)
    assert out.strip().endswith("alike")


def test_table_survives_its_file(tmp_path: Path) -> None:
    file = tmp_path / "model"
    file.write_bytes(b"12345")
    table = Comparison()
    table.add("float", 0.5, 0.75, [file, file], 0.002)
    table.save(tmp_path / "comparison.json")
    again = Comparison.load(tmp_path / "comparison.json")
    assert again == table
    assert str(again).splitlines()[-1].split() == ["float", "50.00", "75.00", "10", "2.00"]
    again.add("int8 engine", 0.49, 0.75, [file], 0.0005)
    expected = "int8 engine beside float: 0.50 of the bytes, 4.0 times as fast, -1.00 % top-1"
    assert again.summary() == expected


def test_classification_goes_batch_by_batch() -> None:
    images = np.arange(10, dtype=np.float32).reshape(10, 1)
    seen = []

    def run(batch: Any) -> Any:
        seen.append(len(batch))
        return np.concatenate([batch, 5 - batch, batch * 0 + 4.5], axis=1)

    probabilities, seconds = classify(run, images, batch_size=4)
    assert seen == [4, 4, 2]
    assert seconds >= 0
    best = np.array([1, 2, 2, 2, 2, 0, 0, 0, 0, 0])
    np.testing.assert_array_equal(probabilities.argmax(axis=1), best)
    assert top(probabilities, best, 1) == 1.0
    assert top(probabilities, np.zeros((10, 1), int), 1) == 0.5
    assert top(probabilities, np.zeros((10, 1), int), 3) == 1.0
    assert agreement(probabilities[:4], probabilities[[0, 2, 2, 0]]) == "3 of 4 images (75.00 %)"
    assert set(latencies({"one": run, "two": run}, images[:1], count=2)) == {"one", "two"}
