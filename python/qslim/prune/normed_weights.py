# SPDX-License-Identifier: Apache-2.0
"""Layers with ``paddle.nn.utils.weight_norm``: their weight is computed, weight = g * v / norm(v).

``weight_v`` has the weight's shape, ``weight_g`` one number for each index along `dim` (or one for all). Both
are cut together. A cut along another axis makes norm(v) smaller; g is changed with it, so that the weights
that stay keep their values.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Optional

import numpy as np
from numpy.typing import NDArray

from qslim.graph import Graph

__all__ = ["NormedWeight", "name_computed_weights", "normed_weights", "weight_tensor"]


@dataclass(frozen=True)
class NormedWeight:
    """One weight that ``weight_norm`` computes; ``dim`` is None if there is one norm for all of it."""

    layer: Any
    name: str
    dim: Optional[int]

    @property
    def v(self) -> Any:
        return getattr(self.layer, f"{self.name}_v")

    @property
    def g(self) -> Any:
        return getattr(self.layer, f"{self.name}_g")

    def norms(self, v: NDArray[Any]) -> NDArray[np.float64]:
        """Return norm(v), of the shape of g; 1 in place of 0."""
        axes = tuple(axis for axis in range(v.ndim) if axis != self.dim)
        squares = np.square(v.astype(np.float64)).sum(axis=axes if self.dim is not None else None)
        return np.asarray(np.sqrt(np.where(squares > 0, squares, 1.0)).reshape(-1))


def normed_weights(model: Any) -> list[NormedWeight]:
    """Return the weights in `model` that ``weight_norm`` computes."""
    found = []
    for layer in model.sublayers(include_self=True):
        for hook in layer._forward_pre_hooks.values():
            name, dim = getattr(hook, "name", None), getattr(hook, "dim", None)
            if type(hook).__name__ == "WeightNorm" and f"{name}_v" in layer._parameters:
                found.append(NormedWeight(layer, str(name), None if dim == -1 else dim))
    return found


def name_computed_weights(model: Any, graph: Graph) -> set[str]:
    """Give the weights that hooks compute names of their own in `graph`, traced from `model` just now.

    Their tensors are new, and so are their names, in every forward pass. A weight of ``weight_norm`` is
    called as its ``weight_v`` is.

    Returns
    -------
    set of str: those of other hooks.
    """
    names = {getattr(normed.layer, normed.name).name: normed.v.name for normed in normed_weights(model)}
    others = {}
    for layer in model.sublayers(include_self=True):
        for hook in layer._forward_pre_hooks.values():
            name = getattr(hook, "name", None)
            weight = getattr(layer, name, None) if isinstance(name, str) else None
            if hasattr(hook, "compute_weight") and weight is not None and weight.name not in names:
                others[weight.name] = f"{layer.full_name()}.{name}"
    for old, new in {**names, **others}.items():
        if old in graph.tensors and new not in graph.tensors:
            graph.add_tensor(replace(graph.tensors[old], name=new))
            graph.replace_uses(old, new)
    return set(others.values())


def weight_tensor(layer: Any) -> Optional[Any]:
    """Return the parameter with the shape of `layer`'s weight; its first one if it has no weight."""
    for name in ("weight", "weight_v", "weight_orig"):
        if layer._parameters.get(name) is not None:
            return layer._parameters[name]
    own = [*layer.parameters(include_sublayers=False), *layer.buffers(include_sublayers=False)]
    return own[0] if own else None
