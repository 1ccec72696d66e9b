# SPDX-License-Identifier: Apache-2.0
"""The snippets of docs/distillation.md run, and its table has the keys and losses that there are."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from guides import blocks, text_of

pytest.importorskip("paddle")

TEXT = text_of("distillation.md")


def test_snippets_run(tmp_path: Path, run_python: Any) -> None:
    snippets = blocks(TEXT)
    assert len(snippets) == 2
    run_python("\n".join(snippets), cwd=tmp_path)


def test_the_table_has_every_loss() -> None:
    from qslim.distillation.feature_losses import LOSSES

    (row,) = re.findall(r"^\| `loss_function` \| (.*?);", TEXT, re.MULTILINE)
    assert re.findall(r"`(\w+)`", row) == list(LOSSES)
