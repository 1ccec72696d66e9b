# SPDX-License-Identifier: Apache-2.0
"""Filter saliency: qslim beside NumPy and SciPy, on convolution weights.

    python benchmarks/bench_saliency.py [--threads N] [--repeats N]

FPGM is the sum of the distances between all pairs of filters. "numpy, pairwise loop" is what PaddleSlim and
most pruning code do, a row of the distance matrix at a time; scipy.spatial.distance.cdist is the compiled
one. All work in double precision. The competitors take turns; the table shows medians and whether the scores,
rounded to float32, are equal.
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import Callable

import numpy as np

from qslim import _core
from qslim.functional import filter_saliency

WEIGHTS = ((64, 64, 3, 3), (512, 512, 3, 3), (1024, 512, 1, 1))


def numpy_fpgm(weight: np.ndarray) -> np.ndarray:
    filters = weight.reshape(weight.shape[0], -1).astype(np.float64)
    return np.array([np.sqrt(((filters - one) ** 2).sum(1)).sum() for one in filters])


def competitors(weight: np.ndarray, context: _core.Context) -> dict[str, Callable[[], np.ndarray]]:
    calls: dict[str, Callable[[], np.ndarray]] = {
        "qslim": lambda: filter_saliency(weight, "fpgm", context=context),
        "numpy, pairwise loop": lambda: numpy_fpgm(weight),
    }
    try:
        from scipy.spatial.distance import cdist
    except ImportError:
        print("(scipy is not installed: its row is left out)")
        return calls
    filters = weight.reshape(weight.shape[0], -1).astype(np.float64)
    calls["scipy cdist"] = lambda: cdist(filters, filters).sum(1)
    return calls


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    context = _core.Context(num_threads=arguments.threads)
    print(f"{context}, medians of {arguments.repeats}")
    rng = np.random.default_rng(0)
    for shape in WEIGHTS:
        weight = rng.normal(size=shape).astype(np.float32)
        calls = competitors(weight, context)
        times: dict[str, list[float]] = {name: [] for name in calls}
        scores = {name: call().astype(np.float32) for name, call in calls.items()}
        for _ in range(arguments.repeats):
            for name, call in calls.items():
                start = time.perf_counter()
                call()
                times[name].append(time.perf_counter() - start)
        ours = statistics.median(times["qslim"])
        print(f"\nFPGM {list(shape)}")
        for name, values in times.items():
            median = statistics.median(values)
            equal = np.array_equal(scores[name], scores["qslim"])
            print(
                f"  {name:24s} {median * 1e3:10.2f} ms   qslim is {median / ours:7.2f} x as fast"
                f"   scores {'equal' if equal else 'differ'}"
            )


if __name__ == "__main__":
    main()
