# SPDX-License-Identifier: Apache-2.0
"""The simulation against sums written out by hand and against loops over Python's integers."""

from __future__ import annotations

import doctest
import importlib
import itertools
from typing import Any, Optional

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qslim.graph import Graph, Node, QuantParams, Tensor, evaluate
from qslim.graph.integer_operators import find_integer_operator

_F = np.float32


def test_examples_run() -> None:
    result = doctest.testmod(importlib.import_module("qslim.graph.evaluate"))
    assert result.attempted > 0
    assert result.failed == 0


def _network(
    kind: str,
    x: np.ndarray,
    weight: np.ndarray,
    *,
    x_params: QuantParams,
    w_params: QuantParams,
    attributes: Optional[dict[str, Any]] = None,
    bias: Optional[np.ndarray] = None,
    add: Optional[np.ndarray] = None,
    clamp: Optional[tuple[Optional[float], Optional[float]]] = None,
    y_params: Optional[QuantParams] = None,
) -> Graph:
    """x -> `kind` (-> Add) (-> Relu or Clip) -> y, quantized as the parameters say."""
    graph = Graph(inputs=["x"], outputs=["y"])
    graph.add_tensor(Tensor("x", "float32", x.shape, None, x_params))
    graph.add_tensor(Tensor("w", "float32", weight.shape, weight, w_params))
    inputs = ["x", "w"]
    if bias is not None:
        graph.add_tensor(Tensor("b", "float32", bias.shape, bias))
        inputs.append("b")
    steps: list[tuple[str, list[str]]] = [(kind, inputs)]
    if add is not None:
        graph.add_tensor(Tensor("a", "float32", add.shape, add))
        steps.append(("Add", ["a"]))
    if clamp is not None:
        names = []
        for name, bound in zip(("low", "high"), clamp):
            names.append(name if bound is not None else "")
            if bound is not None:
                graph.add_tensor(Tensor(name, "float32", (), _F(bound)))
        steps.append(("Relu", []) if clamp == (None, None) else ("Clip", names))
    source = ""
    for index, (op_type, names) in enumerate(steps):
        is_last = index == len(steps) - 1
        target = "y" if is_last else f"t{index}"
        graph.add_tensor(Tensor(target, "float32", None, None, y_params if is_last else None))
        operands = names if index == 0 else [source, *names]
        graph.add_node(Node(op_type, operands, [target], dict(attributes or {}) if index == 0 else {}))
        source = target
    return graph


def _params(scale: float, zero_point: int = 0, qmin: int = -128, qmax: int = 127) -> QuantParams:
    return QuantParams(_F(scale), zero_point, qmin, qmax)


_W = QuantParams(_F([0.5, 0.25]), 0, -127, 127, 1)


def test_a_product_by_hand() -> None:
    # x = [1, -2, 3] is q = [4, -8, 12] at scale 0.25; w is q = [[2, -4], [1, 0], [-1, 8]] at 0.5 and 0.25.
    x = _F([[1, -2, 3]])
    weight = _F([[1, -1], [0.5, 0], [-0.5, 2]])
    graph = _network("MatMul", x, weight, x_params=_params(0.25), w_params=_W)
    # acc = [8 - 8 - 12, -16 + 0 + 96] = [-12, 80]; steps 0.125 and 0.0625.
    np.testing.assert_array_equal(evaluate(graph, {"x": x})["y"], _F([[-1.5, 5.0]]))


def test_bias_is_added_in_float() -> None:
    x, weight = _F([[1, -2, 3]]), _F([[1, -1], [0.5, 0], [-0.5, 2]])
    # 0.3 is 2.4 steps of 0.125, 0.15625 is 2.5 steps of 0.0625: neither is rounded to a whole one.
    for where in ("bias", "add"):
        kind = "Gemm" if where == "bias" else "MatMul"
        bias = {where: _F([0.3, 0.15625])}
        graph = _network(kind, x, weight, x_params=_params(0.25), w_params=_W, **bias)  # type: ignore[arg-type]
        np.testing.assert_array_equal(evaluate(graph, {"x": x})["y"], _F([[-1.5, 5.0]]) + _F([0.3, 0.15625]))


