# SPDX-License-Identifier: Apache-2.0
"""The snippets of docs/linear_layers.md run, one after another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from guides import blocks, text_of

pytest.importorskip("paddle")


def test_snippets_run(tmp_path: Path, run_python: Any) -> None:
    snippets = blocks(text_of("linear_layers.md"))
    assert len(snippets) == 3
    # Paddle reads the source of a Layer that it saves, so it must have a file.
    (tmp_path / "guide.py").write_text("\n".join(snippets), encoding="utf-8")
    lines = run_python("import guide", cwd=tmp_path).splitlines()
    forms = {line.split()[0]: int(line.split()[-1]) for line in lines if line.startswith(("int", "measured"))}
    assert forms.keys() == {"int8", "int4", "measured"}
    assert forms["int4"] < 0.65 * forms["int8"]
    assert lines[-1] == "(1, 6, 2)"
