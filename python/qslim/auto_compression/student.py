# SPDX-License-Identifier: Apache-2.0
"""The network that is trained, made of a saved inference model.

Such a program has no parameters that gradients know, in the legacy IR, and lacks outputs that gradients read.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from qslim.compressor.network import Network
from qslim.paddle import framework
from qslim.paddle.program import PaddleProgram

__all__ = ["learn_statistics", "trainable_network"]

_MOVEMENTS = ("reshape2", "transpose2", "squeeze2", "unsqueeze2", "flatten2", "flatten_contiguous_range")
_NORMALIZATIONS = ("batch_norm", "sync_batch_norm")


def trainable_network(student: PaddleProgram, nodes: Sequence[str]) -> Network:
    """Return a copy of the program that can be trained.

    It fetches the model's outputs as "0", "1", ... and the tensors `nodes` as "node:<name>".
    """
    if student.is_legacy:
        program = student.program.clone()
        framework.name_new_tensors(program, "distillation_")
        block = program.global_block()
        for index in reversed(range(len(block.ops))):
            if block.ops[index].type in ("feed", "fetch"):
                block._remove_op(index)
        for name in student.parameter_names:
            if not _is_statistic(block, name):
                framework.make_trainable(block, name)
        _restore_outputs(block)
        fetches: dict[str, Any] = {str(i): value.name for i, value in enumerate(student.fetches)}
    else:
        mapping = framework.ir_mapping()
        program = student.program.clone(mapping)
        block = program.global_block()
        fetches = {str(i): mapping.look_up(value) for i, value in enumerate(student.fetches)}
        for op in [op for op in block.ops if op.name() == "pd_op.fetch"]:
            block.remove_op(op)
    for name in nodes:
        fetches[f"node:{name}"] = name if student.is_legacy else mapping.look_up(student.values[name])
    return Network(program, list(student.feeds), fetches)


def learn_statistics(network: Network) -> None:
    """Let batch normalizations use, and learn, the statistics of the batches."""
    block = network.program.global_block()
    for number, op in enumerate(block.ops):
        kind = op.name().partition(".")[2].rstrip("_") if network.is_pir else op.type
        if kind not in _NORMALIZATIONS:
            continue
        for attribute in ("is_test", "use_global_stats"):
            if network.is_pir:
                op.set_bool_attr(attribute, False)
            else:
                op._set_attr(attribute, False)
        if not network.is_pir:
            _restore(block, number, "ReserveSpace", [1], "uint8")


def _restore_outputs(block: Any) -> None:
    """Give operators the outputs that their gradients read; files for inference are written without them."""
    for number, op in enumerate(block.ops):
        if op.type in _MOVEMENTS:
            _restore(block, number, "XShape", [0, *block.var(op.input("X")[0]).shape], "float32")
        elif op.type == "dropout":
            _restore(block, number, "Mask", block.var(op.input("X")[0]).shape, "uint8")


def _restore(block: Any, number: int, slot: str, shape: Sequence[int], dtype: str) -> None:
    """Give operator `number` an output in `slot`, if it has none."""
    op = block.ops[number]
    if not (slot in op.output_names and op.output(slot)):
        name = f"{op.output_arg_names[0]}.{slot.lower()}.{number}"
        block.create_var(name=name, shape=list(shape), dtype=dtype, stop_gradient=True)
        op.desc.set_output(slot, [name])


def _is_statistic(block: Any, name: str) -> bool:
    """Return True if `name` is a running mean or variance of a legacy program."""
    readers: Iterable[Any] = (op for op in block.ops if op.type in _NORMALIZATIONS)
    return any(name in (*op.input("Mean"), *op.input("Variance")) for op in readers)
