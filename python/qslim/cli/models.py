# SPDX-License-Identifier: Apache-2.0
"""Settings that say which model is meant."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Optional

from qslim.cli.settings import setting

__all__ = ["AnyModelSettings", "PaddleModelSettings", "shapes_of"]


@dataclass(frozen=True)
class PaddleModelSettings:
    """A saved Paddle model: a directory, a path or a prefix, and file names in a directory."""

    model_dir: str = setting(
        "Saved Paddle model: directory, file or prefix.", flag="--model_dir", argument=True
    )
    model_filename: Optional[str] = setting("Program's file name.", None, flag="--model_filename")
    params_filename: Optional[str] = setting("Parameters' file name.", None, flag="--params_filename")


@dataclass(frozen=True)
class AnyModelSettings:
    """A Paddle model or an engine's file."""

    path: str = setting("Paddle model, .qslim or .onnx file.", flag="--model", argument=True)
    shape: list[str] = setting("Extents of an input: NAME=1,3,224,224; may be repeated.", (), flag="--shape")
    threads: Optional[int] = setting("Threads of the engine.", None, flag="--threads")


def shapes_of(texts: Sequence[str]) -> dict[str, list[int]]:
    """Return the extents by input of texts as NAME=1,3,224,224."""
    shapes = {}
    for text in texts:
        name, _, extents = text.rpartition("=")
        numbers = extents.split(",")
        if not name or not all(number.strip().isdigit() and int(number) > 0 for number in numbers):
            raise ValueError(f"Model.shape: expected NAME=1,3,224,224, got {text!r}")
        shapes[name] = [int(number) for number in numbers]
    return shapes
