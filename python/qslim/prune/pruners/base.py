# SPDX-License-Identifier: Apache-2.0
"""FilterPruner: cut a Layer's filters with everything that depends on them.

One file, because it is one class: PaddleSlim's pruners have all these methods on one object, and each of them
is a few lines here that call the planner, the sensitivities or the report.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Literal, Optional, Union

import numpy as np
from numpy.typing import NDArray

from qslim.functional import filter_saliency
from qslim.functional.saliency import SaliencyCriterion
from qslim.graph import Graph
from qslim.importers.paddle import import_layer
from qslim.logger import logger
from qslim.paddle import framework
from qslim.paddle.tracing import forget_programs
from qslim.progress import progress_bar
from qslim.prune.arguments import (
    check_align,
    check_apply,
    check_axis,
    check_names,
    check_pruned_flops,
    check_ratio,
)
from qslim.prune.collection import PruningCollection
from qslim.prune.groups import Group
from qslim.prune.inputs import example_inputs, input_specs, traced_in_training
from qslim.prune.model_edit import dygraph, floats_of, named_tensors
from qslim.prune.normed_weights import name_computed_weights, normed_weights
from qslim.prune.operators import KEPT_OPERATORS
from qslim.prune.plan import PruningPlan
from qslim.prune.planner import Planner, Scores
from qslim.prune.pruners.masters import log_groups, log_uncut, masters_of_type
from qslim.prune.report import PruningReport, Snapshot, time_together
from qslim.prune.selection import select_atoms
from qslim.prune.sensitivity import (
    Sensitivities,
    bisect_ratios,
    save_sensitivities,
    sensitivities_of,
)

__all__ = ["FilterPruner"]

_Apply = Optional[Literal["impretive", "imperative", "lazy"]]
_Axis = Union[int, Sequence[int]]
_RATIOS = tuple(round(0.1 * step, 2) for step in range(1, 10))


class FilterPruner:
    """Prune filters of `model` and all that has to go with them.

    The network is traced in evaluation and in training mode, so that heads which exist in training alone are
    cut with the rest; ``groups`` says what depends on what. Saliency is taken from the weights as they are
    when pruning, so train as you like before.

    Parameters
    ----------
    model : paddle.nn.Layer
    inputs : list of int, list of lists of int, or list of tensors
        The shape of the input, of each input, or example inputs for ``forward``.
    sen_file : str, optional
        A file of sensitivities to start from.
    opt : paddle.optimizer.Optimizer, optional
        Its state is cut along with the parameters, so that training goes on.
    skip_leaves : bool, default=True
        Keep the network's outputs whole.
    prune_type : {"conv", "fc"}, default="conv"
        What ``sensitive`` goes over: filters of convolutions (axis 0) or columns of Linear layers (axis 1).
        ``prune_var`` takes any parameter.
    input_dtype : str, default="float32"
        Of inputs that are given by their shape.
    num_head : int, default=-1
        Accepted for PaddleSlim's sake: the heads of an attention are read from the network.

    Attributes
    ----------
    groups : list of Group
        Each with its master, members, and the reason if it cannot be pruned. ``print(group)``.
    plan : PruningPlan or None
        The last one.
    skip_vars : list of str
        Parameters that ``prune_var`` skips with a warning: weights of transposed convolutions, as in
        PaddleSlim.

    Raises
    ------
    ValueError : not a Layer, wrong inputs, an unknown `prune_type`, a network that holds control flow.
    """

    criterion: ClassVar[SaliencyCriterion] = "l1_norm"

    @dygraph()
    def __init__(
        self,
        model: Any,
        inputs: Any,
        sen_file: Optional[str] = None,
        opt: Any = None,
        skip_leaves: bool = True,
        prune_type: str = "conv",
        input_dtype: str = "float32",
        num_head: int = -1,
    ) -> None:
        name = type(self).__name__
        paddle = framework.paddle_module()
        if not isinstance(model, paddle.nn.Layer):
            raise ValueError(f"{name}: model: expected a paddle.nn.Layer, got {type(model).__name__}")
        if any(hasattr(layer, "_fake_quant_input") for layer in model.sublayers(include_self=True)):
            raise ValueError(f"{name}: the model is quantized already; prune it before you quantize it")
        if prune_type not in ("conv", "fc"):
            raise ValueError(f"{name}: prune_type: expected 'conv' or 'fc', got {prune_type!r}")
        self.model, self.inputs, self.opt = model, inputs, opt
        self.prune_type = prune_type
        self.num_head = num_head
        self.plan: Optional[PruningPlan] = None
        self._plans: list[PruningPlan] = []
        self._examples = example_inputs(inputs, input_dtype)
        program = import_layer(model, input_specs(self._examples))
        self.graph: Graph = program.graph_keeping(KEPT_OPERATORS)
        parameters, computed = program.parameter_names, name_computed_weights(model, self.graph)
        self._before = Snapshot.of_program(program, self._examples)
        training = traced_in_training(model, self._examples)
        if training is not None:
            parameters = parameters | training.parameter_names
            training_graph = training.graph_keeping(KEPT_OPERATORS)
            computed |= name_computed_weights(model, training_graph)
        parameters = parameters | {normed.v.name for normed in normed_weights(model)}
        self._planner = Planner(
            model,
            self.graph,
            parameters,
            computed,
            self._examples,
            skip_leaves,
            None if training is None else training_graph,
        )
        self.groups: list[Group] = self._planner.masters
        self.skip_vars: list[str] = [
            layer.weight.name for layer in model.sublayers() if isinstance(layer, paddle.nn.Conv2DTranspose)
        ]
        self._sensitivities: Sensitivities = {}
        if sen_file is not None:
            self._sensitivities = sensitivities_of(named_tensors(model), sen_file)
        log_groups(self.groups)

    # ---- pruning -------------------------------------------------------------------------------------------

    def saliency(self, var_name: str, axis: int) -> NDArray[np.float32]:
        """Return the score of each channel of a parameter along `axis`, by its values now.

        Override it for a criterion of your own; the smallest go first.
        """
        weight = floats_of(named_tensors(self.model)[var_name])
        return filter_saliency(weight, self.criterion, axis=axis, gradient=self.gradient(var_name))

    def gradient(self, var_name: str) -> Optional[NDArray[Any]]:
        """Return the gradient that the criterion looks at, if it does."""
        return None

    def cal_mask(
        self, pruned_ratio: float, collection: PruningCollection, num_head: int = -1
    ) -> NDArray[Any]:
        """Return the mask of a group; PaddleSlim's way to a criterion of your own is to override it.

        Parameters
        ----------
        pruned_ratio : float
        collection : PruningCollection
            The group: ``master_name`` and ``master_axis``, and ``values`` of its parameters.
        num_head : not used; PaddleSlim's argument

        Returns
        -------
        ndarray of int, 1 to keep and 0 to prune, one for each index of the master's axis. Channels that go
        only together are cut if the mask has 0 for all of them.

        Examples
        --------
        >>> import numpy as np
        >>> import paddle
        >>> from qslim.dygraph import FilterPruner
        >>> class EverySecond(FilterPruner):
        ...     def cal_mask(self, pruned_ratio, collection):
        ...         return np.arange(len(collection.values[collection.master_name])) % 2
        >>> net = paddle.nn.Sequential(paddle.nn.Conv2D(3, 8, 3), paddle.nn.Conv2D(8, 4, 3))
        >>> plan = EverySecond(net, [1, 3, 8, 8]).prune_var(net[0].weight.name, 0, 0.5)
        >>> plan.masks[net[0].weight.name][0].mask
        array([0, 1, 0, 1, 0, 1, 0, 1])
        """
        name, axis = collection.master_name, collection.master_axis
        groups = self._planner.groups
        chosen = select_atoms(groups, name, axis, self.saliency(name, axis), pruned_ratio)
        atoms = groups.members[name, axis].atoms
        return np.isin(atoms[groups.alive[atoms]], chosen, invert=True).astype(np.int64)

    @dygraph()
    def prune_var(
        self,
        var_name: str,
        pruned_axis: int,
        pruned_ratio: float,
        apply: _Apply = "impretive",
        align: Optional[int] = None,
    ) -> Optional[PruningPlan]:
        """Prune one parameter and its relatives.

        Parameters
        ----------
        var_name : str, the parameter's own name ("conv2d_0.w_0")
        pruned_axis : int; 0 for filters of a convolution, 1 for columns of a Linear
        pruned_ratio : float in [0, 1), of the channels that the parameter has now
        apply : {"impretive", "imperative", "lazy", None}
            Cut, multiply by the masks, or only make the plan. (PaddleSlim spells it "impretive".)
        align : int, optional
            Keep a multiple of so many channels.

        Returns
        -------
        PruningPlan, empty if the group is frozen (``groups`` says why); None for one of ``skip_vars``.
        """
        axis, how = self._check_axis(pruned_axis, [var_name]), check_apply(apply)
        ratio = check_ratio(pruned_ratio, f"ratio of {var_name!r}")
        if var_name in self.skip_vars:
            logger.warning("%s is skipped: it is in skip_vars", var_name)
            return None
        plan = self._plan({var_name: ratio}, axis, check_align(align))
        self._warn_of_uncut([var_name], axis)
        self._apply(plan, how)
        return plan

    @dygraph()
    def prune_vars(
        self,
        ratios: Mapping[str, float],
        axis: _Axis,
        apply: _Apply = "impretive",
        align: Optional[int] = None,
    ) -> PruningPlan:
        """Prune parameters by their ratios, all at once.

        A parameter that an earlier one of `ratios` prunes already is not pruned again. All is checked before
        anything is changed.

        Parameters
        ----------
        ratios : dict of parameter name to ratio in [0, 1)
        axis : int or [int]
        apply, align : as for ``prune_var``

        Returns
        -------
        PruningPlan, with ``pruned_flops`` filled in; also ``self.plan``.

        Raises
        ------
        ValueError : an unknown parameter (the nearest is named), a ratio outside [0, 1), an axis that a
            parameter does not have or that is an extent of a kernel, NaN among weights or scores. The network
            is untouched.
        """
        if not isinstance(ratios, Mapping):
            raise ValueError(f"ratios: expected a dict of parameter name to ratio, got {ratios!r}")
        number, how = self._check_axis(axis, list(ratios)), check_apply(apply)
        ratios = {name: check_ratio(ratio, f"ratio of {name!r}") for name, ratio in ratios.items()}
        skipped = [name for name in ratios if name in self.skip_vars]
        for name in skipped:
            logger.warning("%s is skipped: it is in skip_vars", name)
        kept = {name: ratio for name, ratio in ratios.items() if name not in skipped}
        plan = self._plan(kept, number, check_align(align))
        self._warn_of_uncut(list(kept), number)
        self._apply(plan, how)
        self.plan = plan
        return plan

    def restore(self) -> None:
        """Put the network back as it was before this pruner's first cut."""
        while self._plans:
            self._plans.pop().restore(self.model, self.opt)
        forget_programs(self.model)
        self.plan = None

    @dygraph()
    def report(self, num_threads: int = 1, runs: int = 15) -> PruningReport:
        """Measure parameters, FLOPs, bytes and time in the engine, before this pruner's cuts and now.

        Returns
        -------
        PruningReport, whose ``str`` is a table. "Before" is the network as the pruner was made.
        """
        return time_together(self._before, Snapshot.of(self.model, self._examples), num_threads, runs)

    # ---- sensitivity ---------------------------------------------------------------------------------------

    def sensitive(
        self,
        eval_func: Optional[Callable[[], float]] = None,
        sen_file: Optional[str] = None,
        target_vars: Optional[Sequence[str]] = None,
        skip_vars: Optional[Sequence[str]] = None,
    ) -> Sensitivities:
        """Measure what pruning each group alone costs, at ratios 0.1 to 0.9.

        Parameters
        ----------
        eval_func : callable without arguments
            Returns the score of ``model``, larger is better.
        sen_file : str, optional
            Written whole after every point; a run that was stopped goes on from it.
        target_vars, skip_vars : names of parameters, optional
            Measure only these masters; leave those out.

        Returns
        -------
        dict of parameter name to dict of ratio to loss, (score - pruned score) / (score + 1e-3). Without
        `eval_func` what is known already, from `sen_file` too.
        """
        if sen_file is not None:
            self._sensitivities.update(sensitivities_of(named_tensors(self.model), sen_file))
        if eval_func is None:
            return self._sensitivities
        for argument in (target_vars, skip_vars):
            self._check_names(argument or ())
        baseline: Optional[float] = None
        masters = masters_of_type(self.model, self.groups, self.prune_type, type(self).__name__)
        for group in progress_bar(masters, "measuring sensitivities", len(masters), "parameter"):
            name = group.parameter
            if target_vars is not None and name not in target_vars:
                continue
            if name in self.skip_vars or (skip_vars is not None and name in skip_vars):
                continue
            losses = self._sensitivities.setdefault(name, {})
            for ratio in [ratio for ratio in _RATIOS if ratio not in losses]:
                if baseline is None:
                    baseline = float(eval_func())
                plan = self._plan({name: ratio}, group.axis)
                plan.apply(self.model, lazy=True)
                try:
                    score = float(eval_func())
                finally:
                    plan.restore(self.model)
                losses[ratio] = (baseline - score) / (baseline + 1e-3)
                logger.info("sensitive: %s at %.1f: loss %.4f", name, ratio, losses[ratio])
                if sen_file is not None:
                    save_sensitivities(self._sensitivities, sen_file)
        return self._sensitivities

    @dygraph()
    def get_ratios_by_sensitivity(
        self,
        pruned_flops: float,
        align: Optional[int] = None,
        dims: _Axis = 0,
        skip_vars: Optional[Sequence[str]] = None,
    ) -> tuple[dict[str, float], float]:
        """Return ratios that cost the same loss everywhere and cut the FLOPs by `pruned_flops`.

        Parameters
        ----------
        pruned_flops : float in (0, 1)
        align : int, optional
            The ratios are those that keep multiples of so many channels.
        dims : int or [int], the pruned axis
        skip_vars : names that are not to be pruned

        Returns
        -------
        ratios, and the part of the FLOPs that they take away. Nothing is pruned.
        """
        axis, align, target = check_axis(dims, {}), check_align(align), check_pruned_flops(pruned_flops)
        self._check_names(skip_vars or ())
        if not self._sensitivities:
            raise ValueError(
                "get_ratios_by_sensitivity: nothing was measured yet; call sensitive(eval_func) first"
            )
        skipped = {*(skip_vars or ()), *self.skip_vars}
        known = {
            name: losses for name, losses in self._sensitivities.items() if name not in skipped and losses
        }
        scores: Scores = {}

        def flops_of(ratios: dict[str, float]) -> float:
            plan = self._plan(self._planner.aligned(ratios, axis, align), axis, scores=scores)
            return plan.pruned_flops or 0.0

        ratios, found = bisect_ratios(known, target, flops_of)
        if abs(found - target) > 0.02:
            logger.warning("asked to prune %.4f of the FLOPs, the sensitivities allow %.4f", target, found)
        return self._planner.aligned(ratios, axis, align), found

    @dygraph()
    def sensitive_prune(
        self, pruned_flops: float, skip_vars: Optional[Sequence[str]] = None, align: Optional[int] = None
    ) -> PruningPlan:
        """Prune by the sensitivities until `pruned_flops` of the FLOPs are gone.

        Grouped convolutions follow their neighbours; an earlier cut is taken back first.
        """
        check_pruned_flops(pruned_flops)
        self.restore()
        grouped = [
            parameter.name
            for layer in self.model.sublayers()
            if getattr(layer, "_groups", 1) > 1
            for parameter in layer.parameters(include_sublayers=False)
        ]
        axis = 0 if self.prune_type == "conv" else 1
        ratios, _ = self.get_ratios_by_sensitivity(pruned_flops, align, axis, [*(skip_vars or ()), *grouped])
        return self.prune_vars(ratios, axis, align=align)

    @dygraph()
    def uniform_prune(
        self, pruned_flops: float, skip_vars: Optional[Sequence[str]] = None, align: Optional[int] = None
    ) -> PruningPlan:
        """Prune every group by one ratio, the one that takes `pruned_flops` of the FLOPs away."""
        target, align = check_pruned_flops(pruned_flops), check_align(align)
        axis = 0 if self.prune_type == "conv" else 1
        self._check_names(skip_vars or ())
        skipped = {*(skip_vars or ()), *self.skip_vars}
        names = [
            group.parameter
            for group in masters_of_type(self.model, self.groups, self.prune_type, type(self).__name__)
            if group.parameter not in skipped
        ]
        low, high = 0.0, 1.0
        scores: Scores = {}
        plans: list[tuple[float, PruningPlan]] = []
        for _ in range(12):
            middle = (low + high) / 2
            plan = self._plan(dict.fromkeys(names, middle), axis, align, scores)
            pruned = plan.pruned_flops or 0.0
            plans.append((abs(pruned - target), plan))
            low, high = (middle, high) if pruned < target else (low, middle)
        self.plan = min(plans, key=lambda pair: pair[0])[1]
        self._apply(self.plan, "imperative")
        return self.plan

    # ---- parts ---------------------------------------------------------------------------------------------

    def _plan(
        self,
        ratios: Mapping[str, float],
        axis: int,
        align: Optional[int] = None,
        scores: Optional[Scores] = None,
    ) -> PruningPlan:
        is_overridden = type(self).cal_mask is not FilterPruner.cal_mask
        masks = self._mask_of if is_overridden else None
        return self._planner.plan_for(ratios, axis, self.saliency, align, scores, masks)

    def _mask_of(self, name: str, axis: int, ratio: float) -> Any:
        members = self._planner.groups.group(name, axis).members
        tensors = named_tensors(self.model)
        values = {member: floats_of(tensors[member]) for member, _ in members}
        return self.cal_mask(ratio, PruningCollection.of((name, axis), members, self.graph, values))

    def _apply(self, plan: PruningPlan, apply: Optional[str]) -> None:
        if apply is not None:
            plan.apply(self.model, lazy=apply == "lazy", opt=self.opt)
            forget_programs(self.model)
        self._plans.append(plan)

    def _check_names(self, names: Sequence[str]) -> None:
        check_names(names, named_tensors(self.model), f"{type(self).__name__}: the model")

    def _check_axis(self, axis: _Axis, names: Sequence[str]) -> int:
        """Check names and axis together."""
        self._check_names(names)
        tensors = named_tensors(self.model)
        number = check_axis(axis, {name: tensors[name].shape for name in names})
        for name in names:
            if (self._planner.weight_name(name), number) in self._planner.groups.windows:
                raise ValueError(
                    f"axis: axis {number} of {name!r}, of shape {list(tensors[name].shape)}, is an extent of "
                    "its kernel, not of channels"
                )
        return number

    def _warn_of_uncut(self, names: Sequence[str], axis: int) -> None:
        """Say of those of `names` that stay whole why they do."""
        uncut: dict[str, list[str]] = {}
        for name in names:
            reason = self._planner.groups.reason(self._planner.weight_name(name), axis)
            if reason:
                uncut.setdefault(reason, []).append(name)
        log_uncut(logging.WARNING, uncut)
