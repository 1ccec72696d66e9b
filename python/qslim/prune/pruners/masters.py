# SPDX-License-Identifier: Apache-2.0
"""Groups that a pruner goes over, and the log of those that stay whole."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from qslim.logger import logger
from qslim.prune.groups import Group

__all__ = ["log_groups", "log_uncut", "masters_of_type"]


def masters_of_type(model: Any, groups: Sequence[Group], prune_type: str, pruner: str) -> list[Group]:
    """Return the prunable ones of `groups` that `prune_type`, "conv" or "fc", means.

    Raises
    ------
    ValueError : there is none; the message begins with `pruner`.
    """
    ranks = {parameter.name: len(parameter.shape) for parameter in model.parameters()}
    axis = 0 if prune_type == "conv" else 1
    of_type = [
        group
        for group in groups
        if group.axis == axis and (ranks[group.parameter] > 2) == (prune_type == "conv")
    ]
    prunable = [group for group in of_type if group.is_prunable]
    if not prunable:
        listed = "; ".join(f"{group.parameter}: {group.reason}" for group in of_type[:3])
        raise ValueError(
            f"{pruner}: no group of prune_type {prune_type!r} can be pruned"
            + (f" ({listed})" if listed else "; the network has none")
        )
    return prunable


def log_groups(groups: Sequence[Group]) -> None:
    """Log how many of `groups` can be pruned, and the reasons of those that cannot."""
    prunable = [group for group in groups if group.is_prunable]
    logger.info("found %d groups, %d of them prunable", len(groups), len(prunable))
    frozen: dict[str, list[str]] = {}
    for group in groups:
        if not group.is_prunable and "is an output of the network" not in group.reason:
            frozen.setdefault(group.reason, []).append(group.parameter)
    log_uncut(logging.INFO, frozen)


def log_uncut(level: int, by_reason: Mapping[str, list[str]]) -> None:
    """Log the parameters that stay whole, one line a reason."""
    for reason, names in by_reason.items():
        others = f" and {len(names) - 1} more are" if len(names) > 1 else " is"
        logger.log(level, "%s%s not pruned: %s", names[0], others, reason)
