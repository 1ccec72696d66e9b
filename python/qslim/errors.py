# SPDX-License-Identifier: Apache-2.0
"""Errors that say what is wrong with a model before anything is computed with it."""

from __future__ import annotations

__all__ = ["MissingFileError", "ModelFileError", "UnsupportedModelError"]


class ModelFileError(ValueError):
    """The files are missing, are no files, are damaged, or do not belong together."""


class MissingFileError(ModelFileError, FileNotFoundError):
    """There is no such file or directory."""


class UnsupportedModelError(ValueError):
    """The files are sound, but the network holds something that cannot be followed."""
