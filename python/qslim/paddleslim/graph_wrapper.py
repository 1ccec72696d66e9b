# SPDX-License-Identifier: Apache-2.0
"""``paddleslim.core``'s view of a legacy program: operators, variables, and what lies before and behind them.

Source: paddleslim 2.6.0, core/graph_wrapper.py (names and meaning).

Examples
--------
    graph = GraphWrapper(paddle.static.default_main_program())
    for op in graph.ops():
        if op.type() == "conv2d":
            print(op.inputs("Filter")[0].name(), [after.type() for after in graph.next_ops(op)])
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Optional, Union

from qslim.paddle import framework

__all__ = ["GraphWrapper", "OpWrapper", "VarWrapper"]

# Of the attribute "op_role", bits.
_BACKWARD, _OPTIMIZE = 1, 2

_Names = Union[Mapping[str, str], Iterable[Any], None]


@functools.total_ordering
class VarWrapper:
    """A variable of a program."""

    def __init__(self, var: Any, graph: GraphWrapper) -> None:
        self._var, self._graph = var, graph

    def name(self) -> str:
        return str(self._var.name)

    def shape(self) -> tuple[int, ...]:
        return tuple(self._var.shape)

    def set_shape(self, shape: Sequence[int]) -> None:
        """Give the variable another shape; its value in a scope keeps the old one."""
        self._var.desc.set_shape(list(shape))

    def inputs(self) -> list[OpWrapper]:
        """Return the operators that write the variable."""
        return [op for op in self._graph.ops() if self in op.all_outputs()]

    def outputs(self) -> list[OpWrapper]:
        """Return the operators that read the variable."""
        return [op for op in self._graph.ops() if self in op.all_inputs()]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, VarWrapper) and self.name() == other.name()

    def __lt__(self, other: VarWrapper) -> bool:
        return self.name() < other.name()

    def __hash__(self) -> int:
        return hash(self.name())

    def __repr__(self) -> str:
        return self.name()


@functools.total_ordering
class OpWrapper:
    """An operator of a program."""

    def __init__(self, op: Any, graph: GraphWrapper) -> None:
        self._op, self._graph = op, graph

    def type(self) -> str:
        return str(self._op.type)

    def idx(self) -> int:
        """Return the operator's number in Paddle."""
        return int(self._op.idx)

    def inputs(self, name: str) -> list[VarWrapper]:
        """Return the variables in the slot `name` ("Filter"); none if there is no such slot."""
        return self._variables(self._op.input(name) if name in self._op.input_names else ())

    def outputs(self, name: str) -> list[VarWrapper]:
        return self._variables(self._op.output(name) if name in self._op.output_names else ())

    def all_inputs(self) -> list[VarWrapper]:
        return self._variables(self._op.input_arg_names)

    def all_outputs(self) -> list[VarWrapper]:
        return self._variables(self._op.output_arg_names)

    def attr(self, name: str) -> Any:
        """Return an attribute; None if the operator has none of that name."""
        return self._op.attr(name) if self._op.has_attr(name) else None

    def set_attr(self, key: str, value: Any) -> None:
        self._op._set_attr(key, value)

    def is_bwd_op(self) -> bool:
        """Return True for an operator of the backward pass."""
        return bool(self._role() & _BACKWARD)

    def is_opt_op(self) -> bool:
        """Return True for an operator of an optimizer."""
        return bool(self._role() & _OPTIMIZE)

    def _role(self) -> int:
        return int(self.attr("op_role") or 0)

    def _variables(self, names: Iterable[str]) -> list[VarWrapper]:
        found = (self._graph.var(name) for name in names)
        return [variable for variable in found if variable is not None]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, OpWrapper) and self.idx() == other.idx()

    def __lt__(self, other: OpWrapper) -> bool:
        return self.idx() < other.idx()

    def __hash__(self) -> int:
        return self.idx()

    def __repr__(self) -> str:
        return f"OpWrapper(type={self.type()}, inputs={self.all_inputs()}, outputs={self.all_outputs()})"


class GraphWrapper:
    """Operators and variables of a program of the legacy IR.

    Parameters
    ----------
    program : paddle.static.Program, optional
    in_nodes, out_nodes : dict or list of (key, variable name), optional
        Kept as ``in_nodes`` and ``out_nodes``.

    Raises
    ------
    ValueError : no legacy program.
    """

    def __init__(self, program: Any = None, in_nodes: _Names = None, out_nodes: _Names = None) -> None:
        paddle = framework.paddle_module()
        self._program = paddle.static.Program() if program is None else program
        if not framework.is_legacy_program(self._program):
            raise ValueError(
                f"GraphWrapper: expected a program of the legacy IR, got {type(program).__name__}; set "
                "FLAGS_enable_pir_api=0, or read PIR with qslim.importers.paddle.import_model"
            )
        self.in_nodes, self.out_nodes = dict(in_nodes or ()), dict(out_nodes or ())

    @property
    def program(self) -> Any:
        return self._program

    def ops(self) -> list[OpWrapper]:
        return [OpWrapper(op, self) for block in self._program.blocks for op in block.ops]

    def vars(self) -> list[VarWrapper]:
        return [VarWrapper(var, self) for var in self._program.list_vars()]

    def var(self, name: str) -> Optional[VarWrapper]:
        """Return the variable `name`, None if there is none."""
        for block in self._program.blocks:
            if block.has_var(name):
                return VarWrapper(block.var(name), self)
        return None

    def all_parameters(self) -> list[VarWrapper]:
        return [VarWrapper(parameter, self) for parameter in self._program.all_parameters()]

    def is_parameter(self, var: VarWrapper) -> bool:
        return var in self.all_parameters()

    def is_persistable(self, var: VarWrapper) -> bool:
        return bool(var._var.persistable)

    def clone(self, for_test: bool = False) -> GraphWrapper:
        return GraphWrapper(self._program.clone(for_test), self.in_nodes, self.out_nodes)

    def pre_ops(self, op: OpWrapper) -> list[OpWrapper]:
        """Return the operators that write what `op` reads, in their order."""
        read = set(op.all_inputs())
        return [other for other in self.ops() if read.intersection(other.all_outputs())]

    def next_ops(self, op: OpWrapper) -> list[OpWrapper]:
        """Return the operators that read what `op` writes, in their order."""
        written = set(op.all_outputs())
        return [other for other in self.ops() if written.intersection(other.all_inputs())]

    def get_param_by_op(self, op: OpWrapper) -> list[VarWrapper]:
        """Return the parameters that `op` reads."""
        return [var for var in op.all_inputs() if self.is_parameter(var)]

    def numel_params(self) -> int:
        """Return the number of elements of all parameters."""
        return sum(math.prod(parameter.shape()) for parameter in self.all_parameters())

    def infer_shape(self) -> None:
        """Infer the shapes of what forward operators write, after ``set_shape``."""
        for op in self.ops():
            if not (op.is_bwd_op() or op.is_opt_op()) and op.type() != "conditional_block":
                op._op.desc.infer_shape(op._op.block.desc)
