# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import dataclasses
import inspect
import json
import logging
import os
from pathlib import Path
from typing import Any

import numpy as np
import paddle
import pytest
from small_networks import IRS, images, save_network, small_network

import qslim as slim
from qslim.functional import find_threshold
from qslim.graph.integer_operators import find_integer_operator
from qslim.importers import load_qslim
from qslim.importers.paddle import find_model_files, load_program
from qslim.quant.options import ALGORITHMS

BATCHES = [images(8, seed=seed) for seed in range(4)]


@pytest.fixture(scope="module", params=IRS)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_network(small_network(), str(tmp_path_factory.mktemp(request.param)), request.param)


@pytest.fixture(scope="module")
def pir_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_network(small_network(), str(tmp_path_factory.mktemp("pir")), "pir")


def _quantize(model: str, out: Path, **options: Any) -> Any:
    options.setdefault("data_loader", BATCHES)
    paddle.enable_static()
    try:
        executor = paddle.static.Executor(paddle.CPUPlace())
        return slim.quant.quant_post_static(executor, model, str(out), **options)
    finally:
        assert not paddle.in_dynamic_mode()
        paddle.disable_static()


def _outputs(directory: str) -> np.ndarray:
    return load_program(find_model_files(directory)).run_outputs({"image": BATCHES[0]})[0]


def _error(model: str, quantized: Path) -> float:
    expected = _outputs(model)
    return float(np.abs(_outputs(str(quantized)) - expected).max() / np.abs(expected).max())


def test_the_signature_is_paddleslims() -> None:
    """activation_scheme and what follows it are ours."""
    names = """
        executor model_dir quantize_model_path batch_generator sample_generator data_loader model_filename
        params_filename save_model_filename save_params_filename batch_size batch_nums scope algo round_type
        hist_percent bias_correction quantizable_op_type is_full_quantize weight_bits activation_bits
        activation_quantize_type weight_quantize_type optimize_model onnx_format skip_tensor_list
        deploy_backend activation_scheme equalize accuracy_drop eval_function time_budget max_memory
        save_onnx
    """.split()  # noqa: SIM905
    signature = inspect.signature(slim.quant.quant_post_static)
    assert list(signature.parameters) == names
    defaults = {name: parameter.default for name, parameter in signature.parameters.items()}
    assert defaults["algo"] == "hist"
    assert defaults["hist_percent"] == 0.9999
    assert defaults["batch_size"] == 1
    assert slim.quant.quant_post is slim.quant.quant_post_static


@pytest.mark.parametrize("algo", ALGORITHMS)
def test_every_algorithm_keeps_the_outputs(model: str, tmp_path: Path, algo: str) -> None:
    report = _quantize(model, tmp_path, algo=algo, activation_scheme="symmetric")
    assert report.batches == 4
    assert report.samples == 32
    assert len(report.activations) == len(report.weights) == 5
    for activation in report.activations:
        expected = find_threshold(
            activation.statistics, algo, is_unsigned=activation.dtype == "uint8", hist_percent=0.9999
        )
        assert activation.threshold == pytest.approx(expected, rel=1e-6)
    assert _error(model, tmp_path) < 0.12


def test_thresholds_are_those_of_the_float_model(model: str, tmp_path: Path) -> None:
    report = _quantize(model, tmp_path, algo="abs_max", activation_scheme="symmetric")
    program = load_program(find_model_files(model))
    for activation in report.activations:
        seen = [np.abs(program.run({"image": x}, [activation.name])[0]).max() for x in BATCHES]
        assert activation.threshold == pytest.approx(max(seen), rel=1e-6)
        assert activation.statistics.samples == 32
    for weight in report.weights:
        axes = tuple(i for i in range(weight.values.ndim) if i != weight.quant_axis)
        np.testing.assert_allclose(weight.threshold, np.abs(weight.values).max(axis=axes), rtol=1e-6)


