# SPDX-License-Identifier: Apache-2.0
"""The snippets of docs/post_training_quantization.md run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("paddle")

GUIDE = Path(__file__).resolve().parents[3] / "docs" / "post_training_quantization.md"


def test_the_snippet_of_mixed_precision_finds_the_bad_layers(tmp_path: Path, run_python: Any) -> None:
    text = GUIDE.read_text(encoding="utf-8")
    (section,) = re.findall(r"^## Mixed precision\n(.*?)^## ", text, re.DOTALL | re.MULTILINE)
    (snippet,) = re.findall(r"^```python\n(.*?)^```$", section, re.DOTALL | re.MULTILINE)
    out = run_python(snippet, cwd=tmp_path)
    assert out.splitlines()[-1] == "True ['conv2d_1.w_0', 'conv2d_2.w_0']"
    assert {path.suffix for path in (tmp_path / "int8_model").iterdir()} == {".json", ".pdiparams", ".qslim"}
