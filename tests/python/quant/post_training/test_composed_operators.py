# SPDX-License-Identifier: Apache-2.0
"""Operators of Paddle that are several in the Graph: quantized, exported and simulated as one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import paddle
import pytest
from paddle import nn
from small_networks import IRS, images, save_network

import qslim as slim
from qslim.graph import Graph, evaluate
from qslim.graph.integer_operators import find_integer_operator
from qslim.graph.passes import prepare_for_runtime
from qslim.importers.paddle import find_model_files, load_program
from qslim.quant.op_types import all_op_types, pir_names
from qslim.quant.post_training import write_quantized
from qslim.quant.post_training.operator_selection import select


class _Network(nn.Layer):
    """Swish (Sigmoid, Mul), a scale with a bias (Mul, Add) and a product with a turned weight."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2D(3, 8, 3, padding=1)
        self.weight = self.create_parameter([5, 16])

    def forward(self, x: Any) -> Any:
        x = nn.functional.swish(self.conv(x))
        x = paddle.scale(x, 2.0, 0.25)
        return paddle.matmul(x, self.weight, transpose_y=True)


@pytest.fixture(scope="module", params=IRS)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    paddle.seed(0)
    net = _Network()
    net.eval()
    directory = str(tmp_path_factory.mktemp(request.param))
    try:
        return save_network(net, directory, request.param)
    except TypeError:  # paddle.matmul knows only PIR by now
        pytest.skip("Paddle cannot write this in the legacy IR")


def test_selection_speaks_of_the_program(model: str) -> None:
    graph = load_program(find_model_files(model)).graph
    assert [node.op_type for node in graph.nodes] == [
        "Conv", "Add", "Sigmoid", "Mul", "Mul", "Add", "Transpose", "MatMul",
    ]  # fmt: skip
    selection = select(graph, pir_names(all_op_types()), quantize_outputs=True)
    assert [decision.node.source_op for decision in selection.decisions] == [
        "conv2d", "add", "swish", "scale", "matmul",
    ]  # fmt: skip
    program_tensors = {name for node in graph.nodes if node.source_op for name in node.outputs} | {"image"}
    assert set(selection.activations) <= program_tensors
    assert list(selection.weights.values()) == [0, 0]
    weight = list(selection.weights)[1]
    skipped = select(graph, pir_names(["matmul"]), [weight])
    assert [decision.is_quantized for decision in skipped.decisions] == [False] * 5


@pytest.mark.parametrize("is_full_quantize", [False, True])
def test_the_exported_model_is_the_simulated_one(
    model: str, is_full_quantize: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    graphs: list[Graph] = []
    export = write_quantized.write_quantized_model

    def keep_graph(program: Any, *args: Any, **kwargs: Any) -> Any:
        graphs.append(program.graph)
        return export(program, *args, **kwargs)

    monkeypatch.setattr(write_quantized, "write_quantized_model", keep_graph)
    slim.quant.quant_post_static(
        paddle.static.Executor(paddle.CPUPlace()),
        model,
        str(tmp_path),
        data_loader=[images(4)],
        algo="abs_max",
        is_full_quantize=is_full_quantize,
    )
    prepared = prepare_for_runtime(graphs[0])
    operators = [find_integer_operator(prepared, node) for node in prepared.nodes]
    assert sum(operator is not None for operator in operators) == 2
    x = {"image": images(4, seed=1)}
    (expected,) = load_program(find_model_files(str(tmp_path))).run_outputs(x)
    (got,) = evaluate(prepared, x).values()
    # A rounding on the other side is a step in one of 16 products, each step 1/127 of the largest value.
    difference = np.abs(got - expected)
    assert difference.max() < 4 / 127 * np.abs(expected).max()
    assert difference.mean() < 0.25 / 127 * np.abs(expected).max()
