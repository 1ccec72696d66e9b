# SPDX-License-Identifier: Apache-2.0
"""Kill writers at random moments and look whether their files are old or new.

    python tests/crash.py [seconds]

Each round forks a process that has Paddle, lets it write to a directory again and again, two models in turn,
and ends it by SIGKILL. The moment is random, so unlike the tests, which stop after each call of Python's, it
also falls into Paddle's own writers and into the clearing of what earlier rounds left.
"""

from __future__ import annotations

import os
import pickle
import random
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("GLOG_minloglevel", "3")
sys.path[:0] = [str(Path(__file__).parent / "python"), str(Path(__file__).parent / "python" / "exporters")]

import test_writers  # noqa: E402
from crashes import killed_after, leftovers, visible  # noqa: E402

from qslim.files.pickled import load_pickled  # noqa: E402
from qslim.prune.sensitivity import load_sensitivities  # noqa: E402
from qslim.runtime import Session  # noqa: E402

_NAMES = (
    "quant_post_static",
    "quant_post_static, the other IR",
    "save_quantized_model",
    "prune.save",
    "sensitivities",
)
_REST = ("model.pdiparams", "model.qslim")
_KILLS = 8


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 120.0
    seed = int(os.environ.get("CRASH_SEED", str(time.time_ns() % 10**6)))
    print(f"CRASH_SEED={seed}", flush=True)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    rng, deadline, rounds, interrupted = random.Random(seed), time.monotonic() + seconds, 0, 0
    with tempfile.TemporaryDirectory(prefix="crash-") as root:
        while time.monotonic() < deadline:
            directory = Path(root, str(rounds))
            directory.mkdir()
            name = rng.choice(_NAMES)
            problem, count = _round(test_writers._WRITERS[name], directory, rng)
            if problem:
                print(f"{name}: {problem}")
                sys.exit(1)
            interrupted += count
            rounds += 1
    print(f"{_KILLS * rounds} processes killed, {interrupted} of them while files moved: always old or new")


def _round(write: Any, root: Path, rng: random.Random) -> tuple[str, int]:
    """Return what went wrong, and how many of the processes left something to clear."""
    out, interrupted = root / "out", 0
    for _ in range(2):  # the first time also makes what the writers read
        start = time.monotonic()
        killed_after(10**9, lambda: [write(out, 1), write(out, 0)])
        longest = time.monotonic() - start
    for count in range(_KILLS):
        child = os.fork()
        if child == 0:
            for seed in (1, 0) if count % 2 else (0, 1):
                write(out, seed)
            os._exit(0)
        time.sleep(rng.uniform(0.2, 1.0) * longest)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        interrupted += bool(leftovers(out))
        problem = _problem(out)
        if problem:
            return f"{sorted(os.listdir(out))}: {problem}", interrupted
    killed_after(10**9, lambda: write(out, 0))
    return f"still there: {leftovers(out)}" if leftovers(out) else "", interrupted


def _problem(out: Path) -> str:
    """Return why the files of `out` are no whole set, or "". An engine's file knows those beside it."""
    names = sorted(visible(out))
    try:
        if names == ["pruned.pdparams"]:
            load_pickled(out / "pruned.pdparams")
        elif names == ["sen.pickle"]:
            load_sensitivities(str(out / "sen.pickle"))
        elif names in (["model.json", *_REST], ["model.pdiparams", "model.pdmodel", "model.qslim"]):
            Session(str(out), 1)
        else:
            return "not the files of one model"
    except (ValueError, pickle.UnpicklingError) as error:
        return str(error)
    return ""


if __name__ == "__main__":
    main()
