# SPDX-License-Identifier: Apache-2.0
"""Errors of models, raised before anything is computed with them."""

from __future__ import annotations

__all__ = ["MissingFileError", "ModelFileError", "UnsupportedModelError"]


class ModelFileError(ValueError):
    """Raised if a model's files are missing, are no files, are damaged, or do not belong together."""


class MissingFileError(ModelFileError, FileNotFoundError):
    """Raised if there is no such file or directory."""


class UnsupportedModelError(ValueError):
    """Raised if a network holds something that cannot be followed, although its files are sound."""
