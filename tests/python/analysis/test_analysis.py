# SPDX-License-Identifier: Apache-2.0
"""qslim.analysis on Layers, programs and Graphs, against numbers worked out by hand."""

from __future__ import annotations

import doctest
import importlib
from typing import Any

import numpy as np
import pytest

paddle = pytest.importorskip("paddle")

from small_networks import SmallNetwork, dygraph  # noqa: E402

from qslim import analysis  # noqa: E402
from qslim.importers.paddle import find_model_files, import_layer, load_program  # noqa: E402

nn = paddle.nn

# SmallNetwork on [N, 3, 8, 8]: stem 4x4x8 from 3x3x3, depthwise 4x4x8 from 3x3, pointwise 4x4x8 from 8,
# the transposed convolution meets 4x4x8 pixels with 4 channels of 2x2, the head is 4 x 5.
PRODUCTS = 4 * 4 * 8 * 27 + 4 * 4 * 8 * 9 + 4 * 4 * 8 * 8 + 4 * 4 * 8 * 4 * 4 + 4 * 5
# Two batch norms, two relus on 4x4x8; the pooling's 4 results count 2 each.
OTHERS = 2 * 2 * 128 + 2 * 128 + 2 * 4
PARAMETERS = 8 * 27 + 4 * 8 + 8 * 9 + 8 + 4 * 8 + 8 * 8 + 8 + 8 * 4 * 4 + 4 + 4 * 5 + 5


@pytest.mark.parametrize("shape", [[1, 3, 8, 8], [4, 3, 8, 8], [-1, 3, 8, 8], [[2, 3, 8, 8]]])
def test_a_layer(shape: list[Any]) -> None:
    with dygraph():
        net = SmallNetwork()
        assert analysis.flops(net, shape) == PRODUCTS
        assert analysis.dygraph_flops(net, shape) == PRODUCTS + OTHERS
        assert analysis.model_size(net) == PARAMETERS


def test_details_name_the_parameters() -> None:
    with dygraph():
        net = SmallNetwork()
        total, details = analysis.flops(net, [1, 3, 8, 8], detail=True)
    assert total == sum(details.values()) == PRODUCTS
    assert details == {
        net.stem.weight.name: 4 * 4 * 8 * 27,
        net.depthwise.weight.name: 4 * 4 * 8 * 9,
        net.pointwise.weight.name: 4 * 4 * 8 * 8,
        net.up.weight.name: 4 * 4 * 8 * 4 * 4,
        net.head.weight.name: 4 * 5,
    }


def test_example_inputs_and_several_inputs() -> None:
    class Two(nn.Layer):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.head = nn.Embedding(10, 6), nn.Linear(6, 4)

        def forward(self, ids: Any, x: Any) -> Any:
            return paddle.matmul(self.head(self.embed(ids)), x)

    with dygraph():
        net = Two()
        expected = 7 * 6 * 4 + 7 * 4 * 5  # [7, 6] x [6, 4], then [7, 4] x [4, 5]
        assert analysis.flops(net, [[2, 7], [2, 4, 5]], ["int64", "float32"]) == expected
        examples = [paddle.zeros([2, 7], "int64"), np.zeros((2, 4, 5), np.float32)]
        assert analysis.flops(net, examples) == expected


def test_attention_counts_both_products() -> None:
    with dygraph():
        net = nn.MultiHeadAttention(8, 2)
        # Four projections of [5, 8] by [8, 8]; for each of 2 heads [5, 4] x [4, 5] and [5, 5] x [5, 4].
        assert analysis.flops(net, [3, 5, 8]) == 4 * 5 * 8 * 8 + 2 * (2 * 5 * 4 * 5)


def test_mode_and_training_flags_stay() -> None:
    with dygraph():
        net = SmallNetwork()
        net.train()
        net.stem_norm.eval()
        analysis.flops(net, [1, 3, 8, 8])
        assert net.training
        assert not net.stem_norm.training
        assert net.head.training
        paddle.enable_static()
        try:
            assert analysis.flops(net, [1, 3, 8, 8]) == PRODUCTS
            assert not paddle.in_dynamic_mode()
        finally:
            paddle.disable_static()


def test_a_saved_model_and_its_graph(tmp_path: Any) -> None:
    with dygraph():
        net = SmallNetwork()
        spec = paddle.static.InputSpec([None, 3, 8, 8], "float32", "image")
        paddle.jit.save(net, str(tmp_path / "net"), input_spec=[spec])
    program = load_program(find_model_files(str(tmp_path)))
    for model in (program, program.graph, program.program):
        assert analysis.flops(model) == PRODUCTS
        assert analysis.flops(model, [5, 3, 8, 8]) == PRODUCTS
        assert analysis.flops(model, only_conv=False) == PRODUCTS + OTHERS
        assert analysis.model_size(model) == PARAMETERS


