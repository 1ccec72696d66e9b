# SPDX-License-Identifier: Apache-2.0
"""Write a file, or a set of files, whole or not at all: also if the process is killed or the machine stops.

A file replaces another by one rename. The files of a set keep fixed names in a directory of the user's, so
for a moment the names become links through one switch, and turning it is one rename too:

    .qslim-x1y2/new/           what is being written; synced before anything else happens
    .qslim-x1y2/old/           hard links to the files that it replaces
    .qslim-x1y2/current        a link to "old", later to "new"
    model.json                 for that moment a link to .qslim-x1y2/current/model.json

    1. each name becomes such a link           readers see the old files
    2. ``current`` is turned to "new"          readers see the new files
    3. each name becomes the new file itself   the same files

After each call of the system a reader, qslim or not, finds either the old set or the new one. What a dead
process left is finished (after 2) or taken back (before) by the next one that writes to the directory; a
process holds a lock on its staging directory while it lives.

A file system without links has no such switch. There the old files are removed, the program first, and then
the new ones come, the program last: a mixture has no program, and the next writer finishes the work.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence

__all__ = ["WriteError", "output_path", "staged_directory", "staged_file"]

_PREFIX = ".qslim-"
# What cannot be loaded without them comes last and goes first.
_PROGRAM_ENDINGS = (".json", ".pdmodel")
# What a file system answers that has no links, and a lock or a sync that it has not.
_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.EACCES)
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS)
_KEPT = "what was there before is as it was"
_NO_SYNC = (errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS, errno.EBADF, errno.EACCES, errno.EROFS)


class WriteError(OSError, ValueError):
    """An output cannot be written; what was there before is as it was."""


@contextlib.contextmanager
def staged_directory(directory: str, replaced: Sequence[str] = ()) -> Iterator[str]:
    """Yield an empty directory; all files that the block makes there appear in `directory` at once.

    Parameters
    ----------
    directory : str
        It is made if it is missing. If the block raises it is left as it was, or not left behind.
    replaced : sequence of str
        Other names of the set: files of these names in `directory` go, unless the block writes them.

    Raises
    ------
    WriteError (a ValueError and an OSError) : `directory` is a file, or cannot be written to.
    """
    directory = output_path(directory)
    if os.path.exists(directory) and not os.path.isdir(directory):
        raise WriteError(f"expected an output directory, but {directory!r} is a file")
    missing = _first_missing(directory)
    stage = None
    try:
        try:
            os.makedirs(directory, exist_ok=True)
            with _alone_in(directory):
                _clear_leftovers(directory)
            stage = _Stage(directory)
        except OSError as error:
            raise WriteError(_cannot_write(directory, error)) from error
        try:
            yield stage.new
        except OSError as error:
            if isinstance(error, WriteError) or error.errno in _FULL:
                # The reader of the message knows the directory, not the one beside it.
                reason = str(error).replace(stage.new, directory)
                raise WriteError(
                    reason if isinstance(error, WriteError) else _cannot_write(directory, error)
                ) from error
            raise
        try:
            stage.install(replaced)
            if missing is not None:
                _sync(os.path.dirname(missing))
        except WriteError:
            raise
        except OSError as error:
            raise WriteError(_cannot_write(directory, error)) from error
        missing = None
    finally:
        if stage is not None:
            stage.close()
        if missing is not None and os.path.isdir(missing):
            shutil.rmtree(missing, ignore_errors=True)


@contextlib.contextmanager
def staged_file(path: str | os.PathLike[str]) -> Iterator[str]:
    """Yield a temporary path beside `path`; what the block wrote there becomes `path` at the end.

    Raises
    ------
    WriteError (a ValueError and an OSError) : `path` is a directory, its directory cannot be written to, or
        the disk is full.
    """
    path = output_path(path)
    directory, name = os.path.split(path)
    if not name or os.path.isdir(path):
        raise WriteError(f"expected the path of an output file, but {path!r} is a directory")
    with staged_directory(directory or ".") as staging:
        try:
            yield os.path.join(staging, name)
        except WriteError:
            raise
        except OSError as error:
            raise WriteError(f"cannot write {path!r}: {error.strerror or error}; {_KEPT}") from error


def output_path(path: str | os.PathLike[str], argument: str = "output path") -> str:
    """Return `path` as text.

    Raises
    ------
    ValueError : it is no text and no path object of text; names `argument`.
    """
    text = os.fspath(path) if isinstance(path, os.PathLike) else path
    if not isinstance(text, str):
        raise ValueError(f"{argument}: expected a str or a path, got {path!r}")
    return text


def _cannot_write(directory: str, error: OSError) -> str:
    return f"cannot write to output directory {directory!r}: {error.strerror or error}; {_KEPT}"


class _Stage:
    """One staging directory, with its lock."""

    def __init__(self, directory: str) -> None:
        self._directory = directory
        while True:
            path = tempfile.mkdtemp(prefix=_PREFIX, dir=directory)
            lock = _locked(path, wait=True)
            if os.path.isdir(path):  # who clears leftovers may have taken it for one before it was locked
                break
            _unlock(lock)
        self._path, self._lock = path, lock
        self.new = os.path.join(path, "new")
        # mkdtemp lets in nobody else, but others may read the model meanwhile.
        os.chmod(path, os.stat(directory).st_mode & 0o777)
        os.mkdir(self.new)

    def install(self, replaced: Sequence[str]) -> None:
        """Let the files of ``new`` take the places of those in the directory."""
        names = sorted(os.listdir(self.new))
        gone = [name for name in replaced if name not in names and os.path.lexists(self._target(name))]
        for name in (*names, *gone):
            if os.path.isdir(self._target(name)):
                raise WriteError(
                    f"expected the path of an output file, but {self._target(name)!r} is a directory"
                )
        for name in names:
            _sync(os.path.join(self.new, name))
        _sync(self.new)
        if len(names) == 1 and not gone:
            os.replace(os.path.join(self.new, names[0]), self._target(names[0]))
            _sync(self._directory)
        elif names or gone:
            with _alone_in(self._directory):
                _clear_leftovers(self._directory)
                self._exchange(names, gone)

    def _exchange(self, names: list[str], gone: list[str]) -> None:
        old = os.path.join(self._path, "old")
        os.mkdir(old)
        try:
            os.symlink("old", os.path.join(self._path, "current"))
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            _exchange_without_links(self._directory, self._path, names, gone)
            return
        for name in (*names, *gone):
            if os.path.lexists(self._target(name)):
                _keep(self._target(name), os.path.join(old, name))
        _sync(old)
        _sync(self._path)
        through = os.path.join(os.path.basename(self._path), "current")
        for name in (*names, *gone):
            link = os.path.join(self._path, "link")
            os.symlink(os.path.join(through, name), link)
            os.replace(link, self._target(name))
        # Otherwise the disk could get the turned switch before a name that goes through it.
        _sync(self._directory)
        os.symlink("new", os.path.join(self._path, "next"))
        os.replace(os.path.join(self._path, "next"), os.path.join(self._path, "current"))
        _sync(self._path)
        _settle(self._directory, self._path)

    def _target(self, name: str) -> str:
        return os.path.join(self._directory, name)

    def close(self) -> None:
        """Remove the directory; if it is still in use, take back what was not finished."""
        with contextlib.suppress(OSError):
            with _alone_in(self._directory):
                _settle(self._directory, self._path)
            shutil.rmtree(self._path, ignore_errors=True)
        _unlock(self._lock)


def _clear_leftovers(directory: str) -> None:
    """Finish or take back what processes that are dead were writing to `directory`."""
    for name in os.listdir(directory):
        path = os.path.join(directory, name)
        if not name.startswith(_PREFIX) or not os.path.isdir(path):
            continue
        try:
            lock = _locked(path, wait=False)
        except OSError:  # a living one's
            continue
        try:
            if lock is not None:
                _settle(directory, path)
                shutil.rmtree(path, ignore_errors=True)
        finally:
            _unlock(lock)


def _settle(directory: str, stage: str) -> None:
    """Replace each link through the switch of `stage` by the file that it leads to."""
    current = os.path.join(stage, "current")
    if os.path.isfile(current):
        _finish_without_links(directory, stage)
        return
    if not os.path.islink(current):
        return
    source = os.path.join(stage, os.readlink(current))
    through = os.path.join(os.path.basename(stage), "current", "")
    is_changed = False
    for name in os.listdir(directory):
        target, file = os.path.join(directory, name), os.path.join(source, name)
        if not os.path.islink(target) or not os.readlink(target).startswith(through):
            continue
        if os.path.lexists(file):
            os.replace(file, target)
        else:
            os.remove(target)
        is_changed = True
    if is_changed:
        _sync(directory)


def _exchange_without_links(directory: str, stage: str, names: list[str], gone: list[str]) -> None:
    journal = os.path.join(stage, "journal")
    with open(journal, "w", encoding="utf-8") as file:
        json.dump(gone, file)
    _sync(journal)
    os.replace(journal, os.path.join(stage, "current"))
    _sync(stage)
    _finish_without_links(directory, stage)


def _finish_without_links(directory: str, stage: str) -> None:
    """Remove the old files, then move what is still in ``new``; no file comes before all the old are gone."""
    with open(os.path.join(stage, "current"), encoding="utf-8") as file:
        gone = json.load(file)
    new = os.path.join(stage, "new")
    waiting = os.listdir(new)
    for name in sorted([*gone, *waiting], key=_is_no_program):
        with contextlib.suppress(FileNotFoundError):
            os.remove(os.path.join(directory, name))
    _sync(directory)
    for name in sorted(waiting, key=_is_no_program, reverse=True):
        os.replace(os.path.join(new, name), os.path.join(directory, name))
        _sync(directory)
    os.remove(os.path.join(stage, "current"))  # it is done: `new` may go first when all is cleared


def _is_no_program(name: str) -> bool:
    return not name.endswith(_PROGRAM_ENDINGS)


def _keep(path: str, kept: str) -> None:
    """Give the file at `path` the second name `kept`."""
    if os.path.islink(path):
        os.symlink(os.path.realpath(path), kept)
        return
    try:
        os.link(path, kept)
    except OSError:
        shutil.copy2(path, kept)
        _sync(kept)


def _sync(path: str) -> None:
    """Flush the file or directory at `path` to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_SYNC:
            raise
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _alone_in(directory: str) -> Iterator[None]:
    """Let one writer at a time change the names of `directory`."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # no locking here
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        _unlock(descriptor)


def _locked(stage: str, wait: bool) -> int | None:
    """Return a descriptor that holds the lock of `stage`; None if there is no locking here.

    Raises
    ------
    OSError : it is another process's and `wait` is false, or `stage` has gone.
    """
    try:
        descriptor = os.open(os.path.join(stage, "lock"), os.O_RDWR | os.O_CREAT, 0o666)
    except FileNotFoundError:
        if wait:
            return None
        raise
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        os.close(descriptor)
        raise
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def _unlock(descriptor: int | None) -> None:
    if descriptor is not None:
        # Not by closing alone: a child that was forked meanwhile has the descriptor too.
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_UN)
        os.close(descriptor)


def _first_missing(directory: str) -> str | None:
    """Return the outermost directory that making `directory` would create, or None."""
    path, missing = os.path.abspath(directory), None
    while not os.path.exists(path):
        missing, path = path, os.path.dirname(path)
    return missing
