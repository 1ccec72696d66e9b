# SPDX-License-Identifier: Apache-2.0
"""Check the C++ tree: no include circle between folders, no function over 80 lines, no file over 500,
and every family of kernels tested and benchmarked through its table.

    python tests/cpp/check_structure.py [root of the repository]

Functions are found by counting braces: a body is what a brace at the level of namespaces and classes opens.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

MAX_FUNCTION = 80
MAX_FILE = 500
SUFFIXES = {".h", ".cc", ".inc"}


def without_text(source: str) -> str:
    """Blank out comments, strings and preprocessor lines; the line numbers stay."""

    def blank(match: re.Match[str]) -> str:
        return re.sub(r"[^\n]", " ", match.group())

    source = re.sub(
        r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])+\'', blank, source, flags=re.S
    )
    return re.sub(r"^[ \t]*#(?:[^\n]*\\\n)*[^\n]*", blank, source, flags=re.M)


def functions(source: str) -> list[tuple[int, int, str]]:
    """Return (first line, number of lines, head) of every function body."""
    text = without_text(source)
    found = []
    stack: list[tuple[bool, int, str]] = []  # is a scope of declarations, line, head
    line, head = 1, ""
    for char in text:
        if char == "{":
            words = head.strip()
            is_scope = bool(re.search(r"\b(namespace|class|struct|enum|union|extern)\b[^()]*$", words))
            stack.append((is_scope and all(scope for scope, _, _ in stack), line, words))
            head = ""
        elif char == "}":
            if stack:
                is_scope, first, words = stack.pop()
                if not is_scope and ")" in words and all(scope for scope, _, _ in stack):
                    found.append((first, line - first + 1, words.split("\n")[-1].strip()))
            head = ""
        elif char == ";":
            head = ""
        else:
            head += char
            line += char == "\n"
    return found


def include_circles(root: Path) -> list[str]:
    """Return the circles between folders below `root`, which includes name by their path from its parent."""
    edges: dict[str, set[str]] = {}
    for path in sorted(root.rglob("*")):
        if path.suffix not in SUFFIXES:
            continue
        folder = path.parent.relative_to(root.parent).as_posix()
        for included in re.findall(r'^#include "([^"]+)/[^"/]+"', path.read_text(), re.M):
            if included != folder:
                edges.setdefault(folder, set()).add(included)
    circles, done = [], set()

    def visit(folder: str, way: list[str]) -> None:
        if folder in way:
            circles.append(" -> ".join([*way[way.index(folder) :], folder]))
            return
        if folder in done:
            return
        for target in sorted(edges.get(folder, ())):
            visit(target, [*way, folder])
        done.add(folder)

    for folder in sorted(edges):
        visit(folder, [])
    return circles


def families_without_table(root: Path, users: Path) -> list[str]:
    """Return the kernel families below `root` whose table.h no file below `users` includes."""
    included = "".join(path.read_text() for path in users.rglob("*") if path.suffix in SUFFIXES)
    kernels = root / "cpp" / "qslim" / "kernels"
    families = sorted(path.parent.name for path in kernels.glob("*/kernels.inc"))
    return [name for name in families if f'"qslim/kernels/{name}/table.h"' not in included]


def main() -> int:
    root = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parents[2]
    complaints = [f"include circle: {circle}" for circle in include_circles(root / "cpp" / "qslim")]
    for folder in ("cpp/bench", "tests/cpp"):
        complaints += [
            f"{folder}: nothing includes the table.h of kernels/{family}"
            for family in families_without_table(root, root / folder)
        ]
    for folder in ("cpp", "tests/cpp"):
        for path in sorted((root / folder).rglob("*")):
            if path.suffix not in SUFFIXES:
                continue
            name, source = path.relative_to(root), path.read_text()
            if source.count("\n") > MAX_FILE:
                complaints.append(f"{name}: {source.count(chr(10))} lines, at most {MAX_FILE}")
            for first, lines, head in functions(source):
                if lines > MAX_FUNCTION:
                    complaints.append(f"{name}:{first}: {lines} lines, at most {MAX_FUNCTION}: {head}")
    print("\n".join(complaints) or "no circle, nothing too long, every family tested and benchmarked")
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
