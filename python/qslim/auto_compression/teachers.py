# SPDX-License-Identifier: Apache-2.0
"""The teachers of a training: which of their tensors the student's follow, and the values for a batch.

Each teacher runs in a scope of its own, in the IR of its files, and its tensors are fed to the student.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Optional

import numpy as np

from qslim.auto_compression.strategies import Term
from qslim.errors import ModelFileError
from qslim.importers.paddle import load_float_program
from qslim.logger import logger
from qslim.paddle.model_files import ModelFiles, find_model_files
from qslim.paddle.program import PaddleProgram
from qslim.quant.options import choose
from qslim.quant.post_training.data_source import Feed

__all__ = ["Pair", "Teachers", "default_nodes", "teacher_files"]

_PREFIX = "teacher"
_ARGUMENT = "Distillation.node"


def default_nodes(program: PaddleProgram) -> list[str]:
    """Return the tensors that the last operators with weights give, one for each output, each once."""
    graph = program.graph
    found: dict[str, None] = {}
    for name in graph.outputs:
        while (node := graph.producer(name)) is not None:
            operands = [read for read in node.inputs if read]
            constants = [read for read in operands if graph.tensors[read].is_constant]
            has_weight = any(
                value is not None and value.size > 1 and value.dtype.kind == "f"
                for value in (graph.tensors[read].value for read in constants)
            )
            computed = [read for read in operands if read not in constants]
            if has_weight or len(computed) != 1 or computed[0] in graph.inputs:
                break
            name = computed[0]
        found[name] = None
    return list(found)


@dataclass(frozen=True)
class Pair:
    """A tensor of the student and the teacher's that it follows. ``fed`` is the name of the feed."""

    student: str
    teacher: str
    fed: str


