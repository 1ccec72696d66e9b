# SPDX-License-Identifier: Apache-2.0
"""DistillationStrategy: for some epochs the student's feature maps follow those of teachers.

    loss = the student's own loss + sum of distillation_loss_weight * distance

The teachers run beside the student, on the same batch, and their feature maps are fed to it: no operator is
copied from program to program, so it works in both IRs.
Source: the options of paddle.fluid 1.6, contrib/slim/distillation; distances by name in each class.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from qslim.compressor.context import Context
from qslim.compressor.network import Network
from qslim.compressor.strategy import Strategy
from qslim.errors import UnsupportedModelError
from qslim.importers.paddle.operators.source_op import dtype_name
from qslim.paddle import framework
from qslim.quant.post_training.data_source import Feed

__all__ = ["DistillationStrategy", "FSPDistiller", "L2Distiller", "SoftLabelDistiller"]


class _Distiller:
    """The base of distances between feature maps."""

    distillation_loss_weight: float

    def __post_init__(self) -> None:
        weight = self.distillation_loss_weight
        if not isinstance(weight, (int, float)) or not np.isfinite(weight):
            raise ValueError(f"distillation_loss_weight: expected a number, got {weight!r}")

    @property
    def names(self) -> list[tuple[str, str]]:
        """Return pairs of a student's and a teacher's feature map; each distiller has its own."""
        raise NotImplementedError

    def distance(self, students: Sequence[Any], teachers: Sequence[Any]) -> Any:
        """Return the distance of the tensors of ``names``, in the current program."""
        raise NotImplementedError


@dataclass
class L2Distiller(_Distiller):
    """The mean squared difference of two feature maps of one shape."""

    student_feature_map: str
    teacher_feature_map: str
    distillation_loss_weight: float = 1

    @property
    def names(self) -> list[tuple[str, str]]:
        return [(self.student_feature_map, self.teacher_feature_map)]

    def distance(self, students: Sequence[Any], teachers: Sequence[Any]) -> Any:
        paddle = framework.paddle_module()
        return paddle.mean(paddle.nn.functional.square_error_cost(students[0], teachers[0]))


@dataclass
class SoftLabelDistiller(_Distiller):
    """The cross entropy of softmax(student / temperature) against softmax(teacher / temperature).

    Source: Hinton et al. 2015 (arXiv:1503.02531), without the factor of the temperatures.
    """

    student_feature_map: str
    teacher_feature_map: str
    student_temperature: float = 1.0
    teacher_temperature: float = 1.0
    distillation_loss_weight: float = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        for key in ("student_temperature", "teacher_temperature"):
            if not isinstance(getattr(self, key), (int, float)) or not getattr(self, key) > 0:
                raise ValueError(f"{key}: expected a number > 0, got {getattr(self, key)!r}")

    @property
    def names(self) -> list[tuple[str, str]]:
        return [(self.student_feature_map, self.teacher_feature_map)]

    def distance(self, students: Sequence[Any], teachers: Sequence[Any]) -> Any:
        paddle = framework.paddle_module()
        functional = paddle.nn.functional
        target = functional.softmax(teachers[0] / self.teacher_temperature)
        scores = students[0] / self.student_temperature
        return paddle.mean(functional.softmax_with_cross_entropy(scores, target, soft_label=True))


@dataclass
class FSPDistiller(_Distiller):
    """The mean squared difference of FSP matrices: products of two maps' channels, over their places.

    Source: Yim et al. 2017, "A Gift from Knowledge Distillation".
    """

    student_pairs: Sequence[Sequence[str]]
    teacher_pairs: Sequence[Sequence[str]]
    distillation_loss_weight: float = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        for key in ("student_pairs", "teacher_pairs"):
            pairs = getattr(self, key)
            if not isinstance(pairs, (list, tuple)) or not all(
                isinstance(pair, (list, tuple)) and len(pair) == 2 for pair in pairs
            ):
                raise ValueError(f"{key}: expected a list of pairs of names, got {pairs!r}")
        if len(self.student_pairs) != len(self.teacher_pairs):
            raise ValueError(
                f"teacher_pairs: expected as many as student_pairs ({len(self.student_pairs)}), got "
                f"{len(self.teacher_pairs)}"
            )

    @property
    def names(self) -> list[tuple[str, str]]:
        pairs = zip(self.student_pairs, self.teacher_pairs)
        return [names for student, teacher in pairs for names in zip(student, teacher)]

    def distance(self, students: Sequence[Any], teachers: Sequence[Any]) -> Any:
        paddle = framework.paddle_module()
        distances = [
            paddle.mean(
                paddle.nn.functional.square_error_cost(
                    _fsp(*students[index : index + 2]), _fsp(*teachers[index : index + 2])
                )
            )
            for index in range(0, len(students), 2)
        ]
        return sum(distances[1:], distances[0])


def _fsp(first: Any, second: Any) -> Any:
    """Return [N, C1, C2], the mean over the places of two maps [N, C, H, W]."""
    paddle = framework.paddle_module()
    flat = [paddle.reshape(value, [0, value.shape[1], -1]) for value in (first, second)]
    return paddle.einsum("nap,nbp->nab", *flat) / float(first.shape[2] * first.shape[3])


@dataclass
class DistillationStrategy(Strategy):
    """Train with ``distiller_optimizer`` on the loss with distances, from start_epoch to end_epoch.

    Attributes
    ----------
    distillers : list of L2Distiller, SoftLabelDistiller, FSPDistiller
    start_epoch, end_epoch : int; after it training goes on with ``train_optimizer``
    """

    distillers: Sequence[_Distiller] = ()
    start_epoch: int = 0
    end_epoch: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.distillers, _Distiller):
            self.distillers = [self.distillers]
        if not self.distillers or not all(isinstance(item, _Distiller) for item in self.distillers):
            raise ValueError(f"distillers: expected names of blocks of distillers, got {self.distillers!r}")

    def check(self, context: Context) -> None:
        if not context.teachers:
            raise ValueError("Compressor: teacher_programs: DistillationStrategy needs at least one")
        if context.optimizer is None:
            raise ValueError(
                "Compressor: DistillationStrategy adds a loss: give a train_program without gradients and "
                "train_optimizer"
            )
        if context.distiller_optimizer is None:
            raise ValueError("Compressor: distiller_optimizer: DistillationStrategy needs one")
        for distiller in self.distillers:
            for student, _ in distiller.names:
                context.forward.find(student, "student_feature_map")
        _Teachers(context, self._teacher_names())

    def on_epoch_begin(self, context: Context) -> None:
        if context.epoch_id == self.start_epoch:
            self._begin(context)

    def on_epoch_end(self, context: Context) -> None:
        if context.epoch_id == self.end_epoch:
            context.teach = None
            context.rebuild()

    def restore(self, context: Context, state: Mapping[str, Any]) -> None:
        if self.start_epoch < context.epoch_id <= self.end_epoch:
            self._begin(context)

    def _teacher_names(self) -> list[str]:
        return [*dict.fromkeys(name for item in self.distillers for _, name in item.names)]

    def _begin(self, context: Context) -> None:
        teachers = _Teachers(context, self._teacher_names())
        context.rebuild(lambda network: self._add_loss(network, teachers), context.distiller_optimizer)
        context.teach = teachers.feed

    def _add_loss(self, network: Network, teachers: _Teachers) -> None:
        paddle = framework.paddle_module()
        found = [
            network.find(student, "student_feature_map")
            for item in self.distillers
            for student, _ in item.names
        ]
        students = iter(network.variable(target) for target in found)
        with paddle.static.program_guard(network.program, paddle.static.Program()):
            maps = teachers.declare()
            terms = []
            for distiller in self.distillers:
                pairs = [(next(students), maps[name]) for _, name in distiller.names]
                for (student, teacher), names in zip(pairs, distiller.names):
                    _check_shapes(distiller, student, teacher, names)
                distance = distiller.distance([pair[0] for pair in pairs], [pair[1] for pair in pairs])
                terms.append(distance * float(distiller.distillation_loss_weight))
            distillation = sum(terms[1:], terms[0])
            own = network.variable(network.fetches["loss"])
            loss = paddle.reshape(own, [1]) + paddle.reshape(distillation, [1])
        network.fetches["loss"] = loss if network.is_pir else loss.name
        network.fetches["distillation_loss"] = distillation if network.is_pir else distillation.name


class _Teachers:
    """Feature maps of the teachers, as feeds of the student."""

    def __init__(self, context: Context, names: Sequence[str]) -> None:
        self._executor = context.executor
        self._networks: list[Network] = []
        self._fed: dict[str, str] = {name: f"teacher_feature_map_{i}" for i, name in enumerate(names)}
        self._variables: dict[str, Any] = {}
        waiting = list(names)
        for program in context.teachers:
            network = Network.create(program, (), (), "teacher").clone(for_test=True)
            for name in list(waiting):
                try:
                    target = network.find(name, "teacher_feature_map")
                except ValueError:
                    if program is context.teachers[-1]:
                        raise
                    continue
                waiting.remove(name)
                network.fetches[self._fed[name]] = target
                self._variables[name] = network.variable(target)
            network.feeds = network.fed_like(context.forward.feeds)
            self._networks.append(network)

    def declare(self) -> dict[str, Any]:
        """Add the feeds to the current program; return them by the teachers' names."""
        paddle = framework.paddle_module()
        declared = {}
        for name, variable in self._variables.items():
            shape = [None if extent < 0 else extent for extent in variable.shape]
            kind = dtype_name(variable.dtype)
            if kind not in ("float32", "fp32"):
                raise UnsupportedModelError(
                    f"Compressor: teacher_feature_map: {name!r} is {kind}, not float32"
                )
            declared[name] = paddle.static.data(self._fed[name], shape, "float32")
        return declared

    def feed(self, feed: Feed) -> Feed:
        """Run the teachers on `feed`; return their feature maps as feeds."""
        maps: Feed = {}
        for network in self._networks:
            if network.fetches:
                own = {spec.name: feed[spec.name] for spec in network.feeds}
                maps.update(network.run(self._executor, own))
        return maps


def _check_shapes(distiller: _Distiller, student: Any, teacher: Any, names: tuple[str, str]) -> None:
    is_map = isinstance(distiller, FSPDistiller)
    ours, theirs = list(student.shape)[1:], list(teacher.shape)[1:]
    if is_map and (len(ours) != 3 or len(theirs) != 3):
        raise ValueError(
            f"Compressor: FSPDistiller: expected maps [N, C, H, W], {names} are {ours} and {theirs}"
        )
    if ours != theirs:
        raise ValueError(
            f"Compressor: {type(distiller).__name__}: student_feature_map {names[0]!r} has shape {ours} and "
            f"teacher_feature_map {names[1]!r} {theirs}; choose maps of one shape"
        )
