# SPDX-License-Identifier: Apache-2.0
"""Configuration of the documentation's site: ``make docs`` builds it, with warnings as errors.

Sphinx imports the installed qslim with Paddle mocked, so no Paddle is needed and every public name is there.
"""

from __future__ import annotations

import importlib
import posixpath
import re
import shutil
import subprocess
import sys
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.ext.autodoc.mock import _MockObject, mock

DOCS = Path(__file__).parent
REPOSITORY = DOCS.parent
sys.path.insert(0, str(DOCS))

from header_comments import FILTER  # noqa: E402

# inspect.signature refuses a mocked function otherwise, and qslim looks at some of Paddle's.
_MockObject.__signature__ = None  # type: ignore[attr-defined]

project = "qslim"
author = copyright = "The qslim developers"
version = release = re.search(r'^version = "(.*)"$', (REPOSITORY / "pyproject.toml").read_text(), re.M)[1]

extensions = ["sphinx.ext.autodoc", "sphinx.ext.napoleon", "myst_parser", "sphinx_copybutton"]
exclude_patterns = ["examples"]
html_theme = "furo"
html_title = f"qslim {version}"
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 4

default_role = "code"  # docstrings write `name` for code
autodoc_mock_imports = ["paddle", "tqdm", "onnx", "onnxruntime", "openvino", "matplotlib", "PIL"]
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "show-inheritance": False}
napoleon_google_docstring = False
napoleon_use_rtype = False
# A type in words ("path", "bytes") is looked up as a name, and several classes have a field of that name.
# A namespace is declared by each header, and C's `typedef struct x x` declares x twice.
suppress_warnings = ["ref.python", "duplicate_declaration.cpp"]

# Pages of the repository's root, by the page of the site that has them.
ROOT_PAGES = {
    "README.md": "index.md",
    "README.zh.md": "zh/index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
}
# Packages whose names load when they are touched; autodoc looks into a module's dictionary.
LAZY = ("qslim", "qslim.quant")

# The reference of C++ needs Doxygen, which pip does not have.
has_doxygen = shutil.which("doxygen") is not None
if has_doxygen:
    extensions.append("breathe")
    breathe_default_project = "qslim"
    breathe_projects = {"qslim": str(REPOSITORY / "build" / "doxygen" / "xml")}
    breathe_domain_by_extension = {"h": "cpp"}


# The headers that a user includes, and those of the kernels' families.
PUBLIC_HEADERS = [
    *(
        f"{each}.h"
        for each in (
            "c_api/qslim",
            "runtime/session",
            "core/context",
            "core/error",
            "core/isa",
            "core/qparams",
            "core/span",
            "core/tensor_view",
            "core/thread_pool",
            "kernels/conv/conv_f32",
            "kernels/conv/conv_u8s8",
            "quant/statistics/tensor_statistics",
            "quant/threshold_search/threshold_search",
        )
    ),
    *sorted(
        str(path.relative_to(REPOSITORY / "cpp" / "qslim"))
        for path in (REPOSITORY / "cpp" / "qslim" / "kernels").glob("*/*.h")
        if path.stem == path.parent.name
    ),
]


def run_doxygen() -> None:
    """Write the XML of the public headers, their comments in Doxygen's form."""
    output = REPOSITORY / "build" / "doxygen"
    output.mkdir(parents=True, exist_ok=True)
    options = {
        "PROJECT_NAME": "qslim",
        "INPUT": " ".join(str(REPOSITORY / "cpp" / "qslim" / each) for each in PUBLIC_HEADERS),
        "OUTPUT_DIRECTORY": str(output),
        "INPUT_FILTER": f'"{sys.executable} {FILTER}"',
        "GENERATE_XML": "YES",
        "GENERATE_HTML": "NO",
        "GENERATE_LATEX": "NO",
        "MARKDOWN_SUPPORT": "NO",
        "AUTOLINK_SUPPORT": "NO",
        "EXTRACT_ALL": "YES",
        "MACRO_EXPANSION": "YES",
        "EXPAND_ONLY_PREDEF": "YES",
        "PREDEFINED": "QSLIM_C_EXPORT= QSLIM_INLINE=inline QSLIM_EXPORT=",
        "EXCLUDE_SYMBOLS": "*_H_ detail",
        "QUIET": "YES",
        "WARNINGS": "NO",
    }
    text = "\n".join(f"{key} = {value}" for key, value in options.items())
    subprocess.run(["doxygen", "-"], input=text, text=True, check=True, cwd=REPOSITORY)


def load_lazy_names(app: Sphinx) -> None:
    """Put the names that packages load when they are touched into their dictionaries."""
    with mock(app.config.autodoc_mock_imports):
        for package in LAZY:
            module = importlib.import_module(package)
            for name in module.__all__:
                setattr(module, name, getattr(module, name))


def resolve_links(app: Sphinx, docname: str, source: list[str]) -> None:
    """Turn links to the repository's own pages into links to the site's.

    Links in docs/ are written for the repository's web page. A page of ROOT_PAGES becomes the site's; a file
    of code is a download already; a directory, which a site does not have, keeps its name alone.
    """
    here = posixpath.dirname(docname)

    def resolved(match: re.Match[str]) -> str:
        text, target, anchor = match.groups()
        path = posixpath.normpath(posixpath.join("docs", here, target))
        if path in ROOT_PAGES:
            return f"[{text}]({posixpath.relpath(ROOT_PAGES[path], here or '.')}{anchor or ''})"
        if (REPOSITORY / path).is_dir():
            return f"`{path}`"
        return match[0]

    source[0] = re.sub(r"\[([^]]*)\]\(([^)#:\s]+)(#[^)\s]*)?\)", resolved, source[0])


# What the page shows of a header: no private members.
SECTIONS = (
    *("detaileddescription", "innerclass", "innernamespace", "func", "var", "enum", "typedef", "define"),
    *("public-func", "public-attrib", "public-type", "public-static-func"),
)


def add_headers(app: Sphinx, docname: str, source: list[str]) -> None:
    """Append a section for each public header to the page of the reference, or why there is none."""
    if docname != "cpp_reference":
        return
    if not has_doxygen:
        source[0] += "\nThis site was built without Doxygen: read the headers in `cpp/qslim`.\n"
        return
    for header in PUBLIC_HEADERS:
        source[0] += f"\n## qslim/{header}\n\n```{{doxygenfile}} {posixpath.basename(header)}\n"
        source[0] += f":sections: {' '.join(SECTIONS)}\n```\n"


def setup(app: Sphinx) -> None:
    """Connect the steps above to Sphinx's events."""
    if has_doxygen:
        run_doxygen()
    app.connect("builder-inited", load_lazy_names)
    app.connect("source-read", resolve_links)
    app.connect("source-read", add_headers)
