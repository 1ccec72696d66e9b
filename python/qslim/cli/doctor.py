# SPDX-License-Identifier: Apache-2.0
"""``qslim doctor``: what this CPU can do."""

from __future__ import annotations

from dataclasses import dataclass

from qslim.cli.command import Result, command
from qslim.cli.settings import setting

__all__ = ["COMMAND"]


@dataclass(frozen=True)
class Settings:
    """Settings of ``qslim doctor``."""

    runs: int = setting("Runs of each layer; the least time counts.", 50, flag="--runs")


def _run(settings: Settings) -> Result:
    from qslim.deployment import examine_machine

    if settings.runs < 1:
        raise ValueError(f"runs: expected a number of at least 1, got {settings.runs}")
    report = examine_machine(settings.runs)
    return Result(str(report), report.to_dict())


COMMAND = command("doctor", Settings, _run, "Say what this CPU can do and measure what int8 gains.")