@pytest.mark.parametrize(
    ("clamp", "expected"),
    [
        (None, [-96, 127]),  # -1.2 / 0.0125 = -96 and 5.15625 / 0.0125 = 412.5
        ((None, None), [0, 127]),
        ((-0.33, 1.0), [-26, 80]),
        ((None, 0.5), [-96, 40]),
        ((0.0, 6.0), [0, 127]),
    ],
)
def test_the_fused_form_by_hand(clamp: Any, expected: list[int]) -> None:
    x, weight = _F([[1, -2, 3]]), _F([[1, -1], [0.5, 0], [-0.5, 2]])
    y = _params(0.0125)
    graph = _network(
        "MatMul",
        x,
        weight,
        x_params=_params(0.25),
        w_params=_W,
        add=_F([0.3, 0.15625]),
        clamp=clamp,
        y_params=y,
    )
    operator = find_integer_operator(graph, graph.nodes[0])
    assert operator is not None
    assert operator.target == "y"
    got = evaluate(graph, {"x": x})["y"]
    np.testing.assert_array_equal(y.quantize(got), [expected])
    inner = evaluate(graph, {"x": x}, ["t0", "y"])
    np.testing.assert_array_equal(inner["y"], got)
    np.testing.assert_array_equal(inner["t0"], _F([[-1.5, 5.0]]))


def test_one_multiplication_not_two() -> None:
    """fl(fl(sx * sw) / sy) and fl(bias / sy) once, against the quantization of the real result."""
    rng = np.random.default_rng(3)
    x = rng.standard_normal((4000, 3)).astype(_F)
    weight = rng.standard_normal((3, 2)).astype(_F)
    bias = _F([0.37, -0.0123])
    scales = {"x_params": _params(0.0237), "w_params": QuantParams.weight(_F(3.1), 8, None), "add": bias}
    y = _params(0.0311)
    fused = evaluate(_network("MatMul", x, weight, y_params=y, **scales), {"x": x})["y"]  # type: ignore[arg-type]
    real = evaluate(_network("MatMul", x, weight, **scales), {"x": x})["y"]  # type: ignore[arg-type]
    two_steps = y.dequantize(y.quantize(real))
    assert np.abs(fused - two_steps).max() <= y.scale * 1.01
    q = np.rint(x * (_F(1) / _F(0.0237))).clip(-128, 127).astype(np.int64)
    qw = scales["w_params"].quantize(weight).astype(np.int64)
    multiplier = _F(_F(_F(0.0237) * scales["w_params"].scale) / _F(0.0311))
    expected = np.rint((q @ qw).astype(_F) * multiplier + bias / _F(0.0311)).clip(-128, 127)
    np.testing.assert_array_equal(y.quantize(fused), expected)


def test_what_is_read_or_annotated_in_the_middle_is_not_fused() -> None:
    x, weight = _F([[1, -2, 3]]), _F([[1, -1], [0.5, 0], [-0.5, 2]])

    def build() -> Graph:
        return _network(
            "MatMul", x, weight, x_params=_params(0.25), w_params=_W, add=_F([0.3, 0]), clamp=(None, None),
            y_params=_params(0.5),
        )  # fmt: skip

    def operator(graph: Graph) -> Any:
        return find_integer_operator(graph, graph.nodes[0])

    graph = build()
    assert (operator(graph).target, operator(graph).result) == ("y", "t1")
    graph.outputs.append("t1")
    assert (operator(graph).target, operator(graph).result) == (None, "t1")
    graph = build()
    graph.outputs.append("t0")
    assert (operator(graph).target, operator(graph).result, operator(graph).bias) == (None, "t0", None)
    graph = build()
    graph.tensors["t1"].quantization = _params(0.1)
    assert (operator(graph).target, operator(graph).clamp) == ("t1", None)
    graph = build()
    graph.tensors["a"].value = _F([[0.3], [0.4]])  # along another axis than the channels
    assert (operator(graph).target, operator(graph).add) == (None, None)
    graph = build()
    graph.tensors["w"].quantization = QuantParams(_F([1, 1, 1]), 0, -127, 127, 0)
    assert operator(graph) is None
    graph = build()
    graph.tensors["x"].quantization = QuantParams.activation(1.0, 12, False)
    assert operator(graph) is None


