# SPDX-License-Identifier: Apache-2.0
"""dist.merge, l2, soft_label, fsp and loss on static programs; expected values are NumPy's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import paddle
import pytest
from paddle import nn

import qslim as slim
from qslim.paddle import framework

RNG = np.random.default_rng(0)
IMAGES = RNG.normal(size=(6, 3, 8, 8)).astype(np.float32)


@pytest.fixture
def legacy() -> Iterator[None]:
    with framework.static_mode(), framework.legacy_ir(), framework.quiet():
        yield


def network(width: int) -> tuple[Any, Any, Any, Any]:
    """A program with its startup program, logits, and a feature map."""
    program, startup = paddle.static.Program(), paddle.static.Program()
    with paddle.static.program_guard(program, startup), paddle.utils.unique_name.guard():
        image = paddle.static.data("image", [None, 3, 8, 8])
        features = nn.Conv2D(3, width, 3, padding=1)(image)
        normalized = nn.functional.relu(nn.BatchNorm2D(width)(features))
        logits = nn.Linear(width * 64, 4)(paddle.flatten(normalized, 1))
    return program, startup, logits, features


def softmax(x: np.ndarray) -> np.ndarray:
    raised = np.exp(x - x.max(1, keepdims=True))
    return raised / raised.sum(1, keepdims=True)


def merged(executor: Any) -> tuple[Any, Any, Any, Any, Any, np.ndarray]:
    """A student with its teacher merged in, and the teacher's logits as it gives them alone."""
    teacher, teacher_startup, teacher_logits, features = network(8)
    executor.run(teacher_startup)
    alone = teacher.clone(for_test=True)
    (wanted,) = executor.run(alone, feed={"image": IMAGES}, fetch_list=[teacher_logits.name])
    student, startup, logits, _ = network(4)
    slim.dist.merge(teacher, student, {"image": "image"}, paddle.CPUPlace())
    return student, startup, logits, teacher_logits, features, wanted


def test_a_student_follows_its_teacher(legacy: None) -> None:
    executor = paddle.static.Executor(paddle.CPUPlace())
    student, startup, logits, teacher_logits, _, wanted = merged(executor)
    with paddle.static.program_guard(student, startup):
        soft = slim.dist.soft_label(f"teacher_{teacher_logits.name}", logits.name, student, 2.0, 4.0)
        distance = slim.dist.l2(f"teacher_{teacher_logits.name}", logits.name)
        paddle.optimizer.Adam(0.01).minimize(soft + distance)
    executor.run(
        startup
    )  # it names the student's parameters as the teacher's, which have names of their own now
    scope = paddle.static.global_scope()
    kept = np.array(scope.find_var("teacher_conv2d_0.w_0").get_tensor())
    fetches = [f"teacher_{teacher_logits.name}", logits.name, soft, distance]
    losses = []
    for _ in range(30):
        theirs, ours, soft_value, l2_value = executor.run(student, feed={"image": IMAGES}, fetch_list=fetches)
        np.testing.assert_allclose(theirs, wanted, rtol=1e-5, atol=1e-6)
        expected = -(softmax(theirs / 2) * np.log(softmax(ours / 4))).sum(1).mean()
        np.testing.assert_allclose(soft_value, expected, rtol=1e-5)
        np.testing.assert_allclose(l2_value, np.mean((theirs - ours) ** 2), rtol=1e-5)
        losses.append(float(l2_value))
    assert losses[-1] < losses[0] / 10
    np.testing.assert_array_equal(scope.find_var("teacher_conv2d_0.w_0").get_tensor(), kept)
    assert [p.name for p in student.all_parameters() if p.name.startswith("teacher_")] == []


def test_the_teacher_stays_in_float_when_the_student_is_quantized(legacy: None) -> None:
    executor = paddle.static.Executor(paddle.CPUPlace())
    student, startup, *_ = merged(executor)
    executor.run(startup)
    quantized = slim.quant.quant_aware(student, paddle.CPUPlace(), return_program=True)
    fakes = [op for op in quantized.global_block().ops if "quantize" in op.type]
    names = {name for op in fakes for name in op.input("X")}
    assert any(name.startswith("conv2d_0.w_0") for name in names)
    assert not any(name.startswith("teacher_") for name in names)


