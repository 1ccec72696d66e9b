# SPDX-License-Identifier: Apache-2.0
"""Print docs/migration.md, what became of PaddleSlim's names: ``python -m qslim.paddleslim.migration``."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from qslim.paddleslim.changes import CHANGED
from qslim.paddleslim.importer import install, uninstall
from qslim.paddleslim.modules import MODULES
from qslim.paddleslim.refusals import refusal

__all__ = ["migration_table", "names_of_paddleslim"]

_PAGE = re.compile(r"(\w+\.md)")
_HEAD = """# From PaddleSlim: every name

Two ways lead here. `python -m qslim.paddleslim script.py` runs a script as it is: `import paddleslim` means
qslim, in the processes that it starts, too. Or `import qslim as slim` takes the place of
`import paddleslim as slim`.

Below is every public name of paddleslim 2.6.0, once under the package that offers it; modules inside the
package offer it as well.

- *same*: the call does what PaddleSlim's does, on today's Paddle;
- *changed*: the call is PaddleSlim's, and what it does differs as is said;
- *not there*: importing it is an error with the sentence that stands here.

`slim.models`, which PaddleSlim removed in 2022, is [there](api/models.md), and so is `Compressor`
([compressor.md](compressor.md)). `python -m qslim.paddleslim.migration > docs/migration.md` writes this page.
"""


def names_of_paddleslim() -> Mapping[str, list[str]]:
    """Return the modules of paddleslim 2.6.0, each with its public names.

    Examples
    --------
    >>> "quant_post_static" in names_of_paddleslim()["paddleslim.quant"]
    True
    """
    text = (Path(__file__).parent / "paddleslim_2_6_names.txt").read_text(encoding="utf-8")
    return {module: names.split() for module, _, names in (line.partition(":") for line in text.splitlines())}


def migration_table() -> str:
    """Return the text of docs/migration.md. Needs Paddle, as some of the names do."""
    listed: dict[str, dict[str, str]] = {}  # package -> name -> the module that has it first
    for module, names in names_of_paddleslim().items():
        package = ".".join(module.split(".")[:2])
        for name in names:
            listed.setdefault(package, {}).setdefault(name, module)
    install()
    try:
        return _HEAD + "".join(
            f"\n## {package}\n\n| name | state | |\n|---|---|---|\n" + "".join(_rows(names))
            for package, names in listed.items()
        )
    finally:
        uninstall()


def _rows(names: Mapping[str, str]) -> Iterator[str]:
    """Yield the rows of a package: what is there by name, then what is not by reason."""
    refused: dict[str, list[str]] = {}
    for name, module in sorted(names.items()):
        if _is_offered(module, name):
            change = _PAGE.sub(r"[\1](\1)", CHANGED.get(name.removesuffix("Layer"), ""))
            yield f"| `{name}` | {'changed' if change else 'same'} | {change} |\n".replace("|  |", "| |")
        else:
            reason = refusal(f"{module}.{name}".partition(".")[2])
            assert reason is not None, f"{module}.{name} is neither there nor refused"
            refused.setdefault(reason, []).append(name)
    for reason, missing in refused.items():
        yield f"| {', '.join(f'`{name}`' for name in missing)} | not there | {reason} |\n"


def _is_offered(module: str, name: str) -> bool:
    if module not in MODULES:
        return False
    return getattr(importlib.import_module(module), name, None) is not None


if __name__ == "__main__":
    print(migration_table(), end="")
