# SPDX-License-Identifier: Apache-2.0
"""Compute once what a product reads as its weight, where it depends on parameters only.

Paddle saves ``nn.Conv1D`` as an unsqueezed parameter in front of ``conv2d``; others transpose, cast, scale or
concatenate parameters before they multiply by them. Paddle's executor computes such a weight here, and it
becomes a parameter of the program: then it can be quantized like any other.

The new parameter takes the name of the one that it was computed of, if that is read by nothing else, so that
reports and ``skip_tensor_list`` speak of ``conv1d_0.w_0``.
"""

from __future__ import annotations

from typing import Any, Optional

import numpy as np
from numpy.typing import NDArray

from qslim.importers.paddle.quantizers import has_quantizers
from qslim.paddle import framework
from qslim.paddle.program import PaddleProgram, is_persistable

__all__ = ["fold_weights"]

# Operators that multiply; their weight is operand 1 in PIR, and has its own slot in the legacy IR.
_PIR_PRODUCTS = frozenset(
    {
        "conv2d", "conv2d_transpose", "conv3d", "depthwise_conv2d", "depthwise_conv2d_transpose", "matmul",
        "matmul_with_flatten",
    }
)  # fmt: skip
_LEGACY_PRODUCTS = {
    "conv2d": "Filter",
    "conv2d_transpose": "Filter",
    "conv3d": "Filter",
    "depthwise_conv2d": "Filter",
    "depthwise_conv2d_transpose": "Filter",
    "matmul": "Y",
    "matmul_v2": "Y",
    "mul": "Y",
}
_PIR_CONSTANTS = frozenset(
    {"pd_op.full", "pd_op.full_int_array", "pd_op.assign_value", "pd_op.assign_value_"}
)
_LEGACY_CONSTANTS = frozenset({"assign_value", "fill_constant"})
# What is another value in every run, or happens for its effect, is no constant.
_IMPURE = frozenset(
    {
        "bernoulli", "binomial", "data", "dirichlet", "dropout", "exponential", "feed", "fetch", "gaussian",
        "gaussian_random", "multinomial", "poisson", "print", "randint", "randperm", "standard_gamma",
        "truncated_gaussian_random", "uniform", "uniform_random",
    }
)  # fmt: skip


def fold_weights(program: PaddleProgram) -> list[str]:
    """Make parameters of the weights that `program` computes of its parameters; return their names.

    The program and its Graph change in place; what they compute does not. A program that is quantized already
    is left alone: there, weights are computed of integers. So is a weight that the network also returns.
    """
    if has_quantizers(program.graph):
        return []
    with program.active():
        names = _fold_legacy(program) if program.is_legacy else _fold_pir(program)
    if names:
        program.read_graph()
    return names


def _fold_pir(source: PaddleProgram) -> list[str]:
    block = source.program.global_block()
    parameters: dict[int, frozenset[str]] = {}  # of each constant value, the parameters that it is made of
    for op in block.ops:
        made_of = _pir_parameters(op, parameters)
        if made_of is not None:
            parameters.update((op.result(index).id, made_of) for index in range(op.num_results()))
    weights = {}
    fetched = {value.id for value in source.fetches}
    for op in block.ops:
        if _plain_name(op) not in _PIR_PRODUCTS or (op.results() and op.result(0).id in parameters):
            continue
        weight = op.operand_source(1)
        is_computed = weight.get_defining_op().name() != "builtin.parameter"
        if parameters.get(weight.id) and is_computed and weight.id not in fetched:
            weights[weight.id] = weight
    values = _run_pir(source, list(weights.values()))
    names: list[str] = []
    for weight, value in zip(weights.values(), values):
        if value.dtype != np.float32:
            continue
        made_of = parameters[weight.id]
        name = _replace_pir(source, weight, f"{min(made_of)}.folded_{len(names)}", value)
        _remove_unread(block)
        if len(made_of) == 1 and not _has_parameter(block, min(made_of)):
            folded = next(op for op in block.ops if _parameter_name(op) == name)
            name = _replace_pir(source, folded.result(0), min(made_of), value)
            _remove_unread(block)
        names.append(name)
    return names


def _pir_parameters(op: Any, known: dict[int, frozenset[str]]) -> Optional[frozenset[str]]:
    """Return the parameters that the results of `op` are computed of; None if they are no constants."""
    if op.name() == "builtin.parameter":
        # In place, an operator may write to the parameter.
        readers = (reader.name() for reader in op.result(0).all_used_ops())
        is_constant = is_persistable(op) and not any(name.endswith("_") for name in readers)
        return frozenset({op.attrs()["parameter_name"]}) if is_constant else None
    if op.name() in _PIR_CONSTANTS:
        return frozenset()
    operands = [op.operand_source(index) for index in range(op.num_operands())]
    read = [operand.id for operand in operands if operand.initialized()]
    is_pure = _plain_name(op) not in _IMPURE and op.num_regions() == 0 and not op.name().endswith("_")
    if not is_pure or not read or any(each not in known for each in read):
        return None
    return frozenset().union(*(known[each] for each in read))


def _plain_name(op: Any) -> str:
    return str(op.name().split(".", 1)[1])


def _parameter_name(op: Any) -> Optional[str]:
    return op.attrs()["parameter_name"] if op.name() == "builtin.parameter" else None


