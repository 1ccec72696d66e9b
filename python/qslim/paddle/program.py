# SPDX-License-Identifier: Apache-2.0
"""A loaded Paddle inference model: its program, its parameters, its Graph, and a way to run it.

The function that makes the Graph of the program is handed in, as ``importers.paddle.load_program`` does.

Both IRs end in one walk: a legacy program is translated to PIR for reading, with its variables' names kept,
while it runs and is rewritten as what it is. Names of tensors: the variable's name in a legacy model; in a
PIR model the parameter's or the feed's name, else operator and count ("relu_3").
"""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Callable, Optional, Protocol, Union

import numpy as np
from numpy.typing import NDArray

from qslim.errors import ModelFileError
from qslim.graph import Graph
from qslim.paddle import framework
from qslim.paddle.model_files import ModelFiles
from qslim.paddle.params_file import read_records

__all__ = [
    "FeedSpec",
    "PaddleProgram",
    "ProgramWalk",
    "WalkedProgram",
    "check_model_files",
    "is_persistable",
    "load_model_files",
]


@dataclass(frozen=True)
class FeedSpec:
    """One input of the model. ``shape`` has None where the extent is free."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[Optional[int], ...]


@dataclass
class WalkedProgram:
    """The Graph of a program, and how its names and the program's values find each other."""

    graph: Graph
    values: dict[str, Any]
    names: dict[int, Union[str, list[str]]]
    parameters: set[str]

    def name_of(self, value: Any) -> str:
        """Return the name of `value`, which is no list."""
        name = self.names[value.id]
        assert isinstance(name, str)
        return name


class ProgramWalk(Protocol):
    """A function that makes the Graph of a PIR program."""

    def __call__(
        self,
        program: Any,
        known_names: dict[str, str],
        parameter: Callable[[str], NDArray[Any]],
        kept: frozenset[str] = frozenset(),
    ) -> WalkedProgram: ...


def is_persistable(op: Any) -> bool:
    """Return True if a builtin.parameter is in the parameter file."""
    return all(op.attrs().get("persistable", [True]))


