# SPDX-License-Identifier: Apache-2.0
"""``quant_embedding``: tables of embeddings as integers in a static program, of either IR.

    before   ids, float table                   -> embedding -> out
    after    ids, table of int8, <table>.int    -> embedding -> cast -> multiply by <table>.step -> out

Rows are looked up as integers, and only these become floats. ``qslim.runtime.Session`` runs a saved program
the same way.
Source: paddleslim 2.6.0, quant/quant_embedding.py (signature, keys and defaults).

Examples
--------
>>> import paddle
>>> import qslim as slim
>>> paddle.enable_static()
>>> main, startup = paddle.static.Program(), paddle.static.Program()
>>> with paddle.static.program_guard(main, startup):
...     ids = paddle.static.data("ids", [None, 4], "int64")
...     out = paddle.nn.Embedding(100, 8)(ids).mean(1)
>>> executor = paddle.static.Executor(paddle.CPUPlace())
>>> _ = executor.run(startup)
>>> quantized = slim.quant.quant_embedding(main, paddle.CPUPlace())
>>> sum("embedding" in op.name() for op in quantized.global_block().ops)
1
>>> paddle.disable_static()
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Optional, Union

import numpy as np
from numpy.typing import NDArray

from qslim.exporters.paddle.pir import uses_of
from qslim.functional.fake_quant import THRESHOLD_FLOOR
from qslim.graph import QuantParams
from qslim.paddle import framework
from qslim.quant.op_types import EMBEDDINGS
from qslim.quant.options import choose, from_mapping

__all__ = ["quant_embedding"]

# Larger tables are cut at this percentile of their magnitudes, as PaddleSlim does.
_LARGE, _PERCENTILE = 1.0, 99.99


@dataclass(frozen=True)
class _TableConfig:
    """The options of one operator type."""

    quantize_type: str = "abs_max"
    quantize_bits: int = 8
    dtype: str = "int8"
    threshold: Optional[float] = None

    def __post_init__(self) -> None:
        if self.quantize_type == "log":
            raise ValueError(
                "quantize_type: 'log' is not supported; 'abs_max' gives tables of the same size, with steps "
                "of one width"
            )
        choose("quantize_type", self.quantize_type, ("abs_max",))
        choose("quantize_bits", self.quantize_bits, (8, 16))
        choose("dtype", self.dtype, ("int8", "int16"))
        if self.quantize_bits != 8 or self.dtype != "int8":
            raise ValueError(
                "quantize_bits: expected 8 with dtype='int8', as Paddle 3 looks up no rows of int16; got "
                f"{self.quantize_bits} with dtype={self.dtype!r}"
            )
        value = self.threshold
        is_number = isinstance(value, (int, float, np.number)) and not isinstance(value, bool)
        if value is not None and not (is_number and np.isfinite(value) and value > 0):
            raise ValueError(f"threshold: expected a finite number > 0, got {value!r}")


def quant_embedding(
    program: Any, place: Any, config: Optional[Mapping[str, Any]] = None, scope: Any = None
) -> Any:
    """Store the tables of a program's embeddings as integers; rows become floats when they are looked up.

    Parameters
    ----------
    program : paddle.static.Program
        For inference. A legacy program is copied, a PIR program is changed in place and returned, so that
        what you fetch stays valid.
    place : paddle.CPUPlace, ...
    config : dict, optional
        ``quantize_op_types``, a name or a list of names: "lookup_table_v2" (or "lookup_table", "embedding";
        they mean the same), the default. Under the name of one a dict of its own: ``quantize_type``
        "abs_max", ``quantize_bits`` 8, ``dtype`` "int8", and ``threshold``, the largest magnitude to
        keep. Without one, a table that reaches 1.0 is cut at the 99.99th percentile of its magnitudes.
    scope : paddle.static.Scope, optional
        Where the tables are and the integers go; ``paddle.static.global_scope()`` by default. It keeps the
        float tables, so that the program before still runs.

    Returns
    -------
    paddle.static.Program
        With one step for each table. Tables that several lookups read are stored once.

    Raises
    ------
    ValueError : an option is unknown; the program holds gradients or no embedding; a table has no value in
        the scope, or values that are not finite.
    """
    options = _table_config(config)
    if not (framework.is_pir_program(program) or framework.is_legacy_program(program)):
        raise ValueError(
            f"quant_embedding: program must be a paddle.static.Program, got {type(program).__name__}"
        )
    paddle = framework.paddle_module()
    tables = _Tables(paddle.static.global_scope() if scope is None else scope, options)
    if framework.is_pir_program(program):
        return _quantize_pir(paddle, program, tables)
    return _quantize_legacy(paddle, program, tables)


def _table_config(config: Optional[Mapping[str, Any]]) -> _TableConfig:
    """Return the options of the embeddings that `config`, PaddleSlim's dict, names."""
    if config is not None and not isinstance(config, Mapping):
        raise ValueError(f"config: expected a dict or None, got {type(config).__name__}")
    given = dict(config or {})
    names: Union[str, Sequence[str]] = given.pop("quantize_op_types", ("lookup_table_v2",))
    names = [names] if isinstance(names, str) else list(names)
    for name in (*names, *given):
        choose("quantize_op_types" if name in names else "config", name, EMBEDDINGS)
    chosen = [given[name] for name in names if name in given]
    unread = sorted(set(given) - set(names))
    if unread:
        raise ValueError(f"config: {unread[0]!r} has options but is not among quantize_op_types ({names})")
    if not names or any(options != chosen[0] for options in chosen):
        raise ValueError(
            f"config: the names of embeddings mean the same operator; give one of them, got {names}"
        )
    return from_mapping(_TableConfig, chosen[0] if chosen else None)


