# SPDX-License-Identifier: Apache-2.0
"""PaddleSlim's static pruner: programs and scopes in place of Layers."""

from __future__ import annotations

import json
import math
import os
import zipfile
from collections.abc import Sequence
from typing import Any, Callable, Optional, Union

import numpy as np
from numpy.typing import NDArray

from qslim.errors import MissingFileError
from qslim.files.staging import staged_directory
from qslim.functional import filter_saliency
from qslim.functional.saliency import SaliencyCriterion
from qslim.logger import logger
from qslim.paddle import framework
from qslim.progress import progress_bar
from qslim.prune.arguments import check_names, check_ratio, check_scores
from qslim.prune.groups import Groups, find_groups
from qslim.prune.operators import KEPT_OPERATORS
from qslim.prune.pruners.batch_norm import following_scale
from qslim.prune.selection import select_atoms
from qslim.prune.sensitivity import Sensitivities, load_sensitivities, save_sensitivities
from qslim.prune.static_program import StaticProgram, open_program

__all__ = ["Pruner", "groups_of", "load_model", "save_model", "sensitivity"]

_CRITERIA: dict[str, SaliencyCriterion] = {
    "l1_norm": "l1_norm",
    "l2_norm": "l2_norm",
    "geometry_median": "fpgm",
    "fpgm": "fpgm",
}
_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
_SELECTORS = ("default_idx_selector", "optimal_threshold")
_LITERAL = "an operator of the program has its extents as numbers"
_WITHOUT_SHAPES = "in a program its shapes are not followed; prune the Layer with a FilterPruner"

Criterion = Union[str, Callable[[NDArray[Any], int], NDArray[Any]]]
_Backup = dict[str, NDArray[Any]]


