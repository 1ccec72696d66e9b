# SPDX-License-Identifier: Apache-2.0
"""The number of heads is an attribute of the attention layer: it follows the heads that are cut."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from qslim.prune.groups import Groups

__all__ = ["HEAD_ATTRIBUTES", "head_attributes"]

# paddle.nn.MultiHeadAttention's name, and those of the usual vision transformers.
HEAD_ATTRIBUTES = ("num_heads", "num_head", "n_heads", "n_head", "nhead", "heads")


def head_attributes(model: Any, groups: Groups, removed: Sequence[int]) -> dict[tuple[str, str], Any]:
    """Return new values of attributes that count heads, by layer path and attribute name.

    A reshape that splits channels in (heads, width) shows which atoms are heads. The attribute belongs to the
    layer whose direct sub-layers hold the projections. Whether it is the right one a trial cut has shown.
    """
    gone = np.zeros(groups.alive.size, bool)
    gone[list(removed)] = True
    result: dict[tuple[str, str], Any] = {}
    for atoms in groups.splits:
        atoms = atoms[groups.alive[atoms]]
        if not gone[atoms].any():
            continue
        touched = {member.parameter for member in groups.touched(atoms)}
        for path, layer in model.named_sublayers(include_self=True):
            for name in HEAD_ATTRIBUTES:
                value = getattr(layer, name, None)
                if isinstance(value, int) and value == len(atoms) and touched & _parameters_below(layer):
                    result[path, name] = int((~gone[atoms]).sum())
    return result


def _parameters_below(layer: Any) -> set[str]:
    """Return the names of the parameters of `layer` and of its direct sub-layers."""
    layers = [layer, *layer.children()]
    return {parameter.name for own in layers for parameter in own.parameters(include_sublayers=False)}
