# SPDX-License-Identifier: Apache-2.0
"""Whole networks in int8 and float: qslim beside ONNX Runtime, OpenVINO and Paddle, alternating in one run.

    python benchmarks/bench_models.py [--models MobileNetV1,ResNet50] [--threads 1,2] [--batch 1,16] [--quick]

Images of 224 x 224. Weights and calibration data are random: times do not depend on them, and an accuracy
must not be read from these files. The peers quantize the float model themselves, each in the form that it
runs fastest (model_files.py). Each engine is a process of its own; in every round each has a turn: one run
that is not timed, then a few that are. Times are wall time from NumPy arrays to NumPy arrays. ``ratio`` is to
the bar, the fastest int8 peer. Batches above 1 are timed for the int8 engines only.

Goals are for CPUs with AVX-512 VNNI. `pip install 'qslim[bench]'` brings everything that this needs.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from model_engines import ENGINES, PEERS_INT8
from model_files import NETWORKS, OCR, image_shape
from model_table import Result, as_json, goal_lines, summary_lines, table

HERE = Path(__file__).resolve().parent
_INT8 = ("qslim int8", *PEERS_INT8)
_FLAGS = ("avx2", "fma", "avx_vnni", "avx512f", "avx512bw", "avx512vl", "avx512_vnni", "amx_int8")
_TURN_MS = 100.0  # long enough to see the usual run, short enough that drift hits all engines alike
_PAUSE = 0.005  # seconds; the last engine's threads spin for a while after its run


class Worker:
    """A process with one engine, see model_engines.py."""

    def __init__(self, task: dict[str, Any], python: str) -> None:
        self.engine = task["engine"]
        self._errors = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115  see close
        environment = {**os.environ, "OMP_NUM_THREADS": str(task["threads"]), "GLOG_minloglevel": "3"}
        self._process = subprocess.Popen(
            [python, str(HERE / "model_engines.py"), json.dumps(task)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=environment,
            text=True,
        )
        try:
            self.about = self._answer()
        except RuntimeError:
            self.close()
            raise
        self._runs = 1

    def turn(self) -> list[float]:
        """Return the times of a few runs in ms."""
        print(self._runs, file=self._process.stdin, flush=True)
        times: list[float] = self._answer()
        self._runs = runs_in_a_turn(min(times))
        return times

    def close(self) -> None:
        self._process.communicate()
        self._errors.close()

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._process.wait()
            self._errors.seek(0)
            last = self._errors.read().strip().splitlines() or ["it ended"]
            raise RuntimeError(f"{self.engine}: {last[-1]}")
        return json.loads(line)


def runs_in_a_turn(milliseconds: float) -> int:
    return min(20, max(2, round(_TURN_MS / max(milliseconds, 0.01))))


def measure(result: Result, directory: str, batch: int, threads: int, arguments: argparse.Namespace) -> None:
    """Let all engines take turns and keep their times in `result`."""
    workers: list[tuple[Worker, list[float]]] = []
    try:
        tasks = [(engine, batch, threads) for engine in (ENGINES if batch == 1 else _INT8)]
        if (batch, threads) != (1, 1):  # what more threads or a batch are compared with takes part
            tasks.append(("qslim int8", 1, threads if batch > 1 else 1))
        for engine, images, count in tasks:
            task = {
                "engine": engine,
                "directory": directory,
                "threads": count,
                "shape": [images, *image_shape(result.network)],
                "isa": arguments.isa,
                "loads": 5 if engine == "qslim int8" else 1,
            }
            python = sys.executable if engine.startswith(("qslim", "Paddle")) else arguments.peers_python
            try:
                worker = Worker(task, python)
            except RuntimeError as error:
                print(f"left out: {error}", flush=True)
                continue
            if (images, count) == (batch, threads):
                times = result.times.setdefault((engine, batch, threads), [])
            else:
                times = result.references.setdefault((batch, threads), [])
            workers.append((worker, times))
            result.notes[engine] = worker.about["note"]
            if engine == "qslim int8":
                result.load_ms += worker.about["load_ms"]
        for worker, _ in workers:
            worker.turn()  # sees how long a run takes
        for _ in range(arguments.rounds if batch == 1 else max(2, arguments.rounds // 4)):
            for worker, times in workers:
                time.sleep(_PAUSE)
                times += worker.turn()
    finally:
        for worker, _ in workers:
            worker.close()


def write_files(network: str, directory: str, arguments: argparse.Namespace) -> None:
    script = str(HERE / "model_files.py")
    own = [sys.executable, script, network, directory]
    shape = ",".join(map(str, (1, *image_shape(network))))
    peers = [arguments.peers_python, script, "peers", directory, "--shape", shape]
    for command in (own + (["--ocr-dir", arguments.ocr_dir] if network == OCR else []), peers):
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"{' '.join(command)} failed:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")


def cpu() -> str:
    """Name and flags of the CPU, as far as the system tells."""
    name, flags = platform.processor() or platform.machine(), set()
    with contextlib.suppress(OSError), open("/proc/cpuinfo", encoding="utf-8") as lines:
        for line in lines:
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                name = value.strip()
            elif key.strip() == "flags":
                flags = set(value.split())
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    has = " ".join(flag if flag in flags else f"no-{flag}" for flag in _FLAGS)
    return f"{name}, {count} CPUs\n{has}"


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", default=",".join(NETWORKS), help="default: %(default)s")
    parser.add_argument("--ocr-dir", help="directory of PP-OCRv4's detection model; adds it, at 640 x 640")
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--batch", default="1,16")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--isa", help="the best instruction set that qslim may use")
    parser.add_argument("--quick", action="store_true", help="3 rounds, batch 1")
    parser.add_argument("--json", help="write every time to this file")
    parser.add_argument("--directory", default="build/bench_models", help="where the models are kept")
    parser.add_argument(
        "--peers-python", default=sys.executable, help="a Python with onnxruntime, openvino and nncf"
    )
    arguments = parser.parse_args()
    known = {name.lower(): name for name in NETWORKS}
    names = [name for name in arguments.models.split(",") if name]
    unknown = [name for name in names if name.lower() not in known]
    if unknown:
        parser.error(f"--models: there is no {unknown[0]!r}; there are {', '.join(NETWORKS)}")
    arguments.models = [known[name.lower()] for name in names] + ([OCR] if arguments.ocr_dir else [])
    arguments.threads = sorted(set(map(int, arguments.threads.split(","))))
    arguments.batch = sorted(set(map(int, arguments.batch.split(","))))
    if arguments.quick:
        arguments.rounds, arguments.batch = 3, [1]
    return arguments


def main() -> None:
    arguments = parse()
    print(cpu())
    print("ms, wall time; ratio to the bar, the fastest int8 peer\n", flush=True)
    results = []
    for network in arguments.models:
        directory = os.path.abspath(os.path.join(arguments.directory, network.replace(" ", "_")))
        write_files(network, directory, arguments)
        result = Result(network)
        with open(os.path.join(directory, "about.json"), encoding="utf-8") as file:
            result.float_bytes = json.load(file)["float_bytes"]
        result.file_bytes = os.path.getsize(os.path.join(directory, "int8.qslim"))
        for batch in arguments.batch:
            for threads in arguments.threads:
                measure(result, directory, batch, threads, arguments)
        results.append(result)
        size = "x".join(map(str, image_shape(network)[1:]))
        print(f"==== {network}, {size}", table(result), *summary_lines(result), *goal_lines(result), sep="\n")
        print(flush=True)
        if arguments.json:
            Path(arguments.json).write_text(json.dumps(as_json(results), indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
