# SPDX-License-Identifier: Apache-2.0
"""Conversion of ratios to plans: the atoms of a network to cut, and the masks of its parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Callable, Optional

import numpy as np
from numpy.typing import NDArray

from qslim.graph import Graph
from qslim.logger import logger
from qslim.prune.arguments import check_scores
from qslim.prune.attention import head_attributes
from qslim.prune.groups import Group, find_groups
from qslim.prune.model_edit import floats_of, named_tensors
from qslim.prune.normed_weights import normed_weights
from qslim.prune.plan import PruningMask, PruningPlan
from qslim.prune.selection import masked_atoms, pruned_count, select_atoms
from qslim.prune.trial import flat_outputs, settle_doubts

__all__ = ["Masks", "Planner", "Saliency", "Scores"]

Scores = dict[str, NDArray[Any]]
Saliency = Callable[[str, int], NDArray[Any]]
Masks = Callable[[str, int, float], Any]

_COMPUTED = (
    "a hook computes it in every forward pass (as paddle.nn.utils.spectral_norm does), from what "
    "the pruner does not follow"
)


class Planner:
    """Plans for one Layer.

    Attributes
    ----------
    groups : Groups
    masters : list of Group
        Filters and columns in the order of the parameters, without those that an earlier one covers.
    """

    def __init__(
        self,
        model: Any,
        graph: Graph,
        parameters: set[str],
        computed: set[str],
        examples: Sequence[Any],
        skip_leaves: bool,
        training_graph: Optional[Graph] = None,
    ) -> None:
        self._model = model
        names = [*(name for name in named_tensors(model) if name in parameters), *sorted(computed)]
        self.groups = find_groups(graph, names, skip_leaves, training_graph)
        for normed in normed_weights(model):
            if normed.dim is not None:
                self.groups.couple(normed.g.name, like=(normed.v.name, normed.dim))
        flat_outputs(model, examples)
        computed = set(names) - set(named_tensors(model))  # and of hooks that nobody knows
        for member in self.groups.members.values():
            if member.parameter in computed:
                self.groups.freeze(member.atoms.tolist(), _COMPUTED)
        trains_otherwise = training_graph is not None and not (
            set(training_graph.tensors) <= set(graph.tensors)
        )
        settle_doubts(
            model,
            self.groups,
            self._masters(),
            examples,
            lambda atoms: self.plan_of(atoms, {}),
            keeps_outputs=skip_leaves,
            has_training_form=trains_otherwise,
        )
        self.masters = self._masters()

    def weight_name(self, name: str) -> str:
        """Return `name`, or that of ``weight_v`` for a weight which ``weight_norm`` computes from it."""
        computed: dict[str, str] = {
            getattr(normed.layer, normed.name).name: normed.v.name for normed in normed_weights(self._model)
        }
        return computed.get(name, name)

    def plan_for(
        self,
        ratios: Mapping[str, float],
        axis: int,
        saliency: Saliency,
        align: Optional[int] = None,
        scores: Optional[Scores] = None,
        masks: Optional[Masks] = None,
    ) -> PruningPlan:
        """Plan all of `ratios`: what an earlier parameter takes along is not pruned again.

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
        for given, ratio in ratios.items():
            name = self.weight_name(given)
            if name in done:
                continue
            if not len(self.groups.prunable_atoms(name, axis)):
                logger.debug("%s is not pruned: %s", given, self.groups.reason(name, axis))
                continue
            if masks is not None:
                self._check_weight(name, axis)
                of_ratio = masks(name, axis, self.aligned({name: ratio}, axis, align)[name])
                chosen = masked_atoms(self.groups, name, axis, of_ratio, removed)
            else:
                if name not in scores:
                    self._check_weight(name, axis)
                    scores[name] = check_scores(saliency(name, axis), name)
                chosen = select_atoms(self.groups, name, axis, scores[name], ratio, align, removed)
            removed += chosen
            for member, at in self.groups.masks(chosen):
                ratio_of.setdefault(member, ratio)
                if at == axis:
                    done.add(member)
        return self.plan_of(removed, ratio_of)

    def plan_of(self, removed: list[int], ratios: Mapping[str, float]) -> PruningPlan:
        """Return the plan that cuts the atoms `removed`; `ratios` are those that it shows."""
        plan = PruningPlan(self._model.full_name(), self.groups)
        for (name, axis), mask in self.groups.masks(removed).items():
            plan.add(name, PruningMask(axis, mask, ratios.get(name, 1 - float(mask.mean()))))
        plan._removed = set(removed)
        plan._attributes = head_attributes(self._model, self.groups, removed)
        before = self.groups.multiply_adds()
        plan.pruned_flops = 1 - self.groups.multiply_adds(removed) / before if before else 0.0
        return plan

    def aligned(self, ratios: Mapping[str, float], axis: int, align: Optional[int]) -> dict[str, float]:
        """Return the ratios that keep multiples of `align` channels; `ratios` themselves if it is None."""
        if align is None:
            return dict(ratios)
        result = {}
        for name, ratio in ratios.items():
            atoms = self.groups.current(name, axis)
            if atoms is not None:
                units = len(np.unique(atoms))
                result[name] = pruned_count(units, len(atoms), ratio, align) / units
        return result

    def _masters(self) -> list[Group]:
        columns: dict[str, list[int]] = {}
        for name, axis in self.groups.columns:
            columns.setdefault(name, []).append(axis)
        masters, covered = [], np.zeros(self.groups.alive.size, bool)
        for parameter in self._model.parameters():
            for axis in dict.fromkeys(columns.get(parameter.name, ())):
                atoms = self.groups.members[parameter.name, axis].atoms
                if not covered[atoms].all():
                    covered[atoms] = True
                    masters.append(self.groups.group(parameter.name, axis))
        return masters

    def _check_weight(self, name: str, axis: int) -> None:
        atoms, tensor = self.groups.current(name, axis), named_tensors(self._model)[name]
        shape = list(tensor.shape)
        if atoms is None or len(atoms) != shape[axis]:
            raise ValueError(
                f"{name!r} has shape {shape}, which this pruner did not make: the network was changed since; "
                "make a new pruner for it"
            )
        if not np.isfinite(floats_of(tensor)).all():
            raise ValueError(
                f"{name!r} holds NaN or infinite values, so no filter of it is better than another: the "
                "training has diverged; prune weights of before"
            )
