# SPDX-License-Identifier: Apache-2.0
"""AutoCompression on one small trained network, in both IRs."""

from __future__ import annotations

import copy
import doctest
import os
from pathlib import Path
from typing import Any

import numpy as np
import paddle
import pytest
from act_network import IMAGES, IRS, callback, loader, outputs

from qslim.auto_compression import AutoCompression, analysis, compression, plan
from qslim.auto_compression.teachers import default_nodes
from qslim.importers.paddle import find_model_files, import_model, load_program
from qslim.runtime import Session

CONFIG: dict[str, Any] = {
    "Global": {"batch_size": 32},
    "QuantAware": {"weight_bits": 2, "activation_bits": 4},
    "Distillation": {"alpha": 1.0, "loss": "l2"},
    "TrainConfig": {
        "epochs": 15,
        "eval_iter": 8,
        "learning_rate": {"type": "CosineAnnealingDecay", "learning_rate": 0.01, "T_max": 120},
        "optimizer_builder": {"optimizer": {"type": "Adam"}, "weight_decay": 4e-5},
    },
}


@pytest.mark.parametrize("ir", IRS)
def test_training_follows_the_float_model(ir: str, models: dict[str, Path], tmp_path: Path) -> None:
    wanted = outputs(models[ir])
    before = (models[ir] / "inference.pdiparams").read_bytes()
    seen: list[float] = []
    given = copy.deepcopy(CONFIG)
    compression_ = AutoCompression(
        str(models[ir]),
        loader,
        save_dir=str(tmp_path / "out"),
        config=given,
        eval_callback=callback(wanted, seen),
        model_filename="inference.pdmodel",
        params_filename="inference.pdiparams",
    )
    compression_.compress()
    assert given == CONFIG
    assert (models[ir] / "inference.pdiparams").read_bytes() == before
    assert len(seen) == 16  # the float model's is the first
    assert seen[0] == 0
    assert compression_.final_metric == max(seen[1:])
    program = "inference.pdmodel" if ir == "legacy" else "inference.json"
    assert sorted(os.listdir(tmp_path / "out")) == sorted([program, "inference.pdiparams", "inference.qslim"])
    saved = outputs(tmp_path / "out")
    # The best evaluation is what is saved: dequantized operands are rounded once more in the products.
    assert -float(np.mean((saved - wanted) ** 2)) == pytest.approx(max(seen[1:]), abs=1e-5)
    (engine,) = Session(str(tmp_path / "out")).run({"image": IMAGES})
    assert np.mean(np.abs(engine - saved)) < 1e-4
    assert Session(str(tmp_path / "out")).profile({"image": IMAGES[:1]}, runs=1) is not None
    # One step instead of 120: what the rounding costs without training.
    untrained = AutoCompression(
        str(models[ir]),
        loader,
        save_dir=str(tmp_path / "untrained"),
        config={**CONFIG, "TrainConfig": {**CONFIG["TrainConfig"], "epochs": None, "train_iter": 1}},
    )
    untrained.compress()
    lost = -float(np.mean((outputs(tmp_path / "untrained") - wanted) ** 2))
    assert max(seen[1:]) > lost / 2
    assert paddle.in_dynamic_mode()


@pytest.mark.parametrize("ir", IRS)
def test_nodes_losses_and_another_teacher(ir: str, models: dict[str, Path], tmp_path: Path) -> None:
    program = load_program(find_model_files(str(models[ir])))
    (logits,) = default_nodes(program)
    assert logits != program.graph.outputs[0]
    assert program.graph.consumers(logits)[0].op_type == "Softmax"
    relu = next(node.outputs[0] for node in program.graph.nodes if node.op_type == "Relu")
    config = {
        "QuantAware": {"use_pact": True},
        "Distillation": {
            "loss": ["soft_label", "l2"],
            "node": [[logits], [relu, logits]],
            "alpha": [0.5, 1],
            "teacher_model_dir": str(models[ir]),
        },
        "TrainConfig": {"train_iter": 3, "learning_rate": 1e-4},
    }
    AutoCompression(str(models[ir]), loader, save_dir=str(tmp_path), config=config).compress()
    assert np.mean((outputs(tmp_path) - outputs(models[ir])) ** 2) < 1e-3
    config["Distillation"]["node"] = ["no_such"]  # type: ignore[index]
    config["Distillation"].update(loss="l2", alpha=1.0)  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match=r"Distillation\.node.*'no_such'"):
        AutoCompression(str(models[ir]), loader, save_dir=str(tmp_path / "no"), config=config).compress()
    assert not (tmp_path / "no").exists()