def test_order_and_splitting_of_the_data_change_nothing(pir_model: str, tmp_path: Path) -> None:
    whole = np.concatenate(BATCHES)
    first = _quantize(pir_model, tmp_path / "a", algo="avg")
    again = _quantize(pir_model, tmp_path / "b", algo="avg", data_loader=BATCHES[::-1])
    for one, other in zip(first.activations, again.activations):
        assert one.params == other.params
        assert one.statistics == other.statistics
    # A convolution of another batch size may sum in another order inside Paddle; the input cannot.
    by_four = _quantize(pir_model, tmp_path / "c", algo="KL", data_loader=whole, batch_size=4)
    assert by_four.activations[0].statistics == first.activations[0].statistics


def test_three_sources_agree(pir_model: str, tmp_path: Path) -> None:
    def samples() -> Any:
        yield from (sample for batch in BATCHES for sample in batch)

    def flat() -> Any:
        yield from (sample.reshape(-1) for batch in BATCHES for sample in batch)

    reports = [
        _quantize(pir_model, tmp_path / "a"),
        _quantize(pir_model, tmp_path / "b", data_loader=None, batch_generator=lambda: iter(BATCHES)),
        _quantize(pir_model, tmp_path / "c", data_loader=None, sample_generator=samples, batch_size=8),
        _quantize(
            pir_model, tmp_path / "d", data_loader=None, sample_generator=flat, batch_size=8, batch_nums=4
        ),
    ]
    thresholds = {tuple(a.threshold for a in report.activations) for report in reports}
    assert len(thresholds) == 1


@pytest.mark.parametrize(
    ("options", "limit"),
    [
        ({"onnx_format": False}, 0.05),
        ({"optimize_model": True}, 0.05),
        ({"optimize_model": True, "bias_correction": True, "weight_quantize_type": "abs_max"}, 0.12),
        ({"is_full_quantize": True}, 0.12),
        ({"deploy_backend": "onednn"}, 0.07),
        ({"deploy_backend": "TensorRT"}, 0.12),
        ({"weight_bits": 6, "activation_bits": 6}, 0.2),
        ({"weight_bits": 4}, 0.5),
        ({"weight_bits": 16, "activation_bits": 16, "hist_percent": 1.0}, 0.002),
        ({"activation_quantize_type": "moving_average_abs_max"}, 0.05),
    ],
    ids=str,
)
def test_options_keep_the_outputs(model: str, tmp_path: Path, options: dict[str, Any], limit: float) -> None:
    _quantize(model, tmp_path, algo="hist", **{"hist_percent": 0.99999, **options})
    assert _error(model, tmp_path) < limit


def test_unsigned_grids_only_where_nothing_else_must_read_them(pir_model: str, tmp_path: Path) -> None:
    ours = _quantize(pir_model, tmp_path)
    assert {activation.dtype for activation in ours.activations} == {"int8", "uint8"}
    for backend in ("arm", "onednn", "mkldnn", "tensorrt"):
        theirs = _quantize(pir_model, tmp_path, deploy_backend=backend)
        assert {activation.dtype for activation in theirs.activations} == {"int8"}
    full = _quantize(pir_model, tmp_path, is_full_quantize=True)
    assert min(len(full.activations), len(theirs.activations)) > len(ours.activations)


def test_full_quantization_leaves_whole_what_is_one_step(model: str, tmp_path: Path) -> None:
    report = _quantize(model, tmp_path, is_full_quantize=True)
    graph = load_qslim(tmp_path / "model.qslim")
    steps = [find_integer_operator(graph, node) for node in graph.nodes if node.op_type == "Conv"]
    # Convolution, normalization and ReLU write a grid; activations and shortcuts come before the other grids.
    assert [step is not None and step.target is not None for step in steps] == [True, False, False]
    assert [step is not None and step.clamp is not None for step in steps] == [True, False, False]
    assert {"BatchNormalization", "Mul"}.isdisjoint(node.op_type for node in graph.nodes)
    rows = [(row.op, row.reason) for row in report.operators]
    part, whole = "part of the product before it", "inputs quantized"
    assert rows[:3] == [("conv2d", f"weight and {whole}"), ("batch_norm", part), ("relu", part)]
    assert ("hardswish", part) in rows
    layers = slim.runtime.Session(report.engine_file).profile({"image": BATCHES[0]}, 1)
    assert [layer.op for layer in layers if layer.op.startswith("Conv")][:3] == [
        "Conv+Relu", "Conv+HardSwish", "Conv+Add+Relu",
    ]  # fmt: skip


