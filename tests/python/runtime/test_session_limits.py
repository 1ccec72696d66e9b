# SPDX-License-Identifier: Apache-2.0
"""A Session at the edges of a process: its end, forks, limits of memory and threads, wrong arguments."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qslim import _core
from qslim.exporters import dumps_qslim, save_qslim
from qslim.graph import Graph, Node, Tensor
from qslim.runtime import Session


def _chain(*operators: str, extents: Any = (1, None)) -> Graph:
    names = ["x", *(f"t{index}" for index in range(1, len(operators))), "y"]
    graph = Graph(inputs=["x"], outputs=["y"])
    for name in names:
        graph.add_tensor(Tensor(name, "float32", extents))
    for operator, source, target in zip(operators, names, names[1:]):
        graph.add_node(Node(operator, [source], [target]))
    return graph


_SOFTMAX = _chain("Softmax", "Exp", "Softmax")


def _run_script(code: str, path: Path, **env: str) -> subprocess.CompletedProcess[str]:
    save_qslim(_SOFTMAX, path)
    return subprocess.run(
        [sys.executable, "-c", code, str(path)],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, **env},
        check=False,
    )


def test_interpreter_ends_while_daemon_threads_run(tmp_path: Path) -> None:
    code = """
import sys, threading, time
import numpy as np
from qslim import _core, functional
from qslim.runtime import Session
session = Session(sys.argv[1], 2)
statistics, x = _core.TensorStatistics(), np.ones((1, 100000), np.float32)
def run():
    while True:
        session.run({"x": np.ones((1, 4000), np.float32)})
def observe():
    while True:
        statistics.update(x)
        functional.fake_quant(x, 1.0)
for work in (run, run, observe):
    threading.Thread(target=work, daemon=True).start()
time.sleep(0.2)
"""
    for _ in range(5):
        done = _run_script(code, tmp_path / "model.qslim")
        assert (done.returncode, done.stderr) == (0, "")


def test_fork_while_another_thread_prepares_extents(tmp_path: Path) -> None:
    code = """
import os, signal, sys, threading, warnings
import numpy as np
from qslim.runtime import Session
warnings.simplefilter("ignore")
session = Session(sys.argv[1], 1)
x = np.ones((1, 100), np.float32)
def prepare():
    extent = 0
    while True:
        extent += 1
        session.run({"x": np.ones((1, 1 + extent % 50), np.float32)})
threading.Thread(target=prepare, daemon=True).start()
hung = 0
for _ in range(40):
    child = os.fork()
    if child == 0:
        signal.alarm(5)
        session.run({"x": x})
        os._exit(0)
    hung += os.waitpid(child, 0)[1] != 0
sys.exit(hung)
"""
    done = _run_script(code, tmp_path / "model.qslim")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", ["Session", "Context", "TensorStatistics"])
def test_object_that_was_never_made_is_a_type_error(name: str) -> None:
    bound = getattr(_core, name)
    classes = {key for key, value in vars(_core).items() if isinstance(value, type)}
    assert classes == {"FormatError", "Session", "Context", "TensorStatistics"}
    empty = bound.__new__(bound)
    for member in dir(bound):
        if member in ("__init__", "__new__", "__class__", "__init_subclass__", "__subclasshook__"):
            continue
        for arguments in ((), ([],), (np.zeros(3, np.float32),), ([], 1)):
            try:
                attribute = getattr(empty, member)
                if member in vars(bound) and callable(attribute):
                    attribute(*arguments)
            except (TypeError, ValueError):
                continue
    with pytest.raises(TypeError, match="has not been made"):
        {
            "Session": lambda: empty.run([]),
            "Context": lambda: _core.TensorStatistics().update(np.zeros(3, np.float32), empty),
            "TensorStatistics": lambda: _core.find_threshold(empty, "KL"),
        }[name]()
    with pytest.raises(TypeError):
        repr(empty) if name != "Session" else empty.inputs


def test_threads_that_the_system_refuses_are_done_without(tmp_path: Path) -> None:
    code = """
