# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import doctest
import importlib
from typing import Any, Optional

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qslim.graph import Graph, Node, QuantParams, Tensor, evaluate
from qslim.graph.integer_operators import find_integer_operator
from qslim.graph.passes import prepare_for_runtime

_F = np.float32


class _Builder:
    """Appends nodes one behind the other; ``at`` is the tensor that the last one wrote."""

    def __init__(self, shape: tuple[Optional[int], ...] = (None, 4, 6, 6)) -> None:
        self.graph = Graph(inputs=["x"])
        self.graph.add_tensor(Tensor("x", "float32", shape))
        self.at = "x"
        self._count = 0

    def constant(self, value: Any, params: Optional[QuantParams] = None, name: str = "c") -> str:
        value = np.asarray(value)
        name = self.graph.new_name(name)
        self.graph.add_tensor(Tensor(name, str(value.dtype), value.shape, value, params))
        return name

    def node(self, op_type: str, *more: str, inputs: Optional[list[str]] = None, **attributes: Any) -> str:
        self._count += 1
        name = f"t{self._count}"
        self.graph.add_tensor(Tensor(name, "float32", (None, None, None, None)))
        self.graph.add_node(Node(op_type, inputs or [self.at, *more], [name], attributes))
        self.at = name
        return name

    def norm(self, channels: int, rng: np.random.Generator) -> str:
        values = [rng.uniform(low, 1.5, channels).astype(_F) for low in (-1.5, -0.5, -0.5, 0.5)]
        return self.node("BatchNormalization", *map(self.constant, values), epsilon=1e-5)

    def done(self, *outputs: str) -> Graph:
        self.graph.outputs = list(outputs or [self.at])
        return self.graph


def _kinds(graph: Graph) -> list[str]:
    return [node.op_type for node in graph.nodes]


def _same(
    graph: Graph, prepared: Graph, shape: tuple[int, ...] = (2, 4, 6, 6), tolerance: float = 1e-4
) -> None:
    """Both compute the same; sums of at most 100 products of at most 10, which float32 keeps to 1e-5."""
    x = np.random.default_rng(1).standard_normal(shape).astype(_F)
    for name, value in evaluate(graph, {"x": x}).items():
        np.testing.assert_allclose(evaluate(prepared, {"x": x})[name], value, rtol=tolerance, atol=tolerance)


def test_examples_run() -> None:
    result = doctest.testmod(importlib.import_module("qslim.graph.passes.prepare"))
    assert result.attempted > 0
    assert result.failed == 0


