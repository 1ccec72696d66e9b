# SPDX-License-Identifier: Apache-2.0
"""Unstructured pruning while a network trains: single weights, or blocks of them, become zero and stay zero.

PaddleSlim's UnstructuredPruner, for Layers and for static programs (there the same name lives in two
namespaces; ``ratio`` and ``threshold`` stand in another order in each). The protocol: ``step()`` after every
optimizer step, ``update_params()`` before evaluating or saving. Masks are those of ``sparse_masks``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Callable, Optional

import numpy as np
from numpy.typing import NDArray

from qslim.paddle.framework import paddle_module
from qslim.prune.sparse_masks import SparseRule, sparsity

__all__ = ["DygraphUnstructuredPruner", "StaticUnstructuredPruner"]

_Array = NDArray[Any]
_Target = tuple[Any, str, Any]  # sub-layer, attribute, parameter


class _UnstructuredPruner:
    """Base of both pruners: when masks change, when they are applied, and their state.

    Subclasses say which weights there are and how they and their masks are stored.
    """

    def __init__(self, rule: SparseRule, prune_params_type: Optional[str]) -> None:
        if prune_params_type not in (None, "conv1x1_only"):
            raise ValueError(
                f"prune_params_type only supports None or 'conv1x1_only' for now, got {prune_params_type!r}"
            )
        self._rule = rule
        self._is_static = False

    @property
    def mode(self) -> str:
        return self._rule.mode

    @property
    def ratio(self) -> float:
        """Share of the blocks that mode "ratio" prunes."""
        return self._rule.ratio

    @ratio.setter
    def ratio(self, ratio: float) -> None:
        if not 0 <= ratio < 1:
            raise ValueError(f"ratio must be in [0, 1), got {ratio}")
        self._rule.ratio = ratio

    @property
    def threshold(self) -> float:
        """Least score kept; in mode "ratio" the largest one that the last ``step()`` pruned."""
        return self._rule.threshold

    @property
    def masks(self) -> dict[str, Any]:
        """Parameter name to mask, 1 for kept and 0 for pruned."""
        return {name: self._mask(name) for name in self._names()}

    def step(self) -> None:
        """Choose the masks anew from the weights and apply them; call it after each optimizer step.

        After ``set_static_masks()`` the masks stay and are only applied.
        """
        if not self._is_static:
            for name, mask in self._rule.masks(self._weights()).items():
                self._set_mask(name, mask)
        self.update_params()

    def update_params(self) -> None:
        """Set the pruned weights to zero; call it before evaluating or saving."""
        for name, weight in self._weights().items():
            self._set_weight(name, weight * self._mask(name).astype(weight.dtype))

    def set_static_masks(self) -> None:
        """Prune what is zero now, and nothing else from now on: fine-tuning of a sparse network."""
        self._is_static = True
        for name, weight in self._weights().items():
            self._set_mask(name, (weight != 0).astype(np.float32))

    def summarize_weights(self, model: Any = None, ratio: float = 0.1) -> float:
        """Return the magnitude below which `ratio` of the prunable weights lie, a guess at a threshold.

        `model`, a Layer or a program as the pruner's own, is the pruner's own by default.
        """
        if not 0 <= ratio <= 1:
            raise ValueError(f"ratio must be in [0, 1], got {ratio}")
        return self._rule.score_at(self._weights() if model is None else self._weights_of(model), ratio)

    def state_dict(self) -> dict[str, Any]:
        """Return masks and progress, for ``paddle.save`` or pickle."""
        return {
            "masks": {name: self._mask(name) for name in self._names()},
            "ratio": self.ratio,
            "threshold": self.threshold,
            "is_static": self._is_static,
        }

    def set_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from ``state_dict()``; the weights themselves come from the network's own state.

        Raises
        ------
        ValueError : masks of other parameters or shapes; nothing has changed then.
        """
        masks = {name: np.asarray(mask) for name, mask in state["masks"].items()}
        shapes = {name: weight.shape for name, weight in self._weights().items()}
        if {name: mask.shape for name, mask in masks.items()} != shapes:
            odd = sorted({*masks} ^ {*shapes}) or [n for n in shapes if masks[n].shape != shapes[n]]
            raise ValueError(f"set_state_dict: the state is of another network; it differs in {odd[:5]}")
        for name, mask in masks.items():
            self._set_mask(name, mask.astype(np.float32))
        self._rule.ratio, self._rule.threshold = state["ratio"], state["threshold"]
        self._is_static = bool(state["is_static"])
        self.update_params()

    def _names(self) -> list[str]:
        raise NotImplementedError

    def _weights(self) -> dict[str, _Array]:
        raise NotImplementedError

    def _weights_of(self, model: Any) -> dict[str, _Array]:
        raise NotImplementedError

    def _set_weight(self, name: str, value: _Array) -> None:
        raise NotImplementedError

    def _mask(self, name: str) -> _Array:
        raise NotImplementedError

    def _set_mask(self, name: str, mask: NDArray[np.float32]) -> None:
        raise NotImplementedError