def test_maps_are_compared_by_their_products(legacy: None) -> None:
    executor = paddle.static.Executor(paddle.CPUPlace())
    program, startup = paddle.static.Program(), paddle.static.Program()
    with paddle.static.program_guard(program, startup):
        maps = [
            paddle.static.data(f"m{i}", [None, channels, 4, 4]) for i, channels in enumerate((2, 3, 2, 3))
        ]
        found = slim.dist.fsp(*maps)
        own = slim.dist.loss(lambda a, b: paddle.mean(a - b), program, a="m0", b="m2")
    feed = {
        f"m{i}": RNG.normal(size=(2, each.shape[1], 4, 4)).astype(np.float32) for i, each in enumerate(maps)
    }
    products = [np.einsum("nahw,nbhw->nab", feed[a], feed[b]) / 16 for a, b in (("m0", "m1"), ("m2", "m3"))]
    value, mean = executor.run(program, feed=feed, fetch_list=[found, own])
    np.testing.assert_allclose(value, np.mean((products[0] - products[1]) ** 2), rtol=1e-5)
    np.testing.assert_allclose(mean, np.mean(feed["m0"] - feed["m2"]), rtol=1e-4)


def test_in_pir_values_are_given(tmp_path: Any) -> None:
    with framework.static_mode(), framework.pir_ir():
        program, startup = paddle.static.Program(), paddle.static.Program()
        with paddle.static.program_guard(program, startup):
            x = paddle.static.data("x", [None, 4])
            teacher, student = nn.Linear(4, 2)(x), nn.Linear(4, 2)(x)
            distance = slim.dist.l2(teacher, student)
            with pytest.raises(ValueError, match="a PIR program knows no names; give the value"):
                slim.dist.l2("teacher_x", "x")
        executor = paddle.static.Executor(paddle.CPUPlace())
        executor.run(startup)
        feed = {"x": IMAGES.reshape(-1, 4)}
        ours, theirs, value = executor.run(program, feed=feed, fetch_list=[student, teacher, distance])
        np.testing.assert_allclose(value, np.mean((ours - theirs) ** 2), rtol=1e-5)
        with pytest.raises(ValueError, match=r"expected a program of the legacy IR.*dist\.l2"):
            slim.dist.merge(program, program, {"x": "x"}, paddle.CPUPlace())


def test_wrong_names_leave_the_student_alone(legacy: None) -> None:
    executor = paddle.static.Executor(paddle.CPUPlace())
    teacher, startup, logits, _ = network(8)
    student, *_ = network(4)
    count = len(student.global_block().ops)
    place = paddle.CPUPlace()
    executor.run(startup)
    for names, said in (
        ({"imag": "image"}, "an input of the teacher: .*did you mean 'image'"),
        ({"image": "imago"}, "a tensor of the student: .*did you mean 'image'"),
        ({}, "say which tensor of the student the teacher's input 'image' reads"),
    ):
        with pytest.raises(ValueError, match=said):
            slim.dist.merge(teacher, student, names, place)
    assert len(student.global_block().ops) == count
    slim.dist.merge(teacher, student, {"image": "image"}, place)
    with pytest.raises(ValueError, match=r"has a tensor 'teacher_.*already; give another name_prefix"):
        slim.dist.merge(teacher, student, {"image": "image"}, place)
    slim.dist.merge(teacher, student, {"image": "image"}, place, name_prefix="second_")
    with pytest.raises(ValueError, match="did you mean"):
        slim.dist.l2(f"teacher_{logits.name}x", logits.name, student)
    with pytest.raises(ValueError, match="choose tensors of one shape"):
        slim.dist.l2("teacher_conv2d_0.tmp_0", logits.name, student)


def test_a_teacher_without_values_is_told_of(legacy: None, caplog: pytest.LogCaptureFixture) -> None:
    teacher, *_ = network(8)
    student, *_ = network(4)
    slim.dist.merge(teacher, student, {"image": "image"}, paddle.CPUPlace())
    assert "the scope has no value of batch_norm2d_0.b_0 and 7 more" in caplog.text
