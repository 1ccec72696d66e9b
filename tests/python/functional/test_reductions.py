# SPDX-License-Identifier: Apache-2.0
"""Reductions, the histogram and TensorStatistics: against NumPy, and properties that must hold."""

from __future__ import annotations

import math
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from qslim import _core
from qslim import functional as F

ARRAYS = hnp.arrays(
    np.float32,
    hnp.array_shapes(min_dims=1, max_dims=3, max_side=30),
    elements=st.floats(width=32, allow_nan=False, allow_infinity=False),
)


@given(ARRAYS, st.randoms(use_true_random=False))
def test_abs_max_ignores_order(x: np.ndarray, random) -> None:
    shuffled = x.ravel().copy()
    random.shuffle(shuffled)
    assert F.abs_max(x) == F.abs_max(shuffled) == np.abs(x).max()


@given(ARRAYS, st.integers(0, 2))
def test_reductions_equal_numpy(x: np.ndarray, axis: int) -> None:
    axis %= x.ndim
    others = tuple(i for i in range(x.ndim) if i != axis)
    np.testing.assert_array_equal(F.abs_max(x, quant_axis=axis), np.abs(x).max(others))
    low, high = F.min_max(x, quant_axis=axis)
    np.testing.assert_array_equal(low, x.min(others))
    np.testing.assert_array_equal(high, x.max(others))
    assert F.min_max(x) == (x.min(), x.max())
    # Any order of adding n doubles errs by less than n * 2**-53 * sum|x|.
    bound = x.size * 2.0**-53 * float(np.abs(x).astype(np.float64).sum())
    assert abs(F.sum(x) - math.fsum(x.ravel().tolist())) <= bound
    squares = (x.astype(np.float64) ** 2).ravel().tolist()
    assert abs(F.sum_of_squares(x) - math.fsum(squares)) <= x.size * 2.0**-53 * math.fsum(squares)


@given(
    hnp.arrays(np.float32, st.integers(0, 300), elements=st.floats(-8, 8, width=32)),
    st.integers(1, 50),
    st.floats(-4, 0, width=32),
    st.floats(0.5, 4, width=32),
)
def test_histogram_equals_numpy(x: np.ndarray, bins: int, lo: float, hi: float) -> None:
    counts, edges = F.histogram(x, bins, lo, hi)
    expected, expected_edges = np.histogram(x, bins, (lo, hi))
    np.testing.assert_array_equal(edges, expected_edges.astype(np.float32))
    # NumPy 2 keeps the edges in the data's float32, NumPy 1 compares with float64 edges.
    if expected_edges.dtype == np.float32:
        np.testing.assert_array_equal(counts, expected)


@given(st.lists(ARRAYS, min_size=1, max_size=4), st.randoms(use_true_random=False))
def test_statistics_ignore_order_split_and_merge(batches: list[np.ndarray], random) -> None:
    batches = [batch.reshape(len(batch), -1) for batch in batches]
    expected = F.TensorStatistics(64)
    for batch in batches:
        expected.update(batch)
    shuffled = list(batches)
    random.shuffle(shuffled)
    left, right = F.TensorStatistics(64), F.TensorStatistics(64)
    for batch in shuffled:
        for sample in batch:
            random.choice([left, right]).update(sample)
    left.merge(right)
    assert left == expected
    assert left.to_bytes() == expected.to_bytes()


def test_statistics_say_what_numpy_says() -> None:
    x = np.random.default_rng(1).normal(size=(20, 3000)).astype(np.float32)
    s = F.TensorStatistics()
    s.update(x)
    assert (s.count, s.samples) == (x.size, 20)
    assert (s.min, s.max, s.abs_max) == (x.min(), x.max(), np.abs(x).max())
    assert s.average_abs_max == math.fsum(np.abs(x).max(1).tolist()) / 20
    edges = np.arange(4097) * s.bin_width
    np.testing.assert_array_equal(s.positive_histogram, np.histogram(x[x >= 0], edges)[0])
    np.testing.assert_array_equal(s.negative_histogram, np.histogram(-x[x < 0], edges)[0])


def test_statistics_pickle_and_bytes() -> None:
    s = F.TensorStatistics(128)
    s.update(np.float32([[1, -2], [3, 4]]))
    for copy in (pickle.loads(pickle.dumps(s)), F.TensorStatistics.from_bytes(s.to_bytes())):
        assert type(copy) is F.TensorStatistics
        assert copy == s
    assert s != F.TensorStatistics(128)
    assert s != "statistics"
    with pytest.raises(_core.FormatError, match="not tensor statistics"):
        F.TensorStatistics.from_bytes(b"nonsense")
    with pytest.raises(ValueError, match="same number of bins, got 128 and 64"):
        s.merge(F.TensorStatistics(64))
    with pytest.raises(ValueError, match="power of two"):
        F.TensorStatistics(100)


def test_statistics_refuse_nan_and_stay_as_they_were() -> None:
    s = F.TensorStatistics()
    s.update(np.float32([1, 2]))
    before = s.to_bytes()
    with pytest.raises(
        ValueError, match="got 1 NaN and 1 infinite among 4 elements, the first at flat index 1"
    ):
        s.update(np.float32([9, np.inf, 3, np.nan]))
    assert s.to_bytes() == before


def test_nan_surfaces() -> None:
    x = np.float32([1, np.nan, 3])
    assert math.isnan(F.abs_max(x))
    assert all(math.isnan(end) for end in F.min_max(x))
    with pytest.raises(ValueError, match="min_max: x must not be empty"):
        F.min_max(np.float32([]))


def test_threads_change_nothing() -> None:
    x = np.random.default_rng(2).normal(size=(8, 64, 700)).astype(np.float32)
    four = _core.Context(num_threads=4)
    assert F.sum(x) == F.sum(x, context=four)
    np.testing.assert_array_equal(F.sum(x, quant_axis=1), F.sum(x, quant_axis=1, context=four))
    one, many = F.TensorStatistics(), F.TensorStatistics()
    one.update(x)
    many.update(x, context=four)
    assert one == many
