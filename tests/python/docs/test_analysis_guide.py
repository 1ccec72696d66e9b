# SPDX-License-Identifier: Apache-2.0
"""The snippets of docs/analysis.md run, one after another."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("paddle")

GUIDE = Path(__file__).resolve().parents[3] / "docs" / "analysis.md"


def test_snippets_run(tmp_path: Path, run_python: Any) -> None:
    text = GUIDE.read_text(encoding="utf-8")
    snippets = re.findall(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    assert len(snippets) == text.count("```python") == 2
    out = run_python("\n".join(snippets), cwd=tmp_path)
    assert re.search(r"^(conv2d_1\.w_0) \['\1'\]$", out, re.MULTILINE)  # the depthwise convolution
    assert out.splitlines()[-1].startswith("True ")
    assert {path.name for path in (tmp_path / "analysis").iterdir()} > {"analysis.html", "target_quant_model"}


def test_linked_from_the_guide_of_post_training_quantization() -> None:
    for page in ("post_training_quantization.md", "zh/post_training_quantization.md"):
        assert "analysis.md" in (GUIDE.parent / page).read_text(encoding="utf-8")
