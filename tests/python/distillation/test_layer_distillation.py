# SPDX-License-Identifier: Apache-2.0
"""Distill and DML on Layers; expected values are NumPy's."""

from __future__ import annotations

import copy
import doctest
import importlib
from pathlib import Path
from typing import Any

import numpy as np
import paddle
import pytest
from paddle import nn

import qslim as slim
from qslim.dist import DML, Distill, config2yaml, yaml2config
from qslim.distillation.feature_losses import LOSSES

X = np.random.default_rng(0).normal(size=(6, 3, 8, 8)).astype(np.float32)


class Net(nn.Layer):
    """A convolution, a layer of two outputs, and a classifier."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.stem = nn.Conv2D(3, width, 3, padding=1)
        self.pair = Pair()
        self.fc = nn.Linear(width * 64, 5)

    def forward(self, x: Any) -> Any:
        first, second = self.pair(self.stem(x))
        return self.fc(paddle.flatten(first + second, 1))


class Pair(nn.Layer):
    def forward(self, x: Any) -> Any:
        return x, nn.functional.relu(x)


@pytest.fixture
def networks() -> tuple[Net, Net]:
    paddle.disable_static()
    paddle.seed(0)
    student, teacher = Net(4), Net(8)
    teacher.eval()
    return student, teacher


ALIGNED = {"align_type": "1x1conv", "in_channel": 4, "out_channel": 8}


def test_the_loss_is_the_weighted_sum_and_training_lowers_it(networks: tuple[Net, Net]) -> None:
    student, teacher = networks
    config = [
        {
            "loss_function": "MSELoss",
            "weight": 0.5,
            "layers": [
                {"layers_name": ["stem", "stem"], "align_params": ALIGNED},
                {"layers_name": ["pair", "pair"], "idx": [1, 1], "align_params": ALIGNED, "weight": 2.0},
            ],
        },
        {"loss_function": "CELoss", "temperature": 2.0, "layers": [{"layers_name": ["fc", "fc"]}]},
    ]
    given = copy.deepcopy(config)
    distill = Distill(config, students=[student], teachers=[teacher])
    assert config == given
    names = {parameter.name for parameter in distill.parameters()}
    assert {p.name for p in student.parameters()} < names
    assert len(names) == len(student.parameters()) + 4
    assert not names & {p.name for p in teacher.parameters()}
    x = paddle.to_tensor(X)
    loss, ours, theirs = distill(x)
    assert ours.shape == theirs.shape == [6, 5]
    np.testing.assert_array_equal(theirs.numpy(), teacher(x).numpy())
    with paddle.no_grad():
        first, second = distill._aligners
        expected = 0.5 * np.mean((first(student.stem(x)) - teacher.stem(x)).numpy() ** 2)
        relu = nn.functional.relu
        expected += 2.0 * np.mean((second(relu(student.stem(x))) - relu(teacher.stem(x))).numpy() ** 2)
        target = nn.functional.softmax(theirs / 2).numpy()
        expected -= (target * nn.functional.log_softmax(ours / 2).numpy()).sum(1).mean()
    assert float(loss) == pytest.approx(float(expected), rel=1e-5)
    before = [p.numpy().copy() for p in teacher.parameters()]
    optimizer = paddle.optimizer.Adam(0.01, parameters=distill.parameters())
    for _ in range(20):
        step, _, _ = distill(x)
        step.backward()
        optimizer.step()
        optimizer.clear_grad()
    assert float(step) < float(loss) - 0.1
    for value, parameter in zip(before, teacher.parameters()):
        np.testing.assert_array_equal(value, parameter.numpy())


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_falls_when_it_is_minimized(name: str, networks: tuple[Net, Net]) -> None:
    student, teacher = networks
    options = {"act": "softmax"} if name == "DMLLoss" else {}
    config = [{"loss_function": name, "layers": [{"layers_name": ["fc", "fc"]}], **options}]
    distill = Distill(config, student, teacher, return_model_outputs=False)
    optimizer = paddle.optimizer.SGD(0.01, parameters=distill.parameters())
    losses = []
    for _ in range(5):
        loss = distill(paddle.to_tensor(X))
        loss.backward()
        optimizer.step()
        optimizer.clear_grad()
        losses.append(float(loss))
    assert losses[-1] < losses[0]


def test_kullback_leibler_and_distances_are_those_of_numpy() -> None:
    paddle.disable_static()
    rng = np.random.default_rng(1)
    a, b = (rng.normal(size=(4, 5)).astype(np.float32) for _ in range(2))
    p, q = (np.exp(x) / np.exp(x).sum(1, keepdims=True) for x in (a, b))
    tensors = paddle.to_tensor(a), paddle.to_tensor(b)
    assert float(LOSSES["KLLoss"](*tensors)) == pytest.approx(float(np.mean(q * np.log(q / p))), rel=1e-4)
    both = (np.sum(q * np.log(q / p)) + np.sum(p * np.log(p / q))) / 2 / 4
    assert float(LOSSES["DMLLoss"](*tensors, act="softmax")) == pytest.approx(float(both), rel=1e-4)
    assert float(LOSSES["DistanceLoss"](*tensors, mode="l1")) == pytest.approx(
        float(np.abs(a - b).mean()), rel=1e-5
    )
    # Relations do not see a rotation.
    turn, _ = np.linalg.qr(rng.normal(size=(5, 5)))
    turned = paddle.to_tensor((a @ turn).astype(np.float32))
    assert float(LOSSES["RKDLoss"](tensors[0], turned)) < 1e-6 < float(LOSSES["RKDLoss"](*tensors))


def test_a_file_holds_the_same_configuration(networks: tuple[Net, Net], tmp_path: Path) -> None:
    config = [
        {
            "loss_function": "L1Loss",
            "model_name_pairs": ["student_0", "teacher_0"],
            "layers": [{"layers_name": ["fc", "fc"], "io": ["output", "output"]}],
        }
    ]
    config2yaml(config, str(tmp_path / "distill.yaml"))
    assert yaml2config(str(tmp_path / "distill.yaml")) == config
    losses = [
        float(Distill(each, *networks, return_model_outputs=False)(paddle.to_tensor(X)))
        for each in (config, str(tmp_path / "distill.yaml"))
    ]
    assert losses[0] == losses[1]


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "a loss": ({"loss_function": "MSLoss"}, "did you mean 'MSELoss'"),
    "a layer": (
        {"layers": [{"layers_name": ["stam", "stem"]}]},
        "a sublayer of student_0: .*did you mean 'stem'",
    ),
    "a function": (
        {"layers": [{"layers_name": ["wrap_fn_softmax_0", "stem"]}]},
        "is a function; name a sublayer",
    ),
    "a model": ({"model_name_pairs": ["student_0", "teacher_1"]}, "did you mean 'teacher_0'"),
    "an option": ({"reductoin": "sum"}, "an option of MSELoss: .*did you mean 'reduction'"),
    "a side": ({"io": ["output", "result"]}, "io: expected one of 'input', 'output'"),
    "no layers": ({"layers": []}, "expected dicts with a list 'layers'"),
    "an aligner": ({"align_params": {**ALIGNED, "align_type": "5x5conv"}}, "align_type: expected one of"),
}


@pytest.mark.parametrize("case", BAD)
def test_wrong_configurations(case: str, networks: tuple[Net, Net]) -> None:
    changed, said = BAD[case]
    config = {"loss_function": "MSELoss", "layers": [{"layers_name": ["fc", "fc"]}], **changed}
    with pytest.raises(ValueError, match=said):
        Distill([config], *networks)


def test_tensors_that_do_not_fit(networks: tuple[Net, Net]) -> None:
    for layer, said in (("stem", "give align_params"), ("pair", "has 2 outputs; say which with idx")):
        config = {"loss_function": "MSELoss", "layers": [{"layers_name": [layer, layer]}]}
        with pytest.raises(ValueError, match=said):
            Distill([config], *networks)(paddle.to_tensor(X))


def test_peers_learn_from_each_other() -> None:
    paddle.disable_static()
    paddle.seed(0)
    models = [nn.Sequential(nn.Flatten(), nn.Linear(192, 4)) for _ in range(2)]
    dml = DML(models)
    dml.train()
    x, labels = paddle.to_tensor(X), paddle.to_tensor(np.int64([[0], [1], [2], [3], [0], [1]]))
    optimizer = dml.opt([paddle.optimizer.SGD(0.05, parameters=each.parameters()) for each in models])
    first = dml.loss(dml(x), labels)
    logits = [each.numpy() for each in dml(x)]
    p, q = (np.exp(each) / np.exp(each).sum(1, keepdims=True) for each in logits)
    expected = -np.log(p[np.arange(6), labels.numpy()[:, 0]]).mean() + np.sum(q * np.log(q / p)) / 6
    assert float(first[0]) == pytest.approx(float(expected), rel=1e-4)
    for _ in range(20):
        optimizer.minimize(dml.loss(dml(x), labels))
    last = dml.loss(dml(x), labels)
    assert all(float(after) < float(before) / 2 for before, after in zip(first, last))
    assert [float(each) for each in dml.acc(dml(x), labels, 1)] == [1.0, 1.0]
    with pytest.raises(ValueError, match="one for each of 2 networks, got 1"):
        dml.opt([None])


@pytest.mark.parametrize("name", ["features", "losses", "mutual"])
def test_examples(name: str) -> None:
    paddle.disable_static()
    results = doctest.testmod(importlib.import_module(f"qslim.distillation.{name}"))
    assert results.attempted > 0
    assert results.failed == 0
    assert slim.Distill is Distill
    assert slim.dygraph.dist.Distill is Distill
