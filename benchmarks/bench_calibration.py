# SPDX-License-Identifier: Apache-2.0
"""Measure calibration: time beside Paddle's bare forward passes, and memory over the number of batches.

MobileNetV1 at 224x224, batch 8. Time: bare passes and calibrated passes (statistics of every quantized
activation and all eight thresholds from that one pass) alternate in one process; medians. Memory: peak
resident size over the loaded model, one process for each number of batches.

    python benchmarks/bench_calibration.py
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np

BATCH = (8, 3, 224, 224)


def save_model(directory: str) -> None:
    import paddle

    paddle.seed(0)
    net = paddle.vision.models.mobilenet_v1(num_classes=1000)
    net.eval()
    spec = [paddle.static.InputSpec([None, *BATCH[1:]], "float32", "image")]
    paddle.jit.save(net, os.path.join(directory, "model"), input_spec=spec)


def load(directory: str):  # type: ignore[no-untyped-def]
    from qslim.importers.paddle import find_model_files, load_program
    from qslim.quant.op_types import DEFAULT_OP_TYPES, pir_names
    from qslim.quant.post_training.operator_selection import select

    program = load_program(find_model_files(directory))
    return program, select(program.graph, pir_names(DEFAULT_OP_TYPES)).activations


def batches(count: int):  # type: ignore[no-untyped-def]
    rng = np.random.default_rng(0)
    for _ in range(count):
        yield {"image": rng.standard_normal(BATCH).astype(np.float32)}


def measure_time(directory: str, rounds: int) -> None:
    from qslim.functional import find_threshold
    from qslim.quant.options import ALGORITHMS
    from qslim.quant.post_training.calibration import collect_statistics

    program, names = load(directory)
    feeds = list(batches(2))
    times: dict[str, list[float]] = {"bare": [], "calibrated": [], "thresholds": []}
    for _ in range(rounds + 1):  # the first round warms up
        begin = time.perf_counter()
        for feed in feeds:
            program.run(feed, program.graph.outputs)
        times["bare"].append(time.perf_counter() - begin)
        begin = time.perf_counter()
        calibration = collect_statistics(program, names, feeds)
        times["calibrated"].append(time.perf_counter() - begin)
        begin = time.perf_counter()
        for name in names:
            for algo in ALGORITHMS:
                find_threshold(calibration.statistics[name], algo)
        times["thresholds"].append(time.perf_counter() - begin)
    bare, calibrated, thresholds = (statistics.median(values[1:]) for values in times.values())
    count = len(feeds)
    ratio = (calibrated / count * 8 + thresholds) / (bare / count * 8)
    print(f"{len(names)} activations, {count} batches of {BATCH[0]}, median of {rounds} alternating rounds")
    print(f"  Paddle's bare forward passes         {bare / count * 1e3:8.1f} ms a batch")
    print(f"  with statistics                      {calibrated / count * 1e3:8.1f} ms a batch")
    print(f"  all 8 thresholds of all activations  {thresholds * 1e3:8.1f} ms once")
    print(f"  ratio, 8 batches and all thresholds  {ratio:8.2f}    (goal: at most 1.5)")


def peak_memory(directory: str, count: int) -> None:
    from qslim.quant.post_training.calibration import collect_statistics

    program, names = load(directory)
    loaded = resident("VmRSS")
    collect_statistics(program, names, batches(count))
    print(resident("VmHWM") - loaded)


def resident(field: str) -> int:
    """Return the resident size now (VmRSS) or at its peak (VmHWM), in KiB; getrusage counts the parent."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(field))


def measure_memory(directory: str) -> None:
    peaks = {}
    for count in (8, 64):
        command = [sys.executable, __file__, "--model", directory, "--peak-of", str(count)]
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        peaks[count] = int(output.split()[-1])
        print(f"  peak over the loaded model, {count:2d} batches  {peaks[count] / 1024:8.1f} MB")
    growth = 100 * (peaks[64] / peaks[8] - 1)
    print(f"  growth                               {growth:8.1f} %   (goal: at most 5)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--model", help=argparse.SUPPRESS)
    parser.add_argument("--peak-of", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.peak_of:
        peak_memory(arguments.model, arguments.peak_of)
        return
    with tempfile.TemporaryDirectory() as directory:
        save_model(directory)
        measure_time(directory, arguments.rounds)
        measure_memory(directory)


if __name__ == "__main__":
    main()
