# SPDX-License-Identifier: Apache-2.0
"""A dependency group as PaddleSlim's pruners are given it, for those that override ``cal_mask``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from qslim.graph import Graph, Node

__all__ = ["PruningCollection", "PruningDetails", "ReadingOperator"]


class ReadingOperator:
    """The operator that reads a parameter, with PaddleSlim's questions about it."""

    def __init__(self, node: Node) -> None:
        self._node = node

    def type(self) -> str:
        """Return its name in Paddle: "conv2d"."""
        return self._node.source_op

    def attr(self, name: str) -> Any:
        """Return an attribute, None if there is none; ``groups`` is spelt Paddle's way."""
        attributes = self._node.attributes
        return attributes.get(name, attributes.get("group") if name == "groups" else None)


@dataclass(frozen=True)
class PruningDetails:
    """One axis of one parameter that is cut with the master."""

    name: str
    axis: int
    op: ReadingOperator


@dataclass(frozen=True)
class PruningCollection:
    """Parameter axes that are cut together.

    Attributes
    ----------
    master_name, master_axis : str, int
        The parameter axis that the mask is for.
    values : dict of parameter name to ndarray
        Every parameter of the group as it is now.
    """

    master_name: str
    master_axis: int
    values: Mapping[str, NDArray[Any]]
    _details: list[PruningDetails]

    @property
    def master(self) -> dict[str, Any]:
        """Return {"name": master_name, "axis": master_axis}."""
        return {"name": self.master_name, "axis": self.master_axis}

    def variables(self) -> list[str]:
        """Return the names of the parameters."""
        return list(self.values)

    def all_pruning_details(self) -> list[PruningDetails]:
        """Return every axis that is cut.

        Grouped convolutions are there with their axis 1, too: there PaddleSlim's pruners look for groups,
        which are cut whole.
        """
        return self._details

    @classmethod
    def of(
        cls,
        master: tuple[str, int],
        members: Iterable[tuple[str, int]],
        graph: Graph,
        values: Mapping[str, NDArray[Any]],
    ) -> PruningCollection:
        """Return the collection of `members`, parameters of `graph` that have `values`."""
        details = []
        for name, axis in members:
            for node in graph.consumers(name)[:1]:
                operator = ReadingOperator(node)
                details.append(PruningDetails(name, axis, operator))
                if axis == 0 and (operator.attr("groups") or 1) > 1 and values[name].shape[1] > 1:
                    details.append(PruningDetails(name, 1, operator))
        return cls(*master, values, details)
