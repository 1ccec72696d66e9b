# SPDX-License-Identifier: Apache-2.0
"""The code of documentation pages: blocks by language, and the commands of the shell run in this process."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable
from pathlib import Path

from command_runner import runner

__all__ = ["DOCS", "blocks", "run_commands", "text_of"]

DOCS = Path(__file__).resolve().parents[2] / "docs"


def text_of(page: str) -> str:
    """Return the text of a page of docs/."""
    return (DOCS / page).read_text(encoding="utf-8")


def blocks(text: str, language: str = "python") -> list[str]:
    """Return the blocks of code in `language`; a block that is not closed fails."""
    found = re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    assert len(found) == text.count(f"```{language}\n")
    return found


def run_commands(shell_blocks: Iterable[str], others: tuple[str, ...] = ()) -> str:
    """Run each `qslim` command in the working directory and return what they print.

    A line of another program fails, but for those that begin with one of `others`, which are not run.
    """
    from qslim.cli.main import qslim

    out = ""
    for line in "".join(shell_blocks).replace("\\\n", " ").splitlines():
        if line.startswith("qslim "):
            done = runner().invoke(qslim, shlex.split(line, comments=True)[1:])
            assert (done.exit_code, done.stderr) == (0, ""), line
            out += done.stdout
        else:
            assert line.startswith(others), line
    return out
