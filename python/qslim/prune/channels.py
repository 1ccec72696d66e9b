# SPDX-License-Identifier: Apache-2.0
"""Labels on the elements of tensors that vanish together, passed from operator to operator.

A *factor* of a tensor is an integer array of the tensor's rank whose extents are the tensor's or 1: element i
of the tensor vanishes when the atom at i of any of its factors does. A convolution's weight [OC, IC, KH, KW]
starts with one factor for each axis; its result [N, OC, H, W] has the one factor [1, OC, 1, 1]. A tensor
without a factor on an axis keeps that axis whole.

An operator's rule (``operators/``) says what its operands' factors have to do with each other and gives its
results' factors. Where a tensor with a factor on an axis meets one without, the factor is frozen: its atoms
are never cut, and the reason is kept. An axis that a reshape splits in two ([C] to [groups, C / groups])
gives a factor over both; a cut must leave a box, so in the end such a factor has to vary along one axis only.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Optional

import numpy as np

from qslim.graph import Graph, Node
from qslim.graph.flops import count
from qslim.graph.shape_inference import Shape, infer_shapes
from qslim.logger import logger
from qslim.prune.atoms import Atoms, Labels

__all__ = ["Channels", "Cost", "Factors", "Shape", "spanned", "thin"]

Factors = list[Labels]


@dataclass(frozen=True)
class Cost:
    """Multiply-adds of one product, and the factors of which each is proportional to."""

    multiply_adds: int
    factors: Factors


class Channels:
    """The factors of every tensor of `graph`, and what became of their atoms.

    With `shared` the graph is another form of the same network: what both have is one.

    Attributes
    ----------
    atoms : Atoms
    frozen : list of (labels, reason)
    selected : list of (labels, labels)
        Factors of which an operator took elements by their numbers, and what it took.
    literal : list of labels
        Factors whose extents an operator has as numbers; in a program, unlike in code, they stay those
        numbers.
    inexact : list of labels
        Factors that a normalization averages over: there a cut network differs from a masked one.
    wide : list of labels
        Factors over several axes, from splitting an axis.
    windows : list of labels
        Factors along the extents of kernels.
    columns : list of (tensor name, labels)
        Weights of products and of embeddings, and what runs over their output channels.
    costs : list of Cost
    """

    def __init__(self, graph: Graph, parameters: Iterable[str], shared: Optional[Channels] = None) -> None:
        self.graph = graph
        self.atoms: Atoms = Atoms() if shared is None else shared.atoms
        self.frozen: list[tuple[Labels, str]] = []
        self.selected: list[tuple[Labels, Labels]] = []
        self.literal: list[Labels] = []
        self.inexact: list[Labels] = []
        self.wide: list[Labels] = []
        self.windows: list[Labels] = []
        self.columns: list[tuple[str, Labels]] = []
        self.costs: list[Cost] = []
        self.parameters: dict[str, dict[int, Labels]] = {}
        self._factors: dict[str, Factors] = {}
        self._views: dict[str, str] = {}
        self._shapes = infer_shapes(graph)
        self._multiply_adds = _costs(graph, self._shapes)
        for name in parameters:
            self._label_parameter(name, None if shared is None else shared.parameters.get(name))
        self._label_views()

    def shape(self, name: str) -> Shape:
        """Return the shape of tensor `name` for one input."""
        if name not in self._shapes:
            raise ValueError(f"the shape of {name!r} is not known")
        return self._shapes[name]

    def read(self) -> set[str]:
        """Return the tensors that operators read, by the parameters that they are views of.

        A parameter that is not among them was folded into something else, or nobody needs it.
        """
        return {self._views.get(name, name) for node in self.graph.nodes for name in node.inputs}

    def sources(self) -> dict[str, set[str]]:
        """Return the parameters behind every tensor that is computed from constants alone."""
        found: dict[str, set[str]] = {}
        for name, tensor in self.graph.tensors.items():
            if tensor.value is not None:
                owner = self._views.get(name, name)
                found[name] = {owner} if owner in self.parameters else set()
        for node in self.graph.nodes:
            names = [name for name in node.inputs if name]
            if all(name in found for name in names):
                behind = {source for name in names for source in found[name]}
                found.update((name, behind) for name in node.outputs if name)
        return found

    def add_columns(self, name: str, axis: int) -> None:
        """Note that the output channels of a weight run along `axis`."""
        self.columns += [(name, factor) for factor in self.factors(name) if factor.shape[axis] > 1]

    def factors(self, name: str) -> Factors:
        return self._factors.get(name, [])

    def set_factors(self, name: str, factors: Factors) -> None:
        """Give tensor `name` its factors; what varies along no axis says nothing and is left out."""
        kept = [factor for factor in factors if factor.size > 1]
        self.wide += [factor for factor in kept if len(spanned(factor)) > 1]
        self._factors[name] = kept

    def freeze(self, labels: Iterable[Labels], reason: str) -> None:
        """Let no atom of `labels` be cut, and say why."""
        self.frozen += [(factor, reason) for factor in labels]

    def freeze_inputs(self, node: Node, reason: str) -> None:
        for name in filter(None, node.inputs):
            self.freeze(self.factors(name), reason)

    def frozen_atom(self, reason: str) -> Labels:
        """Make an atom for elements that are never cut."""
        atom = self.atoms.new(1)
        self.frozen.append((atom, reason))
        return atom

    def add_cost(self, node: Node, factors: Factors) -> None:
        """Note the multiply-adds of a product, which shrink with each of `factors`."""
        self.costs.append(Cost(self._multiply_adds.get(node.outputs[0], 0), factors))

    def couple(self, operands: Sequence[tuple[Shape, Factors]], reason: str) -> Factors:
        """Couple the factors of `operands`, which an operator combines elementwise; return the result's.

        Factors of several operands on one axis become one. A factor on an axis where an operand has more than
        one element but no factor is frozen with `reason`.
        """
        every = [factor for _, factors in operands for factor in factors]
        for axis in range(len(operands[0][0])):
            has_whole = any(
                shape[axis] > 1 and not any(factor.shape[axis] > 1 for factor in factors)
                for shape, factors in operands
            )
            if has_whole:
                self.freeze([factor for factor in every if factor.shape[axis] > 1], reason)
        joined: Factors = []
        for factor in every:
            axes = spanned(factor)
            for other in [other for other in joined if axes & spanned(other)]:
                joined = [kept for kept in joined if kept is not other]
                self.atoms.unite(factor, other)
                factor = np.broadcast_arrays(factor, other)[0]
                axes = spanned(factor)
            joined.append(factor)
        return joined

    def couple_tensors(self, names: Sequence[str], rank: int, reason: str) -> Factors:
        """Couple the factors of tensors that broadcast as NumPy's do."""
        return self.couple([self.aligned(name, rank) for name in names], reason)

    def aligned(self, name: str, rank: int) -> tuple[Shape, Factors]:
        """Return shape and factors of `name` with axes of one element in front, up to `rank` axes."""
        shape = self.shape(name)
        ones = (1,) * (rank - len(shape))
        return ones + shape, [factor.reshape(ones + factor.shape) for factor in self.factors(name)]

    def confine(self, factors: Factors, axes: Iterable[int], reason: str) -> Factors:
        """Let `factors` vary along `axes` only: what varies along others has to go at once, or not at all."""
        allowed = set(axes)
        result = []
        for factor in factors:
            for axis in sorted(spanned(factor) - allowed):
                first = np.take(factor, [0], axis=axis)
                self.atoms.unite(factor, first)
                factor = first
            if factor.size > 1:
                result.append(factor)
            else:
                self.freeze([factor], reason)
        return result

    def contract(self, factors: Factors, axis: int) -> Factors:
        """Return the factors after a sum over `axis`, with that axis gone."""
        result = []
        for factor in factors:
            first = np.take(factor, [0], axis=axis)
            if factor.shape[axis] > 1 and first.size > 1:
                self.atoms.unite(factor, first)
            result.append(np.squeeze(first, axis))
        return [factor for factor in result if factor.size > 1]

    def _label_parameter(self, name: str, known: Optional[dict[int, Labels]]) -> None:
        """Make one factor for each axis of a parameter; take `known` if another graph has it."""
        shape = self.shape(name)
        axes = known or {axis: self.atoms.new(extent) for axis, extent in enumerate(shape) if extent > 1}
        self.parameters[name] = axes
        self._factors[name] = [
            labels.reshape([-1 if other == axis else 1 for other in range(len(shape))])
            for axis, labels in axes.items()
        ]

    def _label_views(self) -> None:
        """Label constants that the importer made of a parameter by a reshape: they lie in its memory."""
        owners = {self._address(name): name for name in self.parameters}
        for name, tensor in self.graph.tensors.items():
            owner = owners.get(self._address(name)) if name not in self.parameters else None
            if owner is None or tensor.value is None or tensor.value.size != np.prod(self.shape(owner)):
                continue
            whole = (np.broadcast_to(factor, self.shape(owner)) for factor in self.factors(owner))
            self.set_factors(name, [thin(labels.reshape(tensor.value.shape)) for labels in whole])
            self._views[name] = owner

    def _address(self, name: str) -> Optional[int]:
        value = self.graph.tensors[name].value
        return None if value is None else int(value.__array_interface__["data"][0])


def _costs(graph: Graph, shapes: dict[str, Shape]) -> dict[str, int]:
    """Return the multiply-adds of each node; none if an operator without a definition hides a shape."""
    try:
        return count(graph, shapes=shapes)
    except ValueError as error:
        logger.warning("FLOPs are not counted: %s", error)
        return {}


def spanned(factor: Labels) -> set[int]:
    """Return the axes along which `factor` may vary."""
    return {axis for axis, extent in enumerate(factor.shape) if extent > 1}


def thin(labels: Labels) -> Labels:
    """Reduce `labels` to one element along every axis that they do not vary along."""
    for axis in range(labels.ndim):
        if labels.shape[axis] > 1:
            first = np.take(labels, [0], axis=axis)
            if (labels == first).all():
                labels = first
    return np.ascontiguousarray(labels)
