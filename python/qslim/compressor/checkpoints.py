# SPDX-License-Identifier: Apache-2.0
"""Checkpoints of a compression: one directory for each epoch that is done.

    <checkpoint_path>/<epoch>/parameters.npz   what the scope holds: float weights, optimizer, quantizers
    <checkpoint_path>/<epoch>/context.json     epoch, configuration, learning rate, strategies, results

A directory is written whole or not at all, so the newest one is sound after a kill at any moment.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any, Optional

import numpy as np
from numpy.typing import NDArray

from qslim.errors import ModelFileError
from qslim.files.staging import staged_directory

__all__ = ["newest_checkpoint", "read_arrays", "write_checkpoint"]

_ARRAYS, _RECORD = "parameters.npz", "context.json"


def write_checkpoint(
    directory: str, epoch: int, arrays: Mapping[str, NDArray[Any]], record: Mapping[str, Any]
) -> None:
    """Write the state after `epoch`."""
    with staged_directory(os.path.join(directory, str(epoch))) as staging:
        np.savez(os.path.join(staging, _ARRAYS), **arrays)  # type: ignore[arg-type, unused-ignore]
        with open(os.path.join(staging, _RECORD), "w", encoding="utf-8") as file:
            json.dump({"epoch": epoch, **record}, file, default=float)


def newest_checkpoint(directory: str) -> Optional[tuple[str, dict[str, Any]]]:
    """Return the path and the record of the last epoch's checkpoint; None if there is none.

    Raises
    ------
    ModelFileError : the checkpoint is damaged.
    """
    if not os.path.isdir(directory):
        return None
    epochs = [int(name) for name in os.listdir(directory) if name.isdigit()]
    for epoch in sorted(epochs, reverse=True):
        path = os.path.join(directory, str(epoch))
        if not os.path.exists(os.path.join(path, _RECORD)):
            continue
        try:
            with open(os.path.join(path, _RECORD), encoding="utf-8") as file:
                record = json.load(file)
            record["epoch"], record["configuration"], record["strategies"]
        except (ValueError, KeyError, TypeError) as error:
            raise _damaged(path, error) from error
        return path, record
    return None


def read_arrays(path: str) -> dict[str, NDArray[Any]]:
    """Return the arrays of the checkpoint in the directory `path`.

    Raises
    ------
    ModelFileError : the file is missing or damaged.
    """
    try:
        with np.load(os.path.join(path, _ARRAYS), allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except Exception as error:  # zip, NumPy and the file system each raise their own
        raise _damaged(path, error) from error


def _damaged(path: str, error: Exception) -> ModelFileError:
    return ModelFileError(
        f"Compressor: the checkpoint {path!r} is damaged ({error}); remove it, and the run goes on from the "
        "one before it"
    )
