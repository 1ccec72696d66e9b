# SPDX-License-Identifier: Apache-2.0
"""Fake quantization, abs-max and statistics: qslim, Paddle's CPU operators and memcpy, side by side.

    python benchmarks/bench_kernels.py [--threads N] [--repeats N]

The competitors of a row take turns, one call each, `repeats` times, so that whatever else the machine does
hits them alike; the table shows medians. GB/s counts the bytes an operation must move: fake quantization
reads 4 and writes 4 bytes an element, as memcpy does, a reduction reads 4. Paddle allocates each result;
qslim and memcpy write to the same array every time.
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import Any, Callable

import numpy as np

from qslim import _core

ACTIVATION = (8, 512, 14, 14)
WEIGHT = (512, 512, 3, 3)
Competitors = dict[str, Callable[[], Any]]


def race(competitors: Competitors, repeats: int) -> dict[str, float]:
    """Return the median seconds of each competitor."""
    times: dict[str, list[float]] = {name: [] for name in competitors}
    for call in competitors.values():
        for _ in range(3):
            call()
    for _ in range(repeats):
        for name, call in competitors.items():
            start = time.perf_counter()
            call()
            times[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in times.items()}


def report(title: str, competitors: Competitors, size: int, bytes_each: int, repeats: int) -> None:
    seconds = race(competitors, repeats)
    print(f"\n{title}")
    ours = seconds["qslim"]
    for name, median in seconds.items():
        print(
            f"  {name:34s} {median * 1e6:9.1f} us  {size * bytes_each / median / 1e9:7.2f} GB/s  "
            f"{size / median / 1e9:6.2f} G elements/s   qslim is {median / ours:6.2f} x as fast"
        )


def paddle_calls(x: np.ndarray, axis: int | None, threads: int) -> Competitors:
    """Return Paddle's own operator, if Paddle is installed."""
    try:
        import paddle
    except ImportError:
        return {}
    paddle.set_device("cpu")
    if hasattr(paddle, "set_num_threads"):
        paddle.set_num_threads(threads)
    tensor = paddle.to_tensor(x)
    calls: Competitors = {}
    if axis is None:
        scale, state, accum = (paddle.ones([1]) for _ in range(3))
        operator = getattr(paddle._C_ops, "fake_quantize_dequantize_moving_average_abs_max", None)
        # The last arguments: rate, bits, is_test, round_type. In training it finds the range first.
        calls["Paddle moving_average, evaluating"] = lambda: operator(
            tensor, scale, accum, state, 0.9, 8, True, 1
        )
        calls["Paddle moving_average, training"] = lambda: operator(
            tensor, scale, accum, state, 0.9, 8, False, 1
        )
    else:
        operator = getattr(paddle._C_ops, "fake_channel_wise_quantize_dequantize_abs_max", None)
        calls["Paddle channel_wise_abs_max"] = lambda: operator(tensor, 8, 1, axis)
    try:
        for call in calls.values():
            call()
    except (TypeError, ValueError, RuntimeError) as error:
        print(f"(not callable in this Paddle: {next(iter(calls))}: {str(error).splitlines()[0]})")
        return {}
    return calls


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=51)
    arguments = parser.parse_args()
    repeats = arguments.repeats
    context = _core.Context(num_threads=arguments.threads)
    print(f"{context}, medians of {repeats}")
    rng = np.random.default_rng(0)

    for shape, channel_axis in ((ACTIVATION, 1), (WEIGHT, 0)):
        x = rng.normal(size=shape).astype(np.float32)
        y = np.empty_like(x)
        scales = np.full(shape[channel_axis], 0.02, np.float32)
        for axis, scale in ((None, 0.02), (channel_axis, scales)):

            def ours(
                axis: int | None = axis, scale: Any = scale, x: np.ndarray = x, y: np.ndarray = y
            ) -> None:
                _core.fake_quant(x, scale, 0, -127, 127, axis, out=y, context=context)

            def ours_with_range(axis: int | None = axis, x: np.ndarray = x, y: np.ndarray = y) -> None:
                # What Paddle's operator does: find the threshold, then quantize with it.
                threshold = (
                    _core.abs_max(x, axis, context) if axis is not None else _core.abs_max(x, None, context)
                )
                _core.fake_quant(x, threshold / np.float32(127), 0, -127, 127, axis, out=y, context=context)

            competitors: Competitors = {
                "memcpy (np.copyto)": lambda x=x, y=y: np.copyto(y, x),
                "qslim": ours,
                "qslim with abs_max": ours_with_range,
                **paddle_calls(x, axis, arguments.threads),
            }
            kind = "per tensor" if axis is None else f"per channel, axis {axis}"
            report(f"fake_quant {list(shape)}, {kind}", competitors, x.size, 8, repeats)

        competitors = {
            "numpy |x|.max()": lambda x=x: float(np.abs(x).max()),
            "qslim": lambda x=x: _core.abs_max(x, None, context),
            "qslim per channel": lambda x=x, a=channel_axis: _core.abs_max(x, a, context),
        }
        report(f"abs_max {list(shape)}", competitors, x.size, 4, repeats)

        for kind, data in (("normal", x), ("post-ReLU", np.maximum(x, 0))):
            seen = _core.TensorStatistics()
            competitors = {
                "numpy.histogram, 2048 bins": lambda data=data: np.histogram(data, 2048, (-6, 6)),
                "qslim": lambda data=data, seen=seen: seen.update(data, context),
            }
            report(
                f"TensorStatistics.update {list(shape)}, {kind}", competitors, x.size, 4, max(5, repeats // 5)
            )

    seen = _core.TensorStatistics()
    seen.update(rng.normal(size=ACTIVATION).astype(np.float32))
    print("\nfind_threshold, one tensor")
    for algo in ("hist", "KL", "mse", "emd", "ptf"):
        seconds = race({algo: lambda algo=algo: _core.find_threshold(seen, algo)}, repeats)[algo]
        print(f"  {algo:34s} {seconds * 1e3:9.3f} ms")


if __name__ == "__main__":
    main()
