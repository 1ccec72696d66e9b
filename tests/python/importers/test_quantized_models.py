# SPDX-License-Identifier: Apache-2.0
"""Quantized Paddle models come back as the Graph that they were made of, and run in int8."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable

import numpy as np
import paddle
import pytest
from small_networks import IRS, images, save_network, small_network

import qslim as slim
from qslim.exporters.paddle import export_program
from qslim.graph import Graph, QuantParams
from qslim.importers.paddle import find_model_files, import_model, load_program
from qslim.importers.paddle.quantizers import has_quantizers
from qslim.paddle.framework import executor, legacy_ir, quiet, static_mode
from qslim.runtime import Session

_Params = tuple[Any, ...]


def _key(params: QuantParams) -> _Params:
    return (params.scale.tobytes(), params.zero_point, params.qmin, params.qmax, params.quant_axis)


def _annotations(graph: Graph) -> dict[str, _Params]:
    return {
        tensor.name: _key(tensor.quantization)
        for tensor in graph.tensors.values()
        if tensor.quantization is not None
    }


def _quantize(directory: str, **options: Any) -> Any:
    place = paddle.static.Executor(paddle.CPUPlace())
    return slim.quant.quant_post_static(place, directory, directory + "/int8", **options)


def _same_outputs(directory: str, feeds: dict[str, Any]) -> None:
    """The file written for the engine and the Paddle model, imported, give the same bits."""
    wanted = Session(directory, num_threads=1).run(feeds)
    for got in (Session(import_model(directory), num_threads=1).run(feeds), _run_program(directory, feeds)):
        for one, other in zip(wanted, got):
            np.testing.assert_array_equal(one, other)


def _run_program(directory: str, feeds: dict[str, Any]) -> list[Any]:
    """The program's Graph as it is: the Session itself reads the quantizers."""
    return Session(load_program(find_model_files(directory)).graph, num_threads=1).run(feeds)


@pytest.mark.parametrize(
    ("onnx_format", "weights", "is_full"),
    [
        (True, "channel_wise_abs_max", False),
        (True, "abs_max", True),
        (False, "channel_wise_abs_max", True),
        (False, "abs_max", False),
    ],
)
@pytest.mark.parametrize("ir", IRS)
def test_what_was_quantized_comes_back(
    ir: str, onnx_format: bool, weights: str, is_full: bool, tmp_path: Path
) -> None:
    directory = save_network(small_network(), str(tmp_path), ir)
    report = _quantize(
        directory,
        data_loader=[images(4)],
        onnx_format=onnx_format,
        weight_quantize_type=weights,
        is_full_quantize=is_full,
    )
    wanted = {item.name: _key(item.params) for item in (*report.activations, *report.weights)}
    graph = import_model(directory + "/int8")
    assert _annotations(graph) == wanted
    assert not has_quantizers(graph)
    for item in report.weights:
        tensor = graph.tensors[item.name]
        assert tensor.value is not None
        assert tensor.value.dtype == np.float32
        np.testing.assert_array_equal(item.params.quantize(tensor.value), item.quantized)
    _same_outputs(directory + "/int8", {"image": images(3, seed=5)})


@pytest.mark.parametrize("ir", IRS)
def test_mobilenet_with_folded_normalizations(ir: str, tmp_path: Path) -> None:
    paddle.seed(3)
    net = slim.models.MobileNet().layer(class_dim=10, scale=0.25, in_channels=3)
    net.eval()
    directory = save_network(net, str(tmp_path), ir, (None, 3, 32, 32))
    report = _quantize(directory, data_loader=[images(1, size=32)], optimize_model=True)
    graph = import_model(directory + "/int8")
    assert len(_annotations(graph)) == len(report.activations) + len(report.weights)
    _same_outputs(directory + "/int8", {"image": images(2, seed=5, size=32)})
    layers = str(Session(graph).profile({"image": images(1, size=32)}, runs=1))
    assert layers.count("s8_") == 28, layers  # 27 convolutions and the classifier