@pytest.mark.parametrize("ir", IRS)
def test_post_training(ir: str, models: dict[str, Path], tmp_path: Path) -> None:
    seen: list[float] = []
    wanted = outputs(models[ir])
    made = AutoCompression(
        str(models[ir]),
        [[IMAGES[:32]]],
        save_dir=str(tmp_path),
        config={"QuantPost": {"batch_nums": 1, "algo": "avg"}},
        eval_callback=callback(wanted, seen),
    )
    made.compress()
    assert seen == [0, made.final_metric]
    assert made.final_metric > -1e-3
    assert (tmp_path / "inference.qslim").exists()
    assert import_model(str(tmp_path)).inputs == ["image"]


def test_target_and_origin_metric(models: dict[str, Path], tmp_path: Path) -> None:
    seen: list[float] = []
    config = {**CONFIG, "TrainConfig": {**CONFIG["TrainConfig"], "target_metric": -1.0, "eval_iter": 2}}
    evaluate = callback(outputs(models["pir"]), seen)
    made = AutoCompression(
        str(models["pir"]), loader, save_dir=str(tmp_path / "a"), config=config, eval_callback=evaluate
    )
    made.compress()
    assert len(seen) == 2
    config["TrainConfig"] = {**CONFIG["TrainConfig"], "origin_metric": 0.7}
    made = AutoCompression(
        str(models["pir"]), loader, save_dir=str(tmp_path / "b"), config=config, eval_callback=evaluate
    )
    with pytest.raises(ValueError, match=r"origin_metric is 0\.7"):
        made.compress()
    assert not (tmp_path / "b").exists()


def test_a_training_that_diverges_writes_nothing(models: dict[str, Path], tmp_path: Path) -> None:
    config = {**CONFIG, "TrainConfig": {"epochs": 9, "learning_rate": 1e20}}
    made = AutoCompression(str(models["pir"]), loader, save_dir=str(tmp_path / "x"), config=config)
    with pytest.raises(ValueError, match="has diverged"):
        made.compress()
    assert not (tmp_path / "x").exists()


