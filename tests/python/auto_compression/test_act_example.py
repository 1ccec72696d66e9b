# SPDX-License-Identifier: Apache-2.0
"""The example of docs/examples/auto_compression, in the manner of PaddleSlim's image_classification."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from qslim.runtime import Session

EXAMPLE = Path(__file__).parents[3] / "docs/examples/auto_compression"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the example with pictures and a float model."""
    pytest.importorskip("PIL")
    copied = tmp_path_factory.mktemp("example") / "act"
    shutil.copytree(EXAMPLE, copied)
    call(copied, "prepare.py")
    return copied


def call(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, *arguments], cwd=folder, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("config", "last"),
    [("qat_dis", "qat_dis"), ("prune_qat_dis", "qat_dis"), ("sparse_ptq_dis", "quant_post")],
)
def test_the_example_keeps_the_accuracy(config: str, last: str, folder: Path) -> None:
    arguments = ("--config_path", f"configs/{config}.yaml", "--save_dir", config)
    printed = call(folder, "-m", "qslim.paddleslim", "run.py", *arguments)
    given, *_ = re.findall(r"^given +(\S+)", printed, re.MULTILINE)
    metric, *_ = re.findall(rf"^{last} +(\S+)", printed, re.MULTILINE)
    assert float(given) > 0.9
    assert float(metric) > float(given) - 0.1
    assert sorted(path.name for path in (folder / config).iterdir()) == [
        "inference.json",
        "inference.pdiparams",
        "inference.qslim",
    ]
    assert Session(str(folder / config)).inputs[0].name == "inputs"
