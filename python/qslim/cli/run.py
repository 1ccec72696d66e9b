# SPDX-License-Identifier: Apache-2.0
"""``qslim run``: a model in the engine, on data or on ones."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Optional

import numpy as np

from qslim.cli.command import Result, command
from qslim.cli.data import OptionalDataSettings, open_data
from qslim.cli.models import AnyModelSettings, shapes_of
from qslim.cli.settings import setting

__all__ = ["COMMAND"]

_STEP, _MOST = 100, 10  # as the tutorials' light_api prints


@dataclass(frozen=True)
class Settings:
    """Settings of ``qslim run``."""

    Model: AnyModelSettings = field()
    Data: OptionalDataSettings = field()
    output: Optional[str] = setting("Write all outputs to this .npz file.", None, flag="--output")
    repeats: int = setting("Time so many runs of the first batch.", 0, flag="--repeats")
    warmup: int = setting("Runs before those that are timed.", 1, flag="--warmup")


def _run(settings: Settings) -> Result:
    from qslim.deployment import run_batches

    if min(settings.repeats, settings.warmup) < 0:
        raise ValueError("repeats, warmup: expected numbers of at least 0")
    if settings.output is not None and not settings.output.endswith(".npz"):
        raise ValueError(f"output: expected the path of an .npz file, got {settings.output!r}")
    data = None if settings.Data.path is None else open_data(settings.Data)
    found = run_batches(
        settings.Model.path,
        data,
        shapes=shapes_of(settings.Model.shape),
        threads=settings.Model.threads,
        repeats=settings.repeats,
        warmup=settings.warmup,
    )
    if settings.output is not None:
        found.save(settings.output)
    return Result("\n".join(_listing(found)), found.to_dict())


def _listing(found: Any) -> Iterator[str]:
    """Yield the lines of the tutorial's listing for each output."""
    several = len(found.outputs) > 1
    for name, values in found.outputs.items():
        if several:
            yield f"Output {name}: {list(values.shape)}"
        flat = np.asarray(values).reshape(-1)
        yield f"Output dim: {flat.size}"
        step = _STEP if flat.size > _STEP else 1
        yield from (f"Output[{i}]: {flat[i]:f}" for i in range(0, flat.size, step)[:_MOST])
    if found.milliseconds is not None:
        how = f"{found.repeats} runs, {found.threads} threads, {found.isa}"
        yield f"Median time: {found.milliseconds:.3f} ms ({how})"


COMMAND = command("run", Settings, _run, "Run a model in the engine and print its outputs.")
