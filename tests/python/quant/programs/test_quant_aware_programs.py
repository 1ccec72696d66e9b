# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import numpy as np
import paddle
import pytest
from static_networks import (
    FEED,
    IMAGES,
    LABELS,
    RATE,
    Built,
    Network,
    build,
    initial_weights,
    run,
    start,
    static_session,
    value_of,
)

import qslim as slim
from qslim.importers.paddle import import_model
from qslim.quant import convert, get_pact_optimizer, pact, quant_aware
from qslim.runtime import Session

IRS = ("legacy", "pir")
CPU = paddle.CPUPlace()


def _executor() -> Any:
    return paddle.static.Executor(CPU)


def _scale_name(ir: str, tensor: str, weight: str) -> str:
    return f"{tensor}.quantized.dequantized@scale" if ir == "legacy" else f"{weight}.input.scale"


def _dygraph(config: dict[str, Any], steps: int) -> tuple[list[float], list[float]]:
    """Losses and activation thresholds of the same training with ``qslim.QAT``."""
    with paddle.utils.unique_name.guard():
        paddle.disable_static()
        net = Network()
    for name, parameter in zip(initial_weights(), (net.stem, net.depthwise, net.left, net.right, net.head)):
        parameter.weight.set_value(initial_weights()[name])
    slim.QAT(config=config).quantize(net)
    optimizer = paddle.optimizer.Momentum(RATE, 0.9, parameters=net.parameters())
    losses = []
    for _ in range(steps):
        loss = paddle.nn.functional.cross_entropy(net(paddle.to_tensor(IMAGES)), paddle.to_tensor(LABELS))
        losses.append(float(loss))
        loss.backward()
        optimizer.step()
        optimizer.clear_grad()
    layers = (net.stem, net.depthwise, net.left, net.head)
    return losses, [layer._fake_quant_input.threshold for layer in layers]


@pytest.mark.parametrize(
    ("activations", "weights"),
    [
        ("moving_average_abs_max", "channel_wise_abs_max"),
        ("range_abs_max", "abs_max"),
        ("abs_max", "channel_wise_abs_max"),
    ],
)
@pytest.mark.parametrize("ir", IRS)
def test_training_is_that_of_layers(ir: str, activations: str, weights: str) -> None:
    steps = 4
    config = {"activation_quantize_type": activations, "weight_quantize_type": weights}
    wanted, thresholds = _dygraph({**config, "quantizable_layer_type": ["Conv2D", "Linear"]}, steps)
    with static_session(ir) as scope:
        built, executor = build(train=True), _executor()
        start(built, scope, executor)
        trained = quant_aware(built.program, CPU, config, scope)
        losses = run(executor, trained, built.loss, steps)
        tensors = ("image", "relu_0.tmp_0", "relu_1.tmp_0", "flatten_0.tmp_0")
        scales = [
            float(value_of(scope, _scale_name(ir, tensor, weight))[0])
            for tensor, weight in zip(
                tensors, ("conv2d_0.w_0", "conv2d_1.w_0", "conv2d_2.w_0", "linear_0.w_0")
            )
        ]
    # Both sum in float32 in orders of their own, and an activation next to a tie may fall on the next step:
    # one of 576 averaged values by 1/127 of a threshold of 4 and a weight of 1, through four layers.
    np.testing.assert_allclose(losses, wanted, atol=2e-4)
    np.testing.assert_allclose(scales, thresholds, rtol=2e-3)


@pytest.mark.parametrize("ir", IRS)
def test_before_minimize_is_as_after_it(ir: str) -> None:
    results = []
    for is_before in (False, True):
        with static_session(ir) as scope:
            built, executor = build(train=True, minimize=not is_before), _executor()
            program = built.program
            if is_before:
                program = quant_aware(program, CPU, None, scope, return_program=True)
                loss = program.global_block().var(built.loss.name) if ir == "legacy" else built.loss
                with (
                    paddle.utils.unique_name.guard("optimizer"),
                    paddle.static.program_guard(program, built.startup),
                ):
                    paddle.optimizer.Momentum(RATE, 0.9).minimize(loss)
            start(built, scope, executor)
            if not is_before:
                program = quant_aware(program, CPU, None, scope, return_program=True)
            losses = run(executor, program, built.loss, 4)
            results.append((losses, [value_of(scope, name) for name in initial_weights()]))
    np.testing.assert_array_equal(results[0][0], results[1][0])
    for after, before in zip(results[0][1], results[1][1]):
        np.testing.assert_array_equal(after, before)


