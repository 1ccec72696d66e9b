# SPDX-License-Identifier: Apache-2.0
"""The commands of docs/command_line.md run in their order: a MobileNetV1, from saved model to all files."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from guides import blocks, run_commands, text_of

pytest.importorskip("paddle")


def test_commands_run(tmp_path: Path, run_python: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    text = text_of("command_line.md")
    run_python("\n".join(blocks(text, "python")), cwd=tmp_path)
    (tmp_path / "quantize.yml").write_text("\n".join(blocks(text, "yaml")), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    # In this process: test_process.py has processes.
    out = run_commands(blocks(text, "sh"), others=('eval "$(_QSLIM_COMPLETE',))
    assert "100.0% of the multiply-adds in int8" in out
    assert "28 of 28 convolutions and matrix products run in int8" in out
    assert "analysis.html" in out
    assert np.load(tmp_path / "scores.npz")["softmax_0"].shape == (1, 10)
    scores = json.loads((tmp_path / "compared" / "comparison.json").read_text())["scores"]
    assert [row["runtime"] for row in scores] == ["Paddle", "Paddle", "qslim", "ONNX Runtime"]
    # Probabilities of random weights are nearly equal: what counts is that int8 stays near float.
    assert all(row["difference"] < 0.05 for row in scores)
    assert os.listdir(tmp_path / "mobilenet_opt") == ["model.qslim"]
    assert (tmp_path / "pruned" / "model.json").exists()
