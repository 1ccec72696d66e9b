# SPDX-License-Identifier: Apache-2.0
"""Float ONNX files quantized without Paddle, and ONNX files written beside quantized Paddle models."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_networks import IRS, images, save_network, small_network

import qslim
from qslim.importers.onnx import load_onnx
from qslim.runtime import Session

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

_RANDOM = np.random.default_rng(0)


class _Model:
    """Nodes and weights of a model that is being made."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.weights: list[Any] = []

    def add(self, op_type: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self.nodes.append(onnx.helper.make_node(op_type, inputs, [output], **attributes))
        return output

    def weight(self, name: str, *shape: int) -> str:
        value = _RANDOM.standard_normal(shape).astype(np.float32) * np.sqrt(2 / np.prod(shape[1:]))
        self.weights.append(onnx.numpy_helper.from_array(value.astype(np.float32), name))
        return name

    def conv(self, x: str, output: str, channels: int, width: int, size: int, group: int = 1) -> str:
        weight = self.weight(f"{output}.w", width, channels // group, size, size)
        bias = self.weight(f"{output}.b", width)
        return self.add("Conv", [x, weight, bias], output, pads=[size // 2] * 4, group=group)

    def save(self, path: Path, outputs: dict[str, list[Any]]) -> Path:
        info = onnx.helper.make_tensor_value_info
        body = onnx.helper.make_graph(
            self.nodes,
            "network",
            [info("image", 1, ["N", 3, 12, 12])],
            [info(name, 1, shape) for name, shape in outputs.items()],
            self.weights,
        )
        opset = [onnx.helper.make_opsetid("", 17)]
        onnx.save(onnx.helper.make_model(body, opset_imports=opset, ir_version=8), path)
        return path


def _classifier(path: Path) -> Path:
    """Convolution, depthwise convolution, shortcut, Gemm as torch writes it."""
    model = _Model()
    first = model.add("HardSwish", [model.conv("image", "c1", 3, 16, 3)], "h1")
    second = model.add("Relu", [model.conv(first, "c2", 16, 16, 3, 16)], "r2")
    third = model.add("Add", [model.conv(second, "c3", 16, 16, 1), first], "a3")
    flat = model.add("Flatten", [model.add("GlobalAveragePool", [third], "p")], "f")
    model.add("Gemm", [flat, model.weight("fc.w", 10, 16), model.weight("fc.b", 10)], "logits", transB=1)
    return model.save(path, {"logits": ["N", 10], "a3": ["N", 16, 12, 12]})


def _batches(count: int = 4) -> list[np.ndarray]:
    return [_RANDOM.standard_normal((4, 3, 12, 12)).astype(np.float32) for _ in range(count)]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"algo": "auto"},
        {"round_type": "adaround"},
        {"is_full_quantize": True},
        {"accuracy_drop": 1.0},
        {"equalize": True, "bias_correction": True},
    ],
    ids=lambda options: "_".join(options) or "hist",
)
def test_an_onnx_file_is_quantized_for_engine_and_other_runtimes(tmp_path: Path, options: Any) -> None:
    source = _classifier(tmp_path / "net.onnx")
    batches = _batches()
    out = tmp_path / "int8"
    report = qslim.quant.quant_post_static(None, str(source), str(out), data_loader=batches, **options)
    assert sorted(os.listdir(out)) == ["model.onnx", "model.qslim"]
    assert (report.files.program, report.onnx_file) == (str(out / "model.onnx"),) * 2
    assert "4 of 4 convolutions and matrix products in int8" in str(report)
    x = {"image": batches[0]}
    expected = onnxruntime.InferenceSession(str(source)).run(None, x)
    engine = Session(out / "model.qslim").run(x)
    for ours, floats in zip(engine, expected):
        assert np.square(ours - floats).sum() < 0.01 * np.square(floats).sum()
    for ours, same in zip(engine, Session(out / "model.onnx").run(x)):
        np.testing.assert_array_equal(ours, same)
    # One step of a tensor at most, where ONNX Runtime rounds to the other side.
    steps = [float(each.params.scale) for each in report.activations]
    for ours, theirs in zip(engine, onnxruntime.InferenceSession(str(out / "model.onnx")).run(None, x)):
        assert np.abs(ours - theirs).max() < 4 * max(steps)
        assert np.mean(np.abs(ours - theirs) > 1e-4 * np.abs(theirs).max()) < 0.02


def test_onnx_runtime_computes_the_written_file_in_integers(tmp_path: Path) -> None:
    source = _classifier(tmp_path / "net.onnx")
    batches = _batches()
    report = qslim.quant.quant_post_static(
        None, str(source), str(tmp_path / "int8"), data_loader=batches, deploy_backend="onnxruntime"
    )
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    session = onnxruntime.InferenceSession(str(tmp_path / "int8" / "model.onnx"), options)
    kinds = [node.op_type for node in onnx.load(tmp_path / "optimized.onnx").graph.node]
    assert kinds.count("QLinearConv") == 3
    assert not {"Conv", "FusedConv", "Gemm", "MatMul"} & set(kinds)
    x = {"image": batches[0]}
    assert report.engine_file is not None
    steps = max(float(each.params.scale) for each in report.activations)
    for ours, theirs in zip(Session(report.engine_file).run(x), session.run(None, x)):
        assert np.abs(ours - theirs).max() < 2 * steps


def test_names_of_operators_and_of_tensors_select(tmp_path: Path) -> None:
    source = str(_classifier(tmp_path / "net.onnx"))
    options: dict[str, Any] = {"data_loader": _batches(1)}
    report = qslim.quant.quant_post_static(
        None, source, str(tmp_path / "a"), quantizable_op_type=["depthwise_conv2d"], **options
    )
    assert len([row for row in report.operators if row.dtype != "fp32"]) == 1
    report = qslim.quant.quant_post_static(
        None, source, str(tmp_path / "b"), skip_tensor_list=["c1.w"], **options
    )
    assert len([row for row in report.operators if row.dtype != "fp32"]) == 3
    with pytest.raises(ValueError, match="the nearest names are"):
        qslim.quant.quant_post_static(None, source, str(tmp_path / "c"), skip_tensor_list=["c9"], **options)
    assert not (tmp_path / "c").exists()


@pytest.mark.parametrize("form", [{}, {"weight_bits": 4, "group_size": 32}, {"activation": "per_token"}])
def test_weights_alone(tmp_path: Path, form: dict[str, Any]) -> None:
    model = _Model()
    flat = model.add("Flatten", ["image"], "f")
    hidden = model.add("MatMul", [flat, model.weight("w1", 432, 64)], "m")
    model.add("MatMul", [model.add("Relu", [hidden], "r"), model.weight("w2", 64, 5)], "y")
    source = model.save(tmp_path / "net.onnx", {"y": ["N", 5]})
    report = qslim.quant.quant_post_dynamic(
        str(source), str(tmp_path / "out"), generate_test_model=True, **form
    )
    assert os.path.getsize(report.engine_file) < 0.32 * report.bytes_before + 2000
    x = {"image": _batches(1)[0]}
    expected = onnxruntime.InferenceSession(str(source)).run(None, x)[0]
    ours = Session(report.engine_file).run(x)[0]
    assert np.square(ours - expected).sum() < 0.05 * np.square(expected).sum()
    plain = onnxruntime.SessionOptions()  # ONNX Runtime's own fusion would quantize the data as well
    plain.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    written = onnxruntime.InferenceSession(report.files.program, plain).run(None, x)[0]
    floats = onnxruntime.InferenceSession(str(tmp_path / "out" / "test_model" / "model.onnx")).run(None, x)[0]
    np.testing.assert_allclose(written, floats, rtol=1e-4, atol=1e-5)


def test_bad_input_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    source = _classifier(tmp_path / "net.onnx")
    call = qslim.quant.quant_post_static
    out = str(tmp_path / "out")
    call(None, str(source), str(tmp_path / "int8"), data_loader=_batches(1))
    quantized = str(tmp_path / "int8" / "model.onnx")
    with pytest.raises(ValueError, match="is quantized already"):
        call(None, quantized, out, data_loader=_batches(1))
    with pytest.raises(ValueError, match="params_filename"):
        call(None, str(source), out, data_loader=_batches(1), params_filename="net.onnx")
    with pytest.raises(ValueError, match="onnx_format"):
        call(None, str(source), out, data_loader=_batches(1), onnx_format=False)
    with pytest.raises(ValueError, match="expected shape"):
        call(None, str(source), out, data_loader=[np.zeros((1, 3, 5, 5), np.float32)])
    with pytest.raises(ValueError, match="takes Paddle models"):
        call(
            None,
            str(source),
            out,
            data_loader=_batches(1),
            accuracy_drop=1.0,
            eval_function=lambda executor, program, feeds, fetches: 1.0,
        )
    model = _Model()
    model.add("Einsum", [model.conv("image", "c", 3, 4, 1)], "y", equation="nchw->nchw")
    unknown = model.save(tmp_path / "unknown.onnx", {"y": ["N", 4, 12, 12]})
    with pytest.raises(ValueError, match="Einsum"):
        call(None, str(unknown), out, data_loader=_batches(1))
    assert not os.path.exists(out)


def test_an_onnx_file_is_analysed(tmp_path: Path) -> None:
    source = _classifier(tmp_path / "net.onnx")
    analysis = qslim.quant.analysis.Analysis(
        str(source), data_loader=_batches(1), save_dir=str(tmp_path / "analysis")
    )
    report = analysis.analysis()
    assert len(report.layers) == 4
    assert all(layer.output_error is not None and layer.output_error < 0.01 for layer in report.layers)
    assert (tmp_path / "analysis" / "analysis.html").stat().st_size > 10_000


def test_no_paddle_is_needed(tmp_path: Path) -> None:
    _classifier(tmp_path / "net.onnx")
    np.save(tmp_path / "data.npy", np.concatenate(_batches(2)))
    run = (
        "import sys; sys.modules['paddle'] = None; from qslim.cli.main import main; "
        "sys.argv = 'qslim quantize net.onnx --save_dir int8 --data data.npy -q'.split(); main()"
    )
    done = subprocess.run([sys.executable, "-c", run], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "4 of 4 convolutions and matrix products in int8" in done.stdout
    assert sorted(os.listdir(tmp_path / "int8")) == ["model.onnx", "model.qslim"]


@pytest.mark.parametrize("ir", IRS)
def test_a_paddle_model_is_written_as_onnx_too(tmp_path: Path, ir: str) -> None:
    import paddle

    source = save_network(small_network(), str(tmp_path / "fp32"), ir)
    executor = paddle.static.Executor(paddle.CPUPlace())
    out = tmp_path / "int8"
    for search in ({}, {"accuracy_drop": 1.0}):
        report = qslim.quant.quant_post_static(
            executor, source, str(out), data_loader=[images(4)], save_onnx=True, **search
        )
        assert report.onnx_file == str(out / "model.onnx")
        graph = load_onnx(out / "model.onnx")
        x = {graph.inputs[0]: images(3, seed=1)}
        for ours, same in zip(Session(out / "model.qslim").run(x), Session(graph).run(x)):
            np.testing.assert_array_equal(ours, same)
        os.remove(out / "model.onnx")
    with pytest.raises(ValueError, match="save_onnx: expected True or False, got 'yes'"):
        qslim.quant.quant_post_static(
            executor,
            source,
            str(out),
            data_loader=[images(4)],
            save_onnx="yes",  # type: ignore[arg-type]
        )


def test_a_trained_network_is_written_as_onnx_too(tmp_path: Path) -> None:
    import paddle

    net = paddle.nn.Sequential(paddle.nn.Conv2D(3, 8, 3), paddle.nn.ReLU(), paddle.nn.Conv2D(8, 4, 3))
    quantizer = qslim.QAT()
    quantizer.quantize(net)
    net(paddle.to_tensor(images(4)))
    net.eval()
    spec = [paddle.static.InputSpec([None, 3, 16, 16], "float32", "image")]
    report = quantizer.save_quantized_model(
        net, str(tmp_path / "int8"), spec, onnx_path=tmp_path / "other" / "net.onnx"
    )
    assert report.onnx_file == str(tmp_path / "other" / "net.onnx")
    x = {"image": images(3)}
    assert report.engine_file is not None
    ours = Session(report.engine_file).run(x)[0]
    np.testing.assert_array_equal(ours, Session(report.onnx_file).run(x)[0])
