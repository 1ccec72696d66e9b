# SPDX-License-Identifier: Apache-2.0
"""From times to tables: medians, ratios to the bar, and the goals that were missed.

The *bar* is the fastest int8 peer, by its median, in the same run at the same batch and number of threads.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Optional

from model_engines import ENGINES, PEERS_INT8

__all__ = ["GOALS", "Result", "goal_lines", "ratio_to_bar", "summary_lines", "table"]

# qslim int8 over the bar, at one thread and at two, on a CPU with AVX-512 VNNI.
GOALS = {
    "MobileNetV1": 0.80,
    "MobileNetV2": 0.65,
    "EfficientNet-Lite0": 0.65,
    "MobileNetV3-large": 0.50,
    "ResNet50": 0.95,
    "PP-OCRv4 det": 0.90,
}
_TWO_THREADS = {"MobileNetV1": 1.8, "ResNet50": 1.8}
_FLOAT_RATIO = 1.25
_LOAD_MS = {"MobileNetV1": 50.0}
_FILE_RATIO = 0.27


@dataclass
class Result:
    """Measurements of one network.

    Attributes
    ----------
    times : dict
        ms of each run, by (engine, batch, threads).
    references : dict
        ms of qslim int8 by (batch, threads), in the same turns: with batch 1 where batch > 1, else with one
        thread.
    """

    network: str
    times: dict[tuple[str, int, int], list[float]] = field(default_factory=dict)
    references: dict[tuple[int, int], list[float]] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
    load_ms: list[float] = field(default_factory=list)
    file_bytes: int = 0
    float_bytes: int = 0

    def median(self, engine: str, batch: int = 1, threads: int = 1) -> Optional[float]:
        values = self.times.get((engine, batch, threads))
        return statistics.median(values) if values else None

    def settings(self) -> list[tuple[int, int]]:
        """Pairs of batch and threads, in order."""
        return sorted({(batch, threads) for _, batch, threads in self.times})


def bar(result: Result, batch: int, threads: int) -> Optional[float]:
    medians = [result.median(engine, batch, threads) for engine in PEERS_INT8]
    return min((median for median in medians if median is not None), default=None)


def ratio_to_bar(result: Result, engine: str, batch: int = 1, threads: int = 1) -> Optional[float]:
    return _ratio(result.median(engine, batch, threads), bar(result, batch, threads))


def table(result: Result) -> str:
    """Make a row for each engine: median, minimum and ratio to the bar by batch and number of threads."""
    settings = result.settings()
    titles = [f"batch {batch}, {_plural(threads, 'thread')}" for batch, threads in settings]
    rows: list[list[str]] = []
    for engine in ENGINES:
        if not any((engine, *setting) in result.times for setting in settings):
            continue
        row = [engine]
        for batch, threads in settings:
            values = result.times.get((engine, batch, threads))
            row += [f"{statistics.median(values):.2f}", f"{min(values):.2f}"] if values else ["", ""]
            ratio = ratio_to_bar(result, engine, batch, threads)
            row.append("" if ratio is None else f"{ratio:.2f}")
        rows.append([*row, result.notes.get(engine, "")])
    header = ["", *["median", "min", "ratio"] * len(settings), ""]
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    for i in range(len(settings)):  # a group is as wide as its title
        missing = len(titles[i]) - (sum(widths[3 * i + 1 : 3 * i + 4]) + 4)
        widths[3 * i + 1] += max(0, missing)
    groups = [title.rjust(sum(widths[3 * i + 1 : 3 * i + 4]) + 4) for i, title in enumerate(titles)]
    lines = ["   ".join([" " * widths[0], *groups]).rstrip()]
    for row in [header, *rows]:
        cells = [row[0].ljust(widths[0])]
        for i in range(len(settings)):
            numbers = zip(row[3 * i + 1 : 3 * i + 4], widths[3 * i + 1 : 3 * i + 4])
            cells.append("  ".join(cell.rjust(width) for cell, width in numbers))
        lines.append("   ".join([*cells, row[-1]]).rstrip())
    return "\n".join(lines)


def summary_lines(result: Result) -> list[str]:
    """Say threads, batches, load time and file size of qslim int8."""
    ours, lines = "qslim int8", []
    speedup = _speedup(result)
    if speedup is not None:
        lines.append(f"two threads against one: {speedup:.2f} times as fast")
    for batch, threads in result.settings():
        ratio = _batch_ratio(result, batch, threads)
        if ratio is not None:
            per_image = (result.median(ours, batch, threads) or 0.0) / batch
            lines.append(
                f"batch {batch}, {_plural(threads, 'thread')}: {per_image:.2f} ms an image, "
                f"{ratio:.2f} of batch 1"
            )
    if result.load_ms:
        lines.append(f"load time of the .qslim file: {statistics.median(result.load_ms):.1f} ms")
    if result.float_bytes:
        ratio = result.file_bytes / result.float_bytes
        lines.append(f".qslim file: {result.file_bytes:,} bytes, {ratio:.3f} of the float parameters")
    return lines


def goal_lines(result: Result) -> list[str]:
    """Say by how far each goal was missed, one line for each; or that none was."""
    checked: list[tuple[str, Optional[float], Optional[float], str]] = []
    for batch, threads in result.settings():
        where = f"at {_plural(threads, 'thread')}"
        if batch == 1:
            ratio = ratio_to_bar(result, "qslim int8", 1, threads)
            checked.append((f"int8 over the bar {where}", ratio, GOALS.get(result.network), ""))
            floats = (result.median(name, 1, threads) for name in ("qslim fp32", "ONNX Runtime fp32"))
            checked.append((f"fp32 over ONNX Runtime's {where}", _ratio(*floats), _FLOAT_RATIO, ""))
        else:
            # Not slower, within the percent or two that medians of a quiet machine differ by.
            ratio = _batch_ratio(result, batch, threads)
            checked.append((f"batch {batch} over batch 1 per image {where}", ratio, 1.02, ""))
    load = statistics.median(result.load_ms) if result.load_ms else None
    checked.append(("load time", load, _LOAD_MS.get(result.network), " ms"))
    size = _ratio(float(result.file_bytes), float(result.float_bytes) or None)
    checked.append(("file over float parameters", size, _FILE_RATIO, ""))
    lines = []
    seen = 0
    for what, value, goal, unit in checked:
        if value is None or goal is None:
            continue
        seen += 1
        if value > goal:
            lines.append(_missed(what, f"{value:.2f}{unit}", f"at most {goal:.2f}{unit}", value / goal))
    speedup, goal = _speedup(result), _TWO_THREADS.get(result.network)
    if speedup is not None and goal is not None:
        seen += 1
        if speedup < goal:
            lines.append(
                _missed("two threads against one", f"{speedup:.2f}", f"at least {goal}", goal / speedup)
            )
    return lines or ([f"goals: all {seen} met"] if seen else [])


def _missed(what: str, value: str, goal: str, factor: float) -> str:
    return f"goal missed: {what} is {value}, wanted {goal}: off by {100 * (factor - 1):.0f} %"


def _speedup(result: Result, threads: int = 2) -> Optional[float]:
    return _ratio(_reference(result, 1, threads), result.median("qslim int8", 1, threads))


def _batch_ratio(result: Result, batch: int, threads: int) -> Optional[float]:
    """Return the time per image in `batch` over that alone."""
    whole = result.median("qslim int8", batch, threads)
    if batch == 1 or whole is None:
        return None
    return _ratio(whole / batch, _reference(result, batch, threads))


def _reference(result: Result, batch: int, threads: int) -> Optional[float]:
    values = result.references.get((batch, threads))
    return statistics.median(values) if values else None


def _ratio(value: Optional[float], of: Optional[float]) -> Optional[float]:
    return value / of if value is not None and of else None


def _plural(count: int, word: str) -> str:
    return f"{count} {word}" + ("" if count == 1 else "s")


def as_json(results: Iterable[Result]) -> list[Mapping[str, object]]:
    """Return what --json writes."""
    return [
        {
            "network": result.network,
            "file_bytes": result.file_bytes,
            "float_bytes": result.float_bytes,
            "load_ms": result.load_ms,
            "notes": result.notes,
            "times": [_times(key, values) for key, values in result.times.items()],
            "references": [_times(("qslim int8", *key), values) for key, values in result.references.items()],
        }
        for result in results
    ]


def _times(key: tuple[str, int, int], values: Sequence[float]) -> dict[str, object]:
    engine, batch, threads = key
    return {
        "engine": engine,
        "batch": batch,
        "threads": threads,
        "median_ms": statistics.median(values),
        "min_ms": min(values),
        "ms": [round(value, 4) for value in values],
    }