LIVE_PROGRAM = """
    import paddle
    from qslim import analysis

    paddle.enable_static()
    main, startup = paddle.static.Program(), paddle.static.Program()
    with paddle.static.program_guard(main, startup):
        image = paddle.static.data("image", [None, 3, 8, 8], "float32")
        label = paddle.static.data("label", [None, 1], "int64")
        net = paddle.nn.Sequential(
            paddle.nn.Conv2D(3, 4, 3), paddle.nn.BatchNorm2D(4), paddle.nn.ReLU(), paddle.nn.Flatten(),
            paddle.nn.Linear(144, 5),
        )
        loss = paddle.nn.functional.cross_entropy(net(image), label).mean()
        optimizer = paddle.optimizer.Momentum(0.1, parameters=net.parameters())
        if {training}:
            optimizer.minimize(loss)
    before = str(main)
    print(analysis.flops(main), analysis.flops(main, only_conv=False), analysis.model_size(main))
    print(str(main) == before, paddle.in_dynamic_mode())
"""


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("legacy_ir", [False, True])
def test_a_live_program(run_python: Any, legacy_ir: bool, training: bool) -> None:
    output = run_python(LIVE_PROGRAM.format(training=training), legacy_ir=legacy_ir)
    products = 6 * 6 * 4 * 27 + 144 * 5
    size = 4 * 27 + 4 + 4 * 4 + 144 * 5 + 5
    assert output.split() == f"{products} {products + 3 * 144} {size} True False".split()


def test_the_table() -> None:
    with dygraph():
        table = analysis.summary(SmallNetwork(), [1, 3, 8, 8])
    assert (table.macs, table.parameters) == (PRODUCTS + OTHERS, PARAMETERS)
    assert sum(row.macs for row in table) == table.macs
    rows = {row.name: row for row in table if row.parameters}
    assert rows["head"] == analysis.LayerSummary("head", "matmul", (1, 5), 25, 20)
    assert rows["stem"].output_shape == (1, 8, 4, 4)
    lines = str(table).splitlines()
    assert lines[0].split()[:4] == ["layer", "operator", "output", "shape"]
    assert lines[-1].split() == ["total", f"{table.parameters:,}", f"{table.macs:,}"]


def test_parameters_that_are_shared_count_once() -> None:
    class Shared(nn.Layer):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(6, 6, bias_attr=False)

        def forward(self, x: Any) -> Any:
            return self.linear(self.linear(x))

    with dygraph():
        net = Shared()
        table = analysis.summary(net, [1, 6])
        assert (table.parameters, table.macs) == (36, 72)
        assert analysis.flops(net, [1, 6], detail=True) == (72, {net.linear.weight.name: 72})


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda net: analysis.flops(net), ValueError, "flops: a Layer needs inputs"),
        (lambda net: analysis.flops(net, []), ValueError, "inputs must be a shape"),
        (lambda net: analysis.flops(net, [1, 3, 0, 8]), ValueError, r"positive integers.*got \[1, 3, 0, 8\]"),
        (lambda net: analysis.flops(net, [1, 3, -1, 8]), ValueError, "the batch alone may be -1"),
        (lambda net: analysis.flops(net, [1, 3, 8.5, 8]), ValueError, "positive integers"),
        (lambda net: analysis.flops(net, [3, 8]), ValueError, r"cannot run on inputs \[\[3, 8\]\]: .*Error"),
        (
            lambda net: analysis.flops(net, [[1, 3, 8, 8], [1]]),
            ValueError,
            "cannot run .* requires 1 argument",
        ),
        (lambda net: analysis.flops(net, [1, 4, 8, 8]), ValueError, "takes 3 channels, the image has 4"),
        (lambda net: analysis.flops(net, [1, 3, 8, 8], ["float32"] * 2), ValueError, "1 inputs but 2 dtypes"),
        (lambda net: analysis.dygraph_flops(3, [1]), TypeError, "dygraph_flops: expected a paddle.nn.Layer"),
        (lambda net: analysis.flops("net"), TypeError, "flops: expected a paddle.nn.Layer, .* got str"),
        (lambda net: analysis.model_size(3), TypeError, "model_size: expected"),
    ],
)
def test_messages(call: Any, error: type[Exception], message: str) -> None:
    with dygraph(), pytest.raises(error, match=message):
        call(SmallNetwork())


def test_a_shape_that_does_not_fit_a_graph_is_told() -> None:
    with dygraph():
        spec = paddle.static.InputSpec([None, 3, 8, 8], "float32", "image")
        graph = import_layer(SmallNetwork(), [spec]).graph
    with pytest.raises(ValueError, match=r"takes the shape \[\?, 3, 8, 8\], got \[1, 4, 8, 8\]"):
        analysis.flops(graph, [1, 4, 8, 8])
    with pytest.raises(ValueError, match="2 inputs for a model that has 1"):
        analysis.flops(graph, [[1, 3, 8, 8], [1, 2]])


@pytest.mark.parametrize(
    "name",
    ["qslim.analysis.flops", "qslim.analysis.summary", "qslim.graph.flops", "qslim.graph.shape_inference"],
)
def test_examples(name: str) -> None:
    with dygraph():
        results = doctest.testmod(importlib.import_module(name))
    assert results.failed == 0
    assert results.attempted > 0