BAD: dict[str, tuple[Any, str]] = {
    "pruning": ({"ChannelPrune": {"pruned_ratio": 0.25}}, "ChannelPrune trains by distillation: add Dist"),
    "a ratio": ({"ChannelPrune": {}, "Distillation": {}}, "ChannelPrune: .*pruned_ratio"),
    "no ratio": ({"ChannelPrune": {"pruned_ratio": 1}, "Distillation": {}}, r"pruned_ratio: expected .* 1\)"),
    "a criterion": (
        {"ChannelPrune": {"pruned_ratio": 0.1, "criterion": "l3"}, "Distillation": {}},
        "criterion: expected one of",
    ),
    "heads": ({"TransformerPrune": {"pruned_ratio": 0.25}}, "use|prune the Layer with"),
    "search": ({"HyperParameterOptimization": None}, "add QuantPost, which may be empty"),
    "a section": ({"QuantAwareness": {}}, "unknown section 'QuantAwareness'; did you mean 'QuantAware'"),
    "two kinds": (
        {"ASPPrune": {}, "UnstructurePrune": {}, "Distillation": {}},
        "expected one kind of zeros, got ASPPrune and UnstructurePrune",
    ),
    "teachers": (
        {"MultiTeacherDistillation": {"teacher_model_dir": ["a", "b"], "alpha": [1, 2, 3]}},
        "expected one entry for each of 2 teachers, got 3",
    ),
    "teacher": ({"MultiTeacherDistillation": {}}, "expected the directories of the teachers"),
    "both kinds": (
        {"Distillation": {}, "MultiTeacherDistillation": {"teacher_model_dir": ["a"]}},
        "cannot be set at the same time",
    ),
    "gmp": (
        {"UnstructurePrune": {"prune_strategy": "gmp", "gmp_config": {"steps": 3}}, "Distillation": {}},
        "UnstructurePrune: configs",
    ),
    "both": (
        {"QuantPost": {}, "QuantAware": {}, "Distillation": {}},
        "expected one of QuantPost and QuantAware, got both",
    ),
    "no teacher": ({"QuantAware": {}}, "add Distillation"),
    "a key": ({"QuantPost": {"algoo": "KL"}}, "QuantPost: .*did you mean 'algo'"),
    "a value": ({"ASPPrune": {}, "Distillation": {}, "QuantPost": {"algo": "kl"}}, "QuantPost: algo: .*'KL'"),
    "bits": (
        {"QuantAware": {"weight_bits": 1}, "Distillation": {}},
        "QuantAware: weight_bits: expected an int",
    ),
    "an algorithm": (
        {"QuantPost": {}, "HyperParameterOptimization": {"ptq_algo": ["hist", "klx"]}},
        "HyperParameterOptimization: ptq_algo: expected",
    ),
    "a region": (
        {"QuantPost": {"recon_level": "region-wise"}},
        "recon_level: expected one of None, 'layer-wise'",
    ),
    "a loss": ({"QuantAware": {}, "Distillation": {"loss": "dkd"}}, "expected one of 'l2', 'soft_label'"),
    "an optimizer": (
        {"QuantPost": {}, "TrainConfig": {"optimizer_builder": {"optimizer": "SGD"}}},
        "optimizer_builder: expected a dict such as",
    ),
    "a decay": (
        {"QuantPost": {}, "TrainConfig": {"optimizer_builder": {"weight_decay": "big"}}},
        "optimizer_builder: expected a dict such as",
    ),
    "an alpha": ({"QuantAware": {}, "Distillation": {"alpha": [1, 2]}}, "expected one alpha"),
    "a type": (3, "config: expected a dict"),
    "a target": ({"QuantPost": {}, "TrainConfig": {"target_metric": "high"}}, "target_metric: expected a nu"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_configurations(case: str, models: dict[str, Path], tmp_path: Path) -> None:
    config, said = BAD[case]
    with pytest.raises(ValueError, match=said):
        AutoCompression(str(models["pir"]), loader, save_dir=str(tmp_path / "x"), config=config)
    assert os.listdir(tmp_path) == []


def test_arguments_that_are_not_needed(models: dict[str, Path], tmp_path: Path) -> None:
    arguments: Any = (str(models["pir"]), loader, None, None, str(tmp_path), {"QuantPost": None})
    AutoCompression(*arguments, input_shapes=[1, 1, 8, 8], deploy_hardware="SD710").compress()
    assert load_program(find_model_files(str(tmp_path))).feeds[0].shape == (None, 1, 8, 8)
    for wrong, said in (
        ({"eval_callback": 0.7}, "eval_callback: expected a function, got 0.7"),
        ({"target_speedup": 0.3}, "no strategy is chosen by a speed"),
        ({"deploy_hardware": "tpu"}, "tpu"),
    ):
        with pytest.raises(ValueError, match=said):
            AutoCompression(*arguments, **wrong)


def test_a_teacher_that_is_missing_is_named(models: dict[str, Path], tmp_path: Path) -> None:
    config = {"Distillation": {"teacher_model_dir": "nowhere"}}
    made = AutoCompression(str(models["pir"]), loader, save_dir=str(tmp_path / "x"), config=config)
    with pytest.raises(
        FileNotFoundError, match=r"Distillation\.teacher_model_dir: .*'nowhere' does not exist"
    ):
        made.compress()
    assert os.listdir(tmp_path) == []


def test_the_model_itself_is_not_written_over(models: dict[str, Path]) -> None:
    folder = str(models["pir"])
    with pytest.raises(ValueError, match="save_dir: expected another directory than the model's"):
        AutoCompression(folder, loader, save_dir=os.path.join(folder, "..", "pir"), config=["QuantPost"])


def test_metrics_without_a_callback_are_told_of(
    models: dict[str, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = {"QuantPost": {}, "TrainConfig": {"target_metric": 0.7}}
    AutoCompression(str(models["pir"]), loader, save_dir=str(tmp_path), config=config)
    assert "target_metric has no effect without eval_callback" in caplog.text


@pytest.mark.parametrize(
    ("training", "said"),
    [
        ({"learning_rate": {"type": "CosineAnealingDecay"}}, "did you mean 'CosineAnnealingDecay'"),
        ({"learning_rate": {"type": "CosineAnnealingDecay", "learning_rate": 0.1}}, "T_max"),
        ({"learning_rate": "fast"}, "expected a number > 0"),
        ({"learning_rate": {"type": "ReduceOnPlateau", "learning_rate": 0.1}}, "follows a metric"),
        ({"optimizer_builder": {"optimiser": {"type": "SGD"}}}, "did you mean 'optimizer'"),
        ({"optimizer_builder": {"optimizer": {"type": "SGDD"}}}, "did you mean 'SGD'"),
    ],
)
def test_bad_training(training: dict[str, Any], said: str) -> None:
    (strategy,) = plan.read_plan({"QuantAware": {}, "Distillation": {}, "TrainConfig": training}).strategies
    with pytest.raises(ValueError, match=said):
        strategy.training.optimizer(paddle)


@pytest.mark.parametrize("module", [analysis, compression, plan])
def test_examples(module: Any) -> None:
    results = doctest.testmod(module)
    assert results.attempted > 0
    assert results.failed == 0
