# SPDX-License-Identifier: Apache-2.0
"""pruning.ipynb runs from top to bottom with a few steps."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("paddle")
pytest.importorskip("nbclient")

NOTEBOOKS = Path(__file__).resolve().parents[3] / "notebooks"
sys.path.insert(0, str(NOTEBOOKS))

from comparison import Comparison  # noqa: E402
from run_demo import execute  # noqa: E402

NOTEBOOK = NOTEBOOKS / "pruning.ipynb"


def test_notebook_runs(tmp_path: Path) -> None:
    few = {"QSLIM_DEMO_STEPS": "9", "QSLIM_DEMO_TEST_IMAGES": "64", "QSLIM_DEMO_SCALE": "0.25"}
    content = execute(NOTEBOOK, tmp_path, live=False, env=few)
    table = {row.model: row for row in Comparison.load(tmp_path / "comparison.json").rows}
    assert list(table) == ["float", "pruned", "int8 engine", "pruned int8 engine"]
    # Half of the FLOPs are in layers that hold most of the weights.
    assert table["pruned"].size < 0.8 * table["float"].size
    assert table["pruned int8 engine"].size < 0.4 * table["pruned"].size
    for plot in ("sensitivities", "channels"):
        assert (tmp_path / "plots" / f"{plot}.png").read_bytes().startswith(b"\x89PNG")
    printed = "".join(output.get("text", "") for cell in content.cells for output in cell.get("outputs", ()))
    pruned = re.search(r"([\d.]+) of the FLOPs are gone", printed)
    assert pruned is not None
    assert abs(float(pruned[1]) - 0.5) < 0.05
    assert "ms a run" in printed
    assert "times as fast" in printed


def test_notebook_is_committed_without_outputs() -> None:
    check = [sys.executable, str(NOTEBOOKS / "check_stripped.py"), str(NOTEBOOK)]
    done = subprocess.run(check, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
