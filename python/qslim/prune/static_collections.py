# SPDX-License-Identifier: Apache-2.0
"""The dependency groups of a static program, as PaddleSlim's collections."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Optional

import numpy as np

from qslim.prune.arguments import check_names
from qslim.prune.collection import PruningCollection
from qslim.prune.static import groups_of
from qslim.prune.static_program import open_program

__all__ = ["StaticPruningCollections"]


class StaticPruningCollections:
    """Groups of parameter axes that are cut together; iterate over it.

    Parameters
    ----------
    params : list of str, optional
        Parameters that are to be masters, along axis 0; a parameter that an earlier one cuts with it gives no
        collection of its own. None: all.
    graph : paddle.static.Program of either IR, or ``paddleslim.core.GraphWrapper``
    skip_stranger : accepted; an operator that cannot be followed keeps its channels
    skip_leaves : bool
        Leave out groups that reach an output of the network.

    Raises
    ------
    ValueError : an unknown parameter; the nearest is named.
    """

    def __init__(
        self,
        params: Optional[Sequence[str]],
        graph: Any,
        skip_stranger: bool = True,
        skip_leaves: bool = True,
    ) -> None:
        network = open_program(getattr(graph, "program", graph))
        groups = groups_of(network, skip_leaves)
        names = list(network.parameters) if params is None else list(params)
        check_names(names, network.parameters, "StaticPruningCollections: the program")
        self._collections: list[PruningCollection] = []
        taken: set[tuple[str, int]] = set()
        for name in names:
            if (name, 0) in taken or groups.reason(name, 0):
                continue
            members = groups.group(name, 0).members
            taken.update(members)
            values = {
                member: np.broadcast_to(np.float32(0), network.parameters[member]) for member, _ in members
            }
            self._collections.append(PruningCollection.of((name, 0), members, network.graph, values))

    def __iter__(self) -> Iterator[PruningCollection]:
        return iter(self._collections)

    def __len__(self) -> int:
        return len(self._collections)