def _trained(ir: str, scope: Any, runner: Any, config: Any, **options: Any) -> tuple[Built, Any]:
    """A program for evaluation that shares its parameters with one that was trained for three steps."""
    built, test = build(train=True), build(train=False)
    start(built, scope, runner)
    evaluated = quant_aware(test.program, CPU, config, scope, for_test=True, **options)
    trained = quant_aware(built.program, CPU, config, scope, **options)
    run(runner, trained, built.loss, 3)
    return test, evaluated


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"onnx_format": False, "weight_quantize_type": "abs_max"},
        {"weight_bits": 4, "activation_bits": 4},
        {"deploy_backend": "tensorrt", "is_full_quantize": True},
    ],
    ids=["default", "float_storage", "four_bits", "full"],
)
@pytest.mark.parametrize("ir", IRS)
def test_what_is_converted_is_what_was_trained(ir: str, config: dict[str, Any], tmp_path: Path) -> None:
    with static_session(ir) as scope:
        executor = _executor()
        test, evaluated = _trained(ir, scope, executor, config)
        (wanted,) = run(executor, evaluated, test.out)
        weights = {name: value_of(scope, name) for name in initial_weights()}
        converted = convert(evaluated, CPU, config, scope)
        (out,) = run(executor, converted, test.out)
        for name, value in weights.items():
            np.testing.assert_array_equal(value_of(scope, name), value)  # training can go on
        _save(ir, converted, test, str(tmp_path / "model"), executor)
    # Dequantized operands, rounded once more in the product: 8 * 9 terms below 16 each.
    np.testing.assert_allclose(out, wanted, rtol=0, atol=72 * 2**-24 * 16)
    graph = import_model(str(tmp_path))
    dtypes = {str(t.quantization.dtype) for t in graph.tensors.values() if t.quantization is not None}
    is_signed = "deploy_backend" in config
    assert dtypes == ({"int8"} if is_signed else {"int8", "uint8"})
    bits = config.get("weight_bits", 8)
    for name, value in weights.items():
        params = graph.tensors[name].quantization
        assert params is not None
        axes = None if params.quant_axis is None else tuple(set(range(value.ndim)) - {params.quant_axis})
        np.testing.assert_allclose(
            params.scale * (2 ** (bits - 1) - 1), np.abs(value).max(axis=axes), rtol=1e-6
        )
    session = Session(graph, num_threads=1)
    np.testing.assert_allclose(session.run({"image": IMAGES})[0], out, rtol=0, atol=72 * 2**-24 * 16)
    assert "gemm_u8s8" in str(session.profile({"image": IMAGES}, runs=1))


def _save(ir: str, program: Any, test: Built, path: str, executor: Any) -> None:
    block = program.global_block()
    if ir == "legacy":
        feed, fetch = block.var("image"), block.var(test.out.name)
    else:
        data = (op for op in block.ops if op.name() == "pd_op.data")
        feed, fetch = next(op.result(0) for op in data if op.attrs()["name"] == "image"), test.out
    paddle.static.save_inference_model(path, [feed], [fetch], executor, program=program)


