# SPDX-License-Identifier: Apache-2.0
"""The snippets of docs/runtime.md run, one after another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from guides import blocks, text_of

pytest.importorskip("paddle")


def test_snippets_run(tmp_path: Path, run_python: Any) -> None:
    end = "\nassert session.memory['arena_bytes'] > 0 and in_float == []\nprint('difference', difference)\n"
    out = run_python("\n".join(blocks(text_of("runtime.md"))) + end, cwd=tmp_path)
    assert "quantized_model/model.qslim" in out
    assert "Conv+Relu" in out
    # Scores of a network of random weights are of the order of 1.
    assert float(out.split()[-1]) < 0.2