def test_a_shortcut_is_quantized_where_it_comes_from_memory(model: str, tmp_path: Path) -> None:
    plain = _quantize(model, tmp_path)
    listed = _quantize(model, tmp_path, quantizable_op_type=["conv2d", "depthwise_conv2d", "elementwise_add"])
    names = [{a.name for a in report.activations} for report in (plain, listed)]
    # The shortcut is read by a convolution as well: the addition costs no further rounding.
    assert names[1] <= names[0]
    assert any(row.op == "add" and row.dtype == "int8" for row in listed.operators)


@pytest.mark.parametrize(
    "op_types",
    [["elementwise_add"], ["elementwise_mul"], ["elementwise_add", "elementwise_mul", "hard_swish", "scale"]],
    ids=str,
)
def test_listing_elementwise_operators_puts_nothing_between_a_product_and_its_constants(
    tmp_path: Path, op_types: list[str]
) -> None:
    class Scaled(paddle.nn.Layer):
        """A block of PP-LCNetV3: a product, a learned scale and offset, an activation, both again."""

        def __init__(self) -> None:
            super().__init__()
            self.first = paddle.nn.Conv2D(3, 8, 3)
            self.second = paddle.nn.Conv2D(8, 4, 3)
            for name in ("scale", "offset", "later_scale", "later_offset"):
                setattr(self, name, self.create_parameter([1]))

        def forward(self, x: Any) -> Any:
            x = self.first(x) * self.scale + self.offset
            x = paddle.nn.functional.hardswish(x) * self.later_scale + self.later_offset
            return self.second(x)

    paddle.seed(0)
    model = save_network(Scaled(), str(tmp_path / "float"), "pir")
    default = _quantize(model, tmp_path / "default")
    products = ["conv2d", "depthwise_conv2d", "mul"]
    more = _quantize(model, tmp_path / "more", quantizable_op_type=[*products, *op_types])
    assert [a.name for a in more.activations] == [a.name for a in default.activations]
    np.testing.assert_array_equal(_outputs(str(tmp_path / "more")), _outputs(str(tmp_path / "default")))


def test_skipped_operators_stay_in_float(model: str, tmp_path: Path) -> None:
    report = _quantize(model, tmp_path, skip_tensor_list=["image", "linear_*"])
    skipped = {row.op: row.reason for row in report.operators if "skip_tensor_list" in row.reason}
    assert set(skipped) == {"conv2d", "matmul"}
    assert "'image'" in skipped["conv2d"]
    assert len(report.weights) == 3
    assert "image" not in {activation.name for activation in report.activations}


def test_the_table_groups_operators_behind_the_engines_steps(model: str, tmp_path: Path) -> None:
    report = _quantize(model, tmp_path)
    text = str(report)
    program = load_program(find_model_files(model))
    labels = [node.label for node in program.graph.nodes]
    assert [row.name for row in report.operators] == labels
    engine, operators = report.rows()
    assert sum(row[0] for row in operators[1:]) == 18
    assert [row[1:3] for row in engine[1:] if "Conv" in row[1]] == [
        ("Conv+Relu", "int8"),
        ("Conv+HardSwish", "int8"),
        ("Conv+Add+Relu", "int8"),
        ("ConvTranspose", "int8"),
    ]
    assert text.startswith("   in the engine")
    assert "computes 5 of 5 convolutions and matrix products in int8, 100.0% of the multiply-adds" in text
    assert "5 of 18 operators quantized" in text
    assert f"{report.bytes_before:,} -> {report.bytes_after:,} bytes" in text
    written = sum(os.path.getsize(tmp_path / name) for name in os.listdir(tmp_path) if name != "model.qslim")
    assert written == report.bytes_after


