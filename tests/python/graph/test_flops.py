# SPDX-License-Identifier: Apache-2.0
"""shape_inference against what evaluate computes, and flops against numbers worked out by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from qslim.graph import Graph, Node, Tensor, evaluate
from qslim.graph.flops import count, parameters_of
from qslim.graph.shape_inference import infer_shapes


def one_node(
    op_type: str, x: tuple[int, ...], constants: list[np.ndarray], outputs: int = 1, **attributes: Any
) -> Graph:
    graph = Graph(inputs=["x"], outputs=[f"y{i}" for i in range(outputs)])
    graph.add_tensor(Tensor("x", "float32", x))
    names = [f"c{i}" for i in range(len(constants))]
    for name, value in zip(names, constants):
        graph.add_tensor(Tensor(name, str(value.dtype), value.shape, value))
    for name in graph.outputs:
        graph.add_tensor(Tensor(name, "float32"))
    graph.add_node(Node(op_type, ["x", *names], list(graph.outputs), attributes))
    return graph


def zeros(*shape: int) -> np.ndarray:
    return np.zeros(shape, np.float32)


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


GRAPHS = {
    "conv": one_node(
        "Conv",
        (2, 6, 9, 10),
        [zeros(8, 3, 3, 2)],
        strides=[2, 1],
        pads=[1, 0, 2, 1],
        dilations=[2, 3],
        group=2,
    ),
    "conv same": one_node("Conv", (1, 3, 9, 10), [zeros(4, 3, 3, 3)], strides=[2, 2], auto_pad="SAME_UPPER"),
    "conv transpose": one_node(
        "ConvTranspose",
        (2, 4, 5, 6),
        [zeros(4, 3, 3, 2)],
        strides=[2, 3],
        pads=[1, 0, 1, 1],
        output_padding=[1, 0],
        group=2,
    ),
    "max pool ceil": one_node("MaxPool", (1, 2, 8, 9), [], kernel_shape=[3, 2], strides=[2, 2], ceil_mode=1),
    "average pool": one_node("AveragePool", (1, 2, 8, 8), [], kernel_shape=[2, 2], pads=[1, 1, 0, 0]),
    "global pool": one_node("GlobalAveragePool", (3, 2, 8, 8), []),
    "matmul 4-D": one_node("MatMul", (2, 3, 5, 7), [zeros(3, 7, 4)]),
    "matmul vector": one_node("MatMul", (2, 3, 7), [zeros(7)]),
    "gemm": one_node("Gemm", (2, 7), [zeros(4, 7), zeros(4)], transB=1),
    "broadcast": one_node("Add", (2, 1, 5), [zeros(3, 1)]),
    "relu": one_node("Relu", (2, 3), []),
    "reshape": one_node("Reshape", (2, 3, 4), [ints(0, -1)]),
    "transpose": one_node("Transpose", (2, 3, 4), [], perm=[2, 0, 1]),
    "split": one_node("Split", (2, 7), [ints(3, 4)], outputs=2, axis=1),
    "reduce": one_node("ReduceMean", (2, 3, 4), [ints(1, 2)], keepdims=0),
    "slice": one_node("Slice", (2, 9), [ints(1), ints(8), ints(1), ints(3)]),
    "resize": one_node("Resize", (1, 2, 3, 3), [zeros(0), np.float32([2, 3])], axes=[2, 3]),
    "pad": one_node("Pad", (2, 3), [ints(0, 1, 2, 3)]),
}


@pytest.mark.parametrize("name", GRAPHS)
def test_shapes_equal_what_evaluate_computes(name: str) -> None:
    graph = GRAPHS[name]
    shape = graph.tensors["x"].shape
    assert shape is not None
    values = evaluate(graph, {"x": np.ones(shape, np.float32)})
    shapes = infer_shapes(graph)
    assert {output: shapes[output] for output in graph.outputs} == {k: v.shape for k, v in values.items()}


@pytest.mark.parametrize(
    ("name", "macs"),
    [
        # (9 + 3 - 5) // 2 + 1 = 4 rows, 10 + 1 - 4 + 1 = 8 columns; 3 * 3 * 2 weights an output
        ("conv", 4 * 8 * 8 * 18),
        ("conv same", 5 * 5 * 4 * 27),
        ("conv transpose", 5 * 6 * 4 * 3 * 3 * 2),
        ("matmul 4-D", 3 * 5 * 7 * 4),
        ("matmul vector", 3 * 7),
        ("gemm", 7 * 4),
    ],
)
def test_products(name: str, macs: int) -> None:
    assert sum(count(GRAPHS[name]).values()) == macs


def test_the_batch_does_not_count() -> None:
    """Also where it hides: [N, T, C] reshaped to [N * T, C] and multiplied."""
    graph = Graph(inputs=["x"], outputs=["y"])
    graph.add_tensor(Tensor("x", "float32", (None, 5, 8)))
    graph.add_tensor(Tensor("shape", "int64", (2,), ints(-1, 8)))
    graph.add_tensor(Tensor("w", "float32", (8, 3), zeros(8, 3)))
    graph.add_tensor(Tensor("rows", "float32", (None, 8)))
    graph.add_tensor(Tensor("y", "float32", (None, 3)))
    graph.add_node(Node("Reshape", ["x", "shape"], ["rows"]))
    graph.add_node(Node("MatMul", ["rows", "w"], ["y"]))
    for batch in (1, 2, 7):
        assert count(graph, {"x": (batch, 5, 8)}) == {"y": 5 * 8 * 3}
    assert count(graph) == {"y": 120}


def test_shapes_computed_by_the_network_are_followed() -> None:
    """x.reshape([x.shape[0], -1]), as an exporter writes it."""
    graph = Graph(inputs=["x"], outputs=["y"])
    graph.add_tensor(Tensor("x", "float32", (None, 3, 4)))
    for name, value in {"zero": ints(0), "rest": ints(-1)}.items():
        graph.add_tensor(Tensor(name, "int64", value.shape, value))
    for name in ("extents", "batch", "target"):
        graph.add_tensor(Tensor(name, "int64"))
    graph.add_tensor(Tensor("y", "float32"))
    graph.add_node(Node("Shape", ["x"], ["extents"]))
    graph.add_node(Node("Gather", ["extents", "zero"], ["batch"], {"axis": 0}))
    graph.add_node(Node("Concat", ["batch", "rest"], ["target"], {"axis": 0}))
    graph.add_node(Node("Reshape", ["x", "target"], ["y"]))
    assert infer_shapes(graph, {"x": (6, 3, 4)})["y"] == (6, 12)


def test_the_rest_counts_as_in_paddleslim() -> None:
    relu, pool = GRAPHS["relu"], GRAPHS["average pool"]
    assert count(relu) == {}
    assert count(relu, only_conv=False) == {"y0": 3}
    assert count(pool, only_conv=False) == {"y0": 2 * 2 * (8 * 8) * 2 * 2}
    norm = one_node("BatchNormalization", (2, 3, 4, 4), [zeros(3)] * 4)
    assert count(norm, only_conv=False) == {"y0": 2 * 3 * 4 * 4}


def test_a_pruned_weight_counts_as_it_is() -> None:
    graph = one_node("Conv", (1, 3, 8, 8), [zeros(8, 3, 3, 3)])
    graph.tensors["y0"].shape = (1, 8, 6, 6)
    graph.tensors["c0"].value = zeros(5, 3, 3, 3)
    assert count(graph) == {"y0": 6 * 6 * 5 * 27}


def test_parameters_behind_a_transpose_are_found() -> None:
    graph = Graph(inputs=["x"], outputs=["y"])
    graph.add_tensor(Tensor("x", "float32", (1, 4)))
    graph.add_tensor(Tensor("w", "float32", (3, 4), zeros(3, 4)))
    graph.add_tensor(Tensor("turned", "float32", (4, 3)))
    graph.add_tensor(Tensor("y", "float32", (1, 3)))
    graph.add_node(Node("Transpose", ["w"], ["turned"], {"perm": [1, 0]}))
    graph.add_node(Node("MatMul", ["x", "turned"], ["y"]))
    assert parameters_of(graph, graph.nodes[-1]) == ["w"]
    assert count(graph) == {"y": 12}


@pytest.mark.parametrize(
    ("graph", "shapes", "message"),
    [
        (GRAPHS["conv"], {"z": (1, 2)}, "no input 'z'"),
        (GRAPHS["conv"], {"x": (2, 6, 9)}, r"takes the shape \[2, 6, 9, 10\], got \[2, 6, 9\]"),
        (GRAPHS["relu"], {"x": (2, 0)}, r"got \[2, 0\]"),
        (one_node("Conv", (1, 4, 8, 8), [zeros(8, 3, 3, 3)]), None, "takes 3 channels, the image has 4"),
        (one_node("Conv", (1, 3, 2, 8), [zeros(8, 3, 3, 3)]), None, "the window spans 3 of 2 elements"),
        (one_node("MatMul", (1, 4), [zeros(5, 2)]), None, "4 columns against 5 rows"),
        (one_node("Reshape", (1, 4), [ints(3)]), None, "Reshape.* does not fit its operands"),
    ],
)
def test_messages(graph: Graph, shapes: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        count(graph, shapes)


def test_unknown_extents_are_named() -> None:
    graph = one_node("Relu", (1, 3), [])
    graph.tensors["x"].shape = (None, None)
    with pytest.raises(ValueError, match=r"input 'x' has the shape \[\?, \?\]"):
        infer_shapes(graph)
    assert infer_shapes(graph, {"x": (2, 3)})["y0"] == (2, 3)


def test_what_an_unknown_operator_hides_is_told_only_if_it_counts() -> None:
    graph = one_node("Relu", (1, 4), [zeros(4, 2)])
    graph.nodes[0].op_type = "mystery"
    assert count(graph) == {}
    graph.add_tensor(Tensor("z", "float32"))
    graph.add_node(Node("MatMul", ["y0", "c0"], ["z"]))
    with pytest.raises(ValueError, match="the shape of 'z', which MatMul"):
        count(graph)