class Teachers:
    """The teachers of the terms of a loss.

    Parameters
    ----------
    terms : list of Term
    original : ModelFiles
        The model that was given, the teacher of terms that name none.
    student : PaddleProgram
    place : paddle.CPUPlace, ...

    Attributes
    ----------
    pairs : list of list of Pair, one list for each term

    Raises
    ------
    ValueError : a node that a model does not have; a pair of other shapes.
    """

    def __init__(
        self, terms: Sequence[Term], original: ModelFiles, student: PaddleProgram, place: Any
    ) -> None:
        self._student = student
        self._programs: dict[Optional[tuple[Any, Any, Any]], PaddleProgram] = {}
        for term in terms:
            if term.teacher not in self._programs:
                files = original if term.teacher is None else teacher_files(term)
                self._programs[term.teacher] = load_float_program(files, place)
        self._numbers = {key: number for number, key in enumerate(self._programs)}
        self._feeds = {key: self._feeds_of(program) for key, program in self._programs.items()}
        self.pairs = [self._pairs(term) for term in terms]
        self._wanted = {
            key: {pair.fed: pair.teacher for term, pairs in zip(terms, self.pairs) for pair in pairs}
            for key in self._programs
        }
        for key, wanted in self._wanted.items():
            start = f"{_PREFIX}{self._numbers[key]}:"
            self._wanted[key] = {fed: name for fed, name in wanted.items() if fed.startswith(start)}

    def feed(self, feed: Feed) -> Feed:
        """Return the tensors that the teachers compute of the student's `feed`."""
        found: Feed = {}
        for key, program in self._programs.items():
            own = {name: feed[source] for name, source in self._feeds[key].items()}
            wanted = self._wanted[key]
            names = list(dict.fromkeys(wanted.values()))
            values = dict(zip(names, map(np.array, program.run(own, names))))
            found.update({fed: values[name] for fed, name in wanted.items()})
        return found

    def _feeds_of(self, teacher: PaddleProgram) -> dict[str, str]:
        """Return the student's feed for each of the teacher's: by name, else by order."""
        theirs, ours = [[spec.name for spec in each.feeds] for each in (teacher, self._student)]
        if set(theirs) <= set(ours):
            return {name: name for name in theirs}
        if len(theirs) != len(ours):
            raise ValueError(
                f"Distillation: the teacher {teacher.files.program!r} feeds {theirs}, the model {ours}; "
                "save the teacher with the model's inputs"
            )
        logger.info("Distillation: the teacher's feeds %s are the model's %s, in this order", theirs, ours)
        return dict(zip(theirs, ours))

    def _pairs(self, term: Term) -> list[Pair]:
        teacher, number = self._programs[term.teacher], self._numbers[term.teacher]
        if not term.nodes:
            students, theirs = default_nodes(self._student), default_nodes(teacher)
            if len(students) != len(theirs):
                raise ValueError(
                    f"{_ARGUMENT}: the model ends in {students} and its teacher in {theirs}: name the "
                    "tensors that belong together, as teacher_<name>, <name>, ..."
                )
            named = list(zip(students, theirs))
        elif any(name.startswith(_PREFIX) and name not in self._student.graph.tensors for name in term.nodes):
            named = _interleaved(term.nodes)
        else:
            named = [(name, name) for name in term.nodes]
        pairs = [Pair(mine, other, f"{_PREFIX}{number}:{other}") for mine, other in named]
        for pair in pairs:
            choose(_ARGUMENT, pair.student, _computed(self._student))
            choose(f"{_ARGUMENT}: of the teacher", pair.teacher, _computed(teacher))
            self._check(pair, teacher, is_same=term.teacher is None and pair.student == pair.teacher)
        return pairs

    def _check(self, pair: Pair, teacher: PaddleProgram, is_same: bool) -> None:
        ours, theirs = self._student.graph.tensors[pair.student], teacher.graph.tensors[pair.teacher]
        for tensor, name in ((ours, pair.student), (theirs, pair.teacher)):
            if tensor.dtype != "float32":
                raise ValueError(f"{_ARGUMENT}: {name!r} is {tensor.dtype}, expected float32")
        shapes = [list(each.shape or ())[1:] for each in (ours, theirs)]
        if len(shapes[0]) != len(shapes[1]) or any(
            None not in extents and extents[0] != extents[1] for extents in zip(*shapes)
        ):
            raise ValueError(
                f"{_ARGUMENT}: {pair.student!r} has shape {shapes[0]} behind the batch, the teacher's "
                f"{pair.teacher!r} {shapes[1]}; choose tensors of one shape, which pruning does not cut"
            )
        kinds = [
            getattr(graph.producer(name), "op_type", None)
            for graph, name in ((self._student.graph, pair.student), (teacher.graph, pair.teacher))
        ]
        if is_same and kinds[0] != kinds[1]:
            raise ValueError(
                f"{_ARGUMENT}: {pair.student!r} is computed by {kinds[0]} now and by {kinds[1]} in the model "
                "that was given; leave node out"
            )


def teacher_files(term: Term) -> ModelFiles:
    """Return the files of the teacher that `term` names."""
    assert term.teacher is not None
    try:
        return find_model_files(*term.teacher)
    except ModelFileError as error:
        raise type(error)(f"Distillation.teacher_{error}") from error


def _computed(program: PaddleProgram) -> list[str]:
    """Return the names of the tensors that are no constants."""
    return [name for name, tensor in program.graph.tensors.items() if not tensor.is_constant]


def _interleaved(names: Sequence[str]) -> list[tuple[str, str]]:
    """Return pairs (student's, teacher's) of PaddleSlim's list teacher_a, a, teacher_b, b, ..."""
    theirs, ours = names[::2], names[1::2]
    if len(theirs) != len(ours) or not all(name.startswith(_PREFIX) and "_" in name for name in theirs):
        raise ValueError(
            f"{_ARGUMENT}: expected tensors of the model, or teacher_<name>, <name>, ... in turn, got "
            f"{list(names)}"
        )
    return [(mine, other.partition("_")[2]) for mine, other in zip(ours, theirs)]
