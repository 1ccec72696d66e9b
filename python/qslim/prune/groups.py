# SPDX-License-Identifier: Apache-2.0
"""Dependency groups: the parameters of a network that have to be cut together.

Every channel of every parameter axis belongs to one *atom*, the smallest set of channels that can be cut by
itself: a filter with its bias, its batch norm's entries and the slice of the next convolution that reads it;
for a residual, the filters of all branches that are added up; for attention, all channels of one head in the
projections of query, key, value and output. A group is named by the parameter axis that the user prunes, its
*master*, and holds whatever shares an atom with it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Callable, Optional

import numpy as np
from numpy.typing import NDArray

from qslim.graph import Graph
from qslim.prune.atoms import Labels
from qslim.prune.channels import Channels, spanned
from qslim.prune.operators import follow

__all__ = ["Group", "Groups", "Member", "find_groups"]


@dataclass(frozen=True)
class Member:
    """One axis of one parameter. ``atoms[i]`` is the atom of index i in the uncut parameter."""

    parameter: str
    axis: int
    atoms: Labels


@dataclass(frozen=True)
class Group:
    """Elements that are cut with the master ``(parameter, axis)``.

    Attributes
    ----------
    parameter, axis : str, int
        The master.
    members : list of (parameter, axis)
        Everything that loses channels with it, the master included.
    channels, units : int
        Channels of the master, and how many can be decided on one by one (heads, groups; else the same).
    reason : str
        Why it cannot be pruned; empty if it can.
    """

    parameter: str
    axis: int
    members: list[tuple[str, int]]
    channels: int
    units: int
    reason: str = ""

    @property
    def is_prunable(self) -> bool:
        return not self.reason

    def __str__(self) -> str:
        what = (
            f"{self.parameter} axis {self.axis}: {self.units} units over {len(self.members)} parameter axes"
        )
        return what if self.is_prunable else f"{what}; not prunable: {self.reason}"


class Groups:
    """The members of a network and the atoms that are still in it.

    Attributes
    ----------
    members : dict of (parameter, axis) to Member
    alive : ndarray of bool, one for each atom
    reasons : dict of atom to why it cannot be cut
    inexact : ndarray of bool
        Atoms that a normalization averages over: cutting them changes what it computes.
    selected : list of sets of atoms
        Parts of the channels that operators take by their numbers (``prune/trial.py`` tries them).
    literal : set of atoms of which operators have the extents as numbers
    splits : list of atoms along the axes that reshapes made of one (heads)
    windows : set of (parameter, axis) that are extents of kernels
    columns : list of (parameter, axis)
        The output channels of every weight of a product or an embedding, in the order of the network.
    """

    def __init__(self, members: dict[tuple[str, int], Member], count: int) -> None:
        self.members = members
        self.alive = np.ones(count, bool)
        self.inexact = np.zeros(count, bool)
        self.reasons: dict[int, str] = {}
        self.selected: list[set[int]] = []
        self.literal: set[int] = set()
        self.splits: list[Labels] = []
        self.windows: set[tuple[str, int]] = set()
        self.columns: list[tuple[str, int]] = []
        self._costs: list[tuple[int, list[Labels]]] = []

    def current(self, parameter: str, axis: int) -> Optional[Labels]:
        """Return the atoms of `parameter` along `axis` as it is now; None if no group has it."""
        member = self.members.get((parameter, axis))
        return None if member is None else member.atoms[self.alive[member.atoms]]

    def reason(self, parameter: str, axis: int) -> str:
        """Return the reason why nothing of a parameter axis can be cut; empty if something can."""
        if (parameter, axis) not in self.members:
            return "it has one channel, or the traced network does not compute with it"
        return self.group(parameter, axis).reason

    def couple(self, parameter: str, like: tuple[str, int]) -> None:
        """Let axis 0 of `parameter`, which is not in the graph, be cut as another parameter's axis is."""
        if like in self.members:
            self.members[parameter, 0] = Member(parameter, 0, self.members[like].atoms)

    def freeze(self, atoms: Iterable[int], reason: str) -> None:
        for atom in atoms:
            self.reasons.setdefault(int(atom), reason)

    def prunable_atoms(self, parameter: str, axis: int) -> Labels:
        """Return the atoms of a parameter axis that are there and can be cut, each once, in order."""
        atoms = self.current(parameter, axis)
        if atoms is None:
            return np.zeros(0, np.int64)
        return np.asarray([atom for atom in _unique(atoms) if int(atom) not in self.reasons], np.int64)

    def touched(self, atoms: Sequence[int] | Labels) -> list[Member]:
        """Return the members that hold any of `atoms`."""
        chosen = np.zeros(self.alive.size, bool)
        chosen[np.asarray(atoms, np.int64)] = True
        return [member for member in self.members.values() if chosen[member.atoms].any()]

    def masks(self, removed: Sequence[int] | Labels) -> dict[tuple[str, int], NDArray[np.int64]]:
        """Return masks (1 keeps, 0 prunes) of the present channels of members that lose some of `removed`."""
        stays = self.alive.copy()
        stays[np.asarray(removed, np.int64)] = False
        result = {}
        for member in self.touched(removed):
            atoms = member.atoms[self.alive[member.atoms]]
            if not stays[atoms].all():
                result[(member.parameter, member.axis)] = stays[atoms].astype(np.int64)
        return result

    def multiply_adds(self, removed: Sequence[int] | Labels = ()) -> float:
        """Return those of all convolutions and matrix products, for one input, without `removed`."""
        stays = self.alive.copy()
        stays[np.asarray(removed, np.int64)] = False
        return float(
            sum(
                count * np.prod([stays[labels].mean() for labels in factors])
                for count, factors in self._costs
            )
        )

    def group(self, parameter: str, axis: int) -> Group:
        """Return the group with this master."""
        atoms = self.members[parameter, axis].atoms
        units = _unique(atoms)
        members = [(member.parameter, member.axis) for member in self.touched(units)]
        reason = ""
        if len(units) < 2:
            reason = self.reasons.get(int(units[0]), "its channels can go only all at once")
        elif all(int(atom) in self.reasons for atom in units):
            reasons = Counter(self.reasons[int(atom)] for atom in units)
            reason = reasons.most_common(1)[0][0]
        return Group(parameter, axis, members, len(atoms), len(units), reason)


