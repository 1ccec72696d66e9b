# SPDX-License-Identifier: Apache-2.0
"""The engine's file of a quantized model: whatever of its Graph the engine can run."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Optional, Union

from qslim import _core
from qslim.exporters.qslim_file import save_qslim
from qslim.graph import Graph, Node
from qslim.graph.host_tail import HostTail, split_tail
from qslim.graph.passes import prepare_for_runtime
from qslim.graph.passes.clean import remove_dead

__all__ = [
    "EngineFile",
    "missing_operators",
    "observing",
    "runnable_part",
    "split_for_engine",
    "write_engine_file",
]


@dataclass(frozen=True)
class EngineFile:
    """The engine's file that was written, or the reason why none was.

    Attributes
    ----------
    path : str or None
    dropped_outputs : dict
        Outputs of the model that the file does not have, each with the operators that the engine lacks.
    host_operators : list of str
        What ``qslim.runtime.Session`` computes in NumPy behind the engine; other readers of the file get the
        tensors in front of it.
    stand_ins : list of str
        The file's outputs where it has none of the model's: the tensors that those operators read.
    problem : str
        Why there is no file; empty if there is one.
    """

    path: Optional[str] = None
    dropped_outputs: dict[str, list[str]] = field(default_factory=dict)
    stand_ins: list[str] = field(default_factory=list)
    problem: str = ""
    host_operators: list[str] = field(default_factory=list)

    @property
    def notes(self) -> list[str]:
        """Sentences for a report."""
        if self.problem:
            return [f"no .qslim file: {self.problem}"]
        if self.host_operators:
            return [
                f"{', '.join(self.host_operators)} run on the host, in NumPy, as the last steps of "
                "qslim.runtime.Session; from C++ the .qslim file gives the tensors in front of them"
            ]
        if self.stand_ins:
            missing = sorted({name for names in self.dropped_outputs.values() for name in names})
            return [
                f"the .qslim file gives {', '.join(map(repr, self.stand_ins))} in place of the model's "
                f"outputs: the engine has no kernel for {', '.join(missing)}"
            ]
        return [
            f"the .qslim file has no output {name!r}: the engine has no kernel for {', '.join(missing)}"
            for name, missing in self.dropped_outputs.items()
        ]


def missing_operators(graph: Graph, output: str) -> list[str]:
    """Return operators that `output` needs and the engine has no kernel for."""
    missing: dict[str, None] = {}
    for node in _ancestors(graph, output):
        if not _has_kernel(node):
            name = f"{node.domain}.{node.op_type}" if node.domain else node.op_type
            missing[f"{name} ({node.note})" if node.note else name] = None
    return list(missing)


def split_for_engine(graph: Graph) -> tuple[Graph, Optional[HostTail]]:
    """Return `graph` prepared for the engine, without the last steps that run on the host, and these."""
    prepared = prepare_for_runtime(graph)
    split = split_tail(prepared, _has_kernel)
    if split is None:
        return prepared, None
    part, tail = split
    remove_dead(part)
    part.inputs = [name for name in part.inputs if part.consumers(name)]
    return part, tail


def runnable_part(graph: Graph) -> tuple[Optional[Graph], dict[str, list[str]]]:
    """Prepare `graph` for the engine with the outputs that it can compute; also return why others cannot be.

    Where it can compute none but all weights come before the operators that it lacks (a program for training
    saved whole: probabilities, then loss and accuracy), what those operators read becomes the outputs.

    None if there are no such tensors either. `graph` is left as it is.
    """
    part = prepare_for_runtime(graph)
    dropped = {name: missing for name in part.outputs if (missing := missing_operators(part, name))}
    if not dropped:
        return part, {}
    weights = _weights(part)
    part.outputs = [name for name in part.outputs if name not in dropped]
    stands_in = not part.outputs
    if stands_in:
        part.outputs = _last_computed(part)
    remove_dead(part)
    part.inputs = [name for name in part.inputs if part.consumers(name) or name in part.outputs]
    if not part.outputs or (stands_in and _weights(part) != weights):
        return None, dropped
    return part, dropped


def write_engine_file(
    graph: Graph, path: Union[str, os.PathLike[str]], beside: Sequence[str] = ()
) -> EngineFile:
    """Write `graph` for the engine and open the file once to see that it runs.

    A Graph that the engine cannot run is no error: the result says why there is no file. The file remembers
    those `beside` it, as ``save_qslim`` says.
    """
    part: Optional[Graph]
    dropped: dict[str, list[str]] = {}
    part, tail = split_for_engine(graph)
    if tail is None:
        part, dropped = runnable_part(graph)
    if part is None:
        missing = sorted({name for names in dropped.values() for name in names})
        return EngineFile(
            dropped_outputs=dropped, problem=f"the engine has no kernel for {', '.join(missing)}"
        )
    name = os.fspath(path)
    save_qslim(part, name, beside, tail)
    try:
        _core.Session(name, 1, None)
    except ValueError as error:
        os.remove(name)
        return EngineFile(problem=str(error))
    if tail is not None:
        return EngineFile(name, host_operators=tail.operators)
    has_own = len(dropped) < len(graph.outputs)
    return EngineFile(name, dropped, [] if has_own else list(part.outputs))


def observing(graph: Graph, names: list[str]) -> Optional[Graph]:
    """Return `graph` in float, prepared for the engine, with the tensors `names` as its outputs.

    None if the engine cannot compute all of them.
    """
    observed = graph.copy()
    observed.outputs = names
    part, dropped = runnable_part(observed)
    if part is None or dropped:
        return None
    return part


def _has_kernel(node: Node) -> bool:
    return not node.domain and node.op_type in _core.operator_names()


# What accuracies begin with: they measure an answer, and are none.
_MEASURES = ("ArgMax", "TopK")


def _last_computed(graph: Graph) -> list[str]:
    """Return the float tensors that the engine can compute and that an operator it lacks reads."""
    computed, last = set(graph.inputs), {}
    for node in graph.nodes:
        operands = [name for name in node.inputs if name and not graph.tensors[name].is_constant]
        if _has_kernel(node) and node.op_type not in _MEASURES and computed.issuperset(operands):
            computed.update(filter(None, node.outputs))
        else:
            read = (name for name in operands if name in computed and name not in graph.inputs)
            last.update(dict.fromkeys(name for name in read if graph.tensors[name].dtype == "float32"))
    return list(last)


def _weights(graph: Graph) -> set[str]:
    """Return the names of float constants with more than one axis."""
    return {
        name
        for name, tensor in graph.tensors.items()
        if tensor.value is not None and tensor.dtype == "float32" and tensor.value.ndim > 1
    }


def _ancestors(graph: Graph, output: str) -> list[Node]:
    """Return the nodes that `output` depends on."""
    wanted, found = {output}, []
    for node in reversed(graph.nodes):
        if wanted.intersection(node.outputs):
            found.append(node)
            wanted.update(node.inputs)
    return found
