# SPDX-License-Identifier: Apache-2.0
"""Images in, probabilities and time out: for a model in Paddle and in the engine alike.

*Run* is a function from images [n, 1, 28, 28] to probabilities [n, 10], both NumPy arrays.
"""

from __future__ import annotations

import statistics
import time
from typing import Any, Callable

import numpy as np

__all__ = ["agreement", "classify", "latencies", "paddle_inference", "top"]

Run = Callable[[Any], Any]


def classify(run: Run, images: Any, batch_size: int = 64) -> tuple[Any, float]:
    """Return the probabilities of all `images`, and the seconds that one took."""
    results = []
    seconds = 0.0
    for begin in range(0, len(images), batch_size):
        batch = images[begin : begin + batch_size]
        start = time.perf_counter()
        results.append(run(batch))
        seconds += time.perf_counter() - start
    return np.concatenate(results), seconds / len(images)


def paddle_inference(program: str, params: str, output: int = 0) -> Run:
    """Open a model in Paddle Inference with oneDNN, Paddle's fast way on a CPU; the result is a `Run`.

    Inputs beside the first, a label say, are zeros. `output` is the number of the model's output to return.
    """
    import os

    from paddle import inference

    config = inference.Config(program, params)
    config.disable_gpu()
    config.enable_mkldnn()
    config.set_cpu_math_library_num_threads(os.cpu_count() or 1)
    config.disable_glog_info()
    predictor = inference.create_predictor(config)
    first, *others = (predictor.get_input_handle(name) for name in predictor.get_input_names())
    result = predictor.get_output_handle(predictor.get_output_names()[output])

    def run(images: Any) -> Any:
        first.reshape(images.shape)
        first.copy_from_cpu(np.ascontiguousarray(images))
        for other in others:
            labels = np.zeros((len(images), 1), "int64")
            other.reshape(labels.shape)
            other.copy_from_cpu(labels)
        predictor.run()
        return result.copy_to_cpu()

    return run


def top(probabilities: Any, labels: Any, k: int) -> float:
    """Share of images whose label is among the `k` most probable."""
    best = np.argsort(-probabilities, axis=1, kind="stable")[:, :k]
    return float((best == np.reshape(labels, (-1, 1))).any(axis=1).mean())


def agreement(first: Any, second: Any) -> str:
    """Say on how many images two models have the same most probable class."""
    same = int((first.argmax(axis=1) == second.argmax(axis=1)).sum())
    return f"{same} of {len(first)} images ({100 * same / len(first):.2f} %)"


def latencies(runs: dict[str, Run], image: Any, count: int = 30) -> dict[str, float]:
    """Return the median seconds of each of `runs` on one image; they take turns, to share what disturbs."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(count + 3):  # the first three warm up
        for name, run in runs.items():
            start = time.perf_counter()
            run(image)
            if turn >= 3:
                times[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in times.items()}
