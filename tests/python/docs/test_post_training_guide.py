# SPDX-License-Identifier: Apache-2.0
"""The snippets of docs/post_training_quantization.md run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from guides import blocks, text_of

pytest.importorskip("paddle")

FIRST, FEW_BITS, MIXED = blocks(text_of("post_training_quantization.md"))


def test_the_first_snippets_run(tmp_path: Path, run_python: Any) -> None:
    check = "assert errors['adaround'] < errors['round'] / 4\n"
    out = run_python("\n".join([FIRST, FEW_BITS, check]), cwd=tmp_path)
    assert (
        len(re.findall(r"^\w+ \d+\.\d+$", out, re.MULTILINE)) == 3
    )  # what the two products and the convolution read


def test_the_snippet_of_mixed_precision_finds_the_bad_layers(tmp_path: Path, run_python: Any) -> None:
    out = run_python(MIXED, cwd=tmp_path)
    assert out.splitlines()[-1] == "True ['conv2d_1.w_0', 'conv2d_2.w_0']"
    assert {path.suffix for path in (tmp_path / "int8_model").iterdir()} == {".json", ".pdiparams", ".qslim"}
