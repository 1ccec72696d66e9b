# SPDX-License-Identifier: Apache-2.0
"""Scripts that need Paddle's legacy IR, known by what they call.

Paddle chooses its IR when it is imported, so the source is looked at before it runs.
"""

from __future__ import annotations

import ast
from typing import Optional, Union

__all__ = ["reason_for_legacy_ir"]


def reason_for_legacy_ir(source: Union[bytes, str]) -> Optional[str]:
    """Return why a script needs the legacy IR, with the line; None if nothing says so, or it does not parse.

    Reasons are ``paddle.fluid``; the name of a ``.pdmodel`` file, which PIR neither writes nor loads; and
    ``clone(for_test=True)``, which programs of PIR do not have.

    Examples
    --------
    >>> reason_for_legacy_ir("import paddle.fluid as fluid")
    'paddle.fluid (line 1)'
    >>> reason_for_legacy_ir("test = main.clone(for_test=True)")
    'clone(for_test=True) (line 1)'
    """
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return None
    nodes = (node for node in ast.walk(tree) if isinstance(node, (ast.stmt, ast.expr)))
    found = [(node.lineno, reason) for node in nodes for reason in [_reason(node)] if reason]
    if not found:
        return None
    line, reason = min(found)
    return f"{reason} (line {line})"


def _reason(node: ast.AST) -> str:
    if isinstance(node, ast.Import) and any(_is_fluid(alias.name) for alias in node.names):
        return "paddle.fluid"
    if isinstance(node, ast.ImportFrom):
        names = [f"{node.module}.{alias.name}" for alias in node.names]
        return "paddle.fluid" if any(_is_fluid(name) for name in names) else ""
    if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.endswith(".pdmodel"):
        return repr(node.value)
    if (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "clone"
        and any(keyword.arg == "for_test" for keyword in node.keywords)
    ):
        return "clone(for_test=True)"
    return ""


def _is_fluid(name: str) -> bool:
    return f"{name}.".startswith(("paddle.fluid.", "qslim.fluid."))
