# SPDX-License-Identifier: Apache-2.0
"""``qslim export``: a model as ONNX or as the engine's file."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Optional

from qslim.cli.command import Result, command
from qslim.cli.settings import setting

__all__ = ["COMMAND"]


@dataclass(frozen=True)
class SourceSettings:
    """A Paddle model, float or quantized, an engine's file or an ONNX file."""

    path: str = setting("Paddle model, .qslim or .onnx file.", flag="--model", argument=True)
    model_filename: Optional[str] = setting("Program's file name.", None, flag="--model_filename")
    params_filename: Optional[str] = setting("Parameters' file name.", None, flag="--params_filename")


@dataclass(frozen=True)
class Settings:
    """Settings of ``qslim export``."""

    Model: SourceSettings = field()
    save_file: str = setting("Output, which ends in .onnx or .qslim.", flag="--save_file")
    opset: int = setting("Opset of ONNX.", 21, flag="--opset")


def _run(settings: Settings) -> Result:
    from qslim.deployment import export_model

    model = settings.Model
    export_model(
        model.path,
        settings.save_file,
        model_filename=model.model_filename,
        params_filename=model.params_filename,
        opset=settings.opset,
    )
    size = os.path.getsize(settings.save_file)
    values = {"path": settings.save_file, "bytes": size}
    return Result(f"wrote {settings.save_file}: {size:,} bytes", values)


COMMAND = command("export", Settings, _run, "Write a model as ONNX or as the engine's file.")
