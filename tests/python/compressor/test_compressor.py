# SPDX-License-Identifier: Apache-2.0
"""Compressor on one small network: training, saved models, checkpoints, bad configurations, in both IRs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import paddle
import pytest
from compressor_network import (
    CPU,
    FEEDS,
    IMAGES,
    LABELS,
    Built,
    array,
    compressor,
    parameters_of,
    quantization,
    reader,
)

import qslim as slim
from qslim.compressor.network import active
from qslim.errors import ModelFileError
from qslim.importers.paddle import import_model
from qslim.runtime import Session


@pytest.mark.parametrize("weights", ["abs_max", "channel_wise_abs_max"])
def test_the_saved_models_are_what_was_trained(ir: str, scope: Any, tmp_path: Path, weights: str) -> None:
    made = compressor(ir, scope, tmp_path)
    made.config(quantization(tmp_path, weight_quantize_type=weights))
    network = made.run()
    assert made.results["top1"][-1] > 0.9
    feed = {"image": IMAGES[:16], "label": LABELS[:16, None]}
    with active(network.is_pir, scope):
        simulated = network.run(paddle.static.Executor(CPU), feed)["scores"]
    program = "model" if ir == "legacy" else "model.json"
    for name in ("float", "int8", "mobile"):
        assert sorted(os.listdir(tmp_path / name)) == [program, "weights"]
        own, executor = paddle.static.Scope(), paddle.static.Executor(CPU)
        with active(ir == "pir", own):
            loaded, feeds, fetches = paddle.static.load_inference_model(
                str(tmp_path / name), executor, model_filename=program, params_filename="weights"
            )
            assert feeds == ["image"]
            (scores,) = executor.run(loaded, feed={"image": feed["image"]}, fetch_list=fetches)
        # Dequantized operands, rounded once more in the product: 8 * 9 terms below 16 each.
        np.testing.assert_allclose(scores, simulated, rtol=0, atol=72 * 2**-24 * 16)
        session = Session(import_model(str(tmp_path / name), "model", "weights"))
        (engine,) = session.run({"image": feed["image"]})
        np.testing.assert_allclose(engine, scores, rtol=0, atol=72 * 2**-24 * 16)
        assert "gemm_u8s8" in str(session.profile({"image": feed["image"]}, runs=1))


def test_float_and_int8_hold_the_same_integers(ir: str, scope: Any, tmp_path: Path) -> None:
    made = compressor(ir, scope, tmp_path)
    made.config(quantization(tmp_path, epoch=1))
    made.run()
    floats, integers = parameters_of(tmp_path / "float"), parameters_of(tmp_path / "int8")
    for weight in ("conv1_weights", "conv2_weights", "fc_weights"):
        (name,) = (name for name in floats if name == f"{weight}.quantized" or name == weight)
        assert floats[name].dtype == np.float32
        assert integers[name].dtype == np.int8
        np.testing.assert_array_equal(floats[name], integers[name])
        assert np.abs(floats[name]).max() == 127
        trained = array(scope, weight)  # the checkpoint and the scope keep the float weights
        np.testing.assert_allclose(
            floats[name] * np.abs(trained).max() / 127, trained, atol=np.abs(trained).max() / 253
        )
    small, large = (os.path.getsize(tmp_path / name / "weights") for name in ("int8", "float"))
    assert small < large


def test_models_are_those_of_end_epoch_and_training_goes_on(ir: str, scope: Any, tmp_path: Path) -> None:
    config = quantization(tmp_path / "one", epoch=1)
    made = compressor(ir, scope, tmp_path / "one")
    made.config(config)
    made.run()
    own = paddle.static.Scope()
    with active(ir == "pir", own):
        made = compressor(ir, own, tmp_path / "two")
        config = quantization(tmp_path / "two", epoch=3, end_epoch=0)
        made.config(config)
        made.run()
        assert len(made.results["top1"]) == 3
    for name, value in parameters_of(tmp_path / "one" / "float").items():
        np.testing.assert_array_equal(parameters_of(tmp_path / "two" / "float")[name], value)
    assert (array(own, "fc_weights") != array(scope, "fc_weights")).any()


def test_a_run_goes_on_from_its_last_checkpoint(ir: str, scope: Any, tmp_path: Path) -> None:
    """Three epochs, and one plus two with a new process's networks between, give the same bits."""
    rate = lambda: paddle.optimizer.lr.PiecewiseDecay([6], [0.05, 0.01])  # noqa: E731
    made = compressor(ir, scope, tmp_path / "whole", train_optimizer=paddle.optimizer.Momentum(rate(), 0.9))
    made.config(quantization(tmp_path / "whole", start_epoch=1))
    made.run()
    for epoch in (1, 3):
        own = paddle.static.Scope()
        with active(ir == "pir", own):
            optimizer = paddle.optimizer.Momentum(rate(), 0.9)
            resumed = compressor(ir, own, tmp_path / "parts", train_optimizer=optimizer)
            config = quantization(tmp_path / "parts", start_epoch=1)
            if epoch == 1:
                config["strategies"]["q"]["start_epoch"] = 1
                resumed.config({**config, "compressor": {"epoch": 2, "strategies": ["q"]}})
                resumed._readers = (_stops_in_epoch_1(), reader)
                with pytest.raises(KeyboardInterrupt):
                    resumed.run()
                assert os.listdir(tmp_path / "parts" / "checkpoints") == ["0"]
            else:
                resumed.config(config)
                resumed.run()
                assert resumed.results == made.results
                for name in ("conv1_weights", "fc_weights"):
                    np.testing.assert_array_equal(array(own, name), array(scope, name))
    whole = parameters_of(tmp_path / "whole" / "float")
    for name, value in parameters_of(tmp_path / "parts" / "float").items():
        np.testing.assert_array_equal(value, whole[name])