def _normalizes(layer: Any) -> bool:
    return any(base.__module__ == "paddle.nn.layer.norm" for base in type(layer).__mro__)


def _is_conv1x1(shape: Sequence[int]) -> bool:
    return len(shape) == 4 and tuple(shape[2:]) == (1, 1)


class DygraphUnstructuredPruner(_UnstructuredPruner):
    """Unstructured pruning of a paddle.nn.Layer; ``qslim.dygraph.UnstructuredPruner``.

    Masks are buffers of the sub-layers ("weight_mask"), so they are in the model's ``state_dict`` and come
    back with it. A hook applies them before every forward pass, whatever the optimizer's momentum did.

    Parameters
    ----------
    model : paddle.nn.Layer
    mode : {"ratio", "threshold"}
    threshold : float, default=0.01
        Weights of smaller magnitude are pruned, in mode "threshold".
    ratio : float in [0, 1), default=0.55
        Share to prune, in mode "ratio": exactly ``round(ratio * N)`` of N.
    prune_params_type : None or "conv1x1_only", default=None
    skip_params_func : callable, optional
        Takes the model and returns the names (``parameter.name``) to leave alone, in place of the default:
        everything of one dimension. Normalization layers are never pruned.
    local_sparsity : bool, default=False
        `ratio` of each weight rather than of all together.
    sparse_block : list of two ints, default=[1, 1]
        Prune blocks of this shape of the weight as a matrix [shape[0], rest], by their mean magnitude.

    Attributes
    ----------
    masks : dict of parameter name to Tensor
        The buffers themselves: what is assigned to one of them holds from then on.
    skip_params : set of str
        Names of the parameters that are left alone, and of the layers that normalize.

    Raises
    ------
    ValueError : "mode must be selected from 'ratio' and 'threshold', got 'x'"; nothing left to prune.

    Examples
    --------
    >>> import paddle
    >>> from qslim.prune.unstructured import DygraphUnstructuredPruner
    >>> net = paddle.nn.Sequential(paddle.nn.Linear(8, 8), paddle.nn.Linear(8, 2))
    >>> pruner = DygraphUnstructuredPruner(net, "ratio", ratio=0.5)
    >>> pruner.step()  # after each optimizer.step()
    >>> sum(int((layer.weight == 0).sum()) for layer in net)
    40
    """

    def __init__(
        self,
        model: Any,
        mode: str,
        threshold: float = 0.01,
        ratio: float = 0.55,
        prune_params_type: Optional[str] = None,
        skip_params_func: Optional[Callable[[Any], Any]] = None,
        local_sparsity: bool = False,
        sparse_block: Sequence[int] = (1, 1),
    ) -> None:
        super().__init__(SparseRule(mode, ratio, threshold, local_sparsity, sparse_block), prune_params_type)
        paddle = paddle_module()
        if not isinstance(model, paddle.nn.Layer):
            raise ValueError(f"UnstructuredPruner: expected a paddle.nn.Layer, got {type(model).__name__}")
        self.model = model
        self._skip_params_func, self._prune_params_type = skip_params_func, prune_params_type
        self._targets, self.skip_params = self._targets_of(model)
        if not self._targets:
            raise ValueError(
                "UnstructuredPruner: no parameter is left to prune; skip_params_func skips them all?"
            )
        for layer, attribute, parameter in self._targets.values():
            if not hasattr(layer, f"{attribute}_mask"):
                layer.register_buffer(f"{attribute}_mask", paddle.ones(parameter.shape, parameter.dtype))
        self._hook = model.register_forward_pre_hook(self._before_forward)

    @property
    def masks(self) -> dict[str, Any]:
        return {
            name: getattr(layer, f"{attribute}_mask") for name, (layer, attribute, _) in self._targets.items()
        }

    def remove_hook(self) -> None:
        """Stop applying the masks before forward passes."""
        self._hook.remove()

    def _targets_of(self, model: Any) -> tuple[dict[str, _Target], set[str]]:
        """Return what there is to prune in `model`, by name, and the names of what is not pruned."""
        skipped = None if self._skip_params_func is None else set(self._skip_params_func(model))
        targets: dict[str, _Target] = {}
        skip_params: set[str] = set()
        for layer in model.sublayers(include_self=True):
            if _normalizes(layer):
                skip_params.add(layer.full_name())
            for attribute, parameter in layer.named_parameters(include_sublayers=False):
                is_skipped = len(parameter.shape) < 2 if skipped is None else parameter.name in skipped
                if self._prune_params_type == "conv1x1_only":
                    is_skipped |= not _is_conv1x1(parameter.shape)
                if is_skipped or _normalizes(layer):
                    skip_params.add(parameter.name)
                else:
                    targets.setdefault(parameter.name, (layer, attribute, parameter))
        return targets, skip_params

    def _should_prune_layer(self, layer: Any) -> bool:
        return layer.full_name() not in self.skip_params

    def _before_forward(self, *_: Any) -> None:
        if paddle_module().in_dynamic_mode():  # not while the network is traced to be saved
            self.update_params()

    def update_params(self) -> None:
        """Set the pruned weights to zero; call it before evaluating or saving."""
        with paddle_module().no_grad():
            for layer, attribute, parameter in self._targets.values():
                mask = getattr(layer, f"{attribute}_mask").astype(parameter.dtype)  # the user's may be bool
                parameter.set_value(parameter * mask)

    def _names(self) -> list[str]:
        return list(self._targets)

    def _weights(self) -> dict[str, _Array]:
        return {name: parameter.numpy() for name, (_, _, parameter) in self._targets.items()}

    def _weights_of(self, model: Any) -> dict[str, _Array]:
        return {name: parameter.numpy() for name, (_, _, parameter) in self._targets_of(model)[0].items()}

    def _set_weight(self, name: str, value: _Array) -> None:
        self._targets[name][2].set_value(value)

    def _mask(self, name: str) -> _Array:
        layer, attribute, _ = self._targets[name]
        return np.asarray(getattr(layer, f"{attribute}_mask").numpy())

    def _set_mask(self, name: str, mask: NDArray[np.float32]) -> None:
        layer, attribute, _ = self._targets[name]
        buffer = getattr(layer, f"{attribute}_mask")
        buffer.set_value(paddle_module().to_tensor(mask).astype(buffer.dtype))

    @staticmethod
    def total_sparse(model: Any) -> float:
        """Return the share of zeros among all parameters of `model`."""
        return sparsity([parameter.numpy() for parameter in model.parameters()])

    @staticmethod
    def total_sparse_conv1x1(model: Any) -> float:
        """Return the share of zeros among the weights of 1 x 1 convolutions."""
        return sparsity([p.numpy() for p in model.parameters() if _is_conv1x1(p.shape)])


