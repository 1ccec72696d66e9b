# SPDX-License-Identifier: Apache-2.0
"""Table and plot of benchmarks/compare.py, from made-up rows; a worker that fails says why."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "benchmarks"))

from compare import Row, once, plot, size_of, table

ROWS = [
    Row("MobileNetV1", "qslim", 0.9, 0.995, 0.04, 1.5, 30.0, 3_600_000, 0.5),
    Row("MobileNetV1", "float, qslim", 0.91, 1.0, 0.0, None, None, 12_800_000, 1.0),
]


def test_a_row_has_every_figure() -> None:
    _, _, ours, of_float = table(ROWS).splitlines()
    assert ours == "| MobileNetV1 | qslim | 90.00 | 99.50 | 0.040 | 1.5 | 30.0 | 3.60 | 0.50 |"
    assert of_float == "| MobileNetV1 | float, qslim | 91.00 | 100.00 | 0.000 | | | 12.80 | 1.00 |"


def test_the_plot_is_a_picture(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    plot(ROWS, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")


def test_the_bytes_of_a_model_include_its_weights(tmp_path: Path) -> None:
    (tmp_path / "nncf.xml").write_bytes(bytes(10))
    (tmp_path / "nncf.bin").write_bytes(bytes(32))
    assert size_of(tmp_path / "nncf.xml") == 42


def test_a_worker_that_fails_says_why(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"calibration\.npy"):
        once(sys.executable, "quantize", str(tmp_path), "NNCF")
