# SPDX-License-Identifier: Apache-2.0
"""Gradual magnitude pruning: the ratio rises while the network trains.

After `stable_iterations` without pruning the ratio climbs in `pruning_steps` steps, spread evenly over
`pruning_iterations`:

    ratio_i = ((i / pruning_steps - 1)^3 + 1) * (ratio - initial_ratio) + initial_ratio,  i <= pruning_steps

and stays at `ratio` for `tunning_iterations` (PaddleSlim's spelling). Masks change with the ratio only; in
between they are kept.
Source: Zhu and Gupta 2017 (arXiv:1710.01878); paddleslim 2.6.0, dygraph/prune/unstructured_pruner.py.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Callable, Optional

import numpy as np

from qslim.prune.unstructured import DygraphUnstructuredPruner, StaticUnstructuredPruner

__all__ = ["DygraphGMPUnstructuredPruner", "GMPSchedule", "StaticGMPUnstructuredPruner"]


@dataclass(frozen=True)
class GMPSchedule:
    """The ratio at each iteration, counted from 0.

    Examples
    --------
    >>> schedule = GMPSchedule(pruning_iterations=100, pruning_steps=4, stable_iterations=10)
    >>> [round(schedule.ratio_at(i, target=0.8), 3) for i in (0, 10, 35, 60, 85, 110, 999)]
    [0.0, 0.15, 0.526, 0.719, 0.79, 0.8, 0.8]
    """

    pruning_iterations: int
    stable_iterations: int = 0
    tunning_iterations: int = 0
    resume_iteration: int = 0
    pruning_steps: int = 100
    initial_ratio: float = 0.15

    def __post_init__(self) -> None:
        for name in ("pruning_iterations", "pruning_steps"):
            if getattr(self, name) <= 0:
                raise ValueError(f"configs: {name} must be > 0, got {getattr(self, name)}")
        for name in ("stable_iterations", "tunning_iterations", "resume_iteration"):
            if getattr(self, name) < 0:
                raise ValueError(f"configs: {name} must be >= 0, got {getattr(self, name)}")
        if not 0 <= self.initial_ratio < 1:
            raise ValueError(f"configs: initial_ratio must be in [0, 1), got {self.initial_ratio}")

    @classmethod
    def from_configs(cls, configs: Optional[Mapping[str, Any]], ratio: float) -> GMPSchedule:
        """Make a schedule from PaddleSlim's dict; unknown and missing keys are errors that name them."""
        known = [field.name for field in fields(cls)]
        strategy = configs.get("pruning_strategy", "gmp") if isinstance(configs, Mapping) else "gmp"
        if strategy not in ("gmp", "base"):
            raise ValueError(f"configs: pruning_strategy: expected 'gmp', got {strategy!r}")
        if not isinstance(configs, Mapping) or "pruning_iterations" not in configs:
            raise ValueError(
                f"configs must be a dict with pruning_iterations and, where needed, {', '.join(known[1:])}; "
                f"got {configs!r}"
            )
        configs = {key: value for key, value in configs.items() if key != "pruning_strategy"}
        for key in configs:
            if key not in known:
                near = difflib.get_close_matches(str(key), known, 1)
                hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)}"
                raise ValueError(f"configs: unknown key {key!r}; {hint}")
        if "initial_ratio" not in configs:
            configs["initial_ratio"] = min(cls.initial_ratio, ratio)
        if configs.get("resume_iteration") == -1:  # PaddleSlim's word for a training from the start
            configs["resume_iteration"] = 0
        schedule = cls(**{key: _number(key, value) for key, value in configs.items()})
        if schedule.initial_ratio > ratio:
            raise ValueError(
                f"configs: initial_ratio must not be above ratio {ratio}, got {schedule.initial_ratio}"
            )
        return schedule

    def ratio_at(self, iteration: int, target: float) -> float:
        """Return the ratio that ``step()`` number `iteration` prunes with."""
        passed = iteration - self.stable_iterations
        if passed < 0:
            return 0.0
        step = passed * self.pruning_steps // self.pruning_iterations
        if step >= self.pruning_steps:
            return target
        share = (step / self.pruning_steps - 1.0) ** 3 + 1.0
        return share * (target - self.initial_ratio) + self.initial_ratio

    def ratios_from(self, iteration: int, target: float) -> list[float]:
        """Yield the ratio of each step from `iteration` on, stable and tuning iterations included."""
        end = self.stable_iterations + self.pruning_iterations + self.tunning_iterations
        period = max(self.pruning_iterations // self.pruning_steps, 1)
        return [self.ratio_at(start, target) for start in range(0, end, period) if start >= iteration]


def _number(key: str, value: Any) -> Any:
    """Return a value of `configs` as an int, or as a float if it is the ratio."""
    is_ratio = key == "initial_ratio"
    is_number = isinstance(value, (int, float, np.number)) and not isinstance(value, bool)
    if not is_number or not (is_ratio or float(value).is_integer()):
        expected = "a number in [0, 1)" if is_ratio else "a whole number of iterations or steps"
        raise ValueError(f"configs: {key}: expected {expected}, got {value!r}")
    return float(value) if is_ratio else int(value)


class _Gradual:
    """Mixed into either pruner: masks change when the schedule's ratio does."""

    _schedule: GMPSchedule
    _target: float
    _iteration: int
    _chosen: Optional[float]  # the ratio that the masks were chosen for

    def _start(self, schedule: GMPSchedule, target: float) -> None:
        self._schedule, self._target = schedule, target
        self._iteration, self._chosen = schedule.resume_iteration, None
        self.ratio = schedule.ratio_at(self._iteration, target)

    @property
    def ratios_stack(self) -> list[float]:
        """The ratios of the steps that are still to come, the next one last."""
        return self._schedule.ratios_from(self._iteration, self._target)[::-1]

    def step(self) -> None:
        """Move on by one iteration: choose masks if the ratio has risen, apply them. After each update."""
        self.ratio = self._schedule.ratio_at(self._iteration, self._target)
        if self.ratio != self._chosen:
            super().step()  # type: ignore[misc]
            self._chosen = self.ratio
        else:
            self.update_params()  # type: ignore[attr-defined]
        self._iteration += 1

    def state_dict(self) -> dict[str, Any]:
        """Return masks and progress, for ``paddle.save`` or pickle."""
        return {**super().state_dict(), "iteration": self._iteration, "chosen": self._chosen}  # type: ignore[misc]

    def set_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from ``state_dict()``, in the middle of the schedule."""
        super().set_state_dict(state)  # type: ignore[misc]
        self._iteration, self._chosen = state["iteration"], state["chosen"]


class DygraphGMPUnstructuredPruner(_Gradual, DygraphUnstructuredPruner):
    """Gradual magnitude pruning of a Layer; ``qslim.dygraph.GMPUnstructuredPruner``.

    Parameters
    ----------
    model, prune_params_type, skip_params_func, local_sparsity, sparse_block : as for ``UnstructuredPruner``
    ratio : float in [0, 1), default=0.55
        Where the schedule ends.
    configs : dict
        pruning_iterations, and where needed stable_iterations (0), tunning_iterations (0), pruning_steps
        (100), initial_ratio (0.15, or `ratio` if that is less) and resume_iteration (0, or -1), at which an
        interrupted training continues. PaddleSlim's pruning_strategy may stand there, and changes nothing.

    Raises
    ------
    ValueError : a key of `configs` is unknown (the nearest is named), missing or out of range.

    Examples
    --------
    >>> import paddle
    >>> net = paddle.nn.Linear(10, 10)
    >>> configs = {"pruning_iterations": 4, "pruning_steps": 2, "initial_ratio": 0.1}
    >>> pruner = DygraphGMPUnstructuredPruner(net, ratio=0.5, configs=configs)
    >>> zeros = []
    >>> for _ in range(6):
    ...     pruner.step()  # after each optimizer.step()
    ...     zeros.append(int((net.weight == 0).sum()))
    >>> zeros
    [10, 10, 45, 45, 50, 50]
    """

    def __init__(
        self,
        model: Any,
        ratio: float = 0.55,
        prune_params_type: Optional[str] = None,
        skip_params_func: Optional[Callable[[Any], Any]] = None,
        local_sparsity: bool = False,
        sparse_block: Sequence[int] = (1, 1),
        configs: Optional[Mapping[str, Any]] = None,
    ) -> None:
        schedule = GMPSchedule.from_configs(configs, ratio)
        super().__init__(
            model,
            "ratio",
            ratio=ratio,
            prune_params_type=prune_params_type,
            skip_params_func=skip_params_func,
            local_sparsity=local_sparsity,
            sparse_block=sparse_block,
        )
        self._start(schedule, ratio)


class StaticGMPUnstructuredPruner(_Gradual, StaticUnstructuredPruner):
    """Gradual magnitude pruning of a static program; ``qslim.prune.GMPUnstructuredPruner``.

    Parameters
    ----------
    program, scope, place : as for the static ``UnstructuredPruner``
    ratio, prune_params_type, skip_params_func, local_sparsity, sparse_block, configs : as for the Layer's
    """

    def __init__(
        self,
        program: Any,
        ratio: float = 0.55,
        scope: Any = None,
        place: Any = None,
        prune_params_type: Optional[str] = None,
        skip_params_func: Optional[Callable[[Any], Any]] = None,
        local_sparsity: bool = False,
        sparse_block: Sequence[int] = (1, 1),
        configs: Optional[Mapping[str, Any]] = None,
    ) -> None:
        schedule = GMPSchedule.from_configs(configs, ratio)
        super().__init__(
            program,
            "ratio",
            ratio=ratio,
            scope=scope,
            place=place,
            prune_params_type=prune_params_type,
            skip_params_func=skip_params_func,
            local_sparsity=local_sparsity,
            sparse_block=sparse_block,
        )
        self._start(schedule, ratio)
