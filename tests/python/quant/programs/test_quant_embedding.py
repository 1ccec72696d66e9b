# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import paddle
import pytest
from paddle import nn
from static_networks import Built, run, static_session

import qslim as slim
from qslim import _core
from qslim.importers.paddle import find_model_files, load_program
from qslim.runtime import Session

IRS = ("legacy", "pir")
CPU = paddle.CPUPlace()
TABLE = np.random.default_rng(0).standard_normal((60, 24)).astype(np.float32)
TABLE[7, 3] = 40.0
FEED = {name: np.random.default_rng(1).integers(0, 60, (6, 5)) for name in ("ids", "other")}
FEED["other"] = FEED["other"][:, ::-1].copy()
NAME = "embedding_0.w_0"


def _build(train: bool = False) -> Built:
    """Two lookups in one table, and a linear layer."""
    main, startup = paddle.static.Program(), paddle.static.Program()
    with paddle.utils.unique_name.guard(), paddle.static.program_guard(main, startup):
        ids, other = (paddle.static.data(name, [None, 5], "int64") for name in ("ids", "other"))
        words = nn.Embedding(60, 24)
        rows = words(ids)
        out = nn.Linear(24, 4)(rows + words(other))
        loss = paddle.mean(out)
        if train:
            paddle.optimizer.SGD(0.1).minimize(loss)
    return Built(main, startup, out, loss)


def _start(built: Built, scope: Any, executor: Any, table: np.ndarray = TABLE) -> None:
    executor.run(built.startup)
    scope.find_var(NAME).get_tensor().set(table, CPU)
    weight = np.random.default_rng(2).standard_normal((24, 4)).astype(np.float32)
    scope.find_var("linear_0.w_0").get_tensor().set(weight, CPU)


def _expected(steps: np.ndarray, scope: Any) -> np.ndarray:
    """The program's output for a table whose row i has the values of `steps`."""
    weight = np.array(scope.find_var("linear_0.w_0").get_tensor())
    rows = steps[FEED["ids"]] + steps[FEED["other"]]
    return rows.astype(np.float64) @ weight


@pytest.mark.parametrize("ir", IRS)
@pytest.mark.parametrize(
    ("config", "threshold"),
    [
        (None, float(np.percentile(np.abs(TABLE), 99.99))),
        ({"lookup_table_v2": {"threshold": 2.0}}, 2.0),
        ({"quantize_op_types": "lookup_table", "lookup_table": {"threshold": 50.0}}, 40.0),
        ({"quantize_op_types": ["embedding"], "embedding": {"threshold": 3}}, 3.0),
    ],
    ids=["defaults", "threshold", "beyond", "another name"],
)
def test_tables_become_integers(
    ir: str, config: dict[str, Any] | None, threshold: float, tmp_path: Path
) -> None:
    with static_session(ir) as scope:
        built, executor = _build(), paddle.static.Executor(CPU)
        _start(built, scope, executor)
        quantized = slim.quant.quant_embedding(built.program, CPU, config, scope)
        step = np.float32(threshold) / np.float32(127)
        integers = np.clip(np.rint(TABLE * (np.float32(1) / step)), -127, 127)
        stored = np.array(scope.find_var(NAME + ".int").get_tensor())
        assert stored.dtype == np.int8
        np.testing.assert_array_equal(stored, integers)
        expected = _expected(integers.astype(np.float32) * step, scope)
        [got] = run(executor, quantized, built.out, feed=FEED)
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4)
        prefix = str(tmp_path / "model")
        out = quantized.global_block().var(built.out.name) if ir == "legacy" else built.out
        feeds = _feeds(quantized, ir)
        paddle.static.save_inference_model(prefix, feeds, [out], executor, program=quantized)
    params = os.path.getsize(prefix + ".pdiparams")
    assert params < TABLE.size + 4 * 24 * 4 + 800  # the float table is not saved
    loaded = load_program(find_model_files(str(tmp_path)))
    np.testing.assert_allclose(loaded.run_outputs(FEED)[0], expected, rtol=1e-4, atol=1e-4)
    session = Session(str(tmp_path))
    np.testing.assert_allclose(session.run(FEED)[0], expected, rtol=1e-4, atol=1e-4)
    kernels = [row.kernel for row in session.profile(FEED, runs=1)]
    assert kernels.count("gather_dequantized") == 2
    outputs = [Session(str(tmp_path), isa=isa).run(FEED)[0] for isa in _core.available_isas()]
    assert all(np.array_equal(outputs[0], other) for other in outputs[1:])


