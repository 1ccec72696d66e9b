# SPDX-License-Identifier: Apache-2.0
"""Tables, ratios and goals of benchmarks/bench_models.py, from made-up times."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "benchmarks"))

from bench_models import runs_in_a_turn
from model_table import Result, as_json, bar, goal_lines, ratio_to_bar, summary_lines, table


@pytest.fixture
def result() -> Result:
    medians = {
        ("qslim int8", 1, 1): 4.0,
        ("qslim int8", 1, 2): 2.0,
        ("qslim int8", 16, 1): 72.0,
        ("qslim fp32", 1, 1): 12.0,
        ("ONNX Runtime int8", 1, 1): 6.0,
        ("OpenVINO int8 (NNCF)", 1, 1): 8.0,
        ("OpenVINO int8 (QDQ)", 1, 1): 5.0,
        ("OpenVINO int8 (QDQ)", 1, 2): 4.0,
        ("ONNX Runtime fp32", 1, 1): 10.0,
    }
    times = {key: [median + 9.0, median, median - 0.5] for key, median in medians.items()}
    references = {(1, 2): [4.0], (16, 1): [4.0, 9.0, 3.0]}
    notes = {"qslim int8": "avx2"}
    return Result("MobileNetV1", times, references, notes, [60.0, 40.0, 41.0], 1_000_000, 4_000_000)


def test_the_bar_is_the_fastest_int8_peer(result: Result) -> None:
    assert bar(result, 1, 1) == 5.0
    assert ratio_to_bar(result, "qslim int8", 1, 1) == 0.8
    assert ratio_to_bar(result, "ONNX Runtime fp32", 1, 1) == 2.0
    assert ratio_to_bar(result, "qslim int8", 1, 2) == 0.5
    assert ratio_to_bar(result, "qslim int8", 16, 1) is None


def test_table_has_a_row_for_each_engine_that_ran(result: Result) -> None:
    lines = table(result).splitlines()
    assert [line.split("  ")[0] for line in lines[2:]] == [
        "qslim int8", "qslim fp32", "ONNX Runtime int8", "OpenVINO int8 (NNCF)", "OpenVINO int8 (QDQ)",
        "ONNX Runtime fp32",
    ]  # fmt: skip
    assert " ".join(lines[0].split()) == "batch 1, 1 thread batch 1, 2 threads batch 16, 1 thread"
    assert " ".join(lines[2].split()) == "qslim int8 4.00 3.50 0.80 2.00 1.50 0.50 72.00 71.50 avx2"
    # A title ends where its last column ends.
    assert lines[0].index("2 threads") + len("2 threads") == lines[1].index("ratio", 50) + len("ratio")


def test_summary(result: Result) -> None:
    assert summary_lines(result) == [
        "two threads against one: 2.00 times as fast",
        "batch 16, 1 thread: 4.50 ms an image, 1.12 of batch 1",
        "load time of the .qslim file: 41.0 ms",
        ".qslim file: 1,000,000 bytes, 0.250 of the float parameters",
    ]
    assert summary_lines(Result("ResNet50")) == []


def test_missed_goals_say_by_how_far(result: Result) -> None:
    assert goal_lines(result) == [
        "goal missed: batch 16 over batch 1 per image at 1 thread is 1.12, wanted at most 1.02: off by 10 %"
    ]
    result.times["qslim int8", 1, 1] = [5.0]
    result.times["qslim int8", 1, 2] = [4.0]
    result.references = {(1, 2): [5.0]}
    result.times["qslim fp32", 1, 1] = [15.0]
    result.load_ms = [100.0]
    result.file_bytes = 1_350_000
    assert goal_lines(result) == [
        "goal missed: int8 over the bar at 1 thread is 1.00, wanted at most 0.80: off by 25 %",
        "goal missed: fp32 over ONNX Runtime's at 1 thread is 1.50, wanted at most 1.25: off by 20 %",
        "goal missed: int8 over the bar at 2 threads is 1.00, wanted at most 0.80: off by 25 %",
        "goal missed: load time is 100.00 ms, wanted at most 50.00 ms: off by 100 %",
        "goal missed: file over float parameters is 0.34, wanted at most 0.27: off by 25 %",
        "goal missed: two threads against one is 1.25, wanted at least 1.8: off by 44 %",
    ]


def test_goals_met(result: Result) -> None:
    result.times["qslim int8", 16, 1] = [64.0]
    assert goal_lines(result) == ["goals: all 7 met"]
    assert goal_lines(Result("MobileNetV1")) == []


def test_json_has_every_time(result: Result) -> None:
    (network,) = as_json([result])
    times = network["times"]
    assert isinstance(times, list)
    about = {"engine": "qslim int8", "batch": 1, "threads": 1, "median_ms": 4.0, "min_ms": 3.5}
    assert times[0] == {**about, "ms": [13.0, 4.0, 3.5]}


def test_turns_are_of_like_length() -> None:
    assert [runs_in_a_turn(ms) for ms in (0.0, 1.0, 10.0, 30.0, 1000.0)] == [20, 20, 10, 3, 2]
