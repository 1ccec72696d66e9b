# SPDX-License-Identifier: Apache-2.0
"""The program of docs/compressor.md runs, and its table has the keys of the classes."""

from __future__ import annotations

import os
import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("paddle")

import qslim.compressor

TEXT = (Path(__file__).resolve().parents[3] / "docs/compressor.md").read_text(encoding="utf-8")


def test_snippets_run(tmp_path: Path, run_python: Any) -> None:
    snippets = re.findall(r"^```python\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)
    assert len(snippets) == TEXT.count("```python") == 1
    out = run_python(snippets[0] + "\nassert scores.shape == (1, 10)\n", cwd=tmp_path)
    assert out.count(",") == 1  # two epochs
    assert sorted(os.listdir(tmp_path / "output")) == ["float", "int8"]


def test_every_key_is_described() -> None:
    rows = re.findall(
        r"^\| (`\w+Strategy`|`\w+Distiller`(?:, `\w+Distiller`)?)[^|]*\| (.*?) \|", TEXT, re.MULTILINE
    )
    assert len(rows) >= 5
    for names, keys in rows:
        described = set(re.findall(r"`(\w+)`", keys))
        for name in re.findall(r"`(\w+)`", names):
            known = {field.name for field in fields(getattr(qslim.compressor, name))}
            written = {"weight_quantize_type", "activation_quantize_type"} & known
            assert described & {"start_epoch", "student_feature_map", "student_pairs", "metric_name"}
            assert described - known <= {
                "abs_max",
                "channel_wise_abs_max",
                "range_abs_max",
                "acc_top1",
                "moving_average_abs_max",
                "student_temperature",
                "teacher_temperature",
            }
            assert written <= described
            if name == "QuantizationStrategy":
                assert known <= described