class _Tables:
    """The tables of one program, each quantized once."""

    def __init__(self, scope: Any, options: _TableConfig) -> None:
        self._scope = scope
        self._options = options

    def quantize(self, name: str) -> tuple[NDArray[Any], NDArray[np.float32]]:
        """Return the integers of table `name` and their step, of shape (1,)."""
        variable = self._scope.find_var(name)
        if variable is None or not variable.get_tensor()._is_initialized():
            raise ValueError(
                f"quant_embedding: table {name!r} has no value in the scope; run the startup program or load "
                "the parameters first, and pass the scope that holds them"
            )
        value = np.array(variable.get_tensor(), np.float32)
        if not np.isfinite(value).all():
            raise ValueError(f"quant_embedding: table {name!r} holds NaN or infinite values")
        magnitude = np.abs(value)
        largest = float(magnitude.max(initial=0))
        threshold = (
            largest if self._options.threshold is None else min(largest, float(self._options.threshold))
        )
        if self._options.threshold is None and largest >= _LARGE:
            threshold = float(np.percentile(magnitude, _PERCENTILE))
        kept = max(threshold, float(THRESHOLD_FLOOR))
        params = QuantParams.weight(np.float32(kept), 8, None)
        return params.quantize(value), np.atleast_1d(params.scale)

    def set(self, paddle: Any, name: str, value: NDArray[Any]) -> None:
        self._scope.var(name).get_tensor().set(np.ascontiguousarray(value), paddle.CPUPlace())


def _refuse(kinds: Sequence[str], has_embedding: bool) -> None:
    if any(kind.rstrip("_").endswith("_grad") for kind in kinds):
        raise ValueError(
            "quant_embedding: expected a program for inference, but this one holds gradients; clone it with "
            "for_test=True before minimize, or build it again"
        )
    if not has_embedding:
        raise ValueError("quant_embedding: the program has no embedding whose table is a float parameter")


def _quantize_pir(paddle: Any, program: Any, tables: _Tables) -> Any:
    block, core = program.global_block(), framework.pir_core()
    lookups = []
    for op in block.ops:
        if op.name() == "pd_op.embedding":
            source = op.operand_source(1).get_defining_op()
            if source.name() == "builtin.parameter" and "float32" in str(op.operand_source(1).dtype).lower():
                lookups.append((op, source.attrs()["parameter_name"]))
    _refuse([op.name() for op in block.ops], bool(lookups))
    if any(not uses_of(op.result(0)) for op, _ in lookups):
        raise ValueError(
            "quant_embedding: no operator reads the result of an embedding, so that a Value that you fetch "
            "would stay in float; let the program go on from it, if only with paddle.assign, and fetch that"
        )
    quantized = {name: tables.quantize(name) for _, name in lookups}  # what is wrong is found before a change
    startup = paddle.static.Program()
    made: dict[str, list[Any]] = {}
    with framework.pir_ir(), framework.quiet(), paddle.static.program_guard(program, startup):
        for op, name in lookups:
            if name not in made:
                made[name] = []
                for ending, value in zip((".int", ".step"), quantized[name]):
                    made[name].append(
                        framework.pir_parameter(name + ending, str(value.dtype), list(value.shape))
                    )
                    tables.set(paddle, name + ending, value)
            integers, step = made[name]
            users = uses_of(op.result(0))
            core.set_insertion_point_after(op)
            rows = framework.operators().embedding(
                op.operand_source(0), integers, op.attrs()["padding_idx"], False
            )
            real = paddle.multiply(paddle.cast(rows, "float32"), step)
            for user, index in users:
                user.operand(index).set_source(real)
            block.remove_op(op)
    for op in [op for op in block.ops if op.name() == "builtin.parameter" and op.result(0).use_empty()]:
        if op.attrs()["parameter_name"] in quantized:
            block.remove_op(op)
    return program


def _quantize_legacy(paddle: Any, program: Any, tables: _Tables) -> Any:
    copied = program.clone()
    block, types = copied.global_block(), framework.legacy_core().VarDesc.VarType
    lookups = [
        op
        for op in block.ops
        if op.type in EMBEDDINGS
        and block.var(op.input("W")[0]).persistable
        and block.var(op.input("W")[0]).dtype == types.FP32
    ]
    _refuse([op.type for op in block.ops], bool(lookups))
    quantized = {name: tables.quantize(name) for op in lookups for name in op.input("W")}
    for name, values in quantized.items():
        for ending, value in zip((".int", ".step"), values):
            block.create_var(
                name=name + ending,
                shape=list(value.shape),
                dtype=str(value.dtype),
                persistable=True,
                stop_gradient=True,
            )
            tables.set(paddle, name + ending, value)
    for op in lookups:
        name, out = op.input("W")[0], op.output("Out")[0]
        rows, floats, shape = out + ".int", out + ".floats", block.var(out).shape
        integers = block.var(name + ".int")
        block.create_var(name=rows, shape=shape, dtype=integers.dtype, stop_gradient=True)
        block.create_var(name=floats, shape=shape, dtype="float32", stop_gradient=True)
        op._rename_input(name, name + ".int")
        op._rename_output(out, rows)
        position = block.ops.index(op) + 1
        block._insert_op(
            position,
            type="cast",
            inputs={"X": [rows]},
            outputs={"Out": [floats]},
            attrs={"in_dtype": integers.dtype, "out_dtype": types.FP32},
        )
        block._insert_op(
            position + 1,
            type="elementwise_mul",
            inputs={"X": [floats], "Y": [name + ".step"]},
            outputs={"Out": [out]},
            attrs={"axis": -1},
        )
    read = {name for op in block.ops for name in op.input_arg_names}
    for name in quantized:
        if name not in read:
            block._remove_var(name)
    return copied
