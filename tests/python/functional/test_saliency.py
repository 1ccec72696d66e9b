# SPDX-License-Identifier: Apache-2.0
"""filter_saliency against NumPy in float64, rounded to float32: equal bits."""

from __future__ import annotations

import numpy as np
import pytest

from qslim import _core
from qslim import functional as F


def in_numpy(weight: np.ndarray, criterion: str, axis: int, gradient: np.ndarray) -> np.ndarray:
    filters, slopes = (
        np.moveaxis(array.astype(np.float64), axis, 0).reshape(weight.shape[axis], -1)
        for array in (weight, gradient)
    )
    scores = {
        "l1_norm": lambda: np.abs(filters).mean(1),
        "l2_norm": lambda: np.sqrt((filters**2).sum(1)),
        "fpgm": lambda: np.array([np.sqrt(((filters - one) ** 2).sum(1)).sum() for one in filters]),
        "taylor": lambda: (filters * slopes).sum(1) ** 2,
    }[criterion]()
    return scores.astype(np.float32)


@pytest.mark.parametrize("criterion", ["l1_norm", "l2_norm", "fpgm", "taylor"])
@pytest.mark.parametrize(
    ("shape", "axis"),
    [
        ((64, 32, 3, 3), 0),
        ((64, 32, 3, 3), 1),
        ((130, 1, 3, 3), 0),
        ((300, 77), 1),
        ((300, 77), -1),
        ((1, 5), 0),
        ((9,), 0),
    ],
)
def test_equal_bits(shape: tuple[int, ...], axis: int, criterion: str) -> None:
    rng = np.random.default_rng(0)
    weight = (rng.normal(size=shape) * 0.05).astype(np.float32)
    gradient = rng.normal(size=shape).astype(np.float32)
    expected = in_numpy(weight, criterion, axis, gradient)
    for threads in (1, 3):
        context = _core.Context(num_threads=threads)
        scores = F.filter_saliency(weight, criterion, axis=axis, gradient=gradient, context=context)
        assert scores.tobytes() == expected.tobytes()


def test_a_copy_of_a_filter_scores_the_same_and_order_does_not_matter() -> None:
    weight = np.random.default_rng(1).normal(size=(40, 3, 3, 3)).astype(np.float32)
    weight[7] = weight[31]
    order = np.random.default_rng(2).permutation(40)
    for criterion in ("l1_norm", "l2_norm"):
        scores = F.filter_saliency(weight, criterion)
        assert scores[7] == scores[31]
        np.testing.assert_array_equal(F.filter_saliency(weight[order], criterion), scores[order])
    scores = F.filter_saliency(weight, "fpgm")
    # Another order of 40 doubles: their sums differ by less than 40 * 2**-53 of the score, far below float32.
    np.testing.assert_allclose(scores[7], scores[31], rtol=2**-23)
    np.testing.assert_allclose(F.filter_saliency(weight[order], "fpgm"), scores[order], rtol=2**-23)


def test_empty() -> None:
    assert F.filter_saliency(np.zeros((0, 3), np.float32), "fpgm").shape == (0,)
    np.testing.assert_array_equal(F.filter_saliency(np.zeros((3, 0), np.float32), "l1_norm"), np.zeros(3))


def test_paddle_parameters() -> None:
    paddle = pytest.importorskip("paddle")
    weight = paddle.nn.Conv2D(3, 8, 3).weight
    expected = F.filter_saliency(weight.numpy(), "l2_norm")
    np.testing.assert_array_equal(F.filter_saliency(weight.detach(), "l2_norm"), expected)


X = np.ones((2, 3), np.float32)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: F.filter_saliency(X, "l3"), ValueError, "must be one of l1_norm, l2_norm, fpgm, taylor"),
        (lambda: F.filter_saliency(X, "l1_norm", axis=2), ValueError, r"axis must be in \[-2, 1\]"),
        (lambda: F.filter_saliency(X, "taylor"), ValueError, "needs the gradient"),
        (lambda: F.filter_saliency(X, "taylor", gradient=X[:1]), ValueError, "the shape of weight"),
        (lambda: F.filter_saliency(np.ones((2, 3), int), "l1_norm"), TypeError, "weight must hold floating"),
    ],
)  # fmt: skip
def test_messages(call, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()
