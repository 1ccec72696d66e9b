# SPDX-License-Identifier: Apache-2.0
"""Sensitivities: what a score loses when one parameter is pruned, kept in files, turned into ratios."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable, Container, Sequence
from typing import Any, Optional, Union

from qslim.errors import MissingFileError
from qslim.files.pickled import load_pickled
from qslim.files.staging import staged_file

__all__ = [
    "Sensitivities",
    "Status",
    "bisect_ratios",
    "get_ratios_by_loss",
    "load_sensitivities",
    "merge_sensitive",
    "save_sensitivities",
    "sensitivities_of",
]

# Losses are resolved to 2^-16, and a thousandth of the FLOPs is near enough.
_BISECTIONS = 16
_NEAR = 1e-3

# Parameter name to pruned ratio to loss.
Sensitivities = dict[str, dict[float, float]]


class _Status:
    """A stand-in for the object that PaddleSlim's pruners pickle; only its attributes are looked at."""


def _status(module: str, name: str) -> Any:
    return _Status if name == "Status" and module.startswith(("paddleslim.", "qslim.")) else None


def load_sensitivities(sensitivities_file: Optional[str]) -> Sensitivities:
    """Read what ``sensitivity`` or ``FilterPruner.sensitive`` wrote, PaddleSlim's files too.

    Returns
    -------
    dict of parameter name to dict of ratio to loss; empty if there is no such file.

    Raises
    ------
    ValueError : the file holds something else.
    """
    if not sensitivities_file or not os.path.exists(sensitivities_file):
        return {}
    try:
        loaded = load_pickled(sensitivities_file, _status)
        loaded = getattr(loaded, "sensitivies", loaded)
        return {
            str(name): {float(ratio): float(loss) for ratio, loss in losses.items()}
            for name, losses in loaded.items()
        }
    except Exception as error:  # unpickling damaged bytes raises almost anything
        raise ValueError(f"{sensitivities_file!r} is no file of sensitivities: {error}") from error


def save_sensitivities(sensitivities: Sensitivities, sensitivities_file: str) -> None:
    """Write the file whole: one that was stopped half-way leaves the last one."""
    with staged_file(sensitivities_file) as path, open(path, "wb") as file:
        pickle.dump(sensitivities, file, protocol=2)


class Status:
    """Sensitivities with their file, as PaddleSlim's pruners keep them.

    Parameters
    ----------
    src : str, optional
        A file to start from, of qslim's pruners or of PaddleSlim's.

    Attributes
    ----------
    sensitivies : dict of parameter name to dict of ratio to loss; the spelling is PaddleSlim's

    Raises
    ------
    ValueError : `src` is no file of sensitivities.

    Examples
    --------
    >>> import os, tempfile
    >>> from qslim.dygraph import Status
    >>> path = os.path.join(tempfile.mkdtemp(), "sen.pickle")
    >>> status = Status()
    >>> status.sensitivies["conv2d_0.w_0"] = {0.5: 0.01}
    >>> status.save(path)
    >>> Status(path).sensitivies
    {'conv2d_0.w_0': {0.5: 0.01}}
    """

    def __init__(self, src: Optional[str] = None) -> None:
        self.sensitivies: Sensitivities = {}
        if src is not None:
            self.load(src)

    def save(self, dst: str) -> None:
        """Write the file whole; a pruner's `sen_file` may be it."""
        save_sensitivities(self.sensitivies, dst)

    def load(self, src: str) -> None:
        """Read `src`, in place of what there is."""
        if not os.path.exists(src):
            raise MissingFileError(f"Status.load: {src!r} does not exist")
        self.sensitivies = load_sensitivities(src)


def merge_sensitive(sensitivities: Sequence[Union[str, Sensitivities]]) -> Sensitivities:
    """Merge several dicts or files; of two losses for one ratio the later one counts.

    Examples
    --------
    >>> merge_sensitive([{"w": {0.1: 0.0}}, {"w": {0.2: 0.1}}])
    {'w': {0.1: 0.0, 0.2: 0.1}}
    """
    if not sensitivities:
        raise ValueError("merge_sensitive: expected at least one dict or file of sensitivities, got none")
    merged: Sensitivities = {}
    for item in sensitivities:
        for name, losses in (item if isinstance(item, dict) else load_sensitivities(item)).items():
            merged.setdefault(name, {}).update(losses)
    return merged


