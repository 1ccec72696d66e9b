# SPDX-License-Identifier: Apache-2.0
"""``qslim inspect``: what a model is made of."""

from __future__ import annotations

from dataclasses import dataclass, field

from qslim.cli.command import Result, command
from qslim.cli.models import AnyModelSettings, shapes_of

__all__ = ["COMMAND"]


@dataclass(frozen=True)
class Settings:
    """Settings of ``qslim inspect``."""

    Model: AnyModelSettings = field()


def _run(settings: Settings) -> Result:
    from qslim.deployment import inspect_model

    contents = inspect_model(settings.Model.path, shapes=shapes_of(settings.Model.shape))
    return Result(str(contents), contents.to_dict())


COMMAND = command("inspect", Settings, _run, "List a model's inputs, outputs, operators and sizes.")
