# SPDX-License-Identifier: Apache-2.0
"""Whole networks: the engine gives the bits of the simulation, whatever runs them."""

from __future__ import annotations

from typing import Any, Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from quantized import import_net, quantize_graph

from qslim import _core
from qslim.graph import Graph, evaluate
from qslim.graph.passes import prepare_for_runtime
from qslim.runtime import Session

paddle = pytest.importorskip("paddle")


def _images(count: int, size: int) -> NDArray[Any]:
    return np.random.default_rng(0).standard_normal((count, 3, size, size)).astype(np.float32)


def _every_way(graph: Graph, x: NDArray[Any]) -> list[NDArray[Any]]:
    """The outputs of the best kernels on one thread, after all other ways have given the same bytes."""
    expected = Session(graph, num_threads=1).run({"x": x})
    for isa in _core.available_isas():
        for threads in (1, 2, 4):
            got = Session(graph, num_threads=threads, isa=isa).run({"x": x})
            for a, b in zip(expected, got):
                np.testing.assert_array_equal(a, b, err_msg=f"{isa}, {threads} threads")
    return expected


def _vision(name: str) -> Callable[[], Any]:
    return lambda: getattr(paddle.vision.models, name)(num_classes=20)


def _ours(name: str) -> Callable[[], Any]:
    def make() -> Any:
        import qslim.models

        return getattr(qslim.models, name)().layer(class_dim=20)

    return make


_NETWORKS = {
    "mobilenet_v1": (_vision("mobilenet_v1"), 32),
    "mobilenet_v2": (_vision("mobilenet_v2"), 32),
    "mobilenet_v3_small": (_vision("mobilenet_v3_small"), 32),
    "mobilenet_v3_large": (_vision("mobilenet_v3_large"), 32),
    "resnet18": (_vision("resnet18"), 32),
    "resnet50": (_vision("resnet50"), 32),
    "shufflenet_v2": (_vision("shufflenet_v2_x0_25"), 32),
    "shufflenet_v2_swish": (_vision("shufflenet_v2_swish"), 32),
    "squeezenet": (_vision("squeezenet1_1"), 48),
    "densenet121": (_vision("densenet121"), 32),
    "inception_v3": (_vision("inception_v3"), 80),
    "efficientnet_lite0": (_ours("EfficientNetLite0"), 32),
    "pplcnet": (_ours("PPLCNet_x0_25"), 32),
}


@pytest.fixture(scope="module")
def networks() -> dict[str, Graph]:
    return {}


def _network(networks: dict[str, Graph], name: str) -> tuple[Graph, NDArray[Any]]:
    make, size = _NETWORKS[name]
    if name not in networks:
        paddle.seed(0)
        networks[name] = import_net(make(), 3, size, size)
    return networks[name].copy(), _images(2, size)


# Their sigmoids are float32 in both, but NumPy's and ours differ in the last bit, which quantization can turn
# into a step.
_ROUNDS_DIFFERENTLY = {"shufflenet_v2_swish"}


@pytest.mark.parametrize("is_full", [False, True], ids=["default", "full"])
@pytest.mark.parametrize("name", _NETWORKS)
def test_quantized_networks_equal_the_simulation(networks: Any, name: str, is_full: bool) -> None:
    graph, x = _network(networks, name)
    quantize_graph(graph, {"x": x}, is_full=is_full)
    got = _every_way(graph, x)
    prepared = prepare_for_runtime(graph)
    simulated = evaluate(prepared, {"x": x})
    for output, mine in zip(prepared.outputs, got):
        if name in _ROUNDS_DIFFERENTLY:
            assert np.abs(mine - simulated[output]).max() <= 0.1 * np.abs(simulated[output]).max()
        else:
            # The float operators at the end (softmax, a last bias) round in their own ways.
            np.testing.assert_allclose(mine, simulated[output], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", _NETWORKS)
def test_float_networks_are_near_the_simulation(networks: Any, name: str) -> None:
    graph, x = _network(networks, name)
    got = _every_way(graph, x)
    prepared = prepare_for_runtime(graph)
    for output, mine in zip(prepared.outputs, got):
        want = evaluate(prepared, {"x": x})[output]
        # Float sums in other orders, through a deep network.
        assert np.abs(mine - want).max() <= 1e-4 * np.abs(want).max()


def test_the_integers_of_every_tensor_equal_the_simulation(networks: Any) -> None:
    graph, x = _network(networks, "mobilenet_v3_small")
    quantize_graph(graph, {"x": x})
    prepared = prepare_for_runtime(graph)
    annotated = [
        name for node in prepared.nodes for name in node.outputs if prepared.tensors[name].quantization
    ]
    assert len(annotated) > 40
    prepared.outputs = annotated
    want = evaluate(prepared, {"x": x})
    for name, got in zip(annotated, Session(prepared, num_threads=2).run({"x": x})):
        np.testing.assert_array_equal(got, want[name], err_msg=name)


@pytest.mark.parametrize("name", ["mobilenet_v2", "resnet18", "shufflenet_v2"])
@pytest.mark.parametrize("threads", [1, 2])
def test_a_batch_gives_what_its_images_give(networks: Any, name: str, threads: int) -> None:
    graph, _ = _network(networks, name)
    x = _images(8, 32)
    quantize_graph(graph, {"x": x[:1]})
    session = Session(graph, num_threads=threads)
    (together,) = session.run({"x": x})
    apart = np.concatenate([session.run({"x": image[None]})[0] for image in x])
    np.testing.assert_array_equal(together, apart)


@pytest.mark.parametrize("bits", [2, 4, 16])
def test_other_widths(networks: Any, bits: int) -> None:
    """Fewer bits run in int8; more are simulated in float32."""
    graph, x = _network(networks, "mobilenet_v1")
    quantize_graph(graph, {"x": x}, bits=bits)
    (got,) = _every_way(graph, x)
    prepared = prepare_for_runtime(graph)
    want = evaluate(prepared, {"x": x})[prepared.outputs[0]]
    tolerance = 1e-3 * np.abs(want).max() if bits == 16 else 1e-6
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=tolerance)