def get_ratios_by_loss(sensitivities: Sensitivities, loss: float) -> dict[str, float]:
    """Return the largest ratio of each parameter that costs at most `loss`, linear between the points.

    A parameter of which every point costs more gets 0.

    Examples
    --------
    >>> get_ratios_by_loss({"w": {0.1: 0.0, 0.2: 0.1}, "v": {0.1: 0.5}}, 0.05)
    {'w': 0.15000000000000002, 'v': 0.0}
    """
    ratios = {}
    for name, losses in sensitivities.items():
        ratio = _ratio_by_loss(losses, loss)
        ratios[name] = 0.0 if ratio is None else ratio
    return ratios


def _ratio_by_loss(losses: dict[float, float], loss: float) -> Optional[float]:
    points = sorted(losses.items())
    for index in reversed(range(len(points))):
        ratio, at = points[index]
        if at <= loss:
            if index == len(points) - 1:
                return float(ratio)
            next_ratio, next_loss = points[index + 1]
            return float(ratio + (loss - at) * (next_ratio - ratio) / (next_loss - at))
    return None


def bisect_ratios(
    sensitivities: Sensitivities, pruned_flops: float, flops_of: Callable[[dict[str, float]], float]
) -> tuple[dict[str, float], float]:
    """Return ratios of equal loss that prune `pruned_flops`, as near as bisection on that loss comes.

    Where the curves jump, or cost nothing, equal loss prunes more than was asked for: then the ratios shrink
    together. `flops_of` gives the part of the FLOPs that ratios prune. (PaddleSlim stops where that part
    repeats to 4 decimals, which with few channels is far from the aim.) Where the least step is more than was
    asked for, it is taken: nothing is pruned only if nothing can be.
    """

    def of_equal_loss(loss: float) -> dict[str, float]:
        known = {name: _ratio_by_loss(losses, loss) for name, losses in sensitivities.items()}
        return {name: ratio for name, ratio in known.items() if ratio is not None}

    tried = _bisect(of_equal_loss, pruned_flops, flops_of)
    above = [(found, ratios) for found, ratios in tried if found > pruned_flops + _NEAR]
    if above and not any(abs(found - pruned_flops) <= _NEAR for found, _ in tried):
        _, most = min(above, key=lambda pair: pair[0])
        shrunk = lambda factor: {name: factor * ratio for name, ratio in most.items()}  # noqa: E731
        tried += _bisect(shrunk, pruned_flops, flops_of)
    some = [pair for pair in tried if pair[0] > 0] or tried
    found, ratios = min(some, key=lambda pair: abs(pair[0] - pruned_flops))
    return ratios, found


def _bisect(
    ratios_at: Callable[[float], dict[str, float]], aim: float, flops_of: Callable[[dict[str, float]], float]
) -> list[tuple[float, dict[str, float]]]:
    """Bisect [0, 1] for what prunes `aim`; return all that was tried, its FLOPs and its ratios."""
    tried = []
    low, high = 0.0, 1.0
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        ratios = ratios_at(middle)
        found = flops_of(ratios)
        tried.append((found, ratios))
        if abs(found - aim) <= _NEAR:
            break
        low, high = (middle, high) if found < aim else (low, middle)
    return tried


def sensitivities_of(known: Container[str], path: str) -> Sensitivities:
    """Load the sensitivities of a network with the parameters `known`.

    Raises
    ------
    ValueError : the file has another parameter's, or is no such file.
    """
    sensitivities = load_sensitivities(path)
    strange = [name for name in sensitivities if name not in known]
    if strange:
        raise ValueError(
            f"sen_file: {path!r} has sensitivities of {strange[0]!r}, which the model does not have: "
            "the file belongs to another network"
        )
    return sensitivities