@pytest.mark.parametrize("ir", IRS)
def test_a_program_that_was_not_converted_runs_in_int8_too(ir: str, tmp_path: Path) -> None:
    with static_session(ir) as scope:
        executor = _executor()
        test, evaluated = _trained(ir, scope, executor, None)
        (wanted,) = run(executor, evaluated, test.out)
        _save(ir, evaluated, test, str(tmp_path / "model"), executor)
    graph = import_model(str(tmp_path))
    dtypes = [str(t.quantization.dtype) for t in graph.tensors.values() if t.quantization is not None]
    assert sorted(dtypes) == 7 * ["int8"] + 2 * ["uint8"]
    out = Session(graph, num_threads=1).run({"image": IMAGES})[0]
    np.testing.assert_allclose(out, wanted, rtol=0, atol=72 * 2**-24 * 16)


def test_two_programs_with_save_int8() -> None:
    config = {"onnx_format": False}
    with static_session("legacy") as scope:
        executor = _executor()
        test, evaluated = _trained("legacy", scope, executor, config)
        programs = convert(evaluated, CPU, config, scope, save_int8=True)
        outs = [run(executor, program, test.out)[0] for program in programs]
        np.testing.assert_array_equal(*outs)
        with pytest.raises(ValueError, match="has anyway"):
            convert(evaluated, CPU, {"onnx_format": True}, scope, save_int8=True)


def _clip_weight(weight: Any) -> Any:
    relu = paddle.nn.functional.relu
    return weight - relu(weight - 0.5) + relu(-0.5 - weight)


@pytest.mark.parametrize(
    "function", ["act_preprocess_func", "weight_preprocess_func", "weight_quantize_func"]
)
def test_functions_and_their_gradients(function: str, tmp_path: Path) -> None:
    """After ``minimize`` the gradients are put in by hand; before it Paddle makes them: the same bits."""

    def clip(x: Any) -> Any:
        y = pact(x)
        # A start that clips, so that there is something to learn.
        paddle.static.default_startup_program().global_block().ops[-1]._set_attr("value", 1.5)
        paddle.static.default_startup_program().global_block().ops[-1]._set_attr("str_value", "1.5")
        return y

    options: dict[str, Any] = {function: clip if function == "act_preprocess_func" else _clip_weight}
    results = []
    for is_before in (False, True):
        with static_session("legacy") as scope:
            built, executor = build(train=True, minimize=not is_before), _executor()
            program = built.program
            if is_before:
                program = quant_aware(
                    program, CPU, None, scope, return_program=True, executor=executor, **options
                )
                with (
                    paddle.utils.unique_name.guard("optimizer"),
                    paddle.static.program_guard(program, built.startup),
                ):
                    optimizer = paddle.optimizer.Momentum(RATE, 0.9)
                    optimizer.minimize(program.global_block().var(built.loss.name))
            start(built, scope, executor)
            if not is_before:
                optimizer_of = {"optimizer_func": lambda: paddle.optimizer.Momentum(RATE, 0.9)}
                program = quant_aware(
                    program,
                    CPU,
                    None,
                    scope,
                    return_program=True,
                    executor=executor,
                    **options,
                    **optimizer_of,
                )
            losses = run(executor, program, built.loss, 5)
            learned = [name for name in program.global_block().vars if name.endswith("_pact")]
            results.append((losses, {name: value_of(scope, name) for name in (*initial_weights(), *learned)}))
    assert len(results[0][1]) == 5 + 4 * (function == "act_preprocess_func")
    np.testing.assert_allclose(results[0][0], results[1][0], rtol=1e-5)
    for name, value in results[0][1].items():
        np.testing.assert_allclose(value, results[1][1][name], rtol=1e-5, atol=1e-6, err_msg=name)
        if name.endswith("_pact") and name.startswith("relu"):
            assert value != 1.5


def test_a_preprocessed_weight_is_converted(tmp_path: Path) -> None:
    options = {"weight_preprocess_func": _clip_weight, "act_preprocess_func": pact}
    with static_session("legacy") as scope:
        executor = _executor()
        test, evaluated = _trained(
            "legacy", scope, executor, None, **options, optimizer_func=get_pact_optimizer, executor=executor
        )
        (wanted,) = run(executor, evaluated, test.out)
        converted = convert(evaluated, CPU, None, scope)
        np.testing.assert_allclose(run(executor, converted, test.out)[0], wanted, rtol=0, atol=1e-5)
        _save("legacy", converted, test, str(tmp_path / "model"), executor)
    session = Session(str(tmp_path), num_threads=1)
    np.testing.assert_allclose(session.run({"image": IMAGES})[0], wanted, rtol=0, atol=1e-5)


