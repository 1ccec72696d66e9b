# SPDX-License-Identifier: Apache-2.0
"""ObservingSession shows what Session returns, in memory that does not outlive the call."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np
import pytest

from qslim.graph import Graph, Node, Tensor
from qslim.runtime import Session
from qslim.runtime.observing_session import ObservingSession


def _graph() -> Graph:
    """Fused steps, two kinds of layout, views, a concatenation, an input and a tensor that nobody reads."""
    rng = np.random.default_rng(0)
    graph = Graph(inputs=["x"])
    graph.add_tensor(Tensor("x", "float32", (None, 4, None, None)))
    for name, shape in {"w": (8, 4, 3, 3), "b": (8,), "d": (8, 1, 3, 3), "p": (4, 8, 1, 1)}.items():
        graph.add_tensor(Tensor(name, "float32", shape, rng.standard_normal(shape).astype(np.float32)))
    graph.add_tensor(Tensor("rows", "int64", (2,), np.int64([0, -1])))
    for node in (
        Node("Conv", ["x", "w", "b"], ["conv"], {"pads": [1, 1, 1, 1], "strides": [2, 2]}),
        Node("Relu", ["conv"], ["relu"]),
        Node("Conv", ["relu", "d"], ["depthwise"], {"pads": [1, 1, 1, 1], "group": 8}),
        Node("HardSwish", ["depthwise"], ["swish"]),
        Node("Conv", ["swish", "p"], ["pointwise"]),
        Node("Sigmoid", ["pointwise"], ["gate"]),
        Node("Mul", ["pointwise", "gate"], ["product"]),
        Node("Concat", ["product", "relu"], ["both"], {"axis": 1}),
        Node("Exp", ["product"], ["unread"]),
        Node("Reshape", ["both", "rows"], ["view"]),
        Node("Softmax", ["view"], ["soft"], {"axis": -1}),
    ):
        for name in node.outputs:
            graph.add_tensor(Tensor(name, "float32", None))
        graph.add_node(node)
    graph.outputs = [name for node in graph.nodes for name in node.outputs] + ["x"]
    return graph


def _shown(session: ObservingSession, x: np.ndarray) -> list[np.ndarray]:
    parts: dict[int, list[np.ndarray]] = defaultdict(list)

    def show(output: int, array: Any, image: int) -> None:
        assert not array.flags.writeable
        assert array.flags.c_contiguous
        assert len(parts[output]) == image
        parts[output].append(array.copy())

    session.run({"x": x}, show)
    return [np.concatenate(parts[output]) for output in range(len(parts))]


@pytest.mark.parametrize("by_image", [True, False])
@pytest.mark.parametrize("threads", [1, 2])
def test_shown_tensors_are_the_outputs_of_a_session(by_image: bool, threads: int) -> None:
    graph = _graph()
    observing = ObservingSession(graph, by_image=by_image, num_threads=threads)
    session = Session(graph, num_threads=threads)
    for shape in ((1, 4, 12, 10), (3, 4, 7, 9), (2, 4, 12, 10)):
        x = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
        expected = session.run({"x": x})
        shown = _shown(observing, x)
        assert observing.shapes({"x": x}) == ([y.shape for y in expected], len(x) if by_image else 1)
        for name, mine, theirs in zip(graph.outputs, shown, expected):
            np.testing.assert_array_equal(mine.view(np.int32), theirs.view(np.int32), err_msg=name)


def test_memory_is_that_of_the_last_shape_without_outputs() -> None:
    graph = _graph()
    plain = _graph()
    plain.outputs = ["soft"]
    observing, session = ObservingSession(graph, num_threads=1), Session(plain, num_threads=1)
    x = np.zeros((1, 4, 128, 128), np.float32)
    observing.run({"x": x}, lambda *shown: None)
    session.run({"x": x})
    assert observing.memory["arena_bytes"] <= 1.5 * session.memory["arena_bytes"]
    observing.run({"x": x[:, :, :16, :16]}, lambda *shown: None)
    assert observing.memory["arena_bytes"] < session.memory["arena_bytes"] / 32


def test_kept_arrays_are_refused_and_errors_pass_through() -> None:
    session = ObservingSession(_graph(), num_threads=1)
    x = np.ones((1, 4, 8, 8), np.float32)
    kept = []
    with pytest.raises(RuntimeError, match="the callback kept an array"):
        session.run({"x": x}, lambda output, array, image: kept.append(array))
    kept.clear()

    def fail(output: int, array: Any, image: int) -> None:
        raise KeyError("of the caller")

    with pytest.raises(KeyError, match="of the caller"):
        session.run({"x": x}, fail)
    assert len(_shown(session, x)) == len(_graph().outputs)
    with pytest.raises(ValueError, match="max_memory leaves"):
        ObservingSession(_graph(), max_memory=1 << 12).run({"x": x}, lambda *shown: None)