@pytest.mark.parametrize("ir", IRS)
@pytest.mark.parametrize("bits", [4, 8, 12])
def test_grids_with_zero_points_and_clipped_signs(ir: str, bits: int, tmp_path: Path) -> None:
    """A scale whose threshold, in float32, stands for two steps; grids that Paddle has no operator for."""
    program = load_program(find_model_files(save_network(small_network(), str(tmp_path / "fp32"), ir)))
    graph = program.graph
    top = 2**bits - 1
    scale = np.float32(0.1)
    while np.float32(scale * np.float32(top)) / np.float32(top) == scale:
        scale = np.nextafter(scale, np.float32(1))
    inputs = [node.inputs[0] for node in graph.nodes if node.op_type in ("Conv", "MatMul")]
    for name, zero_point in zip(inputs, (3, 0, 2, 1)):
        graph.tensors[name].quantization = QuantParams(np.asarray(scale), zero_point, 0, top)
    for node in graph.nodes:
        tensor = graph.tensors[node.inputs[1]] if node.op_type in ("Conv", "MatMul") else None
        if tensor is not None and tensor.value is not None:
            largest = np.abs(tensor.value).max()
            tensor.quantization = QuantParams.weight(largest, min(bits, 8), None)
    wanted = _annotations(graph)
    export_program(program, str(tmp_path / "int8"))
    imported = import_model(str(tmp_path / "int8"))
    assert _annotations(imported) == wanted
    feeds = {"image": images(2, seed=1)}
    for one, other in zip(Session(graph).run(feeds), Session(imported).run(feeds)):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("ir", IRS)
def test_weights_alone(ir: str, bits: int, tmp_path: Path) -> None:
    directory = save_network(small_network(), str(tmp_path), ir)
    report = slim.quant.quant_post_dynamic(directory, directory + "/int8", weight_bits=bits)
    written = str(Path(report.files.program).parent)
    assert _annotations(import_model(written)) == {item.name: _key(item.params) for item in report.weights}
    if bits == 8:  # the engine's file has the float weights of wider grids
        _same_outputs(written, {"image": images(3, seed=5)})


def _old_format(block: Any, x: Any, weight: Any, steps: Any, activation: Any, per_channel: bool) -> Any:
    """PaddleSlim 2's form of a convolution: integers multiplied, their sum divided by both ranges."""

    def variable(name: str) -> Any:
        return block.create_var(name=name, dtype="float32")

    integers, sums, real = (variable(name) for name in ("x.quantized", "sum", "sum.dequantized"))
    block.append_op(
        type="fake_quantize_moving_average_abs_max",
        inputs={"X": [x], "InScale": [activation]},
        outputs={"Out": [integers], "OutScale": [activation]},
        attrs={"bit_length": 8, "is_test": True},
    )
    block.append_op(
        type="conv2d",
        inputs={"Input": [integers], "Filter": [weight]},
        outputs={"Output": [sums]},
        attrs={"strides": [1, 1], "paddings": [1, 1], "dilations": [1, 1], "groups": 1},
    )
    if per_channel:
        kind = "fake_channel_wise_dequantize_max_abs"
        inputs = {"X": [sums], "Scales": [steps, activation]}
        attrs: dict[str, Any] = {"quant_bits": [8, 8], "quant_axis": 0, "x_num_col_dims": 1}
    else:
        kind, inputs = "fake_dequantize_max_abs", {"X": [sums], "Scale": [activation]}
        attrs = {"max_range": 127.0 * 127.0 / 0.8}
    block.append_op(type=kind, inputs=inputs, outputs={"Out": [real]}, attrs=attrs)
    return real


def _fake_quantized(block: Any, x: Any, weight: Any, _: Any, activation: Any, per_channel: bool) -> Any:
    """PaddleSlim's form in training: fake-quantized values, float weights."""
    fake_x, fake_weight, real = (block.create_var(name=n, dtype="float32") for n in ("fx", "fw", "real"))
    block.append_op(
        type="fake_quantize_dequantize_moving_average_abs_max",
        inputs={"X": [x], "InScale": [activation]},
        outputs={"Out": [fake_x], "OutScale": [activation]},
        attrs={"bit_length": 8, "is_test": True, "round_type": 0},
    )
    threshold = block.create_var(name="weight.threshold", dtype="float32")
    kind = "channel_wise_quantize_dequantize_abs_max" if per_channel else "quantize_dequantize_abs_max"
    block.append_op(
        type="fake_" + kind,
        inputs={"X": [weight]},
        outputs={"Out": [fake_weight], "OutScale": [threshold]},
        attrs={"bit_length": 8, "round_type": 0, **({"quant_axis": 0} if per_channel else {})},
    )
    block.append_op(
        type="conv2d",
        inputs={"Input": [fake_x], "Filter": [fake_weight]},
        outputs={"Output": [real]},
        attrs={"strides": [1, 1], "paddings": [1, 1], "dilations": [1, 1], "groups": 1},
    )
    return real


