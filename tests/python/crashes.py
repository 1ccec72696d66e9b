# SPDX-License-Identifier: Apache-2.0
"""States of a directory whose writer stops after any one of its system calls."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

__all__ = ["after_each_call", "killed_after", "leftovers", "visible"]

# Everything by which Python changes what a directory holds.
_CALLS = (
    "chmod", "fsync", "link", "mkdir", "open", "remove", "rename", "replace", "rmdir", "symlink", "unlink",
)  # fmt: skip


@contextlib.contextmanager
def after_each_call(act: Callable[[], None]) -> Iterator[None]:
    """Call `act` after each system call of the block."""
    originals = {name: getattr(os, name) for name in _CALLS}
    is_busy = False

    def wrapped(original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            nonlocal is_busy
            result = original(*args, **kwargs)
            if not is_busy:
                is_busy = True
                try:
                    act()
                finally:
                    is_busy = False
            return result

        return call

    for name, original in originals.items():
        setattr(os, name, wrapped(original))
    try:
        yield
    finally:
        for name, original in originals.items():
            setattr(os, name, original)


def killed_after(count: int, write: Callable[[], None]) -> bool:
    """Run `write` in a child that SIGKILL ends after `count` system calls; False if it ended before that."""
    child = os.fork()
    if child == 0:
        left = count

        def act() -> None:
            nonlocal left
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

        try:
            with after_each_call(act):
                write()
        except BaseException:
            os._exit(1)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WIFSIGNALED(status)


def visible(directory: Path) -> dict[str, bytes]:
    """Return the files that a reader finds, with their contents."""
    return {
        path.name: path.read_bytes()
        for path in directory.iterdir()
        if path.is_file() and not path.name.startswith(".qslim-")
    }


def leftovers(directory: Path) -> list[str]:
    return [path.name for path in directory.iterdir() if path.name.startswith(".qslim-") or path.is_symlink()]
