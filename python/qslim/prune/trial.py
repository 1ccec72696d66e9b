# SPDX-License-Identifier: Apache-2.0
"""A trial cut, to learn if the network's own code follows the shapes of its tensors.

A traced ``reshape(x, [-1, 2, 58, 28, 28])`` does not tell whether the code computes 58 or has it written
down. So a part of every group is cut, the network runs, and its outputs have to equal those of the masked
network. A slice ``x[:, :32]`` has to bear that most of what it takes goes. What fails is found by halving,
and frozen. The network is put back in any case.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qslim.paddle import framework
from qslim.paddle.tracing import undecorated
from qslim.prune.groups import Group, Groups
from qslim.prune.model_edit import array_of, dygraph, set_array
from qslim.prune.plan import PruningPlan
from qslim.prune.selection import select_atoms

__all__ = ["evaluating", "flat_outputs", "settle_doubts"]

_PART = 0.4
_REASON = "extents are written down in the network's code: with some of these channels cut "
_UNTESTABLE = (
    "an operator takes its channels by their numbers and a normalization averages over them, "
    "so no trial can tell whether the numbers are still right after a cut"
)


@dataclass(frozen=True)
class _Trial:
    """Cut `atoms`; if that fails, freeze `scope`."""

    atoms: list[int]
    scope: list[int]


def settle_doubts(
    model: Any,
    groups: Groups,
    masters: Iterable[Group],
    inputs: Sequence[Any],
    make_plan: Callable[[list[int]], PruningPlan],
    keeps_outputs: bool = True,
    has_training_form: bool = False,
) -> None:
    """Freeze the atoms of `groups` that the code of `model` cannot do without.

    `keeps_outputs` says that a cut may not change the shapes of the outputs, `has_training_form` that the
    network computes other things in training, where it has to run as well.
    """
    inexact = set(np.flatnonzero(groups.inexact).tolist())
    for part in groups.selected:
        groups.freeze(part & inexact, _UNTESTABLE)

    # A network that draws random numbers in evaluation mode has nothing to compare.
    twice = flat_outputs(model, inputs), flat_outputs(model, inputs)
    is_repeatable = all(_is_close(*pair) for pair in zip(*twice))

    trains = has_training_form and not _failure(lambda: _train_once(model, inputs))

    def problem(trials: list[_Trial]) -> str:
        atoms = sorted({atom for trial in trials for atom in trial.atoms})
        is_exact = keeps_outputs and is_repeatable and inexact.isdisjoint(atoms)
        why = _problem(model, inputs, make_plan(atoms), is_exact, keeps_outputs)
        return why or (_training_problem(model, inputs, make_plan(atoms)) if trains else "")

    gradients = [(one, one.grad.clone()) for one in model.parameters() if one.grad is not None]
    trials = _trials_of_masters(groups, masters)
    for is_exact in (True, False):
        tried = [trial for trial in trials if inexact.isdisjoint(trial.atoms) == is_exact]
        for trial, why in _failing(tried, groups.literal, problem):
            groups.freeze(trial.scope, _REASON + why)
    for part in groups.selected:
        # One by one: cuts on both sides of a slice's end may make up for each other.
        atoms = _all_but_one(groups, part)
        why = problem([_Trial(atoms, [])]) if atoms else ""
        if why:
            groups.freeze(part, _REASON + why)
    for parameter, gradient in gradients:
        parameter.grad = gradient


def _trials_of_masters(groups: Groups, masters: Iterable[Group]) -> list[_Trial]:
    """Choose some atoms of each master, here and there, that leave every layer a channel."""
    rng = np.random.default_rng(0)
    trials, removed = [], set[int]()
    for master in masters:
        atoms = groups.members[master.parameter, master.axis].atoms
        chosen = select_atoms(
            groups, master.parameter, master.axis, rng.random(len(atoms)), _PART, removed=removed
        )
        removed.update(chosen)
        if chosen:
            trials.append(_Trial(chosen, atoms.tolist()))
    return trials


def _all_but_one(groups: Groups, part: set[int]) -> list[int]:
    """Return what can be cut of `part` while every layer that it touches keeps a channel."""
    free = sorted(atom for atom in part if atom not in groups.reasons)
    chosen = free[:-1]
    for member in groups.touched(chosen):
        if np.isin(member.atoms, chosen).all():
            chosen = [atom for atom in chosen if atom != member.atoms[-1]]
    return chosen


def _failing(
    trials: list[_Trial], literal: set[int], problem: Callable[[list[_Trial]], str]
) -> list[tuple[_Trial, str]]:
    """Return those of `trials` that fail, and how; those first that operators with literal extents see."""
    if not trials or not problem(trials):
        return []
    suspects = [trial for trial in trials if not literal.isdisjoint(trial.atoms)]
    others = [trial for trial in trials if literal.isdisjoint(trial.atoms)]
    return [*_halved(suspects, problem), *_halved(others, problem)]


def _halved(trials: list[_Trial], problem: Callable[[list[_Trial]], str]) -> list[tuple[_Trial, str]]:
    """Return those of `trials` that fail, found by halving."""
    why = problem(trials) if trials else ""
    if not why:
        return []
    if len(trials) == 1:
        return [(trials[0], why)]
    half = len(trials) // 2
    return [*_halved(trials[:half], problem), *_halved(trials[half:], problem)]


def _problem(
    model: Any, inputs: Sequence[Any], plan: PruningPlan, is_exact: bool, keeps_outputs: bool
) -> str:
    """Return what goes wrong with `model` if it is cut by `plan`; empty if nothing does."""
    try:
        plan.apply(model)
        cut = flat_outputs(model, inputs)
    except Exception as error:  # whatever the network's code and Paddle's kernels raise
        return f"it does not run ({_first_line(error)})"
    finally:
        plan.restore(model)
    plan.apply(model, lazy=True)
    try:
        masked = flat_outputs(model, inputs)
    finally:
        plan.restore(model)
    if keeps_outputs and [array.shape for array in cut] != [array.shape for array in masked]:
        return "its outputs have other shapes"
    if is_exact and not all(_is_close(*pair) for pair in zip(cut, masked)):
        return "its result is not that of the masked network"
    return ""


def _training_problem(model: Any, inputs: Sequence[Any], plan: PruningPlan) -> str:
    """Return what goes wrong in training mode with `model` if it is cut by `plan`."""
    plan.apply(model)
    try:
        failure = _failure(lambda: _train_once(model, inputs))
    finally:
        plan.restore(model)
    return f"it does not run in training mode ({failure})" if failure else ""


def _failure(run: Callable[[], Any]) -> str:
    try:
        run()
    except Exception as error:  # whatever the network's code and Paddle's kernels raise
        return _first_line(error)
    return ""


def _train_once(model: Any, inputs: Sequence[Any]) -> None:
    """Run a forward pass in training mode; keep statistics, attributes and random numbers as they are."""
    paddle = framework.paddle_module()
    # Paddle's running means are parameters that take no gradient.
    untrained = [*model.buffers(), *(one for one in model.parameters() if one.stop_gradient)]
    statistics = [(tensor, array_of(tensor)) for tensor in untrained]
    random_state = paddle.get_rng_state()
    try:
        with evaluating(model), undecorated(model), paddle.no_grad():
            model.train()
            model(*inputs)
    finally:
        paddle.set_rng_state(random_state)
        for tensor, value in statistics:
            set_array(tensor, value)


def _first_line(error: Exception) -> str:
    """Return the line of an error that says what is wrong; Paddle puts traces of its C++ code around it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    found = next((line for line in lines if line.startswith("(")), lines[-1] if lines else "")
    return f"{type(error).__name__}: {found[:160]}"


def _is_close(one: NDArray[Any], other: NDArray[Any]) -> bool:
    """Return True if both are equal but for rounding; a channel out of place differs by far more."""
    tolerance = 1e-3 * float(np.abs(other[np.isfinite(other)]).max(initial=0)) + 1e-6
    return bool(np.allclose(one, other, rtol=0, atol=tolerance, equal_nan=True))


def flat_outputs(model: Any, inputs: Sequence[Any]) -> list[NDArray[Any]]:
    """Return all tensors that ``model(*inputs)`` returns, in evaluation mode and without gradients."""
    paddle = framework.paddle_module()
    with evaluating(model), undecorated(model), paddle.no_grad():
        return [
            np.asarray(tensor.numpy())
            for tensor in paddle.utils.flatten(model(*inputs))
            if hasattr(tensor, "numpy")
        ]


@contextlib.contextmanager
def evaluating(model: Any) -> Iterator[None]:
    """Enter dygraph and evaluation mode for a block; restore the modes of all sub-layers afterwards."""
    was_training = {layer: layer.training for layer in model.sublayers(include_self=True)}
    model.eval()
    try:
        with dygraph():
            yield
    finally:
        for layer, training in was_training.items():
            layer.training = training
