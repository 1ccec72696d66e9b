# SPDX-License-Identifier: Apache-2.0
"""The Python snippets of README.md run, each in a process of its own, and its links lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("paddle")

REPOSITORY = Path(__file__).resolve().parents[3]
TEXT = (REPOSITORY / "README.md").read_text(encoding="utf-8")
SNIPPETS = {
    heading: snippet
    for heading, section in re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", TEXT, re.DOTALL | re.MULTILINE)
    for snippet in re.findall(r"^```python\n(.*?)^```$", section, re.DOTALL | re.MULTILINE)
}


def test_every_snippet_is_found() -> None:
    assert len(SNIPPETS) == TEXT.count("```python") == 4


@pytest.mark.parametrize("heading", SNIPPETS)
def test_snippet_runs(heading: str, tmp_path: Path, run_python: Any) -> None:
    run_python(SNIPPETS[heading], cwd=tmp_path)


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\(([^)#:]+)\)", TEXT))))
def test_linked_file_exists(link: str) -> None:
    assert (REPOSITORY / link).exists()