def _stops_in_epoch_1() -> Any:
    passes = []

    def read() -> Iterator[Any]:
        passes.append(None)
        for number, batch in enumerate(reader()):
            if len(passes) == 2 and number == 2:
                raise KeyboardInterrupt
            yield batch

    return read


def test_a_finished_run_trains_nothing_and_another_configuration_is_refused(
    ir: str, scope: Any, tmp_path: Path
) -> None:
    made = compressor(ir, scope, tmp_path)
    made.config(quantization(tmp_path, epoch=1))
    made.run()
    trained = array(scope, "fc_weights")
    own = paddle.static.Scope()
    with active(ir == "pir", own):
        again = compressor(ir, own, tmp_path)
        again.config(quantization(tmp_path, epoch=1))
        again.run()
        np.testing.assert_array_equal(array(own, "fc_weights"), trained)
        again.config(quantization(tmp_path, epoch=1, weight_bits=4))
        with pytest.raises(ValueError, match="made with other strategies"):
            again.run()
        (tmp_path / "checkpoints" / "0" / "parameters.npz").write_bytes(b"no archive")
        again.config(quantization(tmp_path, epoch=1))
        with pytest.raises(ModelFileError, match="is damaged"):
            again.run()


def test_a_minimized_program_is_trained_as_it_is(ir: str, scope: Any, tmp_path: Path) -> None:
    made = compressor(ir, scope, tmp_path / "own")
    made.config(quantization(tmp_path / "own", epoch=2))
    made.run()
    own = paddle.static.Scope()
    with active(ir == "pir", own):
        paddle.seed(3)
        train, test = Built(ir, True), Built(ir, False)
        with paddle.static.program_guard(train.program, train.startup):
            paddle.optimizer.Momentum(0.05, 0.9).minimize(train.loss)
        paddle.static.Executor(CPU).run(train.startup)
        users = slim.Compressor(
            CPU, own, train.program, reader, FEEDS, [("loss", train.name(train.loss))],
            test.program, reader, FEEDS, [("top1", test.name(test.top1)), ("scores", test.name(test.scores))],
            checkpoint_path=str(tmp_path / "users"),
        )  # fmt: skip
        users.config(quantization(tmp_path / "users", epoch=2))
        users.run()
        assert users.results["top1"] == made.results["top1"]
        np.testing.assert_array_equal(array(own, "fc_weights"), array(scope, "fc_weights"))


