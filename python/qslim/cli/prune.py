# SPDX-License-Identifier: Apache-2.0
"""``qslim prune``: filters cut out of a saved model."""

from __future__ import annotations

from dataclasses import dataclass, field

from qslim.cli.command import Result, command
from qslim.cli.models import PaddleModelSettings
from qslim.cli.settings import setting

__all__ = ["COMMAND"]


@dataclass(frozen=True)
class PruneSettings:
    """The filters to cut: ratios by name or shell pattern."""

    ratios: list[str] = setting(
        "NAME=0.5, or a pattern in place of NAME; may be repeated.", (), flag="--ratio"
    )
    criterion: str = setting("l1_norm, l2_norm, geometry_median or bn_scale.", "l1_norm", flag="--criterion")


@dataclass(frozen=True)
class Settings:
    """Settings of ``qslim prune``."""

    Model: PaddleModelSettings = field()
    Prune: PruneSettings = field()
    save_dir: str = setting("Directory of the pruned model.", flag="--save_dir")


def _run(settings: Settings) -> Result:
    ratios = {}
    for text in settings.Prune.ratios:
        name, _, number = text.rpartition("=")
        try:
            ratios[name] = float(number)
        except ValueError:
            name = ""
        if not name:
            raise ValueError(f"Prune.ratios: expected NAME=RATIO, got {text!r}")
    from qslim.prune.saved_model import prune_saved_model

    model = settings.Model
    pruned = prune_saved_model(
        model.model_dir,
        settings.save_dir,
        ratios,
        criterion=settings.Prune.criterion,
        model_filename=model.model_filename,
        params_filename=model.params_filename,
    )
    return Result(str(pruned), pruned.to_dict())


COMMAND = command("prune", Settings, _run, "Cut filters out of a saved model.")