def _loop_conv(q: Any, qw: Any, zero_point: int, attributes: dict[str, Any]) -> Any:
    """The definition, over Python's integers: a pixel outside the image is real zero."""
    (n, _, h, w), (oc, per_group, kh, kw) = q.shape, qw.shape
    (sh, sw), (dh, dw) = attributes["strides"], attributes["dilations"]
    top, left, bottom, right = attributes["pads"]
    group = attributes["group"]
    height = (h + top + bottom - (kh - 1) * dh - 1) // sh + 1
    width = (w + left + right - (kw - 1) * dw - 1) // sw + 1
    out = np.zeros((n, oc, height, width), np.int64)
    for i, o, r, c in itertools.product(range(n), range(oc), range(height), range(width)):
        for ic, ky, kx in itertools.product(range(per_group), range(kh), range(kw)):
            row, column = r * sh - top + ky * dh, c * sw - left + kx * dw
            if 0 <= row < h and 0 <= column < w:
                channel = o // (oc // group) * per_group + ic
                out[i, o, r, c] += (int(q[i, channel, row, column]) - zero_point) * int(qw[o, ic, ky, kx])
    return out


def _loop_transposed(q: Any, qw: Any, zero_point: int, attributes: dict[str, Any]) -> Any:
    (n, ic, h, w), (_, per_group, kh, kw) = q.shape, qw.shape
    (sh, sw), (dh, dw) = attributes["strides"], attributes["dilations"]
    top, left, bottom, right = attributes["pads"]
    group = attributes["group"]
    height = (h - 1) * sh + (kh - 1) * dh + 1 - top - bottom + attributes["output_padding"][0]
    width = (w - 1) * sw + (kw - 1) * dw + 1 - left - right + attributes["output_padding"][1]
    out = np.zeros((n, per_group * group, height, width), np.int64)
    for i, c, r, s in itertools.product(range(n), range(ic), range(h), range(w)):
        for o, ky, kx in itertools.product(range(per_group), range(kh), range(kw)):
            row, column = r * sh - top + ky * dh, s * sw - left + kx * dw
            if 0 <= row < height and 0 <= column < width:
                channel = c // (ic // group) * per_group + o
                out[i, channel, row, column] += (int(q[i, c, r, s]) - zero_point) * int(qw[c, o, ky, kx])
    return out


@settings(max_examples=60, deadline=None)
@given(data=st.data(), seed=st.integers(0, 2**32 - 1))
@pytest.mark.parametrize("kind", ["Conv", "ConvTranspose"])
def test_convolutions_are_the_loops(kind: str, data: st.DataObject, seed: int) -> None:
    draw = data.draw
    group, ic, oc = draw(st.sampled_from([1, 2, 3])), draw(st.integers(1, 3)), draw(st.integers(1, 3))
    kernel = [draw(st.integers(1, 3)) for _ in range(2)]
    attributes: dict[str, Any] = {
        "strides": [draw(st.integers(1, 3)) for _ in range(2)],
        "dilations": [draw(st.integers(1, 2)) for _ in range(2)],
        "pads": [draw(st.integers(0, 1)) for _ in range(4)],
        "group": group,
    }
    if kind == "ConvTranspose":
        attributes["output_padding"] = [draw(st.integers(0, s - 1)) for s in attributes["strides"]]
    is_unsigned, bits = draw(st.booleans()), draw(st.integers(2, 8))
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((2, group * ic, 7, 6)).astype(_F)
    shape = (group * oc, ic, *kernel) if kind == "Conv" else (group * ic, oc, *kernel)
    weight = rng.standard_normal(shape).astype(_F)
    axis = 0 if kind == "Conv" else 1
    per_channel = draw(st.booleans())
    threshold = np.abs(weight).max(axis=tuple(i for i in range(4) if i != axis)) if per_channel else _F(2)
    w_params = QuantParams.weight(threshold, bits, axis if per_channel else None)
    zero_point = draw(st.integers(0, 40)) if is_unsigned else 0
    x_params = _params(0.02, zero_point, 0 if is_unsigned else -128, 255 if is_unsigned else 127)
    y_params = draw(st.sampled_from([None, _params(0.05), _params(0.03, 100, 0, 255)]))
    clamp = draw(st.sampled_from([None, (None, None), (-0.5, 1.5)]))
    bias = rng.standard_normal(group * oc).astype(_F)
    where = draw(st.sampled_from(["bias", "add"]))
    graph = _network(
        kind, x, weight, x_params=x_params, w_params=w_params, attributes=attributes, clamp=clamp,
        y_params=y_params, **{where: bias if where == "bias" else bias.reshape(1, -1, 1, 1)},
    )  # fmt: skip
    got = evaluate(graph, {"x": x})["y"]

    loop = _loop_conv if kind == "Conv" else _loop_transposed
    acc = loop(x_params.quantize(x), w_params.quantize(weight), zero_point, attributes)
    scales = np.tile(w_params.scale, group) if kind == "ConvTranspose" and per_channel else w_params.scale
    multiplier = np.broadcast_to(x_params.scale * scales, (group * oc,)).reshape(1, -1, 1, 1)
    offset = bias.reshape(1, -1, 1, 1)
    low, high = (None, None) if clamp is None else (_F(clamp[0] or 0.0), clamp[1])
    if y_params is None:
        expected = acc.astype(_F) * multiplier + offset
        if clamp is not None:
            expected = np.clip(expected, low, None if high is None else _F(high))
        np.testing.assert_array_equal(got, expected)
        return
    inverse = _F(1) / y_params.scale
    q = np.rint((acc.astype(_F) * multiplier + offset) * inverse) + y_params.zero_point
    bounds = [y_params.qmin, y_params.qmax]
    for index, bound in enumerate((low, high)):
        if bound is not None:
            position = int(np.rint(_F(bound) * inverse)) + y_params.zero_point
            bounds[index] = min(max(position, y_params.qmin), y_params.qmax)
    np.testing.assert_array_equal(y_params.quantize(got), np.clip(q, *bounds))