@pytest.mark.parametrize("ir", IRS)
def test_thresholds_to_start_from(ir: str) -> None:
    with static_session(ir) as scope:
        built, executor = build(train=True), _executor()
        start(built, scope, executor)
        program, found, _, _ = quant_aware(
            built.program, CPU, {"scale_trainable": False}, scope, return_program=True, return_scale_dict=True
        )
        assert len(found) == 4
        assert set(found.values()) == {np.float32(0.001)}
    wanted = {name: 1.0 + index for index, name in enumerate(found)}
    with static_session(ir) as scope:
        built, executor = build(train=True), _executor()
        start(built, scope, executor)
        program, found, _, _ = quant_aware(
            built.program, CPU, None, scope, scale_dict=wanted, return_program=True, return_scale_dict=True
        )
        assert found == wanted
        run(executor, program, built.loss)
        name = _scale_name(ir, "image", "conv2d_0.w_0")
        first, largest = wanted["image" if ir == "legacy" else "conv2d_0.w_0.input"], np.abs(IMAGES).max()
        np.testing.assert_allclose(value_of(scope, name), [0.9 * first + 0.1 * largest], rtol=1e-6)


def test_post_training_quantization_first() -> None:
    config = {"quant_post_first": True}
    data = {"data_loader": [FEED, FEED], "algo": "abs_max"}
    with static_session("legacy") as scope:
        built, test, executor = build(train=True), build(train=False), _executor()
        start(built, scope, executor)
        _, found, _, _ = quant_aware(
            test.program, CPU, config, scope, for_test=True, calib_config=data, return_scale_dict=True
        )
        largest = float(np.abs(IMAGES).max())
        assert found["image"] == pytest.approx(largest)
        # Training starts from there, too.
        trained = quant_aware(built.program, CPU, config, scope, return_program=True)
        run(executor, trained, built.loss)
        assert value_of(scope, "image.quantized.dequantized@scale") == pytest.approx(largest)
        with pytest.raises(ValueError, match="did you mean 'data_loader'"):
            quant_aware(test.program, CPU, config, scope, for_test=True, calib_config={"data_loder": []})


@pytest.mark.parametrize("ir", IRS)
def test_errors(ir: str) -> None:
    with static_session(ir) as scope:
        built, test = build(train=True), build(train=False)
        with pytest.raises(ValueError, match="did you mean 'weight_bits'"):
            quant_aware(built.program, CPU, {"weight_bit": 8}, scope)
        with pytest.raises(ValueError, match="'conv2d'"):
            quant_aware(built.program, CPU, {"quantize_op_types": ["conv2"]}, scope)
        with pytest.raises(ValueError, match="holds gradients"):
            quant_aware(built.program, CPU, None, scope, for_test=True)
        with pytest.raises(ValueError, match="no operator to quantize"):
            quant_aware(test.program, CPU, {"quantize_op_types": ["conv2d_transpose"]}, scope, for_test=True)
        with pytest.raises(ValueError, match=r"paddle\.static\.Program, got str"):
            quant_aware("program", CPU)
        with pytest.raises(ValueError, match="holds no quantizers"):
            convert(test.program, CPU, None, scope)
        quantized = quant_aware(built.program, CPU, None, scope, return_program=True)
        with pytest.raises(ValueError, match="quantized already"):
            quant_aware(quantized, CPU, None, scope)
        with pytest.raises(ValueError, match="holds gradients"):
            convert(quantized, CPU, None, scope)