@pytest.mark.parametrize("group", [1, 2, 4])
@pytest.mark.parametrize("kind", ["Conv", "ConvTranspose"])
@pytest.mark.parametrize("has_bias", [False, True])
def test_a_chain_of_affine_operators_folds(kind: str, group: int, has_bias: bool) -> None:
    rng = np.random.default_rng(0)
    build = _Builder()
    shape = (8, 4 // group, 3, 3) if kind == "Conv" else (4, 8 // group, 3, 3)
    weight = build.constant(rng.standard_normal(shape).astype(_F), name="w")
    bias = [build.constant(rng.standard_normal(8).astype(_F))] if has_bias else []
    build.node(kind, weight, *bias, group=group, strides=[1, 1], pads=[1, 1, 1, 1], dilations=[1, 1])
    build.node("Add", build.constant(rng.standard_normal((1, 8, 1, 1)).astype(_F)))
    build.norm(8, rng)
    build.node("Mul", build.constant(_F([1.5])))
    build.node("Sub", build.constant(rng.standard_normal((8, 1, 1)).astype(_F)))
    build.node("Div", build.constant(_F(0.7)))
    build.node("Relu")
    graph = build.done()
    prepared = prepare_for_runtime(graph)
    assert _kinds(prepared) == [kind, "Relu"]
    assert len(_kinds(graph)) == 7
    _same(graph, prepared)


def test_what_stands_between_is_left_alone() -> None:
    rng = np.random.default_rng(0)

    def build(quantized: bool = False) -> tuple[_Builder, str]:
        builder = _Builder()
        weight = builder.constant(rng.standard_normal((8, 4, 1, 1)).astype(_F), name="w")
        middle = builder.node("Conv", weight)
        if quantized:
            builder.graph.tensors[middle].quantization = QuantParams.activation(8.0, 8, False)
        return builder, middle

    for quantized in (False, True):
        builder, middle = build(quantized)
        builder.norm(8, rng)
        graph = builder.done(builder.at, *([] if quantized else [middle]))
        prepared = prepare_for_runtime(graph)
        assert _kinds(prepared) == ["Conv", "Mul", "Add"]
        _same(graph, prepared)
    builder, middle = build()
    builder.node("Add", builder.constant(rng.standard_normal((6, 1)).astype(_F)))  # varies along H
    assert _kinds(prepare_for_runtime(builder.done())) == ["Conv", "Add"]
    builder, middle = build()
    builder.node("Sub", inputs=[builder.constant(_F(1)), builder.at])  # 1 - x
    assert _kinds(prepare_for_runtime(builder.done())) == ["Conv", "Sub"]


def test_a_shared_weight_is_folded_for_its_reader_alone() -> None:
    rng = np.random.default_rng(0)
    build = _Builder()
    weight = build.constant(rng.standard_normal((4, 4, 1, 1)).astype(_F), name="w")
    build.node("Conv", weight)
    build.norm(4, rng)
    build.node("Conv", weight)
    graph = build.done()
    before = graph.tensors["w"].value
    prepared = prepare_for_runtime(graph)
    assert _kinds(prepared) == ["Conv", "Conv"]
    _same(graph, prepared)
    assert graph.tensors["w"].value is before
    assert prepared.tensors["w"].value is before


@settings(deadline=None)
@given(
    bits=st.sampled_from([2, 4, 8, 12]),
    per_channel=st.booleans(),
    kind=st.sampled_from(["Conv", "ConvTranspose", "MatMul"]),
    seed=st.integers(0, 2**32 - 1),
)
def test_integers_of_a_quantized_weight_stay(bits: int, per_channel: bool, kind: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    build = _Builder() if kind != "MatMul" else _Builder((None, 5))
    shape, axis = {"Conv": ((8, 4, 3, 3), 0), "ConvTranspose": ((4, 8, 3, 3), 1), "MatMul": ((5, 8), 1)}[kind]
    value = rng.standard_normal(shape).astype(_F)
    others = tuple(i for i in range(value.ndim) if i != axis)
    threshold = np.abs(value).max(axis=others) if per_channel else np.abs(value).max()
    params = QuantParams.weight(threshold, bits, axis if per_channel else None)
    build.node(kind, build.constant(value, params, "w"))
    if kind == "MatMul":
        build.graph.tensors[build.at].shape = (None, 8)
        factor = rng.standard_normal(8).astype(_F)
        factor[3] = 0
        build.node("Mul", build.constant(factor))
    else:
        build.norm(8, rng)
        norm = build.graph.nodes[-1]
        scale = build.graph.tensors[norm.inputs[1]]
        assert scale.value is not None
        scale.value[3], scale.value[4] = 0, 1e-38
        variance = build.graph.constant(norm.inputs[4])
        assert variance is not None
        factor = scale.value / np.sqrt(variance + 1e-5)
        factor[4] = 0  # its step would be no normal number
    graph = build.done()
    prepared = prepare_for_runtime(graph)
    assert _kinds(prepared) == [kind]
    after = prepared.tensors["w"]
    assert after.quantization is not None
    assert after.value is not None
    sign = np.sign(factor).reshape([-1 if i == axis else 1 for i in range(value.ndim)])
    np.testing.assert_array_equal(after.quantization.quantize(after.value), params.quantize(value) * sign)
    np.testing.assert_array_equal(
        after.quantization.dequantize(after.quantization.quantize(after.value)), after.value
    )
    _same(graph, prepared, (2, 5) if kind == "MatMul" else (2, 4, 6, 6), 1e-3)


def test_a_channel_of_zeros_keeps_its_bias() -> None:
    value = np.ones((3, 4, 1, 1), _F)
    value[1] = 0
    # Of the second channel's steps a bias of 1.75 takes more than 2^31.
    params = QuantParams.weight(np.maximum(np.abs(value).max(axis=(1, 2, 3)), _F(1e-8)), 8, 0)
    build = _Builder()
    build.graph.tensors["x"].quantization = QuantParams.activation(2.0, 8, False)
    build.node("Conv", build.constant(value, params, "w"), build.constant(_F([0.25, 1.75, -0.5])))
    graph = build.done()
    x = np.random.default_rng(0).standard_normal((1, 4, 6, 6)).astype(_F)
    for each in (graph, prepare_for_runtime(graph)):
        assert (evaluate(each, {"x": x})["t1"][:, 1] == _F(1.75)).all()


def test_identities_go_and_names_stay() -> None:
    build = _Builder()
    a = build.node("Relu")
    build.node("Identity")
    build.node("Dropout")
    sigmoid = build.node("Sigmoid")
    out = build.node("Identity")
    also = build.node("Identity", inputs=["x"])
    graph = build.done(out, also)
    prepared = prepare_for_runtime(graph)
    assert [(node.op_type, node.inputs, node.outputs) for node in prepared.nodes] == [
        ("Relu", ["x"], [a]),
        ("Sigmoid", [a], [out]),
        ("Identity", ["x"], [also]),  # an input that is an output
    ]
    assert sigmoid not in prepared.tensors
    _same(graph, prepared)


def test_an_annotation_behind_an_identity_stays() -> None:
    first, second = QuantParams.activation(2.0, 8, True), QuantParams.activation(1.0, 8, True)

    def prepared(before: Optional[QuantParams], after: Optional[QuantParams]) -> Graph:
        build = _Builder()
        a = build.node("Relu")
        b = build.node("Identity")
        build.node("Sigmoid")
        build.graph.tensors[a].quantization, build.graph.tensors[b].quantization = before, after
        graph = build.done()
        result = prepare_for_runtime(graph)
        _same(graph, result)
        return result

    assert _kinds(prepared(None, None)) == ["Relu", "Sigmoid"]
    assert _kinds(prepared(first, None)) == ["Relu", "Sigmoid"]
    moved = prepared(None, second)
    assert _kinds(moved) == ["Relu", "Sigmoid"]
    assert moved.tensors[moved.nodes[0].outputs[0]].quantization is second
    assert _kinds(prepared(first, second)) == ["Relu", "Identity", "Sigmoid"]


def test_constants_are_computed_once() -> None:
    build = _Builder()
    rng = np.random.default_rng(0)
    params = QuantParams.weight(np.arange(1, 6, dtype=_F), 8, 0)
    weight = build.constant(rng.standard_normal((5, 6)).astype(_F), params, "w")
    turned = build.node("Transpose", inputs=[weight], perm=[1, 0])
    slope = build.node("Exp", inputs=[build.constant(_F([0.5]))])
    build.node("MatMul", inputs=["x", turned])
    build.node("Pow", slope)
    graph = build.done()
    prepared = prepare_for_runtime(graph)
    assert _kinds(prepared) == ["MatMul", "Pow"]
    tensor = prepared.tensors[turned]
    assert tensor.quantization is not None
    assert tensor.value is not None
    assert tensor.quantization.quant_axis == 1
    before = graph.constant(weight)
    assert before is not None
    np.testing.assert_array_equal(tensor.quantization.quantize(tensor.value), params.quantize(before).T)
    assert weight not in prepared.tensors
    _same(graph, prepared)
    graph.tensors["x"].quantization = QuantParams.activation(1.0, 8, False)
    prepared = prepare_for_runtime(graph)
    assert find_integer_operator(prepared, prepared.nodes[0]) is not None


def test_a_shape_from_another_tensor_becomes_a_constant() -> None:
    build = _Builder((None, 4, None, 6))
    shape = build.node("Shape")
    ints = [build.constant(np.int64([value])) for value in (0, 1, 4)]
    first = build.node("Slice", inputs=[shape, ints[0], ints[1], ints[0]])
    whole = build.node("Gather", inputs=[shape, build.constant(np.int64([1, 3]))], axis=0)
    count = build.node("ReduceProd", inputs=[build.constant(np.int64([4, 6]))], keepdims=1)
    target = build.node("Concat", inputs=[first, count, build.constant(np.int64([3]))], axis=0)
    fixed = build.node("Concat", inputs=[whole, build.constant(np.int64([-1]))], axis=0)
    a = build.node("Reshape", inputs=["x", target])
    b = build.node("Reshape", inputs=["x", fixed])
    graph = build.done(a, b)
    prepared = prepare_for_runtime(graph)
    assert _kinds(prepared) == ["Reshape", "Reshape"]
    operands = [prepared.constant(node.inputs[1]) for node in prepared.nodes]
    np.testing.assert_array_equal(operands, [[-1, 24, 3], [4, 6, -1]])
    _same(graph, prepared, (2, 4, 3, 6))


def test_arithmetic_on_extents_is_followed() -> None:
    build = _Builder((None, 4, None, 6))
    shape = build.node("Shape")
    at = [build.constant(np.int64(index)) for index in (1, 3)]
    extents = [build.node("Gather", inputs=[shape, index], axis=0) for index in at]
    product = build.node("Mul", inputs=extents)
    more = build.node("Sub", inputs=[build.node("Add", inputs=[product, at[0]]), at[0]])
    vector = build.node("Unsqueeze", inputs=[more, build.constant(np.int64([0]))])
    open_one = build.node("Gather", inputs=[shape, build.constant(np.int64([0]))], axis=0)
    half = build.node("Mul", inputs=[open_one, build.constant(np.int64([1]))])
    target = build.node("Concat", inputs=[half, vector, build.constant(np.int64([3]))], axis=0)
    build.node("Reshape", inputs=["x", target])
    graph = build.done()
    prepared = prepare_for_runtime(graph)
    assert _kinds(prepared) == ["Reshape"]
    np.testing.assert_array_equal(prepared.constant(prepared.nodes[0].inputs[1]), [-1, 24, 3])
    _same(graph, prepared, (2, 4, 3, 6))


def test_a_shape_with_two_open_extents_stays_computed() -> None:
    build = _Builder((None, 4, None, 6))
    shape = build.node("Shape")
    target = build.node("Gather", inputs=[shape, build.constant(np.int64([2, 1, 0, 3]))], axis=0)
    build.node("Reshape", inputs=["x", target])
    graph = build.done()
    prepared = prepare_for_runtime(graph)
    assert _kinds(prepared) == ["Shape", "Gather", "Reshape"]
    _same(graph, prepared, (2, 4, 3, 6))


def test_the_dead_go() -> None:
    build = _Builder()
    build.node("Relu")
    build.node("Exp", inputs=["x"])
    build.constant(_F(1), name="alone")
    prepared = prepare_for_runtime(build.done("t1"))
    assert _kinds(prepared) == ["Relu"]
    assert set(prepared.tensors) == {"x", "t1"}
