# SPDX-License-Identifier: Apache-2.0
"""Distillation by the Compressor, in both IRs: distances beside NumPy's, and checkpoints in the middle."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import paddle
import pytest
from compressor_network import (
    CPU,
    IMAGES,
    LABELS,
    Built,
    array,
    compressor,
    quantization,
    reader,
)

import qslim as slim
from qslim.compressor.network import active

# Scores, the first convolution and the first ReLU, by the names of a program.
MAPS = {
    "legacy": ("linear_0.tmp_1", "conv2d_0.tmp_0", "relu_0.tmp_0"),
    "pir": ("add_1", "conv2d_0", "relu_0"),
}


def distiller(kind: str, students: Sequence[str], teachers: Sequence[str]) -> dict[str, Any]:
    if kind == "FSPDistiller":
        return {"class": kind, "student_pairs": [[*students[1:]]], "teacher_pairs": [[*teachers[1:]]]}
    block = {"class": kind, "student_feature_map": students[0], "teacher_feature_map": teachers[0]}
    if kind == "SoftLabelDistiller":
        block |= {"student_temperature": 2.0, "distillation_loss_weight": 0.5}
    return block


def distance(kind: str, student: list[np.ndarray], teacher: list[np.ndarray]) -> float:
    """The formulas in NumPy."""

    def softmax(x: np.ndarray) -> Any:
        return np.exp(x) / np.exp(x).sum(-1, keepdims=True)

    if kind == "L2Distiller":
        return float(np.mean((student[0] - teacher[0]) ** 2))
    if kind == "SoftLabelDistiller":
        return float(np.mean(-(softmax(teacher[0]) * np.log(softmax(student[0] / 2))).sum(-1)))
    ours, theirs = (np.einsum("nahw,nbhw->nab", maps[1], maps[2]) / 64 for maps in (student, teacher))
    return float(np.mean((ours - theirs) ** 2))


@pytest.mark.parametrize("kind", ["L2Distiller", "SoftLabelDistiller", "FSPDistiller"])
def test_distillation(ir: str, scope: Any, tmp_path: Path, kind: str) -> None:
    teacher = Built(ir, False, prefix="teacher_")
    executor = paddle.static.Executor(CPU)
    executor.run(teacher.startup)
    teachers = list(MAPS[ir])
    seen: list[dict[str, float]] = []
    made = compressor(
        ir,
        scope,
        tmp_path,
        train_reader=lambda: itertools.islice(reader(), 1),
        teacher_programs=[teacher.program],
        distiller_optimizer=paddle.optimizer.SGD(0.01),
    )
    config = {
        "distillers": {"d": distiller(kind, MAPS[ir], teachers)},
        "strategies": {"s": {"class": "DistillationStrategy", "distillers": ["d"], "end_epoch": 1}},
        "compressor": {"epoch": 3, "strategies": ["s"]},
    }
    made.config(config)
    train = Built(ir, True)
    student = slim.compressor.Network(train.program, made._forward.feeds, {}).clone()
    wanted = []
    for network, names in ((student, MAPS[ir]), (slim.compressor.Network(teacher.program, [], {}), teachers)):
        found = [network.find(name, "map") for name in names]
        feed = {"image": IMAGES[:16], "label": LABELS[:16, None]}
        statistics = {name: array(scope, name) for name in ("batch_norm2d_0.w_1", "batch_norm2d_0.w_2")}
        wanted.append(executor.run(network.program, feed=feed, fetch_list=found))
        for name, value in statistics.items():
            scope.find_var(name).get_tensor().set(value, CPU)
    run = slim.compressor.Network.run
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(
            slim.compressor.Network,
            "run",
            lambda *given: seen.append(run(*given)) or seen[-1],  # type: ignore[func-returns-value]
        )
        made.run()
    losses = [results for results in seen if "loss" in results]
    assert ["distillation_loss" in results for results in losses] == [True, True, False]
    weight = 0.5 if kind == "SoftLabelDistiller" else 1
    np.testing.assert_allclose(losses[0]["distillation_loss"], weight * distance(kind, *wanted), rtol=1e-4)
    assert losses[1]["loss"] < losses[0]["loss"]
    assert losses[0]["loss"] > losses[0]["distillation_loss"]
    config["compressor"]["epoch"] = 2
    config["distillers"]["d"] = distiller(kind, [MAPS[ir][0]] * 3, teachers[1:] + teachers[:1])
    wrong = compressor(
        ir,
        scope,
        tmp_path / "wrong",
        teacher_programs=[teacher.program],
        distiller_optimizer=paddle.optimizer.SGD(0.01),
    )
    wrong.config(config)
    with pytest.raises(ValueError, match=r"maps of one shape|expected maps"):
        wrong.run()


def test_distillation_goes_on_while_quantized(ir: str, scope: Any, tmp_path: Path) -> None:
    """Quantization begins inside of the epochs of distillation, and a new process takes both up again."""
    config = quantization(tmp_path, epoch=4, start_epoch=1)
    config["distillers"] = {"d": distiller("L2Distiller", MAPS[ir], MAPS[ir])}
    config["strategies"]["s"] = {"class": "DistillationStrategy", "distillers": ["d"], "end_epoch": 2}
    config["compressor"]["strategies"] = ["s", "q"]

    def results(path: Path, epochs: list[int]) -> tuple[list[float], np.ndarray]:
        for epoch in epochs:
            own = paddle.static.Scope()
            with active(ir == "pir", own):
                teacher = Built(ir, False, prefix="teacher_")
                paddle.seed(5)
                paddle.static.Executor(CPU).run(teacher.startup)
                made = compressor(
                    ir,
                    own,
                    path,
                    teacher_programs=[teacher.program],
                    distiller_optimizer=paddle.optimizer.Momentum(0.05, 0.9),
                )
                made.config({**config, "compressor": {**config["compressor"], "epoch": epoch}})
                made.run()
        return made.results["top1"], array(own, "fc_weights")

    whole, parts = results(tmp_path / "whole", [4]), results(tmp_path / "parts", [2, 3, 4])
    assert whole[0] == parts[0]
    assert len(whole[0]) == 4
    np.testing.assert_array_equal(whole[1], parts[1])