def test_a_value_that_would_stay_in_float_is_refused() -> None:
    with static_session("pir") as scope:
        main, startup = paddle.static.Program(), paddle.static.Program()
        with paddle.static.program_guard(main, startup):
            nn.Embedding(10, 4)(paddle.static.data("ids", [None, 5], "int64"))
        paddle.static.Executor(CPU).run(startup)
        with pytest.raises(ValueError, match="no operator reads the result of an embedding"):
            slim.quant.quant_embedding(main, CPU, None, scope)


def _feeds(program: Any, ir: str) -> list[Any]:
    block = program.global_block()
    if ir == "legacy":
        return [block.var(name) for name in FEED]
    return [op.result(0) for op in block.ops if op.name() == "pd_op.data"]


@pytest.mark.parametrize("ir", IRS)
def test_the_legacy_program_before_still_runs(ir: str) -> None:
    with static_session(ir) as scope:
        built, executor = _build(), paddle.static.Executor(CPU)
        _start(built, scope, executor)
        [before] = run(executor, built.program, built.out, feed=FEED)
        quantized = slim.quant.quant_embedding(
            built.program, CPU, {"embedding": {}, "quantize_op_types": "embedding"}, scope
        )
        assert (quantized is built.program) == (ir == "pir")
        if ir == "legacy":
            np.testing.assert_array_equal(run(executor, built.program, built.out, feed=FEED)[0], before)


@pytest.mark.parametrize("ir", IRS)
def test_what_is_refused_changes_nothing(ir: str) -> None:
    with static_session(ir) as scope:
        executor = paddle.static.Executor(CPU)
        training = _build(train=True)
        with pytest.raises(ValueError, match="holds gradients"):
            slim.quant.quant_embedding(training.program, CPU, scope=scope)
        built = _build()
        with pytest.raises(ValueError, match="has no value in the scope"):
            slim.quant.quant_embedding(built.program, CPU, scope=paddle.static.Scope())
        broken = TABLE.copy()
        broken[2, 2] = np.nan
        _start(built, scope, executor, broken)
        operators = len(built.program.global_block().ops)
        with pytest.raises(ValueError, match="holds NaN or infinite values"):
            slim.quant.quant_embedding(built.program, CPU, scope=scope)
        assert len(built.program.global_block().ops) == operators
        empty = paddle.static.Program()
        with pytest.raises(ValueError, match="no embedding"):
            slim.quant.quant_embedding(empty, CPU, scope=scope)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"quantize_op_types": "conv2d"}, "quantize_op_types: expected one of"),
        ({"lookup_table_v2": {"quantize_bits": 4}}, "quantize_bits"),
        ({"lookup_table_v2": {"quantize_bits": 16, "dtype": "int16"}}, "Paddle 3 looks up no rows of int16"),
        ({"lookup_table_v2": {"dtype": "int32"}}, "dtype"),
        ({"lookup_table_v2": {"quantize_type": "log"}}, "'log' is not supported"),
        ({"lookup_table_v2": {"threshold": 0}}, "threshold"),
        ({"lookup_table_v2": {"threshold": float("nan")}}, "threshold"),
        ({"lookup_table_v2": {"bits": 8}}, "unknown key 'bits'"),
        ({"embedding": {}}, "'embedding' has options but is not among"),
        ({"conv": {}}, "config"),
        ([], "config: expected a dict"),
    ],
    ids=str,
)
def test_bad_config(config: Any, message: str) -> None:
    with static_session("pir") as scope, pytest.raises(ValueError, match=message):
        slim.quant.quant_embedding(_build().program, CPU, config, scope)


def test_what_is_no_program() -> None:
    with pytest.raises(ValueError, match=r"must be a paddle.static.Program, got int"):
        slim.quant.quant_embedding(3, CPU)