class StaticUnstructuredPruner(_UnstructuredPruner):
    """Unstructured pruning of a static program's parameters; ``qslim.prune.UnstructuredPruner``.

    The weights live in `scope`, and the masks with the pruner: ``step()`` after every ``executor.run``
    applies them, also after ``set_static_masks()``. The program itself is not changed.

    Parameters
    ----------
    program : paddle.static.Program of either IR
    scope : paddle.static.Scope, optional
        Where the parameters are; the global scope by default.
    place : paddle place, optional
        Where they are written back to; the CPU by default.
    mode, ratio, threshold, prune_params_type, local_sparsity, sparse_block : as for the Layer's pruner
    skip_params_func : callable, optional
        Takes the program and returns the names to leave alone.

    Attributes
    ----------
    masks : dict of parameter name to ndarray
    skip_params : set of str, the names of the parameters that are left alone
    no_grad_set : set of str
        For ``optimizer.minimize(loss, no_grad_set=...)``, as PaddleSlim's scripts have it; empty, as the
        program holds no masks.

    Examples
    --------
    >>> import paddle
    >>> from qslim.prune.unstructured import StaticUnstructuredPruner
    >>> paddle.enable_static()
    >>> main, startup = paddle.static.Program(), paddle.static.Program()
    >>> with paddle.static.program_guard(main, startup):
    ...     y = paddle.nn.Linear(8, 8)(paddle.static.data("x", [None, 8], "float32"))
    >>> _ = paddle.static.Executor().run(startup)
    >>> pruner = StaticUnstructuredPruner(main, "ratio", ratio=0.25)
    >>> pruner.step()  # after each executor.run
    >>> [int((mask == 0).sum()) for mask in pruner.masks.values()]
    [16]
    >>> paddle.disable_static()
    """

    def __init__(
        self,
        program: Any,
        mode: str,
        ratio: float = 0.55,
        threshold: float = 0.01,
        scope: Any = None,
        place: Any = None,
        prune_params_type: Optional[str] = None,
        skip_params_func: Optional[Callable[[Any], Any]] = None,
        local_sparsity: bool = False,
        sparse_block: Sequence[int] = (1, 1),
    ) -> None:
        super().__init__(SparseRule(mode, ratio, threshold, local_sparsity, sparse_block), prune_params_type)
        paddle = paddle_module()
        self.program = program
        self._scope = paddle.static.global_scope() if scope is None else scope
        self._place = paddle.CPUPlace() if place is None else place
        self._skip_params_func, self._prune_params_type = skip_params_func, prune_params_type
        shapes = self._prunable_shapes(program)
        self._masks: dict[str, NDArray[np.float32]] = {
            name: np.ones(shape, np.float32) for name, shape in shapes.items()
        }
        self.skip_params: set[str] = {*_parameter_shapes(program)} - {*shapes}
        self.no_grad_set: set[str] = set()
        if not self._masks:
            raise ValueError(
                "UnstructuredPruner: no parameter is left to prune; skip_params_func skips them all?"
            )

    @property
    def scope(self) -> Any:
        """The scope that the weights live in."""
        return self._scope

    def sparse_by_layer(self, program: Any) -> dict[str, float]:
        """Return the share of zeros of each parameter of `program`."""
        return {name: sparsity([_read(self._scope, name)]) for name in _parameter_shapes(program)}

    def _prunable_shapes(self, program: Any) -> dict[str, tuple[int, ...]]:
        """Return the shapes of what there is to prune in `program`, by name."""
        skipped = None if self._skip_params_func is None else set(self._skip_params_func(program))
        normalizing = _normalizing_parameters(program)
        prunable = {}
        for name, shape in _parameter_shapes(program).items():
            is_skipped = name in normalizing or (len(shape) < 2 if skipped is None else name in skipped)
            if self._prune_params_type == "conv1x1_only":
                is_skipped |= not _is_conv1x1(shape)
            if not is_skipped:
                prunable[name] = shape
        return prunable

    def _names(self) -> list[str]:
        return list(self._masks)

    def _weights(self) -> dict[str, _Array]:
        return {name: _read(self._scope, name) for name in self._masks}

    def _weights_of(self, model: Any) -> dict[str, _Array]:
        return {name: _read(self._scope, name) for name in self._prunable_shapes(model)}

    def _set_weight(self, name: str, value: _Array) -> None:
        self._scope.find_var(name).get_tensor().set(value, self._place)

    def _mask(self, name: str) -> _Array:
        return self._masks[name]

    def _set_mask(self, name: str, mask: NDArray[np.float32]) -> None:
        self._masks[name] = mask

    @staticmethod
    def total_sparse(program: Any, scope: Any = None) -> float:
        """Return the share of zeros among all parameters of `program` in `scope` (default: global)."""
        where = paddle_module().static.global_scope() if scope is None else scope
        return sparsity([_read(where, name) for name in _parameter_shapes(program)])

    @staticmethod
    def total_sparse_conv1x1(program: Any, scope: Any = None) -> float:
        """Return the share of zeros among the weights of 1 x 1 convolutions."""
        where = paddle_module().static.global_scope() if scope is None else scope
        shapes = _parameter_shapes(program)
        return sparsity([_read(where, name) for name, shape in shapes.items() if _is_conv1x1(shape)])


def _parameter_shapes(program: Any) -> dict[str, tuple[int, ...]]:
    """Return the shapes of parameters; legacy programs list them, PIR's blocks hold their operators."""
    owner = program if hasattr(program, "desc") else program.global_block()
    return {parameter.name: tuple(parameter.shape) for parameter in owner.all_parameters()}


def _normalizing_parameters(program: Any) -> set[str]:
    """Return the names of parameters that batch, layer, group and instance norms read."""
    found: set[str] = set()
    for op in program.global_block().ops:
        if hasattr(program, "desc"):
            if "norm" in op.type:
                found.update(op.input_arg_names)
        elif "_norm" in op.name():
            sources = (op.operand_source(index) for index in range(op.num_operands()))
            found.update(value.name for value in sources if value.initialized() and value.persistable)
    return found


def _read(scope: Any, name: str) -> _Array:
    variable = scope.find_var(name)
    if variable is None or not variable.get_tensor()._is_initialized():
        raise ValueError(
            f"UnstructuredPruner: parameter {name!r} has no value in the scope; run the startup program first"
        )
    return np.array(variable.get_tensor())