@pytest.mark.parametrize("strategy", ["UniformPruneStrategy", "SensitivePruneStrategy"])
def test_pruning_then_quantization(ir: str, scope: Any, tmp_path: Path, strategy: str) -> None:
    made = compressor(ir, scope, tmp_path)
    prune = {"class": strategy, "start_epoch": 1, "target_ratio": 0.4, "pruned_params": "conv[12]_weights"}
    if strategy.startswith("Sens"):
        prune |= {"metric_name": "top1", "sensitivities_file": str(tmp_path / "s.data"), "delta_rate": 0.25}
    prune["pruner"] = "pruner_1"
    config = quantization(tmp_path, epoch=3, start_epoch=2)
    config["strategies"] = {"prune": prune, **config["strategies"]}
    config["pruners"] = {"pruner_1": {"class": "StructurePruner", "criterions": {"*": "l1_norm"}}}
    config["compressor"]["strategies"] = ["prune", "q"]
    made.config(config)
    whole = slim.analysis.flops(made._forward.program)
    made.run()
    shapes = [array(scope, f"conv{i}_weights").shape for i in (1, 2)]
    kept = 64 * shapes[0][0] * 9 + 16 * shapes[1][0] * shapes[1][1] * 9 + 32 * 4 * shapes[1][0] // 8
    assert shapes[1][1] == shapes[0][0]
    assert kept <= 0.6 * whole
    assert kept >= 0.3 * whole
    saved = import_model(str(tmp_path / "float"), "model", "weights")
    assert slim.analysis.flops(saved) == kept
    # A new process's networks take on the shapes of the checkpoint.
    own = paddle.static.Scope()
    with active(ir == "pir", own):
        again = compressor(ir, own, tmp_path)
        config["compressor"]["epoch"] = 4
        again.config(config)
        again.run()
        assert array(own, "conv1_weights").shape == shapes[0]
        assert again.results["top1"][:3] == made.results["top1"]


def test_a_function_of_the_user_evaluates(ir: str, scope: Any, tmp_path: Path) -> None:
    if ir == "pir":
        with pytest.raises(ValueError, match="in PIR let eval_fetch_list hold the metric"):
            compressor(ir, scope, tmp_path, eval_func={"map": lambda *_: 1.0})
        return
    seen: list[Any] = []

    def accuracy(program: Any, own_scope: Any) -> float:
        assert own_scope is scope
        executor = paddle.static.Executor(CPU)
        feed = {"image": IMAGES, "label": LABELS[:, None]}
        (scores,) = executor.run(program, feed=feed, fetch_list=[names["scores"]])
        seen.append(np.mean(scores.argmax(1) == LABELS))
        return seen[-1]

    test = Built("legacy", False)
    names = {"scores": test.name(test.scores)}
    options: Any = {"eval_reader": None, "eval_func": {"map": accuracy}}
    made = compressor("legacy", scope, tmp_path, **options)
    config = quantization(tmp_path, epoch=3, start_epoch=2)
    prune = {"class": "SensitivePruneStrategy", "start_epoch": 1, "target_ratio": 0.4, "delta_rate": 0.25}
    prune |= {"metric_name": "map", "sensitivities_file": None, "pruned_params": "conv[12]_weights"}
    config["strategies"] = {"prune": prune, **config["strategies"]}
    config["compressor"]["strategies"] = ["prune", "q"]
    made.config(config)
    made.run()
    # After each epoch; and for sensitivities once before the cut and after each of 2 * 3 cuts.
    assert len(seen) == 3 + 7
    assert made.results == {"map": [seen[0], seen[-2], seen[-1]]}
    assert seen[-1] > 0.9
    made = compressor("legacy", scope, tmp_path / "b", eval_func={"map": lambda *_: None})
    made.config(config)
    with pytest.raises(ValueError, match=r"eval_func: 'map': expected a finite number .* got None"):
        made.run()
    with pytest.raises(ValueError, match="a dict of a metric's name to a function"):
        compressor("legacy", scope, tmp_path, eval_func=accuracy)


