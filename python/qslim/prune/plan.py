# SPDX-License-Identifier: Apache-2.0
"""A pruning plan: masks of parameters, applied to a Layer and taken back again.

Two ways to apply one: *imperative* cuts the parameters to their new shapes, *lazy* multiplies them by the
mask and leaves their shapes. Both keep what was there; ``restore`` puts it back, values as they were at the
cut.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Callable, Optional, Union

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qslim.paddle import framework
from qslim.prune.groups import Groups
from qslim.prune.model_edit import (
    array_of,
    derived_attributes,
    dygraph,
    floats_of,
    named_tensors,
    optimizer_tensors,
    owners,
    set_array,
    set_attributes,
)
from qslim.prune.normed_weights import NormedWeight, normed_weights

__all__ = ["PruningMask", "PruningPlan"]


class PruningMask:
    """A mask of one axis of a parameter: ``mask[i]`` is 1 to keep index i and 0 to prune it.

    Parameters
    ----------
    dims : int, the axis
    mask : array of 0 and 1
    ratio : float, the ratio that was asked for; only shown
    op : ignored; PaddleSlim keeps the operator here

    Examples
    --------
    >>> str(PruningMask(0, [1, 0, 1, 1], 0.25))
    '0.25\\t0'
    """

    def __init__(self, dims: int, mask: ArrayLike, ratio: float, op: Any = None) -> None:
        if isinstance(dims, bool) or not isinstance(dims, (int, np.integer)):
            raise ValueError(f"PruningMask: dims must be an axis, an int; got {dims!r}")
        self._dims = int(dims)
        self.mask = mask
        self._pruned_ratio = ratio
        self._op = op

    @property
    def dims(self) -> int:
        return self._dims

    @property
    def mask(self) -> Any:
        """A vector of 0 and 1: a list if a list was given, else an array."""
        return self._mask.tolist() if self._is_list else self._mask

    @mask.setter
    def mask(self, value: ArrayLike) -> None:
        array = np.asarray(value)
        if array.ndim != 1 or not np.isin(array, (0, 1)).all():
            raise ValueError(f"PruningMask: mask must be a vector of 0 and 1, got {value!r}")
        if not array.any():
            raise ValueError("PruningMask: the mask keeps nothing; a layer needs one channel at least")
        self._mask = array.astype(np.int64)
        self._is_list = isinstance(value, list)

    def intersect(self, other: PruningMask) -> None:
        """Keep only what `other` keeps, too."""
        both = self._mask & other._mask
        self.mask = both.tolist() if self._is_list else both

    def __str__(self) -> str:
        return f"{self._pruned_ratio}\t{self._dims}"


@dataclass
class _Backup:
    """Values that an applied plan replaced."""

    arrays: list[tuple[Any, NDArray[Any]]] = field(default_factory=list)
    attributes: list[tuple[Any, dict[str, Any]]] = field(default_factory=list)
    shapes: list[tuple[Any, tuple[int, ...]]] = field(default_factory=list)
    is_cut: bool = False


class PruningPlan:
    """Masks of parameters, by parameter name.

    Attributes
    ----------
    masks : dict of str to list of PruningMask
    pruned_flops : float or None
        The part of the network's FLOPs (convolutions and matrix products) that the plan takes away.

    Examples
    --------
    >>> plan = PruningPlan()
    >>> plan.add("conv2d_0.w_0", PruningMask(0, [1, 0, 1, 1], 0.25))
    >>> plan.contains("conv2d_0.w_0", 0), plan.contains("conv2d_0.w_0", 1)
    (True, False)
    """

    def __init__(self, model_name: Optional[str] = None, groups: Optional[Groups] = None) -> None:
        self._model_name = model_name
        self._masks: dict[str, list[PruningMask]] = {}
        self._groups = groups
        self._removed: set[int] = set()
        self._attributes: dict[tuple[str, str], Any] = {}
        self._backup: Optional[_Backup] = None
        self.pruned_flops: Optional[float] = None

    @property
    def masks(self) -> dict[str, list[PruningMask]]:
        return self._masks

    @property
    def is_applied(self) -> bool:
        return self._backup is not None

    def add(self, var_name: str, pruning_mask: PruningMask) -> None:
        """Add a mask; one that is there for the same axis is joined with it by "and"."""
        if not isinstance(pruning_mask, PruningMask):
            raise ValueError(f"PruningPlan.add: expected a PruningMask, got {type(pruning_mask).__name__}")
        for mask in self._masks.setdefault(var_name, []):
            if mask.dims == pruning_mask.dims:
                mask.intersect(pruning_mask)
                return
        self._masks[var_name].append(pruning_mask)

    def extend(self, plan: PruningPlan) -> None:
        """Add all that `plan` prunes."""
        if not isinstance(plan, PruningPlan):
            raise ValueError(f"PruningPlan.extend: expected a PruningPlan, got {type(plan).__name__}")
        for name, masks in plan.masks.items():
            for mask in masks:
                self.add(name, PruningMask(mask.dims, mask.mask, mask._pruned_ratio, mask._op))
        self._removed |= plan._removed
        self._attributes.update(plan._attributes)

    def contains(self, var_name: str, dims: Union[int, Sequence[int], None] = None) -> bool:
        """Return True if the plan prunes `var_name`, along axis `dims` (an int or a list of one) if given."""
        if isinstance(dims, (list, tuple)) and len(dims) == 1:
            dims = dims[0]
        masks = self._masks.get(var_name, [])
        return bool(masks) and (dims is None or any(mask.dims == dims for mask in masks))

    def __str__(self) -> str:
        rows = [
            f"{name}:\t{','.join(str(mask) for mask in masks)}\n"
            for name, masks in self._masks.items()
            if masks
        ]
        return f"variable name\tpruned ratio\tpruned dims\n{''.join(rows)}pruned FLOPs: {self.pruned_flops}"

    @dygraph()
    def apply(
        self, model: Any, lazy: bool = False, opt: Any = None, prune_type: Optional[str] = None
    ) -> None:
        """Prune `model` by the plan.

        Parameters
        ----------
        model : paddle.nn.Layer
        lazy : bool
            Multiply by the masks (running statistics keep their values) instead of cutting.
        opt : paddle.optimizer.Optimizer, optional
            Its moments are cut as well.
        prune_type : ignored; the masks say what is pruned

        Raises
        ------
        ValueError : the plan is applied already, or does not fit `model`; `model` is left as it is.
        """
        if self._backup is not None:
            raise ValueError("PruningPlan.apply: the plan is applied already; restore() takes it back")
        tensors = named_tensors(model)
        self._check(tensors)
        self._backup = _Backup(is_cut=not lazy)
        try:
            if lazy:
                self._mask(model, tensors, self._backup)
            else:
                self._cut(model, tensors, opt, self._backup)
        except BaseException:
            self._undo()
            raise

    def restore(self, model: Any, opt: Any = None) -> None:
        """Put back what ``apply`` replaced; nothing if the plan is not applied.

        `model` and `opt` are PaddleSlim's arguments: what was replaced is known here.

        Raises
        ------
        ValueError : another plan cut the network further; take that one back first.
        """
        if self._backup is None:
            return
        for tensor, shape in self._backup.shapes:
            if tuple(tensor.shape) != shape:
                raise ValueError(
                    f"PruningPlan.restore: {tensor.name!r} has shape {list(tensor.shape)}, the plan made "
                    f"{list(shape)}: a later plan cut it further, restore that one first"
                )
        self._undo()

    @dygraph()
    def _undo(self) -> None:
        backup, self._backup = self._backup, None
        assert backup is not None
        for tensor, value in backup.arrays:
            set_array(tensor, value)
        for layer, attributes in backup.attributes:
            set_attributes(layer, attributes)
        if backup.is_cut and self._groups is not None:
            self._groups.alive[list(self._removed)] = True

    def _mask(self, model: Any, tensors: dict[str, Any], backup: _Backup) -> None:
        statistics = _running_statistics(model)
        gains = self._gains(model)
        for name in [name for name in self._masks if name not in statistics]:
            backup.arrays.append((tensors[name], array_of(tensors[name])))
            set_array(tensors[name], _masked(backup.arrays[-1][1], self._masks[name]))
        self._keep_gains(gains, _masked, backup)

    def _gains(self, model: Any) -> list[tuple[NormedWeight, NDArray[Any]]]:
        """Return the factor by which ``weight_norm`` multiplies each v that is to change."""
        return [
            (normed, floats_of(normed.g).reshape(-1) / normed.norms(floats_of(normed.v)))
            for normed in normed_weights(model)
            if normed.v.name in self._masks
        ]

    def _keep_gains(
        self,
        gains: list[tuple[NormedWeight, NDArray[Any]]],
        changed: Callable[[NDArray[Any], list[PruningMask]], NDArray[Any]],
        backup: _Backup,
    ) -> None:
        """Let g follow the new norm of v, so that the weights that stay keep their values."""
        for normed, gain in gains:
            gain = changed(gain, self._masks.get(normed.g.name, []))
            g = gain * normed.norms(floats_of(normed.v))
            if normed.g.name not in self._masks:
                backup.arrays.append((normed.g, array_of(normed.g)))
            new = framework.paddle_module().to_tensor(g.reshape(normed.g.shape).astype(np.float32))
            normed.g.set_value(new.astype(normed.g.dtype))

    def _cut(self, model: Any, tensors: dict[str, Any], opt: Any, backup: _Backup) -> None:
        old_shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
        gains = self._gains(model)
        for name, masks in self._masks.items():
            shape = old_shapes[name]
            state = [other for other in optimizer_tensors(opt, name) if tuple(other.shape) == shape]
            for tensor in (tensors[name], *state):
                backup.arrays.append((tensor, array_of(tensor)))
                set_array(tensor, _shrunk(backup.arrays[-1][1], masks))
                backup.shapes.append((tensor, tuple(tensor.shape)))
        self._keep_gains(gains, _shrunk, backup)
        for path, layer, own in owners(model):
            attributes = {}
            if any(tensor.name in self._masks for tensor in own):
                attributes = derived_attributes(layer, old_shapes)
            attributes.update({key: value for (at, key), value in self._attributes.items() if at == path})
            before = set_attributes(layer, attributes)
            if before:
                backup.attributes.append((layer, before))
        if self._groups is not None:
            self._groups.alive[list(self._removed)] = False

    def _check(self, tensors: dict[str, Any]) -> None:
        for name, mask in self._every_mask():
            if name not in tensors:
                raise ValueError(f"PruningPlan.apply: the model has no parameter {name!r}")
            shape = tuple(tensors[name].shape)
            if mask.dims >= len(shape) or shape[mask.dims] != len(mask._mask):
                raise ValueError(
                    f"PruningPlan.apply: the mask of {name!r} has {len(mask._mask)} entries for axis "
                    f"{mask.dims}, but the parameter's shape is {list(shape)}; the model was changed after "
                    "the plan was made"
                )

    def _every_mask(self) -> Iterator[tuple[str, PruningMask]]:
        for name, masks in self._masks.items():
            for mask in masks:
                yield name, mask


def _running_statistics(model: Any) -> set[str]:
    """Return the running means and variances: a variance of zero would make its channel large."""
    kept = [
        getattr(layer, attribute, None)
        for layer in model.sublayers(include_self=True)
        for attribute in ("_mean", "_variance")
    ]
    return {str(tensor.name) for tensor in kept if tensor is not None and hasattr(tensor, "get_tensor")}


def _masked(value: NDArray[Any], masks: list[PruningMask]) -> NDArray[Any]:
    for mask in masks:
        shape = [-1 if axis == mask.dims else 1 for axis in range(value.ndim)]
        value = value * mask._mask.reshape(shape).astype(value.dtype)
    return value


def _shrunk(value: NDArray[Any], masks: list[PruningMask]) -> NDArray[Any]:
    for mask in masks:
        value = np.compress(mask._mask.astype(bool), value, axis=mask.dims)
    return value