def test_more_than_8_bits_are_simulated_in_float() -> None:
    rng = np.random.default_rng(0)
    x, weight = rng.standard_normal((5, 6)).astype(_F), rng.standard_normal((6, 4)).astype(_F)
    x_params = QuantParams.activation(2.0, 12, False)
    w_params = QuantParams.weight(np.abs(weight).max(axis=0), 12, 1)
    graph = _network("MatMul", x, weight, x_params=x_params, w_params=w_params)
    expected = x_params.dequantize(x_params.quantize(x)) @ w_params.dequantize(w_params.quantize(weight))
    # Sums of 6 products of at most 2 * 3: float32 keeps 2^-24 of each.
    np.testing.assert_allclose(evaluate(graph, {"x": x})["y"], expected, atol=6 * 6 * 2**-22)


def test_every_reader_sees_the_quantized_value() -> None:
    graph = Graph(inputs=["x"], outputs=["x", "y"])
    params = _params(0.5, 3, 0, 255)
    graph.add_tensor(Tensor("x", "float32", (5,), None, params))
    graph.add_tensor(Tensor("c", "float32", (1,), _F([0.3]), QuantParams.weight(_F(1.27), 8, None)))
    graph.add_tensor(Tensor("y", "float32", (5,)))
    graph.add_node(Node("Mul", ["x", "c"], ["y"]))
    got = evaluate(graph, {"x": _F([-9, 0.24, 0.26, np.nan, np.inf])})
    np.testing.assert_array_equal(got["x"], _F([-1.5, 0, 0.5, -1.5, 126]))
    np.testing.assert_array_equal(got["y"], got["x"] * (_F(30) * _F(_F(1.27) / _F(127))))


def test_errors_say_what_is_wrong() -> None:
    x, weight = _F([[1, -2, 3]]), _F([[1, -1], [0.5, 0], [-0.5, 2]])
    graph = _network("MatMul", x, weight, x_params=_params(0.25), w_params=_W)
    with pytest.raises(ValueError, match="input 'x' is missing"):
        evaluate(graph, {"z": x})
    with pytest.raises(ValueError, match="input 'x' has dtype float64, expected float32"):
        evaluate(graph, {"x": x.astype(np.float64)})
    with pytest.raises(ValueError, match=r"input 'x' has shape \(1, 2\), expected \(1, 3\)"):
        evaluate(graph, {"x": x[:, :2]})
    with pytest.raises(ValueError, match="no tensor 'q'"):
        evaluate(graph, {"x": x}, ["q"])
    graph.nodes[0].domain = "paddle"
    with pytest.raises(NotImplementedError, match=r"operator paddle\.MatMul"):
        evaluate(graph, {"x": x})
    graph = _network("MatMul", x, weight, x_params=_params(0.25), w_params=_W)
    graph.tensors["w"].value = weight[:2]
    with pytest.raises(ValueError, match=r"evaluate: MatMul\(y\): "):
        evaluate(graph, {"x": x})