def find_groups(
    graph: Graph,
    parameters: Iterable[str],
    skip_leaves: bool = True,
    training_graph: Optional[Graph] = None,
) -> Groups:
    """Find what has to be cut together in `graph`.

    Parameters
    ----------
    graph : Graph
        With constant shapes, as traced for one input.
    parameters : names of the constants that are parameters
    skip_leaves : bool
        Keep the outputs of the network whole.
    training_graph : Graph, optional
        The same network as it trains, with heads that evaluation leaves out.

    Examples
    --------
    >>> from qslim.graph import Node, Tensor
    >>> graph = Graph(inputs=["x"], outputs=["z"])
    >>> _ = graph.add_tensor(Tensor("x", "float32", (1, 3, 8, 8)))
    >>> for name, shape in (("first", (4, 3, 1, 1)), ("second", (2, 4, 1, 1))):
    ...     _ = graph.add_tensor(Tensor(name, "float32", shape, np.zeros(shape, np.float32)))
    >>> for name, extent in (("y", 4), ("z", 2)):
    ...     _ = graph.add_tensor(Tensor(name, "float32", (1, extent, 8, 8)))
    >>> graph.add_node(Node("Conv", ["x", "first"], ["y"]))
    >>> graph.add_node(Node("Conv", ["y", "second"], ["z"]))
    >>> print(find_groups(graph, ["first", "second"]).group("first", 0))
    first axis 0: 4 units over 2 parameter axes
    >>> find_groups(graph, ["first", "second"]).group("second", 0).reason
    "'z' is an output of the network"
    """
    names = list(parameters)
    forms: list[Channels] = []
    for form in filter(None, (graph, training_graph)):
        channels = Channels(form, [name for name in names if name in form.tensors], *forms)
        forms.append(channels)
        for node in form.nodes:
            follow(channels, node)
        if skip_leaves:
            for name in form.outputs:
                channels.freeze(channels.factors(name), f"{name!r} is an output of the network")
    unread = set(names).intersection(*(set(names) - channels.read() for channels in forms))
    for channels in forms:
        for name in unread.intersection(channels.parameters):
            channels.freeze(channels.factors(name), "no operator that the pruner follows reads it")
    _make_boxes(forms)
    return _collect(forms)