BAD = {
    "an unknown key": ({"end_epok": 1}, "strategies.q.*'end_epok'.*did you mean 'end_epoch'"),
    "an unknown class": ({"class": "QuantisationStrategy"}, "did you mean 'QuantizationStrategy'"),
    "a search": ({"class": "LightNASStrategy"}, "no search for architectures"),
    "an end before the start": ({"start_epoch": 2, "end_epoch": 1}, "end_epoch: expected an int >= 2"),
    "a late start": ({"start_epoch": 9, "end_epoch": 9}, "start_epoch=9 is never reached"),
    "bits": ({"weight_bits": 17}, "weight_bits: expected an int from 2 to 16"),
    "wide int8": ({"weight_bits": 12}, "int8 weights have at most 8 bits"),
    "a type": ({"weight_quantize_type": "range_abs_max"}, "weight_quantize_type: expected one of"),
    "a text for a list": ({"save_in_nodes": "image"}, "save_in_nodes: expected a list of names"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_configurations(case: str, tmp_path: Path) -> None:
    keys, said = BAD[case]
    own = paddle.static.Scope()
    with active(True, own):
        made = compressor("pir", own, tmp_path)
        with pytest.raises(ValueError, match=said):
            made.config(quantization(tmp_path, **keys))
    assert os.listdir(tmp_path) == []


def test_bad_programs_and_nodes(ir: str, scope: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected an entry \\('loss'"):
        compressor(ir, scope, tmp_path, train_fetch_list=[])
    with pytest.raises(ValueError, match="train_optimizer is missing"):
        compressor(ir, scope, tmp_path, train_optimizer=None)
    with pytest.raises(ValueError, match="did you mean 'image'"):
        compressor(ir, scope, tmp_path, train_feed_list=[("image", "imag")])
    made = compressor(ir, scope, tmp_path)
    with pytest.raises(ValueError, match="call config"):
        made.run()
    made.config(quantization(tmp_path, save_out_nodes=["score"]))
    with pytest.raises(ValueError, match=r"save_out_nodes.*got 'score'"):
        made.run()
    assert os.listdir(tmp_path) == []


def test_a_yaml_file(tmp_path: Path) -> None:
    text = """
version: 1.0
strategies:
    quantization_strategy:
        class: 'QuantizationStrategy'
        start_epoch: 0
        end_epoch: 9
        float_model_save_path: './output/float'
        int8_model_save_path: 'None'
        mobile_model_save_path: None
compressor:
    epoch: 10
    checkpoint_path: './checkpoints_quan/'
    strategies:
        - quantization_strategy
"""
    (tmp_path / "q.yaml").write_text(text)
    read = slim.compressor.configuration.read_configuration(tmp_path / "q.yaml")
    strategy = read.strategies["quantization_strategy"]
    assert isinstance(strategy, slim.compressor.QuantizationStrategy)
    assert (strategy.end_epoch, strategy.float_model_save_path) == (9, "./output/float")
    assert strategy.int8_model_save_path is strategy.mobile_model_save_path is None
    assert (read.epoch, read.checkpoint_path) == (10, "./checkpoints_quan/")
    (tmp_path / "bad.yaml").write_text("a: [1")
    with pytest.raises(ValueError, match="is no YAML"):
        slim.compressor.configuration.read_configuration(tmp_path / "bad.yaml")
    with pytest.raises(FileNotFoundError, match="is no file"):
        slim.compressor.configuration.read_configuration(tmp_path / "missing.yaml")