import logging, resource, sys
import numpy as np
from qslim.runtime import Session
x = np.random.default_rng(0).standard_normal((1, 500000)).astype(np.float32)
few = Session(sys.argv[1], 1).run({"x": x})[0]
session = Session(sys.argv[1], 64)
pages = int(open("/proc/self/statm").read().split()[0])
limit = pages * resource.getpagesize() + (40 << 20)
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
(y,) = session.run({"x": x})
session.run({"x": x})
assert (y == few).all()
assert 0 < session._core.refused_threads < 64
"""
    done = _run_script(code, tmp_path / "model.qslim")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("of 64 threads; runs go on with those") == 1


def test_memory_of_all_kept_extents_stays_below_max_memory() -> None:
    session = Session(_SOFTMAX, 1, max_memory=3_000_000)
    for extent in range(100_000, 100_010):
        session.run({"x": np.ones((1, extent), np.float32)})
        memory = session.memory
        assert sum(memory[key] for key in ("packed_bytes", "arena_bytes", "scratch_bytes")) <= 3_000_000
    with pytest.raises(ValueError, match=r"would need \d+ MiB of memory, and max_memory leaves 2"):
        session.run({"x": np.ones((1, 10_000_000), np.float32)})
    for wrong in (0, -1, 1.5, "1", True):
        with pytest.raises(ValueError, match="max_memory must be a number of bytes of at least 1, got"):
            Session(_SOFTMAX, max_memory=wrong)  # type: ignore[arg-type]


def test_opening_a_file_reserves_nothing() -> None:
    def address_space() -> int:
        return int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")

    graph = _chain("Softmax", "Exp", "Softmax", extents=(1, 2**28))
    before = address_space()
    session = Session(graph, 1)
    assert address_space() - before < 2**28
    assert session.memory["arena_bytes"] >= 2**30


def test_hundred_thousand_inputs_are_fed_in_time() -> None:
    names = [f"x{index}" for index in range(100_000)]
    graph = Graph(inputs=names, outputs=["y"])
    for name in names:
        graph.add_tensor(Tensor(name, "float32", (1, 1)))
    graph.add_tensor(Tensor("y", "float32", (1, 100_000)))
    graph.add_node(Node("Concat", names, ["y"], {"axis": 1}))
    session = Session(graph, 1)
    array = np.ones((1, 1), np.float32)
    feeds = dict.fromkeys(names, array)
    start = time.perf_counter()
    (y,) = session.run(["y"], feeds)
    assert time.perf_counter() - start < 3
    assert y.sum() == 100_000


def test_a_file_that_is_cut_while_it_is_open_does_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "model.qslim"
    graph = Graph(inputs=["x"], outputs=["y"])
    for name in "xy":
        graph.add_tensor(Tensor(name, "float32", (1, 4096)))
    graph.add_tensor(Tensor("c", "float32", (4096,), np.arange(4096, dtype=np.float32)))
    graph.add_node(Node("Add", ["x", "c"], ["y"]))
    save_qslim(graph, path)
    session = Session(path, 1)
    os.truncate(path, 100)
    (y,) = session.run({"x": np.zeros((1, 4096), np.float32)})
    np.testing.assert_array_equal(y[0], np.arange(4096))


def test_a_path_with_nul_opens_no_other_file(tmp_path: Path) -> None:
    save_qslim(_SOFTMAX, tmp_path / "a")
    with pytest.raises(ValueError, match="NUL"):
        _core.Session(f"{tmp_path}/a\0.qslim")


def test_output_dtype_of_the_file_is_checked() -> None:
    graph = _chain("Relu", extents=(None, 4))
    graph.tensors["y"].dtype = "int64"
    with pytest.raises(ValueError, match="output 'y': the file says int64, but its values are float32"):
        _core.Session(dumps_qslim(graph))


@pytest.mark.parametrize("operator", ["Erf", "Floor", "Round", "ReduceMean", "Add", "Sqrt", "Tanh", "Mul"])
def test_nan_has_the_same_bits_on_every_instruction_set(operator: str) -> None:
    graph = Graph(inputs=["x"], outputs=["y"])
    graph.add_tensor(Tensor("x", "float32", (None, 64)))
    graph.add_tensor(Tensor("y", "float32", (None, 1 if operator == "ReduceMean" else 64)))
    graph.add_tensor(Tensor("axes", "int64", (1,), np.int64([1])))
    second = {"ReduceMean": ["axes"], "Add": ["x"], "Mul": ["x"]}.get(operator, [])
    graph.add_node(Node(operator, ["x", *second], ["y"]))
    bits = np.random.default_rng(0).integers(0, 2**32, (8, 64), np.uint32)
    bits[:, ::3] |= 0x7F800001  # NaN of both signs and any payload
    x = bits.view(np.float32)
    results = [Session(graph, 1, isa).run({"x": x})[0] for isa in _core.available_isas()]
    for result in results:
        assert result.tobytes() == results[0].tobytes()
        nan = np.isnan(result)
        assert nan.any()
        assert (result[nan].view(np.uint32) == 0x7FC00000).all()


# ---- arguments ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("threads", ["4", 1.5, True, [1]])
def test_threads_that_are_no_whole_number_are_named(threads: Any) -> None:
    with pytest.raises(TypeError, match=r"Session: num_threads must be a whole number from 1 to 1024, got"):
        Session(_SOFTMAX, threads)
    with pytest.raises(TypeError, match=r"Context: num_threads must be a whole number from 1 to 1024, got"):
        _core.Context(threads)


@pytest.mark.parametrize("threads", [-1, 0, 1025, 2**70])
def test_threads_out_of_range_are_named(threads: int) -> None:
    with pytest.raises(ValueError, match=rf"num_threads must be a whole number .*, got {threads}"):
        Session(_SOFTMAX, threads)


@pytest.mark.parametrize("text", ["²", "0", "-1", "1.5", "four", "9999", "１"])  # noqa: RUF001
def test_threads_of_the_environment_are_named(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QSLIM_NUM_THREADS", text)
    with pytest.raises(ValueError, match=f"QSLIM_NUM_THREADS must be a whole number .*, got '{text}'"):
        Session(_SOFTMAX)


def test_isa_offers_what_the_machine_has() -> None:
    names = ", ".join(_core.available_isas())
    with pytest.raises(TypeError, match=f"Session: isa must be None or one of {names}, got 3"):
        Session(_SOFTMAX, 1, 3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=f"isa must be one of {names} on this machine, got 'mmx'"):
        Session(_SOFTMAX, 1, "mmx")


def test_feeds_that_do_not_fit_are_named() -> None:
    session = Session(_chain("Relu", extents=(None, None)), 1)
    with pytest.raises(ValueError, match="input 'x' is no array of numbers"):
        session.run({"x": [[1.0, 2.0], [3.0]]})
    for wrong in (np.array([["a"]]), np.array([[None]]), np.array([[1j]])):
        with pytest.raises(TypeError, match="input 'x' must be float32, got"):
            session.run({"x": wrong})
    graph = Graph(inputs=["x"], outputs=["y"])
    for name in "xy":
        graph.add_tensor(Tensor(name, "int64", (None,)))
    graph.add_node(Node("Add", ["x", "x"], ["y"]))
    session = Session(graph, 1)
    (y,) = session.run({"x": np.uint64([3])})
    assert y.tolist() == [6]
    with pytest.raises(ValueError, match="input 'x' is uint64 and has values that int64 cannot hold"):
        session.run({"x": np.uint64([2**63])})


def test_output_path_in_bytes_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="output path: expected a str or a path, got b'"):
        save_qslim(_SOFTMAX, os.fsencode(tmp_path / "model.qslim"))  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []
