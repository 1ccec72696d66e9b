# SPDX-License-Identifier: Apache-2.0
"""From ratios to plans: which atoms of a network go, and what that makes of its parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Callable, Optional

import numpy as np
from numpy.typing import NDArray

from qslim.graph import Graph
from qslim.prune.attention import head_attributes
from qslim.prune.groups import Group, find_groups
from qslim.prune.model_edit import named_tensors
from qslim.prune.plan import PruningMask, PruningPlan
from qslim.prune.selection import masked_atoms, pruned_count, select_atoms
from qslim.prune.trial import settle_doubts

__all__ = ["Masks", "Planner", "Saliency", "Scores"]

Scores = dict[str, NDArray[Any]]
Saliency = Callable[[str, int], NDArray[Any]]
Masks = Callable[[str, int, float], Any]

# The axis of a weight's outputs, by the operator that reads it.
_OUTPUT_AXES = {"Conv": 0, "ConvTranspose": 1, "MatMul": 1, "conv2d": 0, "conv3d": 0, "depthwise_conv2d": 0}


class Planner:
    """Plans for one Layer.

    Attributes
    ----------
    groups : Groups
    masters : list of Group
        Filters and columns in the order of the parameters, without those that an earlier one covers.
    """

    def __init__(
        self, model: Any, graph: Graph, parameters: set[str], examples: Sequence[Any], skip_leaves: bool
    ) -> None:
        self._model = model
        names = [name for name in named_tensors(model) if name in parameters]
        self.groups = find_groups(graph, names, skip_leaves)
        settle_doubts(
            model,
            self.groups,
            self._masters(graph),
            examples,
            lambda atoms: self.plan_of(atoms, {}),
            keeps_outputs=skip_leaves,
        )
        self.masters = self._masters(graph)

    def plan_for(
        self,
        ratios: Mapping[str, float],
        axis: int,
        saliency: Saliency,
        align: Optional[int] = None,
        scores: Optional[Scores] = None,
        masks: Optional[Masks] = None,
    ) -> PruningPlan:
        """A plan for all of `ratios`: what an earlier parameter takes along is not pruned again.

        Parameters
        ----------
        saliency : callable
            Scores of a parameter along an axis.
        scores : dict, optional
            Keeps what `saliency` returned, for plans that differ in their ratios only.
        masks : callable, optional
            The mask of a parameter along an axis for a ratio, in place of `saliency`.

        Raises
        ------
        ValueError : the network has other shapes than this planner's plans gave it.
        """
        scores = {} if scores is None else scores
        removed: list[int] = []
        ratio_of: dict[str, float] = {}
        done: set[str] = set()
        for name, ratio in ratios.items():
            if name in done or not len(self.groups.prunable_atoms(name, axis)):
                continue
            if masks is not None:
                self._check_shape(name, axis)
                of_ratio = masks(name, axis, self.aligned({name: ratio}, axis, align)[name])
                chosen = masked_atoms(self.groups, name, axis, of_ratio, removed)
            else:
                if name not in scores:
                    self._check_shape(name, axis)
                    scores[name] = saliency(name, axis)
                chosen = select_atoms(self.groups, name, axis, scores[name], ratio, align, removed)
            removed += chosen
            for member, at in self.groups.masks(chosen):
                ratio_of.setdefault(member, ratio)
                if at == axis:
                    done.add(member)
        return self.plan_of(removed, ratio_of)

    def plan_of(self, removed: list[int], ratios: Mapping[str, float]) -> PruningPlan:
        """The plan that cuts the atoms `removed`; `ratios` are those that it shows."""
        plan = PruningPlan(self._model.full_name(), self.groups)
        for (name, axis), mask in self.groups.masks(removed).items():
            plan.add(name, PruningMask(axis, mask, ratios.get(name, 1 - float(mask.mean()))))
        plan._removed = set(removed)
        plan._attributes = head_attributes(self._model, self.groups, removed)
        before = self.groups.multiply_adds()
        plan.pruned_flops = 1 - self.groups.multiply_adds(removed) / before if before else 0.0
        return plan

    def aligned(self, ratios: Mapping[str, float], axis: int, align: Optional[int]) -> dict[str, float]:
        """The ratios that keep multiples of `align` channels; `ratios` themselves if it is None."""
        if align is None:
            return dict(ratios)
        result = {}
        for name, ratio in ratios.items():
            atoms = self.groups.current(name, axis)
            if atoms is not None:
                units = len(np.unique(atoms))
                result[name] = pruned_count(units, len(atoms), ratio, align) / units
        return result

    def _masters(self, graph: Graph) -> list[Group]:
        axes = {
            node.inputs[1]: _OUTPUT_AXES[node.op_type] for node in graph.nodes if node.op_type in _OUTPUT_AXES
        }
        masters, covered = [], np.zeros(self.groups.alive.size, bool)
        for parameter in self._model.parameters():
            member = self.groups.members.get((parameter.name, axes.get(parameter.name, -1)))
            if member is not None and not covered[member.atoms].all():
                covered[member.atoms] = True
                masters.append(self.groups.group(member.parameter, member.axis))
        return masters

    def _check_shape(self, name: str, axis: int) -> None:
        atoms = self.groups.current(name, axis)
        shape = list(named_tensors(self._model)[name].shape)
        if atoms is None or len(atoms) != shape[axis]:
            raise ValueError(
                f"{name!r} has shape {shape}, which this pruner did not make: the network was changed since; "
                "make a new pruner for it"
            )
