# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import doctest

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import qslim.graph.graph
from qslim.graph import Graph, Node, QuantParams, Tensor
from qslim.graph.passes import fold_batch_norm, non_negative_tensors


def _graph(names: str) -> Graph:
    graph = Graph(inputs=["x"])
    for name in names:
        graph.add_tensor(Tensor(name, "float32"))
    return graph


def test_examples_run() -> None:
    result = doctest.testmod(qslim.graph.graph)
    assert result.attempted > 0
    assert result.failed == 0


def test_every_tensor_has_one_producer() -> None:
    graph = _graph("xyz")
    graph.add_node(Node("Relu", ["x"], ["y"]))
    with pytest.raises(ValueError, match="'y' is written by Relu"):
        graph.add_node(Node("Abs", ["x"], ["y"]))
    with pytest.raises(ValueError, match="'w', which does not exist"):
        graph.add_node(Node("Abs", ["w"], ["z"]))
    with pytest.raises(ValueError, match="'x' exists already"):
        graph.add_tensor(Tensor("x", "float32"))


def test_edges_follow_changes() -> None:
    graph = _graph("xyzw")
    first, second = Node("Relu", ["x"], ["y"]), Node("Add", ["y", "y"], ["z"])
    graph.add_node(first)
    graph.add_node(second)
    assert graph.consumers("y") == [second]
    graph.set_inputs(second, ["x", "y"])
    graph.set_outputs(second, ["w"])
    assert graph.consumers("x") == [first, second]
    assert graph.producer("z") is None
    assert graph.producer("w") is second
    graph.remove_node(first)
    assert graph.producer("y") is None
    assert graph.consumers("x") == [second]


@given(
    bits=st.integers(2, 16),
    is_unsigned=st.booleans(),
    threshold=st.floats(2**-10, 2**10, width=32),
    value=st.floats(-(2**14), 2**14, width=32),
)
def test_activation_grid(bits: int, is_unsigned: bool, threshold: float, value: float) -> None:
    params = QuantParams.activation(threshold, bits, is_unsigned)
    assert params.qmax - params.qmin == 2**bits - 1
    assert params.zero_point == 0
    x = np.float32([value])
    q = params.quantize(x)
    assert q.dtype == params.dtype
    assert params.qmin <= q[0] <= params.qmax
    # A value inside the range moves by half a step at most (plus rounding of the products).
    if (0 if is_unsigned else -threshold) <= value <= threshold:
        assert abs(params.dequantize(q)[0] - x[0]) <= params.scale * 0.5 * (1 + 1e-3)
    np.testing.assert_array_equal(params.quantize(params.dequantize(q)), q)


def test_weight_grid_is_symmetric() -> None:
    params = QuantParams.weight(np.float32([1.27, 12.7]), 8, 1)
    assert (params.qmin, params.qmax) == (-127, 127)
    q = params.quantize(np.float32([[-9, 12.7], [0.02, -0.1]]))
    np.testing.assert_array_equal(q, [[-127, 127], [2, -1]])
    np.testing.assert_allclose(params.threshold, [1.27, 12.7], rtol=1e-6)


@given(bits=st.integers(2, 8), is_unsigned=st.booleans(), seed=st.integers(0, 2**31))
def test_kernel_and_formula_agree(bits: int, is_unsigned: bool, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((3, 5, 7)).astype(np.float32)
    params = QuantParams.activation(float(rng.uniform(0.1, 3)), bits, is_unsigned)
    expected = np.clip(np.rint(x * (np.float32(1) / params.scale)), params.qmin, params.qmax)
    np.testing.assert_array_equal(params.quantize(x), expected)
    np.testing.assert_array_equal(params.fake_quantize(x), expected * params.scale)


@pytest.mark.parametrize("scale", [0.0, -1.0, np.nan, np.inf])
def test_bad_scales_are_refused(scale: float) -> None:
    with pytest.raises(ValueError, match="scale must be finite and > 0"):
        QuantParams(np.float32(scale), 0, -127, 127)


def test_scale_must_match_the_axis() -> None:
    with pytest.raises(ValueError, match="quant_axis=None"):
        QuantParams(np.float32([1.0]), 0, -127, 127)
    with pytest.raises(ValueError, match="lies outside"):
        QuantParams(np.float32(1.0), 200, -128, 127)


def test_sign_is_decided_by_operators() -> None:
    graph = _graph("xabcdef")
    graph.add_tensor(Tensor("low", "float32", (), np.float32(0.0)))
    graph.add_tensor(Tensor("minus", "float32", (), np.float32(-1.0)))
    graph.add_node(Node("Relu", ["x"], ["a"]))
    graph.add_node(Node("MaxPool", ["a"], ["b"]))
    graph.add_node(Node("Add", ["a", "b"], ["c"]))
    graph.add_node(Node("Add", ["a", "x"], ["d"]))
    graph.add_node(Node("Clip", ["x", "low"], ["e"]))
    graph.add_node(Node("Clip", ["x", "minus"], ["f"]))
    assert non_negative_tensors(graph) == {"a", "b", "c", "e", "low"}


def test_a_shared_weight_or_a_read_middle_is_not_folded() -> None:
    def build(extra: list[str]) -> Graph:
        graph = _graph("xyzuv")
        for name, shape in (("w", (2, 3, 1, 1)), ("s", (2,)), ("b", (2,)), ("m", (2,)), ("q", (2,))):
            graph.add_tensor(Tensor(name, "float32", shape, np.full(shape, 0.5, np.float32)))
        graph.add_node(Node("Conv", ["x", "w"], ["y"]))
        graph.add_node(Node("BatchNormalization", ["y", "s", "b", "m", "q"], ["z"], {"epsilon": 1e-5}))
        if extra:
            graph.add_node(Node("Conv" if "w" in extra else "Relu", extra, ["u"]))
        return graph

    assert len(fold_batch_norm(build([]))) == 1
    assert fold_batch_norm(build(["x", "w"])) == []
    assert fold_batch_norm(build(["y"])) == []
    graph = build([])
    graph.outputs = ["y", "z"]
    assert fold_batch_norm(graph) == []