def _has_parameter(block: Any, name: str) -> bool:
    return any(_parameter_name(op) == name for op in block.ops)


def _run_pir(source: PaddleProgram, values: list[Any]) -> list[NDArray[Any]]:
    """Compute constants of the program by a copy that has nothing else in it."""
    if not values:
        return []
    mapping = framework.ir_mapping()
    program = source.program.clone(mapping)
    wanted = [mapping.look_up(value) for value in values]
    block = program.global_block()
    needed = {value.id for value in wanted}
    for op in reversed(block.ops):
        if needed.isdisjoint(op.result(index).id for index in range(op.num_results())):
            block.remove_op(op)
        else:
            needed.update(op.operand_source(index).id for index in range(op.num_operands()))
    return [np.array(value) for value in source.executor.run(program, feed={}, fetch_list=wanted)]


def _replace_pir(source: PaddleProgram, value: Any, name: str, content: NDArray[Any]) -> str:
    """Let all that reads `value` read a new parameter `name`."""
    paddle = framework.paddle_module()
    users = [
        (op, index)
        for op in value.all_used_ops()
        for index in range(op.num_operands())
        if op.operand_source(index).initialized() and op.operand_source(index).is_same(value)
    ]
    with paddle.static.program_guard(source.program, paddle.static.Program()):
        parameter = framework.pir_parameter(name, str(content.dtype), list(content.shape))
    source.set_parameter(name, content)
    for op, index in users:
        op.operand(index).set_source(parameter)
    return name


def _remove_unread(block: Any) -> None:
    """Take out what computes something that nothing reads, parameters included."""
    for op in reversed(block.ops):
        has_effect = _plain_name(op) in _IMPURE or op.num_regions() > 0 or op.name().endswith("_")
        results = [op.result(index) for index in range(op.num_results())]
        if not has_effect and results and all(result.use_empty() for result in results):
            block.remove_op(op)


def _fold_legacy(source: PaddleProgram) -> list[str]:
    block = source.program.global_block()
    parameters = _legacy_parameters(source, block)
    computed = {name for op in block.ops for name in _outputs(op) if name in parameters}
    weights = []
    for op in block.ops:
        read = op.input(_LEGACY_PRODUCTS[op.type]) if op.type in _LEGACY_PRODUCTS else []
        is_constant = all(name in parameters for name in _outputs(op))
        weights += [name for name in read if name in computed and parameters[name] and not is_constant]
    fetched = {variable.name for variable in source.fetches}
    weights = [name for name in dict.fromkeys(weights) if name not in fetched]
    values = _run_legacy(source, weights)
    names = []
    for weight, value in zip(weights, values):
        if value.dtype != np.float32:
            continue
        source.set_parameter(weight, value)
        writer = next(i for i, op in enumerate(block.ops) if weight in _outputs(op))
        block._remove_op(writer)
        block.var(weight).persistable = True
        block.var(weight).desc.set_shape(list(value.shape))
        _remove_unread_legacy(block, parameters)
        (made_of,) = parameters[weight] if len(parameters[weight]) == 1 else (None,)
        if made_of is not None and not any(made_of in _inputs(op) for op in block.ops):
            source.set_parameter(made_of, value)
            block.var(made_of).desc.set_shape(list(value.shape))
            for op in block.ops:
                op._rename_input(weight, made_of)
            block._remove_var(weight)
            weight = made_of
        names.append(weight)
    return names


def _inputs(op: Any) -> list[str]:
    return [name for slot in op.input_names for name in op.input(slot)]


def _outputs(op: Any) -> list[str]:
    return [name for slot in op.output_names for name in op.output(slot)]


def _legacy_parameters(source: PaddleProgram, block: Any) -> dict[str, frozenset[str]]:
    """Return, for each constant variable, the parameters that it is computed of."""
    writes: dict[str, int] = {}
    for op in block.ops:
        for name in _outputs(op):
            writes[name] = writes.get(name, 0) + 1
    known = {name: frozenset({name}) for name in source.parameter_names if name not in writes}
    for op in block.ops:
        read, written = _inputs(op), _outputs(op)
        is_constant = op.type in _LEGACY_CONSTANTS and not read
        is_computed = op.type not in _IMPURE and read and all(name in known for name in read)
        if (is_constant or is_computed) and all(writes[name] == 1 for name in written):
            made_of: frozenset[str] = frozenset().union(*(known[name] for name in read))
            known.update((name, made_of) for name in written)
    return known


def _run_legacy(source: PaddleProgram, names: list[str]) -> list[NDArray[Any]]:
    if not names:
        return []
    program = source.program.clone()
    block = program.global_block()
    needed = set(names)
    for index in reversed(range(len(block.ops))):
        op = block.ops[index]
        if needed.isdisjoint(_outputs(op)):
            block._remove_op(index)
        else:
            needed.update(_inputs(op))
    return [np.array(value) for value in source.executor.run(program, feed={}, fetch_list=list(names))]


def _remove_unread_legacy(block: Any, constants: dict[str, frozenset[str]]) -> None:
    """Take out what computes constants that nothing reads any more."""
    for index in reversed(range(len(block.ops))):
        written = _outputs(block.ops[index])
        later = (name for op in block.ops[index + 1 :] for name in _inputs(op))
        if all(name in constants for name in written) and set(written).isdisjoint(later):
            block._remove_op(index)
