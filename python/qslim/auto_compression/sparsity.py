# SPDX-License-Identifier: Apache-2.0
"""Zeros among the weights of a network while it trains: new ones by a rule, or those that are there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Optional

import numpy as np

from qslim.auto_compression.plan import Strategy
from qslim.auto_compression.strategies import ASPPrune, UnstructurePrune
from qslim.auto_compression.train_config import TrainConfig
from qslim.logger import logger
from qslim.paddle.program import PaddleProgram
from qslim.prune.gmp import GMPSchedule, StaticGMPUnstructuredPruner
from qslim.prune.sparse_masks import two_of_four
from qslim.prune.unstructured import StaticUnstructuredPruner
from qslim.quant.options import choose

__all__ = ["Sparsity", "steps_of"]

_LEAST_ITERATIONS = 30


class Sparsity:
    """The zeros of one training.

    Parameters
    ----------
    strategy : Strategy
    keeps_zeros : bool
        Weights that are zero now stay zero, where the strategy itself makes none.
    program : the program with the parameters that are trained
    student : PaddleProgram
    place : where weights are written
    steps : int
        Steps that the training has.
    """

    def __init__(
        self,
        strategy: Strategy,
        keeps_zeros: bool,
        program: Any,
        student: PaddleProgram,
        place: Any,
        steps: int,
    ) -> None:
        rule = strategy.prune
        self._pruner: Any = None
        self._grown = 0  # steps until all zeros are there
        self._count = 0
        common: dict[str, Any] = {"scope": student.scope, "place": place}
        if isinstance(rule, UnstructurePrune):
            common.update(prune_params_type=rule.prune_params_type, local_sparsity=rule.local_sparsity)
            if rule.prune_strategy == "gmp":
                schedule = _schedule(rule, steps)
                self._grown = schedule.stable_iterations + schedule.pruning_iterations + 1
                configs = {key: getattr(schedule, key) for key in schedule.__dataclass_fields__}
                self._pruner = StaticGMPUnstructuredPruner(program, rule.ratio, configs=configs, **common)
            else:
                self._pruner = StaticUnstructuredPruner(
                    program, rule.prune_mode, rule.ratio, rule.threshold, **common
                )
                self._grown = 1
        elif isinstance(rule, ASPPrune):
            axes = _axes(student, rule.prune_params_name)
            for name, axis in axes.items():
                weight = student.parameter(name)
                student.set_parameter(name, weight * two_of_four(weight, axis))
            self._keep(program, common, list(axes))
        elif keeps_zeros:
            self._keep(program, common, None)

    def _keep(self, program: Any, common: dict[str, Any], names: Optional[Sequence[str]]) -> None:
        """Keep the zeros of the weights `names`, or of all with two axes and more."""

        def others(program: Any) -> list[str]:
            owner = program if hasattr(program, "desc") else program.global_block()
            return [p.name for p in owner.all_parameters() if p.name not in (names or ())]

        skip = None if names is None else others
        self._pruner = StaticUnstructuredPruner(program, "ratio", 0.0, skip_params_func=skip, **common)
        self._pruner.set_static_masks()

    @property
    def is_grown(self) -> bool:
        """True if the network is as sparse as it is to become."""
        return self._count >= self._grown

    @property
    def just_grown(self) -> bool:
        """True after the first step with all zeros."""
        return self._grown > 0 and self._count == self._grown

    def step(self) -> None:
        """Act after a step of the optimizer."""
        self._count += 1
        if self._pruner is not None:
            self._pruner.step()

    def state(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return (masks, the rest of the state, for JSON)."""
        if self._pruner is None:
            return {}, {"count": self._count}
        state = self._pruner.state_dict()
        return state.pop("masks"), {**state, "count": self._count}

    def set_state(self, masks: dict[str, Any], state: dict[str, Any]) -> None:
        """Go on from ``state()``."""
        self._count = int(state["count"])
        if self._pruner is not None:
            self._pruner.set_state_dict({**state, "masks": masks})


def steps_of(training: TrainConfig, loader: Any) -> int:
    """Return the steps that a training has; the data is read once if it does not tell its length."""
    most = training.train_iter
    if training.passes is None:
        assert most is not None
        return most
    try:
        batches = len(loader)
    except TypeError:
        if hasattr(loader, "__next__"):
            raise ValueError(
                "train_dataloader: expected a function that returns an iterator, got an iterator, which "
                "can be read once only"
            ) from None
        logger.info("AutoCompression: counting the batches of train_dataloader")
        source = loader() if not hasattr(loader, "__iter__") else loader
        batches = sum(1 for _ in source)
    total = training.passes * batches
    return total if most is None else min(most, total)


def _schedule(rule: UnstructurePrune, steps: int) -> GMPSchedule:
    """Return the schedule of a gmp pruning in a training of `steps` steps."""
    if rule.gmp_config is not None:
        schedule = GMPSchedule.from_configs(rule.gmp_config, rule.ratio)
        reached = schedule.stable_iterations + schedule.pruning_iterations + 1
        if reached > steps:
            raise ValueError(
                f"UnstructurePrune.gmp_config: the ratio {rule.ratio} is reached in step {reached}, but the "
                f"training has {steps} steps; lower stable_iterations or pruning_iterations, or train longer"
            )
        return schedule
    part = min(max(int(0.45 * steps), _LEAST_ITERATIONS), max(steps - 1, 1))
    return GMPSchedule(
        pruning_iterations=part,
        tunning_iterations=part,
        pruning_steps=100 if 0.45 * steps > 1000 else 1,
        initial_ratio=min(0.15, rule.ratio),
    )


def _axes(student: PaddleProgram, names: Optional[Sequence[str]]) -> dict[str, int]:
    """Return the axis of input channels of each weight to prune 2:4."""
    graph, known = student.graph, {}
    for node in graph.nodes:
        weight = node.inputs[1] if len(node.inputs) > 1 else ""
        if weight not in student.parameter_names:
            continue
        value = graph.tensors[weight].value
        assert value is not None
        if node.op_type == "Conv" and node.attributes.get("group", 1) == 1:
            known[weight] = 1
        elif node.op_type == "Gemm":
            known[weight] = 1 if node.attributes.get("transB") else 0
        elif node.op_type == "MatMul" and value.ndim == 2:
            known[weight] = 0
    chosen = {choose("ASPPrune.prune_params_name", name, known): known[name] for name in names or known}
    fitting = {name: axis for name, axis in chosen.items() if student.parameter(name).shape[axis] % 4 == 0}
    for name in sorted(set(chosen) - set(fitting)):
        extents = list(student.parameter(name).shape)
        logger.info(
            "ASPPrune: %s stays dense: its input channels, of %s, are no multiple of 4", name, extents
        )
    if not fitting:
        raise ValueError(
            "ASPPrune: no weight has a multiple of 4 input channels and a convolution of one group, or a "
            f"matrix product, that reads it; the candidates were {', '.join(chosen) or 'none'}"
        )
    return {name: axis for name, axis in fitting.items() if np.any(student.parameter(name))}
