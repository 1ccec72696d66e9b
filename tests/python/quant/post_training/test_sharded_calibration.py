# SPDX-License-Identifier: Apache-2.0
"""Calibration in several processes writes what one process writes, and no rank waits for one that failed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from processes import run_ranks
from sharded_jobs import run_job
from small_networks import save_network, small_network

_RANK = """
    import json, sys
    import paddle
    from sharded_jobs import run_job

    paddle.distributed.init_parallel_env()
    for job in json.loads(sys.argv[1]):
        print("report", json.dumps(run_job(job)), flush=True)
"""


def _run(ranks: int, jobs: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """For each job the reports of all ranks."""
    outputs = [one.stdout for one in run_ranks(_RANK, ranks, args=[json.dumps(jobs)], extra_path=[_HERE])]
    lines = [[line for line in output.splitlines() if line.startswith("report ")] for output in outputs]
    return [[json.loads(line.split(" ", 1)[1]) for line in row] for row in zip(*lines)]


_HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return {
        ir: save_network(small_network(), str(tmp_path_factory.mktemp(ir)), ir) for ir in ("pir", "legacy")
    }


def _check(models: dict[str, str], tmp_path: Path, ranks: int, kinds: list[tuple[str, str, str]]) -> None:
    jobs = [
        {"source": source, "algo": algo, "model": models[ir], "out": str(tmp_path / f"{index}")}
        for index, (source, algo, ir) in enumerate(kinds)
    ]
    for job, reports in zip(jobs, _run(ranks, jobs)):
        alone = run_job({**job, "out": job["out"] + "_alone"})
        assert len({report.pop("summary") for report in reports}) == 1
        del alone["summary"]  # counts the bytes of a .pdmodel, whose names depend on what was saved before
        assert reports == [alone] * ranks
        written, expected = Path(job["out"]), Path(job["out"] + "_alone")
        assert sorted(path.name for path in written.iterdir()) == sorted(
            path.name for path in expected.iterdir()
        )
        for path in expected.iterdir():
            if path.suffix != ".pdmodel":  # Paddle writes its table of operator versions in any order
                assert (written / path.name).read_bytes() == path.read_bytes()


def test_two_ranks_write_the_model_of_one(models: dict[str, str], tmp_path: Path) -> None:
    kinds = [
        ("list", "KL", "pir"),
        ("list", "mse", "legacy"),
        ("samples", "avg", "pir"),
        ("distributed sampler", "hist", "pir"),
    ]
    _check(models, tmp_path, 2, kinds)


def test_ranks_without_a_batch_and_failures(models: dict[str, str], tmp_path: Path) -> None:
    failures = [
        (0, "path", "cannot write to output directory"),
        (1, "model", "'nowhere'"),
        (2, "data", "NaN"),
        (1, "options", "observes other tensors than rank 0"),
    ]
    common = {"source": "list", "algo": "hist", "model": models["pir"], "out": str(tmp_path / "out")}
    jobs = [{**common, "fails": [rank, what]} for rank, what, _ in failures]
    good = {**common, "source": "one batch", "out": str(tmp_path / "good")}
    *failed, succeeded = _run(3, [*jobs, good])
    for (rank, what, said), reports in zip(failures, failed):
        assert all(said in report["error"] for report in reports)
        others = [report["error"] for other, report in enumerate(reports) if other != rank]
        if what != "options":
            assert all(f": rank {rank} failed: " in error for error in others)
    assert not (tmp_path / "out").exists()
    alone = run_job({**good, "out": str(tmp_path / "alone")})
    assert [report["statistics"] for report in succeeded] == [alone["statistics"]] * 3