@pytest.mark.parametrize("per_channel", [True, False])
@pytest.mark.parametrize("form", [_old_format, _fake_quantized])
def test_paddleslim_formats(form: Callable[..., Any], per_channel: bool, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    integers = rng.integers(-127, 128, (5, 3, 3, 3)).astype(np.float32)
    integers[:, 0, 0, 0] = 127  # so that the largest magnitude of a channel is its threshold
    thresholds = rng.uniform(0.5, 1, 5).astype(np.float32) if per_channel else np.float32([0.8])
    weight = integers
    if form is _fake_quantized:
        weight = integers * (np.broadcast_to(thresholds, 5) / np.float32(127)).reshape(-1, 1, 1, 1)
    constants = {"w": weight, "w.scale": thresholds, "x.scale": np.float32([2.0])}
    with legacy_ir(), quiet(), static_mode() as scope:
        main = paddle.static.Program()
        with paddle.static.program_guard(main, paddle.static.Program()):
            x = paddle.static.data("image", [None, 3, 16, 16], "float32")
            block = main.global_block()
            for name, value in constants.items():
                block.create_var(name=name, shape=list(value.shape), dtype="float32", persistable=True)
                scope.var(name).get_tensor().set(np.ascontiguousarray(value), paddle.CPUPlace())
            operands = (block.var(name) for name in ("w", "w.scale", "x.scale"))
            real = form(block, x, *operands, per_channel)
            observed = block.create_var(name="observed", dtype="float32")
            block.append_op(
                type="moving_average_abs_max_scale",
                inputs={"X": [real]},
                outputs={"Out": [observed], "OutScale": [block.var("x.scale")]},
                attrs={"is_test": True},
            )
            out = paddle.nn.functional.relu(observed)
        run = executor()
        feed = {"image": images(2)}
        (wanted,) = run.run(main, feed=feed, fetch_list=[out])
        paddle.static.save_inference_model(str(tmp_path / "model"), [x], [out], run, program=main)
    graph = import_model(str(tmp_path))
    assert [node.op_type for node in graph.nodes] == ["Conv", "Relu"]
    params = graph.tensors["w"].quantization
    assert params is not None
    assert params.quant_axis == (0 if per_channel else None)
    np.testing.assert_array_equal(params.quantize(graph.tensors["w"].value), integers)  # type: ignore[arg-type]
    session = Session(str(tmp_path))
    assert "gemm" in str(session.profile(feed, runs=1))
    # Sums of integers, one rounding in the product with the step: 27 products below 2 * 0.8 each.
    np.testing.assert_allclose(session.run(feed)[0], wanted, rtol=0, atol=4 * 2**-24 * 27 * 2)


def test_a_session_finds_the_model_by_any_of_its_names(tmp_path: Path) -> None:
    directory = save_network(small_network(), str(tmp_path), "pir")
    feeds = {"image": images(1)}
    wanted = Session(directory).run(feeds)[0]
    for name in ("model.json", "model.pdmodel"):
        np.testing.assert_array_equal(Session(str(tmp_path / name)).run(feeds)[0], wanted)
    with pytest.raises(ValueError, match=r"nothing\.json"):
        Session(str(tmp_path / "nothing.json"))


def test_a_quantized_model_is_not_quantized_again(tmp_path: Path) -> None:
    directory = save_network(small_network(), str(tmp_path), "pir")
    _quantize(directory, data_loader=[images(2)])
    place = paddle.static.Executor(paddle.CPUPlace())
    with pytest.raises(ValueError, match="quantized already"):
        slim.quant.quant_post_static(place, directory + "/int8", str(tmp_path / "x"), data_loader=[images(2)])
    with pytest.raises(ValueError, match="quantized already"):
        slim.quant.quant_post_dynamic(directory + "/int8", str(tmp_path / "x"))
    assert not (tmp_path / "x").exists()
