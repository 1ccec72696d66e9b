# SPDX-License-Identifier: Apache-2.0
"""Pruning, zeros, search and teachers of AutoCompression, alone and in front of quantization, in both IRs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import paddle
import pytest
from act_network import IMAGES, IRS, callback, loader, outputs

from qslim.auto_compression import AutoCompression, CompressionReport, analysis_prune
from qslim.auto_compression.plan import read_plan
from qslim.importers.paddle import find_model_files, load_program
from qslim.paddle import framework
from qslim.runtime import Session

TRAINING: dict[str, Any] = {
    "epochs": 12,
    "eval_iter": 8,
    "learning_rate": 0.01,
    "optimizer_builder": {"optimizer": {"type": "Adam"}},
}


def weights(directory: Path) -> list[np.ndarray]:
    """The weights of the two convolutions and of the linear layer, those of a quantized model as integers."""
    graph = load_program(find_model_files(str(directory))).graph
    products = [node for node in graph.nodes if node.op_type in ("Conv", "MatMul")]
    found = []
    for node in products:
        name = node.inputs[1]
        while (producer := graph.producer(name)) is not None:
            name = producer.inputs[0]
        value = graph.tensors[name].value
        assert value is not None
        found.append(value)
    return found


def compress(
    model: Path, save_dir: Path, config: dict[str, Any], evaluate: Any = None, **more: Any
) -> CompressionReport:
    training = {"TrainConfig": TRAINING, **config}
    return AutoCompression(
        str(model), loader, save_dir=str(save_dir), config=training, eval_callback=evaluate, **more
    ).compress()


@pytest.mark.parametrize("ir", IRS)
def test_channels_are_cut_and_the_rest_is_quantized(ir: str, models: dict[str, Path], tmp_path: Path) -> None:
    wanted, seen = outputs(models[ir]), []
    config = {
        "ChannelPrune": {"pruned_ratio": 0.25},
        "QuantAware": {},
        "Distillation": {"loss": "soft_label"},
    }
    report = compress(models[ir], tmp_path, config, callback(wanted, seen))
    names = [strategy.name for strategy in report.strategies]
    assert names == ["channel_prune_dis", "qat_dis"]
    # A tenth of the epochs for what comes second.
    assert [strategy.steps for strategy in report.strategies] == [96, 8]
    first, second, linear = weights(tmp_path)
    assert first.shape == (6, 1, 3, 3)
    assert second.shape == (6, 6, 3, 3)
    assert linear.shape == (54, 4)
    assert report.strategies[0].state.parameters < report.before.parameters
    assert (report.before.flops, report.strategies[1].state.flops) == (10080, 6588)
    # Teachers stay whole, so that the outputs come back: cut and not trained they are off by 0.1.
    assert report.before.metric == 0
    assert report.metric is not None
    assert report.metric > -0.003
    assert float(np.mean((outputs(tmp_path) - wanted) ** 2)) == pytest.approx(-report.metric, abs=1e-5)
    (engine,) = Session(str(tmp_path)).run({"image": IMAGES})
    assert np.mean(np.abs(engine - outputs(tmp_path))) < 1e-4
    assert json.loads(report.to_json())["strategies"][0]["steps"] == 96
    assert "channel_prune_dis" in str(report)
    assert report.engine_file == str(tmp_path / "inference.qslim")


@pytest.mark.parametrize("ir", IRS)
def test_two_of_four_weights_stay_zero_through_quantization(
    ir: str, models: dict[str, Path], tmp_path: Path
) -> None:
    config = {"ASPPrune": {}, "QuantAware": {}, "Distillation": {}}
    report = compress(models[ir], tmp_path, {**config, "TrainConfig": {**TRAINING, "epochs": 4}})
    first, second, linear = weights(tmp_path)
    assert (first != 0).mean() > 0.9  # one input channel: no four of them
    fours = second.reshape(8, 2, 4, 9)
    assert ((fours != 0).sum(axis=2) <= 2).all()
    assert ((linear.reshape(18, 4, 4) != 0).sum(axis=1) <= 2).all()
    assert 0.4 < report.strategies[0].state.zeros < 0.51


@pytest.mark.parametrize("ir", IRS)
def test_weights_become_zero_by_a_schedule(ir: str, models: dict[str, Path], tmp_path: Path) -> None:
    wanted, seen = outputs(models[ir]), []
    rule = {"prune_strategy": "gmp", "ratio": 0.75, "prune_params_type": None}
    config = {"UnstructurePrune": rule, "Distillation": {}, "QuantPost": {"algo": "avg"}}
    report = compress(models[ir], tmp_path / "a", config, callback(wanted, seen))
    assert [strategy.name for strategy in report.strategies] == ["unstructure_prune_dis", "quant_post"]
    total = sum(weight.size for weight in weights(models[ir]))
    assert report.strategies[0].state.zeros == pytest.approx(round(0.75 * total) / total)
    # The best evaluation is one of the sparse network, though the dense one before was better.
    assert report.strategies[0].state.metric is not None
    assert report.strategies[0].state.metric < max(seen[1:5])
    assert sum(int((weight == 0).sum()) for weight in weights(tmp_path / "a")) >= round(0.75 * total)
    rule = {"prune_mode": "threshold", "threshold": 0.2, "prune_params_type": None}
    config = {"UnstructurePrune": rule, "Distillation": {}, "TrainConfig": {**TRAINING, "epochs": 1}}
    compress(models[ir], tmp_path / "b", config)
    for weight in weights(tmp_path / "b"):
        kept = np.abs(weight[weight != 0])
        assert kept.min() >= 0.2
        assert (weight == 0).any()
    config = {"UnstructurePrune": {"prune_params_type": "conv1x1_only"}, "Distillation": {}}
    with pytest.raises(ValueError, match="no parameter is left to prune"):
        compress(models[ir], tmp_path / "c", config)
    rule = {"prune_strategy": "gmp", "gmp_config": {"pruning_iterations": 4500}, "prune_params_type": None}
    with pytest.raises(ValueError, match="reached in step 4501, but the training has 96 steps"):
        compress(models[ir], tmp_path / "c", {"UnstructurePrune": rule, "Distillation": {}})
    assert not (tmp_path / "c").exists()


@pytest.mark.parametrize("ir", IRS)
def test_options_are_searched(ir: str, models: dict[str, Path], tmp_path: Path) -> None:
    wanted, seen = outputs(models[ir]), []
    config = {
        "QuantPost": {"weight_bits": 4},
        "HyperParameterOptimization": {"batch_num": [1, 2], "max_quant_count": 3},
    }
    report = compress(models[ir], tmp_path, config, callback(wanted, seen))
    assert [strategy.name for strategy in report.strategies] == ["ptq_hpo"]
    assert report.metric is not None
    assert report.metric > -0.05
    first, _, _ = weights(tmp_path)
    assert np.abs(first).max() <= 7


def test_teachers_are_several_and_have_other_networks(models: dict[str, Path], tmp_path: Path) -> None:
    paddle.disable_static()
    paddle.seed(3)
    other = paddle.nn.Sequential(paddle.nn.Flatten(), paddle.nn.Linear(64, 8), paddle.nn.Linear(8, 4))
    paddle.jit.save(
        other,
        str(tmp_path / "other/model"),
        input_spec=[paddle.static.InputSpec([None, 1, 8, 8], "float32", "x")],
    )
    directories = [str(models["pir"]), str(models["legacy"]), str(tmp_path / "other")]
    config = {
        "MultiTeacherDistillation": {
            "teacher_model_dir": directories,
            "loss": ["l2", "soft_label", "l2"],
            "alpha": [0, 0, 1],
        },
        "TrainConfig": {**TRAINING, "epochs": 20},
    }
    report = compress(models["pir"], tmp_path / "out", config)
    assert [strategy.name for strategy in report.strategies] == ["multi_teacher_dis"]
    # The default compares what is in front of the softmax with the other teacher's own end.
    paddle.disable_static()
    logits = other(paddle.to_tensor(IMAGES)).numpy()
    wanted = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    errors = [np.mean((outputs(path) - wanted) ** 2) for path in (models["pir"], tmp_path / "out")]
    assert errors[1] < errors[0] / 4
    config["MultiTeacherDistillation"]["node"] = [["no_such"]]
    with pytest.raises(ValueError, match="'no_such'"):
        compress(models["pir"], tmp_path / "no", config)


def test_pairs_of_nodes_and_shapes_that_differ(models: dict[str, Path], tmp_path: Path) -> None:
    program = load_program(find_model_files(str(models["pir"])))
    conv = next(node.outputs[0] for node in program.graph.nodes if node.op_type == "Conv")
    config: dict[str, Any] = {
        "ChannelPrune": {"pruned_ratio": [0.25], "prune_params_name": ["conv2d_*"]},
        "Distillation": {"node": [conv]},
    }
    with pytest.raises(ValueError, match="choose tensors of one shape, which pruning does not cut"):
        compress(models["pir"], tmp_path, config)
    softmax = program.graph.outputs[0]
    config["Distillation"]["node"] = [f"teacher_{softmax}", softmax]
    config["TrainConfig"] = {**TRAINING, "epochs": 1}
    compress(models["pir"], tmp_path, config)
    config["Distillation"]["node"] = [f"teacher_{softmax}"]
    with pytest.raises(ValueError, match=r"teacher_<name>, <name>, \.\.\. in turn"):
        compress(models["pir"], tmp_path / "no", config)
    assert not (tmp_path / "no").exists()


@pytest.mark.parametrize("least", [-1.0, -1e-12])
def test_without_strategies_one_is_chosen_and_says_why(
    least: float, models: dict[str, Path], tmp_path: Path
) -> None:
    wanted, seen = outputs(models["pir"]), []
    inner = callback(wanted, seen)

    def evaluate(*arguments: Any) -> float:
        return 1.0 if inner(*arguments) > least else 0.5

    report = compress(models["pir"], tmp_path, {"TrainConfig": {"epochs": 1}}, evaluate)
    if least == -1.0:
        assert [each.name for each in report.strategies] == ["quant_post"]
        assert "changes the metric from 1 to 1: it is taken" in report.notes[0]
    else:
        assert [each.name for each in report.strategies] == ["qat_dis"]
        assert "from 1 to 0.5, by more than 0.5%" in report.notes[0]
    files = ["inference.json", "inference.pdiparams", "inference.qslim"]
    assert sorted(path.name for path in tmp_path.iterdir()) == files
    Session(str(tmp_path)).run({"image": IMAGES})


def test_zeros_of_the_model_stay_where_that_is_asked_for(models: dict[str, Path], tmp_path: Path) -> None:
    config = {"UnstructurePrune": {"prune_params_type": None, "ratio": 0.5}, "Distillation": {}}
    compress(models["legacy"], tmp_path / "sparse", {**config, "TrainConfig": {**TRAINING, "epochs": 1}})
    zeros = []
    for sparse in (True, False):
        training = {**TRAINING, "epochs": 1, "sparse_model": sparse, "amp_config": {"use_pure_fp16": True}}
        config = {"Distillation": {"teacher_model_dir": str(models["legacy"])}, "TrainConfig": training}
        out = tmp_path / str(sparse)
        zeros.append(compress(tmp_path / "sparse", out, config).strategies[0].state.zeros)
    assert zeros[0] == pytest.approx(0.5, abs=0.01)
    assert zeros[1] < 0.1


def test_plans() -> None:
    def names(*sections: str) -> list[str]:
        config = {name: {"pruned_ratio": 0.25} if name == "ChannelPrune" else {} for name in sections}
        return [strategy.name for strategy in read_plan(config).strategies]

    assert names("ChannelPrune", "QuantAware", "Distillation") == ["channel_prune_dis", "qat_dis"]
    assert names("QuantPost", "ChannelPrune", "Distillation") == ["channel_prune_dis", "quant_post"]
    assert names("Distillation") == ["single_teacher_dis"]
    assert names("ChannelPrune", "ASPPrune", "Distillation") == ["channel_prune_dis", "asp_prune_dis"]
    training = {
        "epochs": 6,
        "train_iter": 200,
        "learning_rate": {"type": "PiecewiseDecay", "boundaries": [3], "values": [1e-3, 1e-4]},
    }
    plan = read_plan(
        {"ASPPrune": {}, "QuantAware": {}, "Distillation": {}, "Global": {}, "TrainConfig": training}
    )
    first, second = (strategy.training for strategy in plan.strategies)
    assert (first.epochs, first.train_iter) == (6, 200)
    assert (second.epochs, second.train_iter) == (1, 20)
    assert second.learning_rate["values"] == pytest.approx([1e-4, 1e-5])
    warm_up = {
        "type": "LinearWarmup",
        "warmup_steps": 2,
        "start_lr": 0.0,
        "end_lr": 0.1,
        "learning_rate": {"type": "CosineAnnealingDecay", "learning_rate": 0.1, "T_max": 10},
    }
    scheduler = read_plan({"Distillation": {}, "TrainConfig": {"learning_rate": warm_up}})
    with framework.static_mode():
        made = scheduler.strategies[0].training.optimizer(paddle)._learning_rate
    assert made.learning_rate.T_max == 10


@pytest.mark.parametrize("ir", IRS)
def test_sensitivities_are_measured_and_gone_on_with(
    ir: str, models: dict[str, Path], tmp_path: Path
) -> None:
    wanted, seen = outputs(models[ir]), []

    def evaluate(program: Any, executor: Any, feeds: list[str], fetches: list[Any]) -> float:
        return 1.0 + callback(wanted, seen)(executor, program, feeds, fetches)

    arguments: Any = (evaluate, str(models[ir]), None, None, str(tmp_path / "losses"), [0.25, 0.75])
    ratios = analysis_prune(*arguments, target_loss=0.2)
    assert len(seen) == 5
    assert seen[0] == 0
    assert all(before > after for before, after in ((seen[1], seen[2]), (seen[3], seen[4])))
    losses = {0.25: seen[1::2], 0.75: seen[2::2]}
    assert all(-loss < 0.2 for loss in losses[0.25])
    assert len(ratios) == 2
    assert min(ratios.values()) >= 0.25
    assert analysis_prune(*arguments, target_loss=0.2) == ratios
    assert len(seen) == 5


def test_the_result_is_exported_as_onnx(models: dict[str, Path], tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    made = AutoCompression(str(models["legacy"]), loader, save_dir=str(tmp_path), config={"QuantPost"})
    made.compress()
    made.export_onnx("int8.onnx")
    (out,) = Session(str(tmp_path / "ONNX/int8.onnx")).run({"image": IMAGES})
    assert np.mean(np.abs(out - outputs(tmp_path))) < 1e-3


class Words(paddle.nn.Layer):
    """An embedding in front of products, and a sum of what cannot be negative with a parameter that is."""

    def __init__(self) -> None:
        super().__init__()
        self.words = paddle.nn.Embedding(20, 8)
        self.place = self.create_parameter([6, 8], default_initializer=paddle.nn.initializer.Normal(-1, 0.1))
        self.first = paddle.nn.Linear(8, 8)
        self.drop = paddle.nn.Dropout(0.5)
        self.second = paddle.nn.Linear(8, 4)

    def forward(self, ids: Any) -> Any:
        hidden = paddle.nn.functional.relu(self.first(self.words(ids))) + self.place
        return self.second(self.drop(hidden))


@pytest.mark.parametrize("ir", IRS)
def test_signs_of_parameters_are_not_taken_for_granted(ir: str, tmp_path: Path) -> None:
    paddle.disable_static()
    paddle.seed(0)
    net = Words()
    net.eval()
    with framework.legacy_ir() if ir == "legacy" else framework.pir_ir():
        paddle.jit.save(
            net, str(tmp_path / "float/m"), input_spec=[paddle.static.InputSpec([None, 6], "int64", "ids")]
        )
    feed = {"ids": np.random.default_rng(0).integers(0, 20, (16, 6))}
    config = {"QuantAware": {}, "Distillation": {}, "TrainConfig": {**TRAINING, "learning_rate": 1e-4}}
    out = str(tmp_path / "out")
    AutoCompression(str(tmp_path / "float"), [feed] * 3, save_dir=out, config=config).compress()
    (wanted,), (paddles,) = (
        load_program(find_model_files(path)).run_outputs(feed) for path in (str(tmp_path / "float"), out)
    )
    (engine,) = Session(out).run(feed)
    np.testing.assert_allclose(engine, paddles, atol=1e-5)
    assert np.mean((engine - wanted) ** 2) < 1e-3 * np.mean(wanted**2)
