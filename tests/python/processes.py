# SPDX-License-Identifier: Apache-2.0
"""Several processes that ``paddle.distributed`` joins into one world, on this machine with gloo."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

import pytest

__all__ = ["Finished", "free_ports", "run_ranks"]


@dataclass(frozen=True)
class Finished:
    """One process, after its end."""

    returncode: int
    stdout: str
    stderr: str


def run_ranks(
    code: str,
    ranks: int = 2,
    *,
    args: Sequence[str] = (),
    env: Optional[Mapping[str, str]] = None,
    extra_path: Sequence[Path] = (),
    cwd: Optional[Path] = None,
    timeout: float = 120,
    check: bool = True,
) -> list[Finished]:
    """Run `code` (dedented) with `args` in `ranks` processes, like ``python -m paddle.distributed.launch``.

    The code calls ``paddle.distributed.init_parallel_env()`` itself. It can import the helpers of the tests
    and what lies in the directories `extra_path`. A process that outlives `timeout` seconds fails the test,
    and so does, with `check`, one that ends with an error; all outputs are shown. The end of one rank does
    not end the others, so a test sees whether they notice.
    """
    path = [str(Path(__file__).parent), *map(str, extra_path), os.environ.get("PYTHONPATH", "")]
    env = {"PYTHONPATH": os.pathsep.join(filter(None, path)), **(env or {})}
    endpoints = [f"127.0.0.1:{port}" for port in free_ports(ranks + 1)]
    with tempfile.TemporaryDirectory() as logs, contextlib.ExitStack() as stack:
        script = Path(logs) / "script.py"
        script.write_text(textwrap.dedent(code))
        outputs, processes = [], []
        for rank in range(ranks):
            paths = [Path(logs) / f"{rank}.{stream}" for stream in ("out", "err")]
            outputs.append(paths)
            out, err = (stack.enter_context(path.open("w")) for path in paths)
            process = subprocess.Popen(
                [sys.executable, str(script), *args],
                env={**os.environ, **_launched(rank, endpoints), **env},
                cwd=cwd,
                stdout=out,
                stderr=err,
            )
            stack.callback(_end, process)
            processes.append(process)
        deadline = time.monotonic() + timeout
        late = []
        for rank, process in enumerate(processes):
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                late.append(rank)
        for process in processes:
            _end(process)
        finished = [
            Finished(process.returncode, *(path.read_text() for path in paths))
            for process, paths in zip(processes, outputs)
        ]
    if late or (check and any(one.returncode for one in finished)):
        shown = "\n".join(
            f"--- rank {rank}: {'too late' if rank in late else one.returncode}\n{one.stdout}\n{one.stderr}"
            for rank, one in enumerate(finished)
        )
        pytest.fail(f"{ranks} ranks, {timeout:.0f} s\n{shown[-12000:]}", pytrace=False)
    return finished


def free_ports(count: int) -> list[int]:
    """Return ports of 127.0.0.1 that nobody listens on at the moment."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def _launched(rank: int, endpoints: Sequence[str]) -> dict[str, str]:
    """Return the environment that the launcher gives to a rank; the first endpoint is the store's."""
    store, *trainers = endpoints
    return {
        "PADDLE_MASTER": store,
        "PADDLE_TRAINER_ID": str(rank),
        "PADDLE_TRAINERS_NUM": str(len(trainers)),
        "PADDLE_TRAINER_ENDPOINTS": ",".join(trainers),
        "PADDLE_CURRENT_ENDPOINT": trainers[rank],
        "PADDLE_DISTRI_BACKEND": "gloo",
        "GLOG_minloglevel": "2",
    }


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.kill()
    process.wait()