def test_functions_need_an_optimizer_and_the_legacy_ir() -> None:
    with static_session("legacy") as scope:
        built = build(train=True)
        with pytest.raises(ValueError, match="optimizer_func"):
            quant_aware(built.program, CPU, None, scope, act_preprocess_func=pact)
        with pytest.raises(ValueError, match="must be a function"):
            quant_aware(built.program, CPU, None, scope, act_preprocess_func="pact")
    with static_session("pir") as scope, pytest.raises(ValueError, match="FLAGS_enable_pir_api=0"):
        quant_aware(build(train=True).program, CPU, None, scope, act_preprocess_func=pact)


@pytest.mark.parametrize("ir", IRS)
def test_operators_that_are_skipped(ir: str) -> None:
    with static_session(ir) as scope:
        built = build(train=False)
        program = quant_aware(
            built.program, CPU, {"not_quant_pattern": ["skip_quant", "conv2d_3.w_0"]}, scope, for_test=True
        )
        kinds = [op.type if ir == "legacy" else op.name() for op in program.global_block().ops]
    assert sum("channel_wise" in kind for kind in kinds) == 4


@pytest.mark.parametrize("ir", IRS)
def test_training_and_evaluation_agree_on_signs(ir: str) -> None:
    """Dropout is there in training only."""
    grids = []
    for is_test in (False, True):
        with static_session(ir) as scope:
            program, startup = paddle.static.Program(), paddle.static.Program()
            with paddle.utils.unique_name.guard(), paddle.static.program_guard(program, startup):
                image = paddle.static.data("image", [None, 3, 8, 8], "float32")
                hidden = paddle.nn.functional.relu(paddle.nn.Conv2D(3, 4, 3)(image))
                hidden = paddle.nn.functional.dropout(hidden, 0.5, training=not is_test)
                paddle.nn.Conv2D(4, 2, 1)(hidden)
            quantized = quant_aware(program, CPU, None, scope, for_test=is_test, return_program=True)
            ops = quantized.global_block().ops
            fakes = [
                op
                for op in ops
                if (op.type if ir == "legacy" else op.name()).endswith("moving_average_abs_max")
            ]
            grids.append([(op.attr if ir == "legacy" else op.attrs().get)("bit_length") for op in fakes])
    assert grids == [[8, 9], [8, 9]]


@pytest.mark.parametrize("ir", IRS)
def test_only_the_forward_part_is_quantized(ir: str) -> None:
    """Weight decay adds and multiplies, too, and two products may share a weight."""
    with static_session(ir) as scope:
        program, startup = paddle.static.Program(), paddle.static.Program()
        with paddle.static.program_guard(program, startup):
            image = paddle.static.data("image", [None, 4], "float32")
            layer = paddle.nn.Linear(4, 4)
            loss = paddle.mean(layer(paddle.nn.functional.relu(layer(image))))
            decay = paddle.regularizer.L1Decay(1e-4)
            paddle.optimizer.Momentum(RATE, 0.9, weight_decay=decay).minimize(loss)
        config = {"quantize_op_types": ["mul", "elementwise_add", "scale"]}
        trained, found, _, _ = quant_aware(
            program, CPU, config, scope, return_program=True, return_scale_dict=True
        )
        assert len(found) == 4  # what two products read, and what two additions of a bias do
        executor = _executor()
        executor.run(startup)
        feed = {"image": np.ones((2, 4), np.float32)}
        losses = run(executor, trained, loss, 3, feed)
    assert losses[0] > losses[-1]


def test_signatures_are_paddleslims() -> None:
    aware = inspect.signature(quant_aware).parameters
    assert list(aware) == [
        "program", "place", "config", "scope", "for_test", "weight_quantize_func", "act_quantize_func",
        "weight_preprocess_func", "act_preprocess_func", "optimizer_func", "executor", "return_program",
        "calib_config", "draw_graph", "return_scale_dict", "scale_dict", "model_type", "pattern_ops",
    ]  # fmt: skip
    assert list(inspect.signature(convert).parameters) == ["program", "place", "config", "scope", "save_int8"]
    for name in ("for_test", "return_program", "draw_graph", "return_scale_dict"):
        assert aware[name].default is False
    assert aware["calib_config"].default == {}
