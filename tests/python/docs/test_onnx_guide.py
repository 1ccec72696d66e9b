# SPDX-License-Identifier: Apache-2.0
"""The snippets of docs/onnx.md run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any


def test_snippets_run(run_python: Any, tmp_path: Path) -> None:
    text = (Path(__file__).parents[3] / "docs/onnx.md").read_text(encoding="utf-8")
    code = "\n".join(re.findall(r"```python\n(.*?)```", text, re.DOTALL))
    run_python(code + "\nassert values.shape == (4, 8, 14, 14)\n", cwd=tmp_path)
