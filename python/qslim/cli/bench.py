# SPDX-License-Identifier: Apache-2.0
"""``qslim bench``: times layer by layer, beside float and the peers."""

from __future__ import annotations

from dataclasses import dataclass, field

from qslim.cli.command import Result, command
from qslim.cli.models import AnyModelSettings, shapes_of
from qslim.cli.settings import setting

__all__ = ["COMMAND"]


@dataclass(frozen=True)
class Settings:
    """Settings of ``qslim bench``."""

    Model: AnyModelSettings = field()
    runs: int = setting(
        "Runs; the least time of each layer counts, of whole runs the median.", 20, flag="--runs"
    )
    peers: bool = setting("Time ONNX Runtime and OpenVINO too, where installed.", True, flag="--peers")


def _run(settings: Settings) -> Result:
    from qslim.deployment import time_layers

    model = settings.Model
    times = time_layers(
        model.path,
        shapes=shapes_of(model.shape),
        threads=1 if model.threads is None else model.threads,
        runs=settings.runs,
        peers=settings.peers,
    )
    return Result(str(times), times.to_dict())


COMMAND = command("bench", Settings, _run, "Time a model layer by layer, beside float and its peers.")
