# SPDX-License-Identifier: Apache-2.0
"""The site's own pages: their code runs, links lead somewhere, every page is in a table of contents."""

from __future__ import annotations

import ast
import doctest
import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest
from guides import DOCS, blocks, run_commands, text_of

pytest.importorskip("paddle")

# A line that each page's Python must print.
PRINTED = {
    "engine.md": "",
    "faq.md": r"(True|False) \[.*\]",
    "start.md": r"int8 accuracy: 0\.[89]\d*",
    "tutorials/000_paddleclas_quant.md": "",
    "tutorials/001_quant_post_static_mnist.md": "",
    "tutorials/002_quant_aware_training.md": "",
    "tutorials/004_paddleclas_quant_prune.md": "",
    "which_method.md": r"auto, adaround, 4-bit weights +error of the output \d\.\d+e-\d+",
}
# What a page leaves to its reader.
BEFORE = {"engine.md": "import paddle\nnet = paddle.nn.Conv2D(3, 4, 3)\n"}
SHELL = {
    "faq.md": ["100.0% of the multiply-adds in int8", "analysis.html"],
    "start.md": ["100.0% of the multiply-adds in int8", "whole run"],
}
# Commands of other programs: what installs, and what the tests of the command line's tutorials run.
OTHERS = ("pip install",)


@pytest.mark.parametrize("page", PRINTED)
def test_the_code_runs(page: str, tmp_path: Path, run_python: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    text = text_of(page)
    # Paddle reads the source of what it traces, so the code must have a file.
    (tmp_path / "guide.py").write_text(BEFORE.get(page, "") + "\n".join(blocks(text)), encoding="utf-8")
    out = run_python("import guide", cwd=tmp_path)
    if PRINTED[page]:
        assert re.search(rf"^{PRINTED[page]}$", out, re.MULTILINE), out
    monkeypatch.chdir(tmp_path)
    shell = run_commands(blocks(text, "sh"), OTHERS)
    assert [wanted for wanted in SHELL.get(page, []) if wanted not in shell] == []


def test_every_page_with_code_is_run() -> None:
    pages = {str(path.relative_to(DOCS)) for path in [*DOCS.glob("tutorials/*.md"), *DOCS.glob("*.md")]}
    tested = "".join(path.read_text(encoding="utf-8") for path in Path(__file__).parent.glob("test_*.py"))
    untested = {page for page in pages if blocks(text_of(page)) and page.split("/")[-1] not in tested}
    assert untested == set()


PAGES = sorted(str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md"))


@pytest.mark.parametrize("page", PAGES)
def test_linked_files_exist(page: str) -> None:
    links = re.findall(
        r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", re.sub(r"^```.*?^```$", "", text_of(page), flags=re.S | re.M)
    )
    assert [link for link in links if not ((DOCS / page).parent / link).exists()] == []


def test_every_page_is_in_a_table_of_contents() -> None:
    listed = set()
    for page in PAGES:
        for toctree in blocks(text_of(page).replace("```{toctree}", "```toctree"), "toctree"):
            entries = [line for line in toctree.splitlines() if line and not line.startswith(":")]
            listed |= {str(Path(page).parent / f"{entry}.md") for entry in entries}
    assert {page for page in PAGES if page != "index.md"} == listed


def test_the_filter_of_header_comments() -> None:
    spec = importlib.util.spec_from_file_location("header_comments", DOCS / "header_comments.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert doctest.testmod(module) == (0, 1)
    header = '/* SPDX\n *\n * For C.\n */\nint a; /* one */\nchar* b = "//";\n#define C 1 // two\n'
    opening = ["/** @file", "@verbatim", "For C.", "@endverbatim */"]
    rest = ["int a; /**< one */", 'char* b = "//";', "#define C 1 // two"]
    assert module.for_doxygen(header).splitlines() == opening + rest


def test_the_reference_has_every_package() -> None:
    """A public package that no page of api/ documents would be missing in silence."""
    import qslim

    documented = set(re.findall(r"automodule:: ([\w.]+)", "".join(text_of(page) for page in PAGES)))
    aliases = {"qslim.dist", "qslim.dygraph", "qslim.fluid"}  # other names of what is documented
    tree = ast.parse(Path(qslim.__file__).read_text(encoding="utf-8"))
    (subpackages,) = (
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "_SUBPACKAGES"
    )
    assert {f"qslim.{name}" for name in subpackages} - aliases <= documented