class PaddleProgram:
    """A program in a scope of its own. ``active()`` switches Paddle to it and back again.

    Attributes
    ----------
    is_legacy : bool
    program : paddle.static.Program or paddle.base.libpaddle.pir.Program
    graph : Graph
        What it computes. Passes change it; `program` is rewritten by an exporter only.
    executor : paddle.static.Executor
    feeds : list of FeedSpec, in the order in which the model was saved
    fetches : list
        Fetch targets as Paddle gave them (Variables or Values).
    parameter_names : set of str
        The graph's constants that are parameters of the program.
    half_parameters : dict of name to "float16" or "bfloat16"
        Parameters that the Graph holds, and computes with, as float32.
    values : dict
        Tensor name to PIR Value, of PIR models only.
    unread_inputs : list of str
        Inputs of a traced Layer that it does not read; the program does not have them.
    """

    unread_inputs: Sequence[str] = ()

    def __init__(self, files: ModelFiles, walk: ProgramWalk, place: Any = None) -> None:
        self.files = files
        self._walk = walk
        self.is_legacy = not files.is_pir
        self.half_parameters: dict[str, str] = {}
        self._fetch_program: Optional[tuple[tuple[str, ...], Any, list[Any]]] = None
        with framework.static_mode() as scope:
            self.scope = scope
        with self.active():
            self.executor = framework.executor(place)
            self.program, self.feed_names, self.fetches = load_model_files(files, self.executor)
            _check_parameter_file(files, self.program, self.is_legacy)
        self.read_graph()

    def read_graph(self) -> None:
        """Make the Graph of what the program computes now."""
        self._fetch_program = None
        with self.active():
            pir_program, names = self._as_pir()
            walked = self._walk(pir_program, names, self._widened)
            self.parameter_names = walked.parameters
            self.graph: Graph = self._with_ends(walked)
            self.values: dict[str, Any] = {} if self.is_legacy else walked.values
            self.feeds = [_feed_spec(self.graph, name) for name in self.feed_names]

    def graph_keeping(self, operators: frozenset[str]) -> Graph:
        """Return a Graph in which `operators` stay Paddle's own, with their parameters as operands.

        Where the importer takes an operator apart, its parameters become other constants.
        """
        with self.active():
            pir_program, names = self._as_pir()
            return self._with_ends(self._walk(pir_program, names, self._widened, operators))

    def _with_ends(self, walked: WalkedProgram) -> Graph:
        """Set the inputs and outputs of the walked Graph and return it."""
        graph = walked.graph
        if self.is_legacy:
            graph.outputs = [variable.name for variable in self.fetches]
        else:
            graph.outputs = [walked.name_of(value) for value in self.fetches]
        graph.inputs = list(self.feed_names)
        return graph

    def parameter(self, name: str) -> NDArray[Any]:
        """Return a copy of the parameter `name`."""
        variable = self.scope.find_var(name)
        if variable is None:
            raise ModelFileError(f"{self.files.program!r} needs parameter {name!r}, which was not loaded")
        return np.array(variable.get_tensor())

    def _widened(self, name: str) -> NDArray[Any]:
        """Return the parameter `name`; floats of 16 bits as float32, and remembered by name."""
        value = self.parameter(name)
        dtype = str(self.scope.find_var(name).get_tensor()._dtype())
        if dtype.lower().endswith(("bf16", "bfloat16")):  # NumPy sees their bits
            self.half_parameters[name] = "bfloat16"
            return (value.view(np.uint16).astype(np.uint32) << 16).view(np.float32)
        if value.dtype == np.float16:
            self.half_parameters[name] = "float16"
            return value.astype(np.float32)
        return value

    def uses_of(self, name: str) -> int:
        """Return the number of operands, of all operators, that are the parameter `name`."""
        if self.is_legacy:
            operands = (op.input(slot) for op in self.program.global_block().ops for slot in op.input_names)
            return sum(names.count(name) for names in operands)
        value = self.values[name]
        return sum(
            source.initialized() and source.is_same(value)
            for op in value.all_used_ops()
            for source in op.operands_source()
        )

    def set_parameter(self, name: str, value: NDArray[Any]) -> None:
        """Store `value` in the model's scope, replacing what `name` held."""
        paddle = framework.paddle_module()
        tensor = self.scope.var(name).get_tensor()
        tensor._clear()
        tensor.set(np.require(value, requirements="C"), paddle.CPUPlace())  # which keeps a scalar one

    @contextlib.contextmanager
    def active(self) -> Iterator[None]:
        """Enter static mode with this model's IR and scope; restore the process afterwards."""
        paddle = framework.paddle_module()
        ir = framework.legacy_ir if self.is_legacy else framework.pir_ir
        with framework.static_mode(), ir(), framework.quiet(), paddle.static.scope_guard(self.scope):
            yield

    def run(self, feed: Mapping[str, NDArray[Any]], names: Sequence[str]) -> list[NDArray[Any]]:
        """Run one batch and return the tensors `names`, as views of Paddle's memory (do not keep them)."""
        with self.active():
            program, targets = self._fetching(tuple(names))
            tensors = self.executor.run(program, feed=dict(feed), fetch_list=targets, return_numpy=False)
            return [np.from_dlpack(_Exported(tensor)) for tensor in tensors]

    def run_outputs(self, feed: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        """Run one batch and return the model's own outputs."""
        return [np.array(output) for output in self.run(feed, self.graph.outputs)]

    def _fetching(self, names: tuple[str, ...]) -> tuple[Any, list[Any]]:
        """Return a program that can fetch `names`, without the saved fetches, which would clash."""
        if self._fetch_program is None or self._fetch_program[0] != names:
            if self.is_legacy:
                program = self.program.clone()
                block = program.global_block()
                for index in reversed(range(len(block.ops))):
                    if block.ops[index].type in ("feed", "fetch"):
                        block._remove_op(index)
                self._fetch_program = (names, program, list(names))
            else:
                mapping = framework.ir_mapping()
                program = self.program.clone(mapping)
                block = program.global_block()
                for op in [op for op in block.ops if op.name() == "pd_op.fetch"]:
                    block.remove_op(op)
                self._fetch_program = (names, program, [mapping.look_up(self.values[name]) for name in names])
        return self._fetch_program[1], self._fetch_program[2]

    def _as_pir(self) -> tuple[Any, dict[str, str]]:
        """Return the program in PIR, and the names of its values by their id."""
        if not self.is_legacy:
            return self.program, {}
        program, variables = framework.translated_to_pir(self.program.desc)
        names = {}
        for name, values in variables.items():
            # An in-place operator's result has the name of what it overwrites; the first value is the tensor.
            # A list of tensors has the name of its first one.
            for count, value in enumerate(value for value in values if not value.is_combine()):
                names[value.id] = name if count == 0 else f"{name}@{count}"
        return program, names


def check_model_files(files: ModelFiles) -> None:
    """Load the model in `files` once to see that they are whole and belong together.

    Raises
    ------
    ModelFileError : they do not.
    """
    ir = framework.pir_ir if files.is_pir else framework.legacy_ir
    with framework.static_mode(), ir(), framework.quiet():
        program, _, _ = load_model_files(files, framework.executor())
        _check_parameter_file(files, program, not files.is_pir)


class _Exported:
    """Paddle's executor returns tensors without the DLPack protocol's method names; this adds them."""

    def __init__(self, tensor: Any) -> None:
        self._tensor = tensor

    def __dlpack__(self, **_: Any) -> Any:
        return self._tensor._to_dlpack()

    def __dlpack_device__(self) -> tuple[int, int]:
        return (1, 0)


def load_model_files(files: ModelFiles, executor: Any) -> tuple[Any, list[str], list[Any]]:
    """Call Paddle's `load_inference_model`, with its errors put in words."""
    paddle = framework.paddle_module()
    if files.params is not None:
        read_records(files.params)  # says where a damaged file breaks; Paddle does not
    directory, program_name = os.path.split(files.program)
    stem, ending = os.path.splitext(files.program)
    if ending in (".json", ".pdmodel") and files.params in (None, stem + ".pdiparams"):
        arguments, keywords = stem, {}
    else:
        arguments, keywords = directory or ".", {"model_filename": program_name}
        if files.params is not None:
            keywords["params_filename"] = os.path.basename(files.params)
    try:
        program, feed_names, fetches = paddle.static.load_inference_model(arguments, executor, **keywords)
    except Exception as error:  # Paddle raises whatever its C++ core threw: RuntimeError, ValueError, ...
        raise ModelFileError(
            f"Paddle cannot load {files.program!r} with {files.params!r}: {_reason(error)} "
            "(one of the files is damaged, or they do not belong together)"
        ) from error
    return program, list(feed_names), list(fetches)


def _reason(error: Exception) -> str:
    """Return the line of a Paddle error that says what is wrong; around it stand traces of its C++ code."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return next((line for line in lines if line.startswith("(")), lines[0] if lines else type(error).__name__)


def _check_parameter_file(files: ModelFiles, program: Any, is_legacy: bool) -> None:
    """Compare the parameter file with what the program declares; Paddle's legacy loader does not."""
    if files.params is None:
        return
    if is_legacy:
        shapes = {v.name: tuple(v.shape) for v in program.list_vars() if _is_stored(v)}
    else:
        shapes = {
            op.attrs()["parameter_name"]: tuple(op.result(0).shape)
            for op in program.global_block().ops
            if op.name() == "builtin.parameter" and is_persistable(op)
        }
    records = read_records(files.params)
    if len(records) != len(shapes):
        raise ModelFileError(
            f"{files.params!r} holds {len(records)} parameters but {files.program!r} has {len(shapes)}: "
            "they do not belong together, or one of them is incomplete"
        )
    # Both savers write the parameters in the order of their names.
    for (name, shape), record in zip(sorted(shapes.items()), records):
        if math.prod(shape) != math.prod(record.dims):
            raise ModelFileError(
                f"{files.params!r} holds a tensor of shape {list(record.dims)} where {files.program!r} "
                f"expects parameter {name!r} of shape {list(shape)}: they do not belong together"
            )


def _is_stored(variable: Any) -> bool:
    """Return True if `variable` is a parameter, and no feed or fetch list."""
    types = framework.legacy_core().VarDesc.VarType
    return bool(variable.persistable) and variable.type not in (
        types.FEED_MINIBATCH,
        types.FETCH_LIST,
        types.RAW,
        types.READER,
    )


def _feed_spec(graph: Graph, name: str) -> FeedSpec:
    tensor = graph.tensors[name]
    return FeedSpec(name, np.dtype(tensor.dtype), tensor.shape or ())
