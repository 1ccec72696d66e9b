# SPDX-License-Identifier: Apache-2.0
"""pact_backward, lsq_backward, fake_quant_affine: against NumPy in float64, and properties."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from qslim import _core
from qslim import functional as F

SHAPES = hnp.array_shapes(min_dims=1, max_dims=3, max_side=24)
FINITE = st.floats(-1e4, 1e4, width=32)
GRIDS = st.sampled_from([(-127, 127, 0), (0, 255, 0), (0, 255, 128), (-8, 7, -3), (0, 3, 1)])


@st.composite
def tensors(draw) -> tuple[np.ndarray, np.ndarray, int]:
    shape = draw(SHAPES)
    x = draw(hnp.arrays(np.float32, shape, elements=FINITE))
    grad = draw(hnp.arrays(np.float32, shape, elements=FINITE))
    return x, grad, draw(st.integers(0, len(shape) - 1))


def others(x: np.ndarray, axis: int) -> tuple[int, ...]:
    return tuple(i for i in range(x.ndim) if i != axis)


def along(values: np.ndarray, x: np.ndarray, axis: int) -> np.ndarray:
    return values.reshape([-1 if i == axis else 1 for i in range(x.ndim)])


def assert_sums(actual: np.ndarray, terms: np.ndarray, axes: tuple[int, ...]) -> None:
    # Any order of adding n doubles errs by less than n * 2**-53 * sum|x|, and NumPy's does too.
    bound = 2 * terms.size * 2.0**-53 * np.abs(terms).sum(axes)
    np.testing.assert_array_less(np.abs(actual - terms.sum(axes)), bound + 1e-300)


def lsq_in_numpy(
    x: np.ndarray, grad: np.ndarray, scale: np.ndarray, zero_point: int, qmin: int, qmax: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    v = x * (np.float32(1) / scale.astype(np.float32))
    r = np.rint(v) + np.float32(zero_point)
    low, high = r < qmin, r > qmax
    inside = ~(low | high)
    slope = np.where(inside, np.rint(v) - v, np.where(low, qmin - zero_point, qmax - zero_point))
    upstream = grad.astype(np.float64)
    return np.where(inside, grad, 0), slope.astype(np.float64) * upstream, np.where(inside, 0, upstream)


@given(tensors(), st.floats(0, 2.0**13, width=32), st.booleans())
def test_pact_equals_numpy(
    data: tuple[np.ndarray, np.ndarray, int], threshold: float, is_unsigned: bool
) -> None:
    x, grad, axis = data
    thresholds = np.float32(threshold) * np.linspace(0.25, 1, x.shape[axis], dtype=np.float32)
    t = along(thresholds, x, axis)
    low = np.float32(0) if is_unsigned else -t
    dx, dthreshold = F.pact_backward(x, grad, thresholds, is_unsigned=is_unsigned, quant_axis=axis)
    np.testing.assert_array_equal(dx, np.where((x >= low) & (x <= t), grad, 0))
    below = 0 if is_unsigned else np.where(x < -t, grad.astype(np.float64), 0)
    assert_sums(dthreshold, np.where(x > t, grad.astype(np.float64), 0) - below, others(x, axis))


@given(tensors(), st.floats(2.0**-8, 2.0**8, width=32), GRIDS)
def test_lsq_equals_numpy(
    data: tuple[np.ndarray, np.ndarray, int], scale: float, integers: tuple[int, int, int]
) -> None:
    (x, grad, axis), (qmin, qmax, zero_point) = data, integers
    scales = np.float32(scale) * np.linspace(0.5, 1, x.shape[axis], dtype=np.float32)
    options = {"zero_point": zero_point, "qmin": qmin, "qmax": qmax}
    dx, dscale, doffset = F.lsq_backward(x, grad, scales, quant_axis=axis, **options)
    expected, scale_terms, offset_terms = lsq_in_numpy(
        x, grad, along(scales, x, axis), zero_point, qmin, qmax
    )
    np.testing.assert_array_equal(dx, expected)
    assert_sums(dscale, scale_terms, others(x, axis))
    assert_sums(doffset, offset_terms, others(x, axis))


@given(tensors(), st.floats(2.0**-8, 2.0**8, width=32), GRIDS)
def test_affine_equals_numpy(
    data: tuple[np.ndarray, np.ndarray, int], scale: float, integers: tuple[int, int, int]
) -> None:
    (x, _, _), (qmin, qmax, zero_point) = data, integers
    q = np.clip(np.rint(x * (np.float32(1) / np.float32(scale))) + zero_point, qmin, qmax)
    expected = ((q - zero_point + 0.0) * np.float64(scale)).astype(np.float32)
    actual = F.fake_quant_affine(x, scale, zero_point=zero_point, qmin=qmin, qmax=qmax)
    assert actual.tobytes() == expected.tobytes()


def test_the_gradient_of_the_scale_is_the_slope_of_the_loss() -> None:
    """With x a multiple of the scale only clipped elements depend on it: y = scale * clip(x / scale)."""
    rng = np.random.default_rng(0)
    codes = rng.integers(-20, 21, (3, 50)).astype(np.float32)
    grad = rng.normal(size=codes.shape).astype(np.float32)
    scale = 0.25
    _, dscale, doffset = F.lsq_backward(codes * np.float32(scale), grad, scale, qmin=-8, qmax=7)
    clipped = np.clip(codes, -8, 7)
    np.testing.assert_allclose(
        dscale, (clipped * grad.astype(np.float64))[clipped != codes].sum(), rtol=1e-12
    )
    np.testing.assert_allclose(doffset, grad[clipped != codes].sum(dtype=np.float64), rtol=1e-12)


def test_ends_and_specials() -> None:
    x = np.float32([-1, 1, 0, -0.0, np.inf, -np.inf, np.nan])
    grad = np.float32([1, 2, 4, 8, 16, 32, 64])
    dx, dthreshold = F.pact_backward(x, grad, 1.0)
    np.testing.assert_array_equal(dx, [1, 2, 4, 8, 0, 0, 0])
    assert dthreshold == 16 - 32
    dx, dthreshold = F.pact_backward(x, grad, 1.0, is_unsigned=True)
    np.testing.assert_array_equal(dx, [0, 2, 4, 8, 0, 0, 0])
    assert dthreshold == 16
    dx, dscale, doffset = F.lsq_backward(x, grad, 1.0, qmin=-4, qmax=3)
    np.testing.assert_array_equal(dx, [1, 2, 4, 8, 0, 0, 0])
    assert (dscale, doffset) == (3 * 16 - 4 * 32, 48)
    assert F.lsq_backward(np.float32([np.nan]), np.float32([np.inf]), 1.0, qmin=-4, qmax=3)[1:] == (0, 0)


@pytest.mark.parametrize("axis", [None, 0, 1, 2])
def test_threads_and_out_change_nothing(axis: int | None) -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(8, 48, 700)).astype(np.float32)
    grad = rng.normal(size=x.shape).astype(np.float32)
    ones = 1.0 if axis is None else np.ones(x.shape[axis], np.float32)
    four = _core.Context(num_threads=4)
    calls = [
        lambda **k: F.pact_backward(x, k.pop("grad", grad), ones, quant_axis=axis, **k),
        lambda **k: F.lsq_backward(
            x, k.pop("grad", grad), ones * 0.25, qmin=-8, qmax=7, quant_axis=axis, **k
        ),
    ]
    for call in calls:
        alone = call()
        target = grad.copy()
        aliased = call(grad=target, out=target, context=four)
        assert aliased[0] is target
        for one, other in zip(alone, aliased):
            assert np.asarray(one).tobytes() == np.asarray(other).tobytes()


def test_empty_and_scalar() -> None:
    for shape in [(0,), (0, 3), (3, 0)]:
        empty = np.zeros(shape, np.float32)
        dx, dthreshold = F.pact_backward(empty, empty, 1.0)
        assert dx.shape == shape
        assert dthreshold == 0
        ones = np.ones(shape[-1], np.float32)
        assert F.lsq_backward(empty, empty, ones, qmin=-1, qmax=1, quant_axis=-1)[2].tolist() == [0] * len(
            ones
        )
    scalar = np.float32(2)
    dx, dthreshold = F.pact_backward(scalar, scalar, 1.0)
    assert (dx.shape, dx.item(), dthreshold) == ((), 0, 2)


@pytest.mark.parametrize("shape", [(), (0, 3), (2, 3)])
def test_detached_paddle_tensors(shape: tuple[int, ...]) -> None:
    paddle = pytest.importorskip("paddle")
    tensor = paddle.ones(shape, "float32") * 1.5
    tensor.stop_gradient = False
    grad = paddle.ones(shape, "float32")
    x = tensor.detach()
    dx, dthreshold = F.pact_backward(x, grad, 1.0)
    assert dx.shape == shape
    assert dthreshold == np.prod(shape)
    assert F.sum(x) == 1.5 * np.prod(shape)
    assert F.abs_max(x) == (1.5 if np.prod(shape) else 0)
    np.testing.assert_array_equal(F.fake_quant(x, 1.0), np.ones(shape, np.float32))
    np.testing.assert_array_equal(F.fake_quant_backward(x, grad, 1.0), np.zeros(shape, np.float32))


X = np.ones((2, 3), np.float32)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: F.pact_backward(X, X, -1.0),
            ValueError,
            "pact_backward: threshold must be finite and >= 0, got -1",
        ),
        (lambda: F.pact_backward(X, X[:1], 1.0), ValueError, "grad must have the shape of x"),
        (lambda: F.pact_backward(X, X, [1.0, 2.0]), ValueError, "quant_axis must name its axis"),
        (
            lambda: F.pact_backward(X, X, [1.0, 2.0], quant_axis=1),
            ValueError,
            "threshold must have 3 elements",
        ),
        (lambda: F.pact_backward(X, X, "a"), TypeError, "threshold must hold numbers"),
        (
            lambda: F.lsq_backward(X, X, 0.0, qmin=-1, qmax=1),
            ValueError,
            "lsq_backward: scale must be finite",
        ),
        (lambda: F.lsq_backward(X, X, 1.0, qmin=2, qmax=1), ValueError, "qmin must be below qmax"),
        (
            lambda: F.lsq_backward(X, X, 1.0, qmin=-1, qmax=1, zero_point=0.5),
            TypeError,
            "zero_point must hold integers, got float64",
        ),
        (
            lambda: F.lsq_backward(X, X, 1.0, qmin=-1, qmax=1, zero_point=2**40),
            ValueError,
            "zero_point must fit 32 bits",
        ),
        (lambda: F.fake_quant_affine(X, [1.0, 2.0], qmin=0, qmax=1), ValueError, "scale has 2 elements"),
        (
            lambda: F.fake_quant_affine(X, 1.0, zero_point=9, qmin=0, qmax=1),
            ValueError,
            r"zero_point must be in \[0, 1\]",
        ),
    ],
)
def test_messages(call, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


def test_affine_takes_one_zero_point_for_all_channels() -> None:
    x = np.random.default_rng(2).normal(size=(3, 4)).astype(np.float32)
    scale = np.float32([0.1, 0.2, 0.4])
    one = F.fake_quant_affine(x, scale, zero_point=2, qmin=0, qmax=15, quant_axis=0)
    many = F.fake_quant_affine(x, scale, zero_point=[2, 2, 2], qmin=0, qmax=15, quant_axis=0)
    np.testing.assert_array_equal(one, many)
