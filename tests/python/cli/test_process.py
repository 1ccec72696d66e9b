# SPDX-License-Identifier: Apache-2.0
"""The command as a process: exit codes, the two streams, Ctrl-C, completion and the time that help takes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from small_networks import images, save_network, small_network

DATA = """
import time
import numpy as np

def slow():
    yield [np.zeros((1, 3, 16, 16), np.float32)]
    open("started", "w").close()
    time.sleep(60)
    yield [np.zeros((1, 3, 16, 16), np.float32)]
"""


def run(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "qslim", *arguments],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_exit_codes_and_streams(tmp_path: Path) -> None:
    assert run("--version", cwd=tmp_path).stdout.startswith("qslim, version ")
    done = run("run", "nothing", cwd=tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert done.stderr.startswith("qslim: Session: cannot open model file 'nothing'")
    assert run("frobnicate", cwd=tmp_path).returncode == 2


def test_paddles_own_words_stay_out_of_the_streams(tmp_path: Path) -> None:
    save_network(small_network(), str(tmp_path / "float"), "pir")
    np.save(tmp_path / "x.npy", images(2))
    done = run("quantize", "float", "--save_dir", "int8", "--data", "x.npy", "-q", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.lstrip().startswith("in the engine")
    wrong = run("quantize", "x.npy", "--save_dir", "int8", "--data", "x.npy", cwd=tmp_path)
    assert (wrong.returncode, wrong.stderr.count("\n")) == (2, 1)


def test_interrupt_leaves_outputs_as_they_were(tmp_path: Path) -> None:
    save_network(small_network(), str(tmp_path / "float"), "pir")
    (tmp_path / "data.py").write_text(DATA)
    (tmp_path / "int8").mkdir()
    (tmp_path / "int8" / "model.json").write_text("an older one")
    process = subprocess.Popen(
        [sys.executable, "-m", "qslim", "quantize", "float", "--save_dir", "int8", "--data", "data:slow"],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    deadline = time.monotonic() + 60
    while not (tmp_path / "started").exists() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert errors == "qslim: interrupted; files are as they were\n"
    assert os.listdir(tmp_path / "int8") == ["model.json"]
    assert (tmp_path / "int8" / "model.json").read_text() == "an older one"


def test_help_loads_neither_paddle_nor_the_tools() -> None:
    code = """
import sys
from qslim.cli.main import qslim
qslim.main(["--help"], standalone_mode=False)
qslim.main(["quantize", "--help"], standalone_mode=False)
assert not {"paddle", "qslim.quant", "qslim.deployment"} & sys.modules.keys()
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr


def test_completion() -> None:
    code = "from qslim.cli.main import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "_QSLIM_COMPLETE": "bash_complete", "COMP_WORDS": "qslim in", "COMP_CWORD": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.stdout == "plain,inspect\n"
