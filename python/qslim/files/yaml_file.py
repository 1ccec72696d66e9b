# SPDX-License-Identifier: Apache-2.0
"""Configuration files in YAML, as Paddle's tools write them.

PyYAML follows YAML 1.1, where ``1e-5`` without a point and ``None`` are text. Paddle's configurations mean a
number and nothing by them, and so they are read here.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any, Union

from qslim.errors import MissingFileError

__all__ = ["load_yaml", "parse_yaml"]

_FLOAT = re.compile(r"^[-+]?[0-9]+(?:\.[0-9]*)?[eE][-+]?[0-9]+$")


def load_yaml(path: Union[str, os.PathLike[str]], argument: str = "config") -> dict[str, Any]:
    """Return the mapping in the YAML file `path`.

    Raises
    ------
    MissingFileError (a ValueError and a FileNotFoundError) : there is no such file.
    ValueError : it is no YAML, or holds no mapping; names `argument`.
    ImportError : PyYAML is missing.

    Examples
    --------
    >>> import os, tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "train.yaml")
    >>> with open(path, "w") as file:
    ...     _ = file.write("learning_rate: 1e-5\\nteacher: None\\n")
    >>> load_yaml(path)
    {'learning_rate': 1e-05, 'teacher': None}
    """
    name = os.fspath(path)
    if not os.path.isfile(name):
        raise MissingFileError(f"{argument}: expected the path of a YAML file, but {name!r} is no file")
    with open(name, "rb") as file:
        loaded = parse_yaml(file.read(), f"{argument}: {name!r}")
    if not isinstance(loaded, Mapping):
        raise ValueError(
            f"{argument}: expected {name!r} to hold keys with values, but it holds "
            f"{'nothing' if loaded is None else type(loaded).__name__}"
        )
    return dict(loaded)


def parse_yaml(text: Union[str, bytes], where: str) -> Any:
    """Return the value of `text`.

    Raises
    ------
    ValueError : it is no YAML; says `where`.
    ImportError : PyYAML is missing.

    Examples
    --------
    >>> parse_yaml("[1e-3, None, yes]", "-o rates")
    [0.001, None, True]
    """
    try:
        import yaml  # type: ignore[import-untyped, unused-ignore]
    except ImportError as error:
        raise ImportError(f"{where}: YAML needs PyYAML to be read: pip install pyyaml") from error

    class Loader(yaml.SafeLoader):  # type: ignore[misc, unused-ignore]
        pass

    Loader.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+0123456789"))
    Loader.add_implicit_resolver("tag:yaml.org,2002:null", re.compile("^[Nn]one$"), ["N", "n"])
    try:
        return yaml.load(text, Loader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark is not None else ""
        reason = getattr(error, "problem", None) or error
        raise ValueError(f"{where}{line} is no YAML: {reason}") from error
