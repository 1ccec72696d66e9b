# SPDX-License-Identifier: Apache-2.0
"""The examples of docstrings and of the guide run."""

from __future__ import annotations

import doctest
import importlib
import re
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("paddle")

GUIDE = Path(__file__).resolve().parents[3] / "docs" / "pruning.md"


@pytest.mark.parametrize(
    "module",
    [
        *("atoms", "checkpoint", "groups", "inputs", "plan", "report", "selection", "sensitivity"),
        "saved_model",
        *("pruners.base", "pruners.norms", "pruners.taylor"),
    ],
)
def test_docstring_examples_run(module: str) -> None:
    result = doctest.testmod(importlib.import_module(f"qslim.prune.{module}"))
    assert result.attempted > 0
    assert result.failed == 0


def test_guide_runs(tmp_path: Path, run_python: Any) -> None:
    text = GUIDE.read_text(encoding="utf-8")
    snippets = re.findall(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    assert len(snippets) == text.count("```python") > 4
    # From a file: paddle.jit reads the source of a Layer that it traces.
    (tmp_path / "guide.py").write_text("\n".join(snippets), encoding="utf-8")
    out = run_python("import runpy; runpy.run_path('guide.py')", cwd=tmp_path)
    assert "ms a run" in out
    assert "not prunable" in out
