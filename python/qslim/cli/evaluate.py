# SPDX-License-Identifier: Apache-2.0
"""``qslim eval``: several models on the same data."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Optional

from qslim.cli.command import Result, command
from qslim.cli.data import DataSettings, open_data
from qslim.cli.settings import setting
from qslim.files.staging import output_path

__all__ = ["COMMAND"]


@dataclass(frozen=True)
class ModelsSettings:
    """The models; the first one is the reference."""

    paths: list[str] = setting("Paddle models, .qslim and .onnx files.", flag="--model", argument=True)
    threads: Optional[int] = setting("Threads of the engine and of ONNX Runtime.", None, flag="--threads")


@dataclass(frozen=True)
class Settings:
    """Settings of ``qslim eval``."""

    Models: ModelsSettings = field()
    Data: DataSettings = field()
    save_dir: Optional[str] = setting(
        "Directory for comparison.txt, .csv, .json and .png.", None, flag="--save_dir"
    )


def _run(settings: Settings) -> Result:
    from qslim.deployment import compare_models

    save_dir = None if settings.save_dir is None else output_path(settings.save_dir, "save_dir")
    found = compare_models(settings.Models.paths, open_data(settings.Data), settings.Models.threads)
    lines = [str(found)]
    if save_dir is not None:
        lines.append(f"wrote {', '.join(found.save(save_dir))} to {save_dir}")
    return Result("\n".join(lines), found.to_dict())


COMMAND = command("eval", Settings, _run, "Compare models on the same data: accuracy, agreement, latency.")