def test_the_report_in_json_and_in_a_notebook(model: str, tmp_path: Path) -> None:
    report = _quantize(model, tmp_path)
    found = json.loads(report.to_json())
    assert found == json.loads(json.dumps(report.to_dict(), default=str))
    assert [row["name"] for row in found["activations"]] == [each.name for each in report.activations]
    assert found["weights"][0]["scale"] == pytest.approx(report.weights[0].scale.tolist())
    assert len(found["engine_layers"]) == len(report.engine_layers)
    page = report._repr_html_()
    assert page.count("<table>") == page.count("</table>") == 2
    assert "<td>Conv+Relu</td><td>int8</td>" in page
    os.remove(report.engine_file)
    gone = dataclasses.replace(report)  # which has looked at no file yet
    assert (gone.engine_layers, gone.headline) == (None, "")
    assert str(gone).lstrip().startswith("in the model")


def test_every_save_says_what_it_wrote(model: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("qslim")
    logger.addHandler(caplog.handler)
    try:
        _quantize(model, tmp_path)
    finally:
        logger.removeHandler(caplog.handler)
    assert "bytes" in caplog.text
    assert str(tmp_path) in caplog.text


def test_old_names_of_the_program_find_the_new_file(pir_model: str, tmp_path: Path) -> None:
    report = _quantize(
        pir_model, tmp_path, model_filename="model.pdmodel", params_filename="model.pdiparams",
        save_model_filename="__model__", save_params_filename="__params__",
    )  # fmt: skip
    assert report.files.program.endswith("__model__.json")
    assert report.files.params is not None
    assert sorted(os.listdir(tmp_path)) == sorted(
        map(os.path.basename, (report.files.program, report.files.params, report.engine_file or ""))
    )
    load_program(report.files)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"algo": "kl"}, "algo: expected one of .*did you mean 'KL'|algo: expected one of"),
        ({"round_type": "adaroun"}, "did you mean 'adaround'"),
        ({"weight_bits": 1}, "weight_bits: expected an int from 2 to 16, got 1"),
        ({"activation_bits": True}, "activation_bits"),
        ({"weight_quantize_type": "channel_wise"}, "did you mean 'channel_wise_abs_max'"),
        ({"deploy_backend": "trt"}, "deploy_backend"),
        ({"quantizable_op_type": ["conv2d", "depthwise_conv"]}, "did you mean 'depthwise_conv2d'"),
        ({"quantizable_op_type": "conv2d"}, "expected a list of strings"),
        ({"quantizable_op_type": ["gelu"]}, "no operator to quantize"),
        ({"skip_tensor_list": ["relu_99"]}, "matches no input, parameter or path"),
        ({"batch_size": 0}, "batch_size"),
        ({"batch_nums": 0}, "batch_nums"),
        ({"hist_percent": 0}, "hist_percent"),
        ({"data_loader": []}, "yielded no batch"),
        ({"data_loader": [images(2, size=8)]}, "expected shape"),
        ({"data_loader": [images(2).astype(np.int32)]}, "expected float32, got int32"),
        ({"data_loader": [images(2) * np.float32(np.nan)]}, "NaN"),
        ({"data_loader": [np.full((2, 3, 16, 16), 3e38, np.float32)]}, "batch 0.* (infinite|inf)"),
        ({"model_filename": "other"}, "does not exist"),
        ({"save_model_filename": "../up"}, "save_model_filename"),
    ],
    ids=lambda value: str(value)[:60],
)
def test_bad_input_is_one_error_and_writes_nothing(
    model: str, tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        _quantize(model, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_an_executor_is_needed(model: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="executor"):
        slim.quant.quant_post_static(None, model, str(tmp_path / "out"), data_loader=BATCHES)
    assert paddle.in_dynamic_mode()


def test_nan_in_a_weight_names_the_parameter(tmp_path: Path) -> None:
    net = small_network()
    bad = net.pointwise.weight.numpy()
    bad[0, 0] = np.nan
    net.pointwise.weight.set_value(bad)
    model = save_network(net, str(tmp_path / "model"), "pir")
    with pytest.raises(ValueError, match=r"batch 0, tensor|parameter .* NaN"):
        _quantize(model, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_dygraph_mode_survives(model: str, tmp_path: Path) -> None:
    assert paddle.in_dynamic_mode()

    class Place:
        place = paddle.CPUPlace()

    slim.quant.quant_post_static(Place(), model, str(tmp_path / "out"), data_loader=BATCHES)
    assert paddle.in_dynamic_mode()
