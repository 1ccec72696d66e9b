# SPDX-License-Identifier: Apache-2.0
"""The Python snippets of README.md run, each in a process of its own, and its links lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from guides import blocks

pytest.importorskip("paddle")

REPOSITORY = Path(__file__).resolve().parents[3]
TEXT = (REPOSITORY / "README.md").read_text(encoding="utf-8")
SNIPPETS = {
    heading: snippet
    for heading, section in re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", TEXT, re.DOTALL | re.MULTILINE)
    for snippet in blocks(section)
}


def test_every_snippet_is_found() -> None:
    assert len(SNIPPETS) == TEXT.count("```python") == 4


@pytest.mark.parametrize("heading", SNIPPETS)
def test_snippet_runs(heading: str, tmp_path: Path, run_python: Any) -> None:
    run_python(SNIPPETS[heading], cwd=tmp_path)


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "docs/architecture.md"])
def test_linked_files_exist(page: str) -> None:
    links = set(re.findall(r"\]\(([^)#:]+)\)", (REPOSITORY / page).read_text(encoding="utf-8")))
    assert links
    assert [link for link in links if not (REPOSITORY / page).parent.joinpath(link).exists()] == []


def test_the_table_of_contributing_names_paths_that_exist() -> None:
    table = (REPOSITORY / "CONTRIBUTING.md").read_text(encoding="utf-8").split("## Adding something")[0]
    paths = re.findall(r"`((?:python|cpp|docs)/[\w./]+)`", table)
    assert len(paths) > 10
    assert [path for path in paths if not (REPOSITORY / path).exists()] == []
