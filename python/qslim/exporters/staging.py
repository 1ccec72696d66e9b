# SPDX-License-Identifier: Apache-2.0
"""Write a file, or a set of files, whole or not at all."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator

__all__ = ["staged_directory", "staged_file"]


@contextlib.contextmanager
def staged_directory(directory: str) -> Iterator[str]:
    """Yield a temporary directory beside the files of `directory`; move its files there at the end.

    If the block raises, `directory` is left as it was, and is not left behind if it did not exist.

    Raises
    ------
    ValueError : `directory` is a file, or cannot be written to.
    """
    directory = os.fspath(directory)
    if os.path.exists(directory) and not os.path.isdir(directory):
        raise ValueError(f"expected an output directory, but {directory!r} is a file")
    missing = _first_missing(directory)
    staging = None
    try:
        try:
            os.makedirs(directory, exist_ok=True)
            staging = tempfile.mkdtemp(prefix=".qslim-", dir=directory)
        except OSError as error:
            raise ValueError(f"cannot write to output directory {directory!r}: {error.strerror}") from error
        yield staging
        for name in sorted(os.listdir(staging)):
            os.replace(os.path.join(staging, name), os.path.join(directory, name))
        missing = None
    finally:
        if staging is not None:
            shutil.rmtree(staging, ignore_errors=True)
        if missing is not None and os.path.isdir(missing):
            shutil.rmtree(missing, ignore_errors=True)


@contextlib.contextmanager
def staged_file(path: str | os.PathLike[str]) -> Iterator[str]:
    """Yield a temporary path beside `path`; what the block wrote there becomes `path` at the end.

    Raises
    ------
    ValueError : `path` is a directory, or its directory cannot be written to.
    """
    path = os.fspath(path)
    directory, name = os.path.split(path)
    if not name or os.path.isdir(path):
        raise ValueError(f"expected the path of an output file, but {path!r} is a directory")
    with staged_directory(directory or ".") as staging:
        yield os.path.join(staging, name)


def _first_missing(directory: str) -> str | None:
    """The outermost directory that making `directory` would create, or None."""
    path, missing = os.path.abspath(directory), None
    while not os.path.exists(path):
        missing, path = path, os.path.dirname(path)
    return missing
