# SPDX-License-Identifier: Apache-2.0
"""Calls of ``quant_post_static`` for the test of sharded calibration: the same on any number of ranks.

A job is a dict: "source" of the data, "algo", "model" to read, "out" to write, and for a job that fails on
one rank "fails": which rank, and what is wrong there.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import paddle
from small_networks import images

import qslim as slim
from qslim.quant import distributed


class _Images(paddle.io.Dataset):
    def __init__(self, data: np.ndarray) -> None:
        super().__init__()
        self._data = data

    def __getitem__(self, index: int) -> np.ndarray:
        return self._data[index]

    def __len__(self) -> int:
        return len(self._data)


def run_job(job: dict[str, Any]) -> dict[str, Any]:
    """Return what the report says, or the error."""
    # The largest values come last: in rank 0's share, or in another's.
    data = [images(count, seed=count) * (1 + index / 3) for index, count in enumerate((4, 2, 3, 5, 1))]
    options = _options(job["source"], data)
    model, out = job["model"], job["out"]
    rank, what = job.get("fails", (None, ""))
    if rank == distributed.rank():
        if what == "data":
            data[rank][:] = np.nan
        elif what == "model":
            model = "nowhere"
        elif what == "path":
            out = "/proc/nowhere"
        elif what == "options":
            options["quantizable_op_type"] = ["mul"]
    paddle.enable_static()
    try:
        executor = paddle.static.Executor(paddle.CPUPlace())
        report = slim.quant.quant_post_static(executor, model, out, algo=job["algo"], **options)
        assert not paddle.in_dynamic_mode()
    except ValueError as error:
        return {"error": str(error)}
    finally:
        paddle.disable_static()
    return {
        "batches": report.batches,
        "samples": report.samples,
        "thresholds": [activation.threshold for activation in report.activations],
        "statistics": [activation.statistics.to_bytes().hex() for activation in report.activations],
        "summary": report.summary.replace(str(out), "out"),
    }


def _options(source: str, data: list[np.ndarray]) -> dict[str, Any]:
    def samples() -> Iterator[np.ndarray]:
        yield from np.concatenate(data)

    if source == "list":
        return {"data_loader": data, "batch_nums": 4}
    if source == "one batch":
        return {"data_loader": data[:1]}
    if source == "samples":
        return {"sample_generator": samples, "batch_size": 3}
    assert source == "distributed sampler"
    dataset = _Images(np.concatenate(data)[:12])
    sampler = paddle.io.DistributedBatchSampler(dataset, batch_size=2)
    return {"data_loader": paddle.io.DataLoader(dataset, batch_sampler=sampler), "batch_nums": 5}
