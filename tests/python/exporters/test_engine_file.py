# SPDX-License-Identifier: Apache-2.0
"""The engine's file holds the part of a model that the engine can run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qslim.exporters.engine_file import runnable_part, write_engine_file
from qslim.graph import Graph, Node, Tensor
from qslim.runtime import Session

_X = np.float32([[-1.0, 2.0, 0.5]])
_WEIGHT = np.float32([[1, 0], [0, 1], [2, -2]])


def _classifier(outputs: list[str], *, weight_after_loss: bool = False) -> Graph:
    """Probabilities of two classes, and a loss by an operator that only Paddle has."""
    graph = Graph(inputs=["x", "label"], outputs=outputs)
    for name, dtype, shape in [
        ("x", "float32", (None, 3)),
        ("label", "int64", (None, 1)),
        ("scores", "float32", (None, 2)),
        ("probabilities", "float32", (None, 2)),
        ("flat_label", "int64", (None,)),
        ("loss", "float32", (None, 3)),
        ("mean", "float32", (None, 2)),
    ]:
        graph.add_tensor(Tensor(name, dtype, shape))
    graph.add_tensor(Tensor("weight", "float32", (3, 2), _WEIGHT))
    graph.add_tensor(Tensor("axes", "int64", (1,), np.int64([1])))
    graph.add_node(Node("MatMul", ["x", "weight"], ["scores"]))
    graph.add_node(Node("Softmax", ["scores"], ["probabilities"], {"axis": -1}))
    graph.add_node(Node("Squeeze", ["label", "axes"], ["flat_label"]))
    graph.add_node(Node("loss", ["probabilities", "flat_label"], ["loss"], domain="paddle"))
    if weight_after_loss:
        graph.add_tensor(Tensor("second", "float32", (3, 2), _WEIGHT + 1))
        graph.add_node(Node("MatMul", ["loss", "second"], ["mean"]))
    else:
        graph.add_node(Node("Relu", ["loss"], ["mean"]))
    return graph


def _probabilities() -> np.ndarray:
    powers = np.exp(_X @ _WEIGHT)
    result: np.ndarray = powers / powers.sum(axis=1, keepdims=True)
    return result


def test_outputs_without_kernels_are_left_out(tmp_path: Path) -> None:
    file = write_engine_file(_classifier(["probabilities", "mean"]), tmp_path / "model.qslim")
    assert file.dropped_outputs == {"mean": ["paddle.loss"]}
    assert file.stand_ins == []
    assert file.notes == ["the .qslim file has no output 'mean': the engine has no kernel for paddle.loss"]
    session = Session(file.path or "", num_threads=1)
    assert [spec.name for spec in session.inputs] == ["x"]
    np.testing.assert_allclose(session.run({"x": _X})[0], _probabilities(), rtol=1e-6)


def test_a_model_that_fetches_its_loss_ends_with_what_the_loss_reads(tmp_path: Path) -> None:
    graph = _classifier(["mean"])
    file = write_engine_file(graph, tmp_path / "model.qslim")
    assert file.stand_ins == ["probabilities"]
    assert file.notes == [
        "the .qslim file gives 'probabilities' in place of the model's outputs: "
        "the engine has no kernel for paddle.loss"
    ]
    session = Session(file.path or "", num_threads=1)
    assert [spec.name for spec in session.inputs] == ["x"]
    np.testing.assert_allclose(session.run({"x": _X})[0], _probabilities(), rtol=1e-6)
    assert graph.outputs == ["mean"]


def test_what_an_accuracy_reads_is_no_output(tmp_path: Path) -> None:
    graph = _classifier(["mean", "accuracy"])
    for name, dtype in (("best", "float32"), ("places", "int64"), ("accuracy", "float32")):
        graph.add_tensor(Tensor(name, dtype, (None, 1)))
    graph.add_tensor(Tensor("k", "int64", (1,), np.int64([1])))
    graph.add_node(Node("TopK", ["probabilities", "k"], ["best", "places"], {"axis": -1}))
    graph.add_node(Node("accuracy", ["best", "places", "label"], ["accuracy"], domain="paddle"))
    assert write_engine_file(graph, tmp_path / "model.qslim").stand_ins == ["probabilities"]


def test_half_a_network_is_no_file(tmp_path: Path) -> None:
    graph = _classifier(["mean"], weight_after_loss=True)
    assert runnable_part(graph) == (None, {"mean": ["paddle.loss"]})
    file = write_engine_file(graph, tmp_path / "model.qslim")
    assert file.path is None
    assert file.notes == ["no .qslim file: the engine has no kernel for paddle.loss"]
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("directory", ["pir_dir", "legacy_dir"])
def test_the_engine_answers_as_simulation_and_paddle_do(
    directory: str, trained_mobilenet: Any, run_python: Any, tmp_path: Path
) -> None:
    """Of a trained network, and where the saved program feeds labels and fetches accuracy and loss."""
    out = run_python(
        f"""
        import numpy as np
        import paddle
        import qslim as slim
        from qslim.graph import evaluate
        from qslim.importers import load_qslim

        paddle.enable_static()
        executor = paddle.static.Executor(paddle.CPUPlace())
        images = np.load("{trained_mobilenet.root}/images.npy")
        labels = np.load("{trained_mobilenet.root}/labels.npy")
        batches = [images[begin:begin + 32] for begin in range(0, 128, 32)]
        report = slim.quant.quant_post_static(
            executor, "{getattr(trained_mobilenet, directory)}", "int8",
            batch_generator=lambda: ((batch, labels[:32]) for batch in batches), algo="KL",
        )
        session = slim.runtime.Session(report.engine_file)
        (engine,) = session.run({{"image": images}})
        (simulated,) = evaluate(load_qslim(report.engine_file), {{"image": images[:128]}}).values()
        assert (engine[:128].argmax(1) == simulated.argmax(1)).all()
        # Softmax of the same scores.
        np.testing.assert_allclose(engine[:128], simulated, rtol=1e-5, atol=1e-6)

        program, feeds, fetches = paddle.static.load_inference_model("int8/model", executor)
        feed = {{"image": images, "label": labels}}
        if len(feeds) == 1:
            del feed["label"]
            name = fetches[0]
        else:
            name = session.outputs[0].name
        in_paddle = executor.run(program, feed=feed, fetch_list=[name])[0]  # the program's own come behind
        assert in_paddle.shape == engine.shape
        print((engine.argmax(1) == in_paddle.argmax(1)).mean(), (engine.argmax(1) == labels[:, 0]).mean())
        """,
        legacy_ir=directory == "legacy_dir",
        cwd=tmp_path,
    )
    agreement, accuracy = map(float, out.split()[-2:])
    # Paddle sums floats: now and then a value that lies between two steps falls on the other.
    assert agreement >= 0.999
    assert accuracy >= trained_mobilenet.accuracy - 0.03
