# SPDX-License-Identifier: Apache-2.0
"""Write the examples of docs/cpp.md and of the public headers as sources that the build compiles.

    python examples.py REPOSITORY OUTPUT_DIRECTORY

Each becomes a function; what it uses but does not declare is declared in front of it.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

CPP_HEAD = """#include <vector>
#include "qslim/runtime/session.h"
"""
# What an example takes for granted, by a piece of it.
GIVEN = {
    "logits.data()": "std::vector<float> logits(8000), probabilities(8000);",
    "image.data()": "using qslim::runtime::Session;\nstd::vector<float> image(3 * 224 * 224);",
}


def function(name: str, code: str, result: str = "void") -> str:
    """Return `code` as a function; its includes and using declarations stay in front."""
    lines = code.splitlines()
    front = [line for line in lines if line.startswith(("#include", "using "))]
    body = [line for line in lines if line not in front]
    given = [
        text for piece, text in GIVEN.items() if piece in code and "std::vector<float> image" not in code
    ]
    end = "return 0;" if result == "int" else ""
    return "\n".join([*front, f"{result} {name}() {{", *given, *body, end, "}", ""])


def example_of(header: str) -> str:
    """Return the indented lines of a header's first comment."""
    comment = re.match(r"(?:(?://| \*|/\*).*\n)+", header)
    assert comment is not None
    lines = re.findall(r"^(?://| \*)   (.*)$", comment.group(), re.MULTILINE)
    assert lines
    return "\n".join(lines)


def main() -> None:
    repository, output = Path(sys.argv[1]), Path(sys.argv[2])
    output.mkdir(parents=True, exist_ok=True)
    text = (repository / "docs/cpp.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```cpp\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    session = example_of((repository / "cpp/qslim/runtime/session.h").read_text(encoding="utf-8"))
    for number, block in enumerate([*blocks, session]):
        source = f"{CPP_HEAD}{function(f'example_{number}', block)}"
        (output / f"example_{number}.cc").write_text(source, encoding="utf-8")
    c_blocks = re.findall(r"^```c\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    header = example_of((repository / "cpp/qslim/c_api/qslim.h").read_text(encoding="utf-8"))
    for number, block in enumerate([*c_blocks, header]):
        front = '#include <stdio.h>\n#include <stdlib.h>\n#include "qslim/c_api/qslim.h"\n'
        image = "" if "image[" in block else "static float image[3 * 224 * 224];\n"
        source = f"{front}{image}{function(f'c_example_{number}', block, 'int')}"
        (output / f"c_example_{number}.c").write_text(source, encoding="utf-8")


if __name__ == "__main__":
    main()
