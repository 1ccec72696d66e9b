# SPDX-License-Identifier: Apache-2.0
"""Fail if a notebook carries outputs or execution counts: ``python check_stripped.py [--fix] notebook ...``.

Outputs grow the repository and hide the change under review. ``--fix`` removes them.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path


def strip(file: Path) -> bool:
    """Remove outputs from `file`; whether there were any."""
    text = file.read_text(encoding="utf-8")
    notebook = json.loads(text)
    for cell in notebook["cells"]:
        cell.get("metadata", {}).clear()
        if cell["cell_type"] == "code":
            cell["outputs"], cell["execution_count"] = [], None
    notebook["metadata"] = {"kernelspec": _KERNEL, "language_info": {"name": "python"}}
    stripped = json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"
    if stripped == text:
        return False
    if "--fix" in sys.argv:
        file.write_text(stripped, encoding="utf-8")
    return True


_KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}


def main() -> int:
    dirty = [name for name in sys.argv[1:] if name != "--fix" and strip(Path(name))]
    for name in dirty:
        print(f"{name}: {'stripped' if '--fix' in sys.argv else 'has outputs; run check_stripped.py --fix'}")
    return 1 if dirty else 0


if __name__ == "__main__":
    sys.exit(main())
