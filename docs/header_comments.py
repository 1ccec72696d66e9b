# SPDX-License-Identifier: Apache-2.0
"""Doxygen's input filter: prints a header with its comments as Doxygen reads them.

The comment that opens a file, with its formulas, becomes the file's description as it stands; comments in
front of a declaration and behind it describe that declaration.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

__all__ = ["FILTER", "for_doxygen"]

FILTER = str(Path(__file__).resolve())


def for_doxygen(header: str) -> str:
    """Return the text of `header` with the comments in Doxygen's form.

    Examples
    --------
    >>> print(for_doxygen("// SPDX\\n//\\n// A sum.\\n#pragma once\\n// Return a + b.\\nint add(int a);"))
    /** @file
    @verbatim
    A sum.
    @endverbatim */
    #pragma once
    //! Return a + b.
    int add(int a);
    """
    lines = header.splitlines()
    opening: list[str] = []
    while lines and lines[0].startswith(("//", "/*", " *")):
        line = lines.pop(0).removesuffix(" */")[3:]
        if "SPDX" not in line and (opening or line):
            opening.append(line)
    while opening and not opening[-1]:
        opening.pop()
    start = ["/** @file", "@verbatim", *opening, "@endverbatim */"] if opening else []
    return "\n".join([*start, *(_described(line) for line in lines)])


def _described(line: str) -> str:
    match = re.fullmatch(r"([^\"#]*?)(//|/\*)(.*?)( \*/)?", line)
    if match is None:
        return line
    before, slashes, text, end = match.groups()
    text = re.sub(r"([\\@<>&#%$])", r"\\\1", text)
    return (
        f"{before}{slashes}{'!' if slashes == '//' else '*'}{'<' if before.strip() else ''}{text}{end or ''}"
    )


if __name__ == "__main__":
    print(for_doxygen(Path(sys.argv[1]).read_text(encoding="utf-8")))
