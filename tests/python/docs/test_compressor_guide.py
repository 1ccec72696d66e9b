# SPDX-License-Identifier: Apache-2.0
"""docs/compressor.md and docs/auto_compression.md: programs run, and tables have the keys of the classes."""

from __future__ import annotations

import os
import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from guides import blocks, text_of

pytest.importorskip("paddle")

import qslim.auto_compression
import qslim.compressor

TEXT = text_of("compressor.md")
AUTOMATIC = text_of("auto_compression.md")


def test_snippets_run(tmp_path: Path, run_python: Any) -> None:
    (snippet,) = blocks(TEXT)
    out = run_python(snippet + "\nassert scores.shape == (1, 10)\n", cwd=tmp_path)
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


def test_auto_compression_runs(tmp_path: Path, run_python: Any) -> None:
    (snippet,) = blocks(AUTOMATIC)
    run_python(snippet + "\nassert scores.shape == (1, 10)\n", cwd=tmp_path)
    names = ["inference.json", "inference.pdiparams", "inference.qslim"]
    assert sorted(os.listdir(tmp_path / "output")) == names


@pytest.mark.parametrize(
    "section",
    [
        "ASPPrune",
        "ChannelPrune",
        "Distillation",
        "HyperParameterOptimization",
        "TrainConfig",
        "UnstructurePrune",
    ],
)
def test_sections_have_their_keys(section: str) -> None:
    (keys,) = re.findall(rf"^\| `{section}` \| (.*?) \|$", AUTOMATIC, re.MULTILINE)
    known = {field.name for field in fields(getattr(qslim.auto_compression, section))}
    keys = re.sub(r"\([^)]*\)", "", keys)  # their values
    warned_of = {"amp_config", "recompute_config", "sharding_config"}
    assert set(re.findall(r"`(\w+)`", keys)) == known - warned_of
