# SPDX-License-Identifier: Apache-2.0
"""UniformPruneStrategy and SensitivePruneStrategy: filters are cut once, at an epoch's begin.

The target is a share of the multiply-adds (``analysis.flops``). UniformPruneStrategy prunes all chosen
parameters by one ratio, SensitivePruneStrategy each by the largest ratio whose loss stays below one bound;
ratio and bound are found by bisection.
Source: the options of paddle.fluid 1.6, contrib/slim/prune/prune_strategy.py.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Callable, Optional

import numpy as np

from qslim.analysis import flops
from qslim.compressor.context import Context
from qslim.compressor.network import Network, active
from qslim.compressor.strategy import Strategy
from qslim.logger import logger
from qslim.prune import Pruner, get_ratios_by_loss, sensitivity
from qslim.prune.static_program import open_program
from qslim.quant.options import choose

__all__ = ["SensitivePruneStrategy", "StructurePruner", "UniformPruneStrategy"]

_BISECTIONS = 12


@dataclass(frozen=True)
class StructurePruner:
    """The axis and the criterion of parameters, by name; '*' stands for all others.

    Attributes
    ----------
    pruning_axis : dict of name to int; filters, axis 0, are what is pruned
    criterions : dict of name to {"l1_norm", "l2_norm", "geometry_median", "bn_scale"}
    """

    pruning_axis: Mapping[str, int] = field(default_factory=lambda: {"*": 0})
    criterions: Mapping[str, str] = field(default_factory=lambda: {"*": "l1_norm"})

    def __post_init__(self) -> None:
        if any(axis != 0 for axis in self.pruning_axis.values()):
            raise ValueError(f"pruning_axis: expected 0, the axis of filters, got {dict(self.pruning_axis)}")
        if len(set(self.criterions.values())) != 1:
            raise ValueError(f"criterions: expected one for all parameters, got {dict(self.criterions)}")
        self.pruner  # noqa: B018  names an unknown criterion

    @property
    def pruner(self) -> Pruner:
        return Pruner(next(iter(self.criterions.values())))


@dataclass
class _PruneStrategy(Strategy):
    """The base of both strategies; `pruned_params` is a regular expression of whole parameter names."""

    pruner: Optional[StructurePruner] = None
    start_epoch: int = 0
    end_epoch: int = 0
    target_ratio: float = 0.5
    metric_name: Optional[str] = None
    pruned_params: str = "conv.*_weights"

    def __post_init__(self) -> None:
        self.end_epoch = max(self.start_epoch, self.end_epoch)  # it acts once
        super().__post_init__()
        if self.pruner is None:
            self.pruner = StructurePruner()
        if not isinstance(self.pruner, StructurePruner):
            raise ValueError(f"pruner: expected the name of a block of pruners, got {self.pruner!r}")
        if not isinstance(self.target_ratio, (int, float)) or not 0 < self.target_ratio < 1:
            raise ValueError(f"target_ratio: expected a number in (0, 1), got {self.target_ratio!r}")
        try:
            re.compile(self.pruned_params)
        except (re.error, TypeError) as error:
            raise ValueError(f"pruned_params: expected a regular expression: {error}") from error
        self._shapes: dict[str, list[int]] = {}
        self._groups: dict[str, int] = {}

    def check(self, context: Context) -> None:
        self._params(context)

    def on_epoch_begin(self, context: Context) -> None:
        if context.epoch_id != self.start_epoch:
            return
        if context.quantization is not None or context.teach is not None:
            raise ValueError(
                "Compressor: prune before quantization and distillation: give the pruning strategy an "
                "earlier start_epoch, or the first place in compressor.strategies"
            )
        with active(context.forward.is_pir, context.scope):
            ratios = self._ratios(context)
            assert self.pruner is not None
            pruned, _, before = self.pruner.pruner.prune(
                context.forward.program,
                context.scope,
                list(ratios),
                list(ratios.values()),
                context.place,
                param_shape_backup=True,
            )
            for name in before or ():
                self._shapes[name] = list(np.array(context.scope.find_var(name).get_tensor()).shape)
            self._groups = open_program(pruned).groups_of()
        self._cut(context)

    def state(self) -> Mapping[str, Any]:
        return {"shapes": self._shapes, "groups": self._groups}

    def restore(self, context: Context, state: Mapping[str, Any]) -> None:
        self._shapes, self._groups = dict(state.get("shapes", {})), dict(state.get("groups", {}))
        if self._shapes:
            self._cut(context)

    def _cut(self, context: Context) -> None:
        """Give the programs the shapes of what is left, and what is trained a new optimizer's state."""
        before = _flops(context.forward.program)
        for network in (context.forward, context.evaluation):
            if network is not None:
                _reshape(network, self._shapes, self._groups)
        context.rebuild()
        context.evaluated = context.evaluation
        share = 1 - _flops(context.forward.program) / before
        logger.info("Compressor: pruned %.1f%% of the multiply-adds", 100 * share)

    def _params(self, context: Context) -> list[str]:
        names = open_program(context.forward.program).parameters
        chosen = [
            name
            for name, shape in names.items()
            if re.fullmatch(self.pruned_params, name) and len(shape) == 4
        ]
        if not chosen:
            raise ValueError(
                f"Compressor: pruned_params: {self.pruned_params!r} matches no convolution's weight; they "
                f"are {', '.join(name for name, shape in names.items() if len(shape) == 4)}"
            )
        return chosen

    def _ratios(self, context: Context) -> dict[str, float]:
        """Return the share of the filters to cut of each parameter; each strategy has its own rule."""
        raise NotImplementedError

    def _bisect(self, context: Context, ratios_at: Callable[[float], dict[str, float]]) -> dict[str, float]:
        """Return ``ratios_at(bound)`` for the smallest bound in [0, 1] that prunes `target_ratio`."""
        assert self.pruner is not None
        pruner, whole = self.pruner.pruner, _flops(context.forward.program)
        low, high = 0.0, 1.0
        found: Optional[dict[str, float]] = None
        for _ in range(_BISECTIONS):
            middle = (low + high) / 2
            ratios = ratios_at(middle)
            names = list(ratios)
            program, _, _ = pruner.prune(
                context.forward.program, context.scope, names, list(ratios.values()), only_graph=True
            )
            if 1 - _flops(program) / whole >= self.target_ratio:
                high, found = middle, ratios
            else:
                low = middle
        if found is None:
            raise ValueError(
                f"Compressor: target_ratio: the parameters that {self.pruned_params!r} matches cannot give "
                f"{self.target_ratio:.0%} of the multiply-adds; lower it, or let it match more"
            )
        return found


