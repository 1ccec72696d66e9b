# SPDX-License-Identifier: Apache-2.0
"""The snippets of docs/quantization_aware_training.md run: in turn, and train.py in two processes."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("paddle")

from guides import blocks, text_of
from processes import run_ranks

from qslim.quant import QATConfig

TEXT = text_of("quantization_aware_training.md")
SNIPPETS = blocks(TEXT)


def test_snippets_run(tmp_path: Path, run_python: Any) -> None:
    in_turn = [snippet for snippet in SNIPPETS if not snippet.startswith("# train.py")]
    end = "assert sorted(thresholds) == ['0', '3', '8'] and min(thresholds.values()) > 0\n"
    out = run_python("\n".join([*in_turn, end]), cwd=tmp_path)
    assert "3 of 3 layers quantized" in out
    for name in ("model.json", "model.pdiparams", "model.qslim", "own.json"):
        assert (tmp_path / "output" / name).exists()


def test_train_script_runs_in_two_processes(tmp_path: Path) -> None:
    (script,) = (snippet for snippet in SNIPPETS if snippet.startswith("# train.py"))
    first, second = run_ranks(script, 2, cwd=tmp_path)
    thresholds = [
        [line for line in rank.stdout.splitlines() if line.startswith("[")] for rank in (first, second)
    ]
    assert len(thresholds[0]) == 1
    assert thresholds[0] == thresholds[1]
    assert (tmp_path / "output" / "parallel.qslim").exists()


def test_every_key_is_described_with_its_default() -> None:
    rows = dict(re.findall(r"^\| (`.*?`) \| (.*?) \|", TEXT.split("## Grids")[0], re.MULTILINE))
    described = {key: default for keys, default in rows.items() for key in re.findall(r"`(\w+)`", keys)}
    assert set(described) == {field.name for field in fields(QATConfig)}
    for field in fields(QATConfig):
        default = list(field.default) if isinstance(field.default, tuple) else field.default
        written = described[field.name].strip("`")
        assert eval(written) == default, field.name


def test_chinese_guide_runs(tmp_path: Path, run_python: Any) -> None:
    run_python("\n".join(blocks(text_of("zh/quantization_aware_training.md"))), cwd=tmp_path)
    assert (tmp_path / "output" / "model.qslim").exists()
