# SPDX-License-Identifier: Apache-2.0
"""The results of a search so far, in a file, so that a search that was killed goes on where it was."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterable
from typing import Any, Optional

import numpy as np

from qslim.files.staging import staged_file
from qslim.logger import logger
from qslim.quant.analysis.quantization import Quantization

__all__ = ["Journal", "key_of"]


class Journal:
    """Metrics by the layers in fp32, and the ranking of the layers.

    Parameters
    ----------
    path : str
        A JSON file; it is written whole after each change.
    key : str
        What the results hold for. A file with another key is of another search, and is replaced.
    """

    def __init__(self, path: str, key: str) -> None:
        self._path, self._key = path, key
        self.metrics: dict[frozenset[str], float] = {}
        self.ranking: Optional[list[str]] = None
        self.costs: dict[str, float] = {}
        try:
            with open(path, encoding="utf-8") as file:
                self._read(json.load(file))
        except FileNotFoundError:
            return
        except (OSError, ValueError, KeyError, TypeError) as error:
            logger.warning("%r is not the journal of a search and will be replaced: %s", path, error)

    def _read(self, data: dict[str, Any]) -> None:
        if data["key"] != self._key:
            logger.info("%r is of a search with another model, data or options", self._path)
            return
        metrics = {frozenset(trial["in_float"]): float(trial["metric"]) for trial in data["trials"]}
        self.costs = {str(name): float(cost) for name, cost in data["costs"].items()}
        self.ranking = None if data["ranking"] is None else [str(name) for name in data["ranking"]]
        self.metrics = metrics
        logger.info("%d trials of %r are not repeated", len(metrics), self._path)

    @property
    def note(self) -> str:
        """The end of a message that says where results are."""
        if not self.metrics:
            return ""
        return (
            f"; {self._path!r} keeps the {len(self.metrics)} trials before: the same call goes on from there"
        )

    def save(self) -> None:
        """Write the file."""
        trials = [{"in_float": sorted(names), "metric": metric} for names, metric in self.metrics.items()]
        data = {"key": self._key, "ranking": self.ranking, "costs": self.costs, "trials": trials}
        with staged_file(self._path) as path, open(path, "w", encoding="utf-8") as file:
            json.dump(data, file, indent=1)

    def remove(self) -> None:
        """Remove the file, the search being done."""
        with contextlib.suppress(FileNotFoundError):
            os.remove(self._path)


def key_of(quantization: Quantization, *words: str) -> str:
    """Return the digest of the quantized network, the kept samples and `words`."""
    digest = hashlib.sha256()
    for piece in _pieces(quantization, words):
        digest.update(piece)
    return digest.hexdigest()


def _pieces(quantization: Quantization, words: Iterable[str]) -> Iterable[bytes]:
    yield "\n".join(words).encode()
    for layer in quantization.layers:
        yield layer.name.encode()
        for name, params in [*layer.activations.items(), (layer.weight or "", layer.weight_params)]:
            if params is not None:
                yield f"{name} {params.zero_point} {params.qmin} {params.qmax} {params.quant_axis}".encode()
                yield params.scale.tobytes()
        for value in (layer.weight_value, *layer.constants.values()):
            if value is not None:
                yield np.ascontiguousarray(value).tobytes()
    # Constants of layers that stay in float make a difference too.
    for tensor in quantization.graph.tensors.values():
        if tensor.value is not None:
            yield np.ascontiguousarray(tensor.value).tobytes()
    for feed in quantization.samples:
        for array in feed.values():
            yield np.ascontiguousarray(array).tobytes()