@dataclass
class UniformPruneStrategy(_PruneStrategy):
    """Prune parameters by one ratio.

    Attributes
    ----------
    pruner : StructurePruner
    start_epoch : int; the cut comes before it
    target_ratio : float in (0, 1); share of the multiply-adds to prune
    pruned_params : str; a regular expression that whole names of weights match
    metric_name : ignored
    """

    def _ratios(self, context: Context) -> dict[str, float]:
        params = self._params(context)
        return self._bisect(context, lambda ratio: dict.fromkeys(params, min(ratio, 0.99)))


@dataclass
class SensitivePruneStrategy(_PruneStrategy):
    """Prune each parameter by what its pruning costs, measured on the evaluation data.

    Attributes
    ----------
    pruner, start_epoch, target_ratio, pruned_params : as for ``UniformPruneStrategy``
    delta_rate : float in (0, 1); ratios are measured at its multiples
    metric_name : str; a key of ``eval_fetch_list``, larger is better
    sensitivities_file : str; written after each measurement, read when it is there
    eval_rate : float in (0, 1], optional; share of the evaluation batches to measure on
    num_steps : 1; all is cut at once
    """

    delta_rate: float = 0.2
    metric_name: Optional[str] = "acc_top1"
    sensitivities_file: Optional[str] = "./sensitivities.data"
    eval_rate: Optional[float] = None
    num_steps: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        for key in ("delta_rate", "eval_rate"):
            value = getattr(self, key)
            if value is not None and not (isinstance(value, (int, float)) and 0 < value <= 1):
                raise ValueError(f"{key}: expected a number in (0, 1], got {value!r}")
        if self.num_steps != 1:
            raise ValueError(f"num_steps: expected 1, all filters go at once, got {self.num_steps!r}")

    def check(self, context: Context) -> None:
        super().check(context)
        if context.evaluation is None or (context.eval_reader is None and not context.eval_func):
            raise ValueError(
                "Compressor: SensitivePruneStrategy needs eval_program, and eval_reader or eval_func"
            )
        choose("metric_name", self.metric_name, context.eval_func or context.evaluation.fetches)

    def _ratios(self, context: Context) -> dict[str, float]:
        evaluation = context.evaluation
        assert evaluation is not None
        assert self.pruner is not None
        steps = np.arange(self.delta_rate, 1, self.delta_rate)
        losses = sensitivity(
            evaluation.program,
            context.place,
            self._params(context),
            lambda program: self._score(context, program),
            self.sensitivities_file,
            [round(float(step), 4) for step in steps],
            criterion=self.pruner.pruner.criterion,
        )
        return self._bisect(context, lambda loss: get_ratios_by_loss(losses, loss))

    def _score(self, context: Context, program: Any) -> float:
        evaluation = context.evaluation
        assert evaluation is not None
        assert self.metric_name is not None
        # Values of PIR are known by their places: a pruned copy has the same operators in the same order.
        context.evaluated = evaluation.in_copy(program)
        try:
            return context.evaluate(self.eval_rate or 1.0)[self.metric_name]
        finally:
            context.evaluated = evaluation


def _flops(program: Any) -> int:
    counted = flops(program)
    assert isinstance(counted, int)
    return counted


def _reshape(network: Network, shapes: Mapping[str, list[int]], groups: Mapping[str, int]) -> None:
    opened = open_program(network.program, inplace=True)
    cut = {name: tuple(shape) for name, shape in shapes.items() if name in opened.parameters}
    known = opened.groups_of()
    opened.set_shapes(cut, {name: count for name, count in groups.items() if known.get(name, count) != count})
