# SPDX-License-Identifier: Apache-2.0
"""The code of the Chinese pages is the English pages', whose tests run it; only comments are translated."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[3]
# quantization_aware_training.md is shorter than the English guide; test_qat_guide.py runs its own code.
ENGLISH = {
    "README.zh.md": "README.md",
    "docs/zh/command_line.md": "docs/command_line.md",
    "docs/zh/auto_compression.md": "docs/auto_compression.md",
    "docs/zh/compressor.md": "docs/compressor.md",
    "docs/zh/faq.md": "docs/faq.md",
    "docs/zh/post_training_quantization.md": "docs/post_training_quantization.md",
    "docs/zh/pruning.md": "docs/pruning.md",
    "docs/zh/runtime.md": "docs/runtime.md",
    "docs/zh/start.md": "docs/start.md",
    "docs/zh/which_method.md": "docs/which_method.md",
}
PAGES = [*ENGLISH, "docs/zh/index.md", "docs/zh/quantization_aware_training.md"]


def code_blocks(text: str) -> list[tuple[str, str]]:
    """The language of each block and its code, that of Python and of the shell without comments."""
    blocks = re.findall(r"^```(\w+)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    assert 2 * len(blocks) == text.count("```")
    return [
        (language, code if language == "cpp" else re.sub(r"[ \t]*#.*", "", code)) for language, code in blocks
    ]


@pytest.mark.parametrize("page", ENGLISH)
def test_code_is_that_of_the_english_page(page: str) -> None:
    chinese, english = ((REPOSITORY / name).read_text(encoding="utf-8") for name in (page, ENGLISH[page]))
    assert code_blocks(chinese) == code_blocks(english), f"{page} has to follow {ENGLISH[page]}"


@pytest.mark.parametrize("page", PAGES)
def test_linked_files_exist(page: str) -> None:
    path = REPOSITORY / page
    links = re.findall(r"\]\(([^)#:]+)\)", path.read_text(encoding="utf-8"))
    assert links
    assert [link for link in links if not (path.parent / link).exists()] == []
