# SPDX-License-Identifier: Apache-2.0
"""The snippets of docs/analysis.md run, one after another."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from guides import blocks, text_of

pytest.importorskip("paddle")


def test_snippets_run(tmp_path: Path, run_python: Any) -> None:
    snippets = blocks(text_of("analysis.md"))
    assert len(snippets) == 2
    out = run_python("\n".join(snippets), cwd=tmp_path)
    assert re.search(r"^(conv2d_1\.w_0) \['\1'\]$", out, re.MULTILINE)  # the depthwise convolution
    assert out.splitlines()[-1].startswith("True ")
    assert {path.name for path in (tmp_path / "analysis").iterdir()} > {"analysis.html", "target_quant_model"}


def test_linked_from_the_guide_of_post_training_quantization() -> None:
    for page in ("post_training_quantization.md", "zh/post_training_quantization.md"):
        assert "analysis.md" in text_of(page)
