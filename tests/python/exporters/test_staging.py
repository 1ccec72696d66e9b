# SPDX-License-Identifier: Apache-2.0
"""Output files are old or new: after a kill between any two system calls, an error, a full disk."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from crashes import after_each_call, killed_after, leftovers, visible

from qslim.exporters import save_qslim
from qslim.files.staging import WriteError, staged_directory, staged_file
from qslim.graph import Graph, Node, Tensor

# Sets as different as they come: names that stay, names that come, names that go.
_OLD = {"model.pdmodel": b"old program", "model.pdiparams": b"old parameters", "model.qslim": b"old engine"}
_NEW = {"model.json": b"new program", "model.pdiparams": b"new parameters"}
_SETS = {"same names": ({**_OLD}, {name: b"new " + name.encode() for name in _OLD}), "others": (_OLD, _NEW)}
_NAMES = [*{**_OLD, **_NEW}]
_BYSTANDER = {"config.json": b"the user's own"}


def _write(directory: Path, files: dict[str, bytes]) -> None:
    with staged_directory(str(directory), _NAMES) as staging:
        for name, data in files.items():
            Path(staging, name).write_bytes(data)


def _prepared(directory: Path, old: dict[str, bytes]) -> None:
    directory.mkdir()
    for name, data in {**old, **_BYSTANDER}.items():
        (directory / name).write_bytes(data)


@pytest.fixture(params=list(_SETS))
def sets(request: pytest.FixtureRequest) -> tuple[dict[str, bytes], dict[str, bytes]]:
    return _SETS[request.param]


def test_set_is_old_or_new_after_sigkill_at_every_system_call(tmp_path: Path, sets: Any) -> None:
    old, new = ({**files, **_BYSTANDER} for files in sets)
    count, seen = 0, []
    while True:
        count += 1
        out = tmp_path / f"{count}"
        _prepared(out, sets[0])
        is_killed = killed_after(count, lambda out=out: _write(out, sets[1]))
        found = visible(out)
        assert found in (old, new), f"a mixture after {count} calls"
        seen.append(found == new)
        if not is_killed:
            break
        # The next writer, of something else, clears up and changes nothing that can be seen.
        with staged_file(str(out / "other")) as path:
            Path(path).write_bytes(b"1")
        assert visible(out) == {**found, "other": b"1"}
        assert leftovers(out) == []
    assert seen == sorted(seen)  # once new, it stays new
    assert seen[0] is False
    assert seen[-1] is True
    assert count > 20


def test_clearing_leftovers_may_be_killed_too(tmp_path: Path) -> None:
    sets = _SETS["others"]
    old, new = ({**files, **_BYSTANDER} for files in sets)
    count, states = 0, 0
    while True:
        count += 1
        killed = tmp_path / f"{count}"
        _prepared(killed, sets[0])
        if not killed_after(count, lambda out=killed: _write(out, sets[1])):
            break
        if not any(path.is_symlink() for path in killed.iterdir()):
            continue
        states += 1
        wanted, again = visible(killed), 0
        while True:
            again += 1
            out = tmp_path / f"{count}-{again}"
            shutil.copytree(killed, out, symlinks=True)

            def clear(out: Path = out) -> None:
                with staged_directory(str(out)):
                    pass

            is_killed = killed_after(again, clear)
            assert visible(out) == wanted
            if not is_killed:
                assert leftovers(out) == []
                break
    assert wanted in (old, new)
    assert states >= 5


def test_without_links_there_is_never_a_mixture(
    tmp_path: Path, sets: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_links(*args: Any, **kwargs: Any) -> None:
        raise PermissionError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "symlink", no_links)
    monkeypatch.setattr(os, "link", no_links)
    old, new = ({**files, **_BYSTANDER} for files in sets)
    programs = ("model.json", "model.pdmodel")
    count = 0
    while True:
        count += 1
        out = tmp_path / f"{count}"
        _prepared(out, sets[0])
        is_killed = killed_after(count, lambda out=out: _write(out, sets[1]))
        found = visible(out)
        assert found in (old, new) or not any(name in found for name in programs)
        if not is_killed:
            break
        with staged_directory(str(out)):
            pass
        assert visible(out) in ([old, new] if found == old else [new])
        assert leftovers(out) == []
    assert found == new


def test_a_set_that_is_the_first_appears_at_once(tmp_path: Path) -> None:
    seen = []
    out = tmp_path / "out"
    with after_each_call(lambda: seen.append(visible(out) if out.exists() else {})):
        _write(out, _NEW)
    assert [files for files in seen if files not in ({}, _NEW)] == []
    assert visible(out) == _NEW
    assert leftovers(out) == []


def test_two_writers_at_once_leave_one_of_their_sets(tmp_path: Path) -> None:
    sets = [{name: bytes([65 + i]) * 100 for name in _OLD} for i in range(4)]
    _write(tmp_path, _OLD)

    def write(files: dict[str, bytes]) -> None:
        for _ in range(20):
            _write(tmp_path, files)

    threads = [threading.Thread(target=write, args=[files]) for files in sets]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert visible(tmp_path) in sets
    assert leftovers(tmp_path) == []


def test_a_living_writers_directory_is_not_cleared(tmp_path: Path) -> None:
    with staged_directory(str(tmp_path)) as staging:
        Path(staging, "a").write_bytes(b"a")
        _write(tmp_path, _NEW)
        assert Path(staging, "a").exists()
    assert visible(tmp_path) == {**_NEW, "a": b"a"}


def test_an_error_in_the_middle_takes_back_what_was_moved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    _prepared(out, _OLD)
    replace, calls = os.replace, []

    def fails_once(*args: Any, **kwargs: Any) -> None:
        calls.append(args)
        if len(calls) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        replace(*args, **kwargs)

    monkeypatch.setattr(os, "replace", fails_once)
    with pytest.raises(WriteError, match="No space left on device; what was there before"):
        _write(out, _NEW)
    assert visible(out) == {**_OLD, **_BYSTANDER}
    assert leftovers(out) == []


def test_a_directory_in_the_place_of_one_file_stops_all(tmp_path: Path) -> None:
    _prepared(tmp_path / "out", _OLD)
    os.remove(tmp_path / "out" / "model.qslim")
    os.mkdir(tmp_path / "out" / "model.qslim")
    with pytest.raises(WriteError, match=r"model\.qslim' is a directory"):
        _write(tmp_path / "out", _NEW)
    assert (tmp_path / "out" / "model.pdmodel").read_bytes() == b"old program"


def test_disk_full_keeps_the_old_engine_file(tmp_path: Path) -> None:
    graph = Graph(inputs=["x"], outputs=["y"])
    for name in "xy":
        graph.add_tensor(Tensor(name, "float32", (None, 4096)))
    graph.add_tensor(Tensor("c", "float32", (4096,), value=np.zeros(4096, np.float32)))
    graph.add_node(Node("Add", ["x", "c"], ["y"]))
    path = tmp_path / "model.qslim"
    save_qslim(graph, path)
    before = path.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(WriteError, match=r"model\.qslim'.*File too large"):
            save_qslim(graph, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == before
    assert leftovers(tmp_path) == []


def test_others_may_read_the_set_in_the_middle(tmp_path: Path) -> None:
    os.chmod(tmp_path, 0o755)
    with staged_directory(str(tmp_path)) as staging:
        assert os.stat(Path(staging).parent).st_mode & 0o777 == 0o755
