# SPDX-License-Identifier: Apache-2.0
"""AutoCompression on one small trained network, in both IRs."""

from __future__ import annotations

import copy
import doctest
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import numpy as np
import paddle
import pytest
from paddle import nn

from qslim.auto_compression import AutoCompression, compression, strategies
from qslim.auto_compression.distilled import default_nodes
from qslim.importers.paddle import find_model_files, import_model, load_program
from qslim.paddle import framework
from qslim.runtime import Session

IRS = ("legacy", "pir")
RNG = np.random.default_rng(0)
LABELS = RNG.integers(0, 4, 256)
IMAGES = RNG.normal(0, 1.0, (256, 1, 8, 8)).astype(np.float32)
for _image, _label in zip(IMAGES, LABELS):
    _image[0, 4 * (_label // 2) : 4 * (_label // 2) + 4, 4 * (_label % 2) : 4 * (_label % 2) + 4] += 0.6


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A trained classifier with normalizations and a softmax, saved in each IR."""
    paddle.disable_static()
    paddle.seed(1)
    net = nn.Sequential(
        nn.Conv2D(1, 8, 3, padding=1),
        nn.BatchNorm2D(8),
        nn.ReLU(),
        nn.Conv2D(8, 8, 3, stride=2),
        nn.BatchNorm2D(8),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(72, 4),
        nn.Softmax(),
    )
    optimizer = paddle.optimizer.Adam(0.01, parameters=net.parameters())
    for step in range(60):
        part = slice(32 * (step % 8), 32 * (step % 8) + 32)
        loss = nn.functional.cross_entropy(
            net(paddle.to_tensor(IMAGES[part])), paddle.to_tensor(LABELS[part]), use_softmax=False
        )
        loss.backward()
        optimizer.step()
        optimizer.clear_grad()
    net.eval()
    folder = tmp_path_factory.mktemp("float")
    spec = [paddle.static.InputSpec([None, 1, 8, 8], "float32", "image")]
    paddle.jit.save(net, str(folder / "pir/inference"), input_spec=spec)
    with framework.legacy_ir():
        paddle.jit.save(net, str(folder / "legacy/inference"), input_spec=spec)
    return {ir: folder / ir for ir in IRS}


def loader() -> Iterator[dict[str, Any]]:
    for begin in range(0, 256, 32):
        yield {"image": IMAGES[begin : begin + 32], "label": LABELS[begin : begin + 32]}


def agreement(program_outputs: Callable[[np.ndarray], np.ndarray], wanted: np.ndarray) -> float:
    """Minus the mean squared difference to the float model."""
    return -float(np.mean((program_outputs(IMAGES) - wanted) ** 2))


def outputs(directory: Path) -> np.ndarray:
    program = load_program(find_model_files(str(directory)))
    return program.run_outputs({"image": IMAGES})[0]


def callback(wanted: np.ndarray, seen: list[float]) -> Callable[..., float]:
    def evaluate(executor: Any, program: Any, feeds: list[str], fetches: list[Any]) -> float:
        assert feeds == ["image"]
        assert len(fetches) == 1
        (out,) = executor.run(program, feed={"image": IMAGES}, fetch_list=fetches)
        seen.append(-float(np.mean((out - wanted) ** 2)))
        return seen[-1]

    return evaluate


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
    assert len(seen) == 15
    assert compression_.final_metric == max(seen)
    program = "inference.pdmodel" if ir == "legacy" else "inference.json"
    assert sorted(os.listdir(tmp_path / "out")) == sorted([program, "inference.pdiparams", "inference.qslim"])
    saved = outputs(tmp_path / "out")
    # The best evaluation is what is saved: dequantized operands are rounded once more in the products.
    assert -float(np.mean((saved - wanted) ** 2)) == pytest.approx(max(seen), abs=1e-5)
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
    assert max(seen) > lost / 2
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
    assert [made.final_metric] == seen
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
    assert len(seen) == 1
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
    "pruning": (
        {"ChannelPrune": {"pruned_ratio": 0.25}},
        "ChannelPrune is not offered: use",
    ),
    "search": ({"HyperParameterOptimization": None}, "use qslim.quant.quant_post_hpo"),
    "nothing": ({"Global": {}}, "expected one of QuantPost and QuantAware"),
    "both": (
        {"QuantPost": {}, "QuantAware": {}, "Distillation": {}},
        "expected one of QuantPost and QuantAware",
    ),
    "no teacher": ({"QuantAware": {}}, "add Distillation"),
    "a key": ({"QuantPost": {"algoo": "KL"}}, "QuantPost: .*did you mean 'algo'"),
    "a loss": ({"QuantAware": {}, "Distillation": {"loss": "dkd"}}, "expected one of 'l2', 'soft_label'"),
    "an alpha": ({"QuantAware": {}, "Distillation": {"alpha": [1, 2]}}, "expected one alpha"),
    "a type": (3, "config: expected a dict"),
    "amp": ({"QuantPost": {}, "TrainConfig": {"amp_config": {"x": 1}}}, "amp_config: it is not offered"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_configurations(case: str, models: dict[str, Path], tmp_path: Path) -> None:
    config, said = BAD[case]
    with pytest.raises(ValueError, match=said):
        AutoCompression(str(models["pir"]), loader, save_dir=str(tmp_path / "x"), config=config)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("training", "said"),
    [
        ({"learning_rate": {"type": "CosineAnealingDecay"}}, "did you mean 'CosineAnnealingDecay'"),
        ({"learning_rate": {"type": "CosineAnnealingDecay", "learning_rate": 0.1}}, "T_max"),
        ({"learning_rate": "fast"}, "expected a number > 0"),
        ({"optimizer_builder": {"optimiser": {"type": "SGD"}}}, "did you mean 'optimizer'"),
        ({"optimizer_builder": {"optimizer": {"type": "SGDD"}}}, "did you mean 'SGD'"),
    ],
)
def test_bad_training(training: dict[str, Any], said: str) -> None:
    plan = strategies.read_plan({"QuantAware": {}, "Distillation": {}, "TrainConfig": training})
    with pytest.raises(ValueError, match=said):
        plan.training.optimizer(paddle)


@pytest.mark.parametrize("module", [compression, strategies])
def test_examples(module: Any) -> None:
    results = doctest.testmod(module)
    assert results.attempted > 0
    assert results.failed == 0