class Pruner:
    """Prune parameters of a static program, and of what depends on them.

    Parameters
    ----------
    criterion : {"l1_norm", "l2_norm", "geometry_median", "bn_scale"} or callable
        How much a filter matters; a callable is given weight and axis and returns one score for each index.
    idx_selector : {"default_idx_selector", "optimal_threshold"}
        The smallest scores by the ratio, or those whose squares add up to less than the ratio of the whole.

    Raises
    ------
    ValueError : an unknown criterion or selector.
    """

    def __init__(self, criterion: Criterion = "l1_norm", idx_selector: str = "default_idx_selector") -> None:
        if not callable(criterion) and criterion not in (*_CRITERIA, "bn_scale"):
            raise ValueError(
                f"Pruner: criterion: expected one of {sorted((*_CRITERIA, 'bn_scale'))} or a callable, "
                f"got {criterion!r}"
            )
        if idx_selector not in _SELECTORS:
            raise ValueError(
                f"Pruner: idx_selector: expected one of {list(_SELECTORS)}, got {idx_selector!r}"
            )
        self.criterion = criterion
        self.idx_selector = idx_selector

    def prune(
        self,
        program: Any,
        scope: Any,
        params: Sequence[str],
        ratios: Sequence[float],
        place: Any = None,
        lazy: bool = False,
        only_graph: bool = False,
        param_backup: bool = False,
        param_shape_backup: bool = False,
    ) -> tuple[Any, Optional[_Backup], Optional[dict[str, tuple[int, ...]]]]:
        """Prune the filters (axis 0) of `params`.

        Parameters
        ----------
        program : paddle.static.Program
            For inference or training, of either IR. It is left as it is.
        scope : paddle.static.Scope
            Holds the parameters; they are changed there, and so is the optimizer's state.
        params, ratios : list of str, list of float in [0, 1)
            A parameter that an earlier one prunes already is not pruned again.
        place : where new values go; the CPU by default
        lazy : bool
            Set filters to zero in place of cutting them.
        only_graph : bool
            Change shapes in the program and no values.
        param_backup, param_shape_backup : bool
            Return what values and shapes were.

        Returns
        -------
        the pruned program, dict of parameter to its values before or None, dict of parameter to shape or None

        Raises
        ------
        ValueError : an unknown parameter (the nearest is named), a ratio outside [0, 1), lists of different
            lengths. Nothing is changed.
        """
        network = open_program(program)
        wanted = _checked(network, params, ratios)
        groups = groups_of(network)
        removed = self._select(network, groups, scope, wanted, only_graph)
        masks = groups.masks(removed)
        state = {name: network.optimizer_state(name) for name, _ in masks}
        values = {} if only_graph else _changed_values(scope, masks, state, lazy)
        shapes = {name: network.parameters[name] for name, _ in masks}
        if not lazy:
            network.set_shapes(*_cut_shapes(network, masks))
        before = {name: _array(scope, name) for name in values}
        for name, value in values.items():
            _set(scope, name, value, place)
        return network.program, before if param_backup else None, shapes if param_shape_backup else None

    def _select(
        self, network: StaticProgram, groups: Groups, scope: Any, wanted: dict[str, float], only_graph: bool
    ) -> list[int]:
        removed: list[int] = []
        done: set[str] = set()
        for name, ratio in wanted.items():
            if name in done:
                continue
            why = groups.reason(name, 0)
            if why:
                logger.warning("%s is not pruned: %s", name, why)
                continue
            scores = self._scores(network, scope, name, only_graph)
            if self.idx_selector == "optimal_threshold":
                chosen = _below_threshold(groups, name, scores, ratio, removed)
            else:
                chosen = select_atoms(groups, name, 0, scores, ratio, removed=removed)
            removed += chosen
            done |= {member for member, axis in groups.masks(chosen) if axis == 0}
        return removed

    def _scores(self, network: StaticProgram, scope: Any, name: str, only_graph: bool) -> NDArray[Any]:
        value = _array(scope, name)
        if value.shape != network.parameters[name]:
            if only_graph:  # cut with another program of the same scope: only how many go is left to decide
                return np.zeros(network.parameters[name][0])
            raise ValueError(
                f"Pruner.prune: {name!r} has shape {list(value.shape)} in the scope and "
                f"{list(network.parameters[name])} in the program: it was pruned with another program; "
                "prune this one with only_graph=True"
            )
        if value.dtype.kind == "f" and not np.isfinite(value).all():
            raise ValueError(
                f"Pruner.prune: {name!r} holds NaN or infinite values: the training has diverged"
            )
        if callable(self.criterion):
            return check_scores(np.asarray(self.criterion(value, 0), np.float64), name)
        if self.criterion != "bn_scale":
            return filter_saliency(value, _CRITERIA[self.criterion])
        scale = following_scale(network.graph, name)
        if scale is None:
            raise ValueError(f"Pruner.prune: bn_scale: no batch normalization follows {name!r}")
        return check_scores(np.abs(_array(scope, scale)), name)


def sensitivity(
    program: Any,
    place: Any,
    param_names: Sequence[str],
    eval_func: Callable[..., float],
    sensitivities_file: Optional[str] = None,
    pruned_ratios: Optional[Sequence[float]] = None,
    eval_args: Optional[Sequence[Any]] = None,
    criterion: Criterion = "l1_norm",
) -> Sensitivities:
    """Measure what pruning each parameter alone costs.

    Parameters
    ----------
    program : paddle.static.Program; its parameters lie in ``paddle.static.global_scope()``
    place : where values go
    param_names : list of str
    eval_func : callable
        Returns the score of the program that it is given, larger is better.
    sensitivities_file : str, optional
        Written whole after every point; a run that was stopped goes on from it.
    pruned_ratios : list of float, default 0.1 to 0.9
    eval_args : more arguments for `eval_func`
    criterion : as for ``Pruner``

    Returns
    -------
    dict of parameter to dict of ratio to loss, (score - pruned score) / score.

    Raises
    ------
    ValueError : an unknown parameter, a ratio outside [0, 1), a score before pruning that is 0 or not finite.
    """
    scope = framework.paddle_module().static.global_scope()
    ratios = [round(0.1 * step, 2) for step in range(1, 10)] if pruned_ratios is None else list(pruned_ratios)
    _checked(open_program(program), param_names, [0.0] * len(param_names))
    for ratio in ratios:
        check_ratio(ratio, "pruned_ratios")
    known = load_sensitivities(sensitivities_file)
    pruner = Pruner(criterion)
    arguments = () if eval_args is None else tuple(eval_args)
    baseline: Optional[float] = None
    for name in progress_bar(param_names, "measuring sensitivities", len(param_names), "parameter"):
        losses = known.setdefault(name, {})
        for ratio in [float(ratio) for ratio in ratios if float(ratio) not in losses]:
            if baseline is None:
                baseline = float(eval_func(program, *arguments))
                if baseline == 0 or not math.isfinite(baseline):
                    raise ValueError(
                        f"sensitivity: eval_func returned {baseline} for the program before it is pruned, "
                        "and losses are shares of that; give a metric that is not 0"
                    )
            pruned, backup, _ = pruner.prune(program, scope, [name], [ratio], place, param_backup=True)
            try:
                score = float(eval_func(pruned, *arguments))
            finally:
                for parameter, value in (backup or {}).items():
                    _set(scope, parameter, value, place)
            losses[ratio] = (baseline - score) / baseline
            logger.info("sensitivity: %s at %.2f: loss %.4f", name, ratio, losses[ratio])
            if sensitivities_file is not None:
                save_sensitivities(known, sensitivities_file)
    return known


