# SPDX-License-Identifier: Apache-2.0
"""``python -m qslim.paddleslim`` runs things as ``python`` does, and so do the processes that they start."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

RUNNER = ["-m", "qslim.paddleslim"]


def run(arguments: list[str], cwd: Path, timeout: float = 120) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env={**os.environ, "GLOG_minloglevel": "2"},
        timeout=timeout,
        check=False,
        capture_output=True,
        text=True,
    )


def write(path: Path, code: str) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(textwrap.dedent(code))
    return str(path)


_SELF = """
    import sys
    main = sys.modules["__main__"]
    print(sys.argv, sys.path[0], __name__, __file__, __package__, __spec__ is None, vars(main) is globals())
    import neighbour
"""


@pytest.mark.parametrize(
    "arguments",
    [
        ["scripts/self.py", "-c", "x"],
        ["-m", "scripts.self", "-m", "y"],
        ["-m", "package", "z"],
        ["package"],
        ["-c", "import sys; print(sys.argv, sys.path[0], __name__)", "--flag"],
        ["scripts/fails.py"],
        ["scripts/exits.py"],
        ["scripts/wrong.py"],
        ["-m", "scripts.fails"],
        ["-c", "1 / 0"],
    ],
)
def test_as_python_does(tmp_path: Path, arguments: list[str]) -> None:
    write(tmp_path / "scripts" / "self.py", _SELF)
    write(tmp_path / "scripts" / "neighbour.py", "")
    write(tmp_path / "neighbour.py", "")
    write(tmp_path / "package" / "__init__.py", "")
    write(tmp_path / "package" / "__main__.py", "import sys; print(sys.argv, __name__, __package__)")
    write(tmp_path / "scripts" / "fails.py", "def f():\n    raise ValueError('boom')\nf()\n")
    write(tmp_path / "scripts" / "exits.py", "import sys\nprint('last words')\nsys.exit(7)\n")
    write(tmp_path / "scripts" / "wrong.py", "x = = 1\n")
    ours, pythons = run([*RUNNER, *arguments], tmp_path), run(arguments, tmp_path)
    assert (ours.returncode, ours.stdout) == (pythons.returncode, pythons.stdout)
    # Plain ``python -m`` shows runpy's frames; ours begin in the module.
    theirs = [line for line in pythons.stderr.splitlines() if "runpy" not in line]
    assert ours.stderr.splitlines() == theirs


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ([], 2, "usage: python -m qslim.paddleslim"),
        (["missing.py"], 2, "can't open file"),
        (["-m"], 2, "-m needs an argument"),
        (["-m", "no_such_module"], 1, "No module named no_such_module"),
        (["-m", "json.no_such_module"], 1, "No module named json.no_such_module"),
        (["-z", "x"], 2, "unknown option -z"),
    ],
)
def test_mistakes_on_the_command_line(tmp_path: Path, arguments: list[str], code: int, said: str) -> None:
    done = run([*RUNNER, *arguments], tmp_path)
    assert done.returncode == code
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_help_and_interrupt(tmp_path: Path) -> None:
    done = run([*RUNNER, "--help"], tmp_path)
    assert done.returncode == 0
    assert "script.py" in done.stdout
    script = write(tmp_path / "stops.py", "import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n")
    assert run([*RUNNER, script], tmp_path).returncode == -signal.SIGINT


def test_a_real_paddleslim_is_neither_used_nor_touched(tmp_path: Path) -> None:
    write(tmp_path / "paddleslim" / "__init__.py", "raise SystemExit('the wrong one')")
    script = write(tmp_path / "script.py", "import paddleslim; print(paddleslim.__version__)")
    assert run([*RUNNER, script], tmp_path).stdout.startswith("2.6.0+qslim")
    assert run([script], tmp_path).stderr.strip() == "the wrong one"


_CHILDREN = """
    import multiprocessing, subprocess, sys

    def version(_):
        from paddleslim.common import get_logger
        import paddleslim.common.log_helper
        return paddleslim.__version__

    if __name__ == "__main__":
        code = "import paddleslim.common as c, paddleslim as p; print(p.__version__, c.AvgrageMeter.__name__)"
        subprocess.run([sys.executable, "-c", code], check=True)
        for method in ("fork", "spawn"):
            with multiprocessing.get_context(method).Pool(1) as pool:
                print(method, pool.map(version, [0]), flush=True)
"""


def test_child_processes_inherit_it(tmp_path: Path) -> None:
    done = run([*RUNNER, write(tmp_path / "script.py", _CHILDREN)], tmp_path)
    assert done.returncode == 0, done.stderr
    first, fork, spawn = done.stdout.splitlines()
    assert first.startswith("2.6.0+qslim")
    assert first.endswith("AvgrageMeter")
    assert fork.startswith("fork ['2.6.0+qslim")
    assert spawn.startswith("spawn ['2.6.0+qslim")


_RANK = """
    import sys
    import numpy as np, paddle
    from paddleslim.quant import quant_post_static

    class Dataset(paddle.io.Dataset):
        def __getitem__(self, index):
            import paddleslim
            return np.array([paddleslim.quant.quant_post_static is quant_post_static]), index

        def __len__(self):
            return 2

    if __name__ == "__main__":
        paddle.distributed.init_parallel_env()
        batch = next(iter(paddle.io.DataLoader(Dataset(), batch_size=2, num_workers=1)))[0]
        print("rank", paddle.distributed.get_rank(), sys.argv[1:], batch.numpy().all(), flush=True)
"""


@pytest.mark.parametrize("order", ["launcher inside", "launcher outside"])
def test_under_the_launcher(tmp_path: Path, order: str) -> None:
    script = write(tmp_path / "train.py", _RANK)
    launch = ["-m", "paddle.distributed.launch", "--nproc_per_node", "2", "--log_dir", "log"]
    if order == "launcher inside":
        done = run([*RUNNER, *launch, script, "-c", "x.yaml"], tmp_path)
    else:
        runner = run([*RUNNER, "--path"], tmp_path).stdout.strip()
        done = run([*launch, runner, script, "-c", "x.yaml"], tmp_path)
    logs = [(tmp_path / "log" / f"workerlog.{rank}").read_text() for rank in range(2)]
    assert done.returncode == 0, "\n".join(logs)
    for rank, log in enumerate(logs):
        assert f"rank {rank} ['-c', 'x.yaml'] True" in log