def _make_boxes(forms: list[Channels]) -> None:
    """Let every factor vary along one axis only: the longest of those along which it still does."""
    atoms = forms[0].atoms
    for factor in [factor for channels in forms for factor in channels.wide]:
        labels = atoms.resolve(factor)
        axes = [axis for axis in spanned(labels) if (labels != np.take(labels, [0], axis)).any()]
        axes.sort(key=lambda axis: (labels.shape[axis], axis))
        for axis in axes[:-1]:
            atoms.unite(labels, np.take(labels, [0], axis))


def _collect(forms: list[Channels]) -> Groups:
    """Number the atoms that parameters have, and sort what was found out about them.

    FLOPs are those of the first form.
    """
    channels = forms[0]
    parameters = {name: by for form in forms for name, by in form.parameters.items()}
    axes = [(name, axis, labels) for name, by in parameters.items() for axis, labels in by.items()]
    if not axes:
        return Groups({}, 0)
    resolved = [channels.atoms.resolve(labels) for _, _, labels in axes]
    roots, numbers = np.unique(np.concatenate(resolved), return_inverse=True)
    split = np.split(numbers.reshape(-1), np.cumsum([labels.size for labels in resolved])[:-1])
    members = {
        (name, axis): Member(name, axis, atoms.astype(np.int64))
        for (name, axis, _), atoms in zip(axes, split)
    }
    groups = Groups(members, roots.size)

    def numbered(labels: Labels) -> Labels:
        """Return the atoms of parameters among `labels`; -1 for those of other constants."""
        found = channels.atoms.resolve(labels)
        at = np.minimum(np.searchsorted(roots, found), roots.size - 1)
        return np.where(roots[at] == found, at, -1)

    def present(labels: Labels) -> set[int]:
        return {int(atom) for atom in np.unique(numbered(labels)) if atom >= 0}

    for form in forms:
        for labels, reason in form.frozen:
            groups.freeze(present(labels), reason)
        for labels in form.inexact:
            groups.inexact[list(present(labels))] = True
        parts = [(present(factor), present(part)) for factor, part in form.selected]
        groups.selected += [part for whole, part in parts if part != whole]
        for factor in form.wide:
            found = _along(numbered(factor))
            if found is not None and (found[1] >= 0).all():
                groups.splits.append(found[1])
        groups.columns += _columns(form, members, numbered)
        groups.literal |= {atom for factor in form.literal for atom in present(factor)}
    windows = {atom for form in forms for factor in form.windows for atom in present(factor)}
    groups.windows = {key for key, member in members.items() if windows.issuperset(member.atoms.tolist())}
    groups._costs = [
        (
            cost.multiply_adds,
            [labels[labels >= 0] for labels in map(numbered, cost.factors) if (labels >= 0).any()],
        )
        for cost in channels.costs
    ]
    return groups


def _columns(
    channels: Channels, members: dict[tuple[str, int], Member], numbered: Callable[[Labels], Labels]
) -> Iterator[tuple[str, int]]:
    """Yield the parameter axis behind the output channels of each weight, where it is one."""
    sources = channels.sources()
    for name, labels in channels.columns:
        atoms = set(np.unique(numbered(labels)).tolist())
        behind = [
            key
            for key, member in members.items()
            if key[0] in sources.get(name, ()) and set(member.atoms.tolist()) == atoms
        ]
        if behind:  # of several (the scale of a computed weight) the one of the highest rank
            yield max(behind, key=lambda key: len(channels.parameters[key[0]]))


def _along(atoms: Labels) -> Optional[tuple[int, Labels]]:
    """Return the one axis along which `atoms` vary, and what they are there; None if all are one."""
    varying = [axis for axis in spanned(atoms) if (atoms != np.take(atoms, [0], axis)).any()]
    if len(varying) != 1:
        return None
    index = tuple(slice(None) if axis == varying[0] else 0 for axis in range(atoms.ndim))
    return varying[0], atoms[index]


def _unique(atoms: Labels) -> Labels:
    """Return each atom once, where it first appears."""
    _, first = np.unique(atoms, return_index=True)
    return atoms[np.sort(first)]