def save_model(exe: Any, graph: Any, dirname: str) -> None:
    """Save the parameters of a pruned program with their shapes.

    Parameters
    ----------
    exe : not used; PaddleSlim's argument
    graph : the program
    dirname : str
        The directory; ``parameters.npz``, ``__shapes__`` and ``__groups__`` are written whole or not at all.
    """
    network = open_program(graph)
    scope = framework.paddle_module().static.global_scope()
    names = dict.fromkeys(network.parameters)
    for name in network.parameters:
        names.update(dict.fromkeys(network.optimizer_state(name)))
    arrays = {name: _array(scope, name) for name in names}
    with staged_directory(dirname) as staged:
        np.savez(os.path.join(staged, "parameters.npz"), allow_pickle=False, **arrays)
        for file_name, content in (
            ("__shapes__", {name: list(value.shape) for name, value in arrays.items()}),
            ("__groups__", network.groups_of()),
        ):
            with open(os.path.join(staged, file_name), "w", encoding="utf-8") as file:
                json.dump(content, file)


def load_model(exe: Any, graph: Any, dirname: str) -> Any:
    """Load what ``save_model`` wrote into the global scope and into the uncut program.

    Parameters
    ----------
    exe : not used; PaddleSlim's argument
    graph : the program as its code builds it; it takes on the saved shapes
    dirname : str

    Returns
    -------
    `graph`

    Raises
    ------
    ValueError : `dirname` was not written by ``save_model``, or belongs to another program; nothing is
        changed.
    """
    paths = {name: os.path.join(dirname, name) for name in ("parameters.npz", "__shapes__", "__groups__")}
    for path in paths.values():
        if not os.path.isfile(path):
            raise MissingFileError(
                f"load_model: {dirname!r} holds no model of save_model: {path!r} does not exist"
            )
    try:
        _check_archive(paths["parameters.npz"])
        with np.load(paths["parameters.npz"], allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        with open(paths["__groups__"], encoding="utf-8") as file:
            groups = {str(name): int(count) for name, count in json.load(file).items()}
    except Exception as error:  # zip, JSON and NumPy each raise their own
        raise ValueError(f"load_model: {dirname!r} is damaged: {error}") from error
    network = open_program(graph, inplace=True)
    for name, shape in network.parameters.items():
        if name not in arrays or len(arrays[name].shape) != len(shape):
            raise ValueError(f"load_model: {dirname!r} belongs to another program: it lacks {name!r}")
    network.set_shapes({name: arrays[name].shape for name in network.parameters}, groups)
    scope = framework.paddle_module().static.global_scope()
    for name, value in arrays.items():
        _set(scope, name, value, None)
    return network.program


def _check_archive(path: str) -> None:
    """Refuse members that would take more memory than their bytes in the file, before they are read."""
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        for member in members:
            if member.compress_type != zipfile.ZIP_STORED or member.compress_size != member.file_size:
                raise ValueError(f"{member.filename!r} is compressed, and save_model compresses nothing")
        if sum(member.file_size for member in members) > os.path.getsize(path):
            raise ValueError("its members are longer than the file")
        for member in members:
            with archive.open(member) as file:
                shape, _, dtype = _HEADERS[np.lib.format.read_magic(file)](file)
                if file.tell() + math.prod(shape) * dtype.itemsize != member.file_size:
                    raise ValueError(f"{member.filename!r} has shape {shape}, but {member.file_size} bytes")


def _checked(network: StaticProgram, params: Sequence[str], ratios: Sequence[float]) -> dict[str, float]:
    if isinstance(params, str) or isinstance(ratios, (int, float)) or len(params) != len(ratios):
        raise ValueError(
            f"Pruner.prune: expected one ratio for each parameter, got {params!r} and {ratios!r}"
        )
    check_names(params, network.parameters, "Pruner.prune: the program")
    return {name: check_ratio(ratio, f"ratio of {name!r}") for name, ratio in zip(params, ratios)}


def groups_of(network: StaticProgram, skip_leaves: bool = True) -> Groups:
    """Return the groups of a program; channels whose number it has written down stay."""
    groups = find_groups(network.graph, network.parameters, skip_leaves)
    groups.freeze(groups.literal, _LITERAL)
    for part in groups.selected:
        groups.freeze(part, _LITERAL)
    for node in network.graph.nodes:
        if node.domain == "paddle" and node.op_type in KEPT_OPERATORS:
            for key, member in groups.members.items():
                if key[0] in node.inputs:
                    groups.freeze(member.atoms.tolist(), f"{node.label}: {_WITHOUT_SHAPES}")
    return groups


def _below_threshold(
    groups: Groups, name: str, scores: NDArray[Any], ratio: float, removed: list[int]
) -> list[int]:
    """Count the smallest scores that may go until their squares reach `ratio` of the whole."""
    atoms = groups.members[name, 0].atoms
    _, index = np.unique(atoms, return_inverse=True)
    index = index.reshape(-1)
    means = np.bincount(index, np.asarray(scores, np.float64)) / np.bincount(index)
    ordered = np.sort(np.maximum(means, 1e-18))
    share = np.cumsum(ordered**2) / np.sum(ordered**2)
    above = int(np.argmax(share > ratio))
    threshold = (ordered[above - 1] + ordered[above]) / 2 if above else ordered[0]
    count = int((ordered < threshold).sum())
    return select_atoms(groups, name, 0, scores, count / len(ordered), removed=removed)


def _changed_values(
    scope: Any, masks: dict[tuple[str, int], NDArray[np.int64]], state: dict[str, list[str]], lazy: bool
) -> dict[str, NDArray[Any]]:
    values: dict[str, NDArray[Any]] = {}
    for (parameter, axis), mask in masks.items():
        for name in (parameter, *(() if lazy else state[parameter])):
            value = values[name] if name in values else _array(scope, name)
            if lazy:
                shape = [-1 if other == axis else 1 for other in range(value.ndim)]
                values[name] = value * mask.reshape(shape).astype(value.dtype)
            else:
                values[name] = np.compress(mask.astype(bool), value, axis)
    return values


def _cut_shapes(
    network: StaticProgram, masks: dict[tuple[str, int], NDArray[np.int64]]
) -> tuple[dict[str, tuple[int, ...]], dict[str, int]]:
    """Return the shapes and the groups of convolutions that `masks` leave; groups are cut whole."""
    shapes: dict[str, tuple[int, ...]] = {}
    for (name, axis), mask in masks.items():
        shape = shapes.get(name, network.parameters[name])
        shapes[name] = (*shape[:axis], int(mask.sum()), *shape[axis + 1 :])
    groups = {
        weight: count * shapes[weight][0] // network.parameters[weight][0]
        for weight, count in network.groups_of().items()
        if count > 1 and weight in shapes
    }
    return shapes, groups


def _array(scope: Any, name: str) -> NDArray[Any]:
    variable = scope.find_var(name)
    if variable is None:
        raise ValueError(f"the scope has no parameter {name!r}; run the startup program first")
    return np.array(variable.get_tensor())


def _set(scope: Any, name: str, value: NDArray[Any], place: Any) -> None:
    paddle = framework.paddle_module()
    scope.var(name).get_tensor().set(
        np.ascontiguousarray(value), paddle.CPUPlace() if place is None else place
    )
