# SPDX-License-Identifier: Apache-2.0
"""find_threshold against the formulas in plain NumPy."""

from __future__ import annotations

import numpy as np
import numpy_formulas as formulas
import pytest

from qslim import functional as F

ALGOS = ["abs_max", "avg", "hist", "KL", "mse", "emd", "ptf", "min_max"]


def data(kind: str, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(16, 4000))
    shaped = {
        "normal": x,
        "laplace": rng.laplace(size=x.shape),
        "relu": np.maximum(x, 0),
        "skewed": x**2 - 0.2,
        "relu6": np.clip(4 * x, 0, 6),
        "outlier": np.where(np.arange(x.size).reshape(x.shape) == 77, -15.0, x),
    }
    return shaped[kind].astype(np.float32)


@pytest.fixture(params=["normal", "laplace", "relu", "skewed", "relu6", "outlier"])
def statistics(request: pytest.FixtureRequest) -> F.TensorStatistics:
    result = F.TensorStatistics()
    for part in np.split(data(request.param, seed=7), 4):
        result.update(part)
    return result


@pytest.mark.parametrize("percent", [0.5, 0.99, 0.9999, 1.0])
def test_hist(statistics: F.TensorStatistics, percent: float) -> None:
    found = F.find_threshold(statistics, "hist", hist_percent=percent)
    assert found == np.float32(formulas.hist(statistics, percent))


@pytest.mark.parametrize(("bits", "is_unsigned"), [(8, False), (8, True), (4, False)])
def test_kl(statistics: F.TensorStatistics, bits: int, is_unsigned: bool) -> None:
    losses = formulas.kl_losses(statistics, 2**bits - 1 if is_unsigned else 2 ** (bits - 1) - 1)
    if not losses:
        pytest.skip("no cut qualifies")
    width = formulas.kl_bin_width(statistics)
    found = F.find_threshold(statistics, "KL", quant_bits=bits, is_unsigned=is_unsigned)
    last = max(losses)  # everything is kept
    allowed = {cut: statistics.abs_max if cut == last else (cut + 0.5) * width for cut in losses}
    distance = {cut: abs(min(value, statistics.abs_max) - found) for cut, value in allowed.items()}
    assert min(distance.values()) <= 1e-6 * found
    loss = min(losses[cut] for cut in losses if distance[cut] == min(distance.values()))
    # Two ways of adding up to 4000 terms of size log(64000 * 64000) < 23 agree to 4000 * 23 * 2**-53 < 2e-11.
    assert loss <= min(losses.values()) + 2e-11


@pytest.mark.parametrize("deviation", [1.5, 2.0, 4.0])
def test_kl_keeps_the_bound_of_relu6(deviation: float) -> None:
    """PaddleSlim's form gives 3.98: it spreads the zeros over a group whose size is least there."""
    statistics = F.TensorStatistics()
    x = np.random.default_rng(0).normal(0, deviation, [4, 100_000]).astype(np.float32)
    statistics.update(np.clip(x, 0, 6))
    assert F.find_threshold(statistics, "KL", is_unsigned=True) > 5.5


def test_kl_keeps_a_tensor_of_few_values() -> None:
    statistics = F.TensorStatistics()
    statistics.update(np.float32([[0, 1, 2, 1, 0, 2, 2]]))
    assert F.find_threshold(statistics, "KL") == 2


def test_kl_is_not_drawn_to_the_spikes_of_a_constant_background() -> None:
    statistics = F.TensorStatistics()
    rng = np.random.default_rng(0)
    x = np.where(rng.random([8, 50_000]) < 0.7, rng.choice([0.31, 0.77, 1.1], [8, 50_000]), 0.0)
    x += np.where(rng.random(x.shape) < 0.05, np.abs(rng.normal(0, 2, x.shape)), 0.0)
    statistics.update(x.astype(np.float32))
    largest = statistics.abs_max
    found = F.find_threshold(statistics, "KL", is_unsigned=True)
    errors = [F.quantization_error(statistics, t / 255, 0, 0, 255) for t in (found, largest, 0.8 * largest)]
    assert errors[0] <= 2.1 * min(errors)


def test_kl_of_data_far_from_zero_keeps_nearly_all() -> None:
    statistics = F.TensorStatistics()
    statistics.update(np.random.default_rng(0).uniform(0.55, 1.22, [32, 4]).astype(np.float32))
    assert F.find_threshold(statistics, "KL") > 1.1


@pytest.mark.parametrize("zero_point", [0, 10, 128, 255])
def test_quantization_error_is_the_mean_squared_error(zero_point: int) -> None:
    x = np.random.default_rng(1).normal(0.3, 1, [2, 50_000]).astype(np.float32)
    statistics = F.TensorStatistics(bins=16384)
    statistics.update(x)
    q = np.clip(np.rint(x / 0.02) + zero_point, 0, 255)
    expected = np.mean(((q - zero_point) * 0.02 - x) ** 2)
    assert F.quantization_error(statistics, 0.02, zero_point, 0, 255) == pytest.approx(expected, rel=0.01)


def test_quantization_error_refuses_a_zero_point_outside() -> None:
    statistics = F.TensorStatistics()
    statistics.update(np.ones((1, 4), np.float32))
    with pytest.raises(ValueError, match=r"zero_point must be in \[0, 255\], got 256"):
        F.quantization_error(statistics, 0.1, 256, 0, 255)


@pytest.mark.parametrize(("bits", "is_unsigned"), [(8, False), (8, True), (4, False), (2, True)])
@pytest.mark.parametrize("rule", ["mse", "emd", "ptf"])
def test_grid_rules(statistics: F.TensorStatistics, rule: str, bits: int, is_unsigned: bool) -> None:
    qmax = 2**bits - 1 if is_unsigned else 2 ** (bits - 1) - 1
    candidates = [0.125, 0.25, 0.5, 1.0] if rule == "ptf" else formulas.fractions()
    losses = formulas.grid_losses(statistics, rule, qmax, is_unsigned, candidates)
    found = F.find_threshold(statistics, rule, quant_bits=bits, is_unsigned=is_unsigned)
    chosen = min(losses, key=lambda threshold: abs(threshold - found))
    assert found == pytest.approx(chosen, rel=1e-6)
    # The sample points err by less than (bin / 16)**2 in a mean square, and by bin / 16 in a mean.
    slack = statistics.bin_width / 16 if rule == "emd" else (statistics.bin_width / 16) ** 2
    assert losses[chosen] <= min(losses.values()) + 2 * slack


def test_average_is_over_samples() -> None:
    statistics = F.TensorStatistics()
    statistics.update(np.float32([[1, -2], [3, 0]]))
    statistics.update(np.float32([[-7, 1]]))
    assert F.find_threshold(statistics, "avg") == 4.0


@pytest.mark.parametrize("algo", ALGOS)
def test_batch_order_and_split_do_not_matter(algo: str) -> None:
    batches = [data(kind, 3) * size for kind, size in [("normal", 1), ("relu", 9), ("laplace", 0.1)]]
    forward, backward, whole = F.TensorStatistics(), F.TensorStatistics(), F.TensorStatistics()
    for batch in batches:
        forward.update(batch)
    for batch in reversed(batches):
        for sample in batch:
            backward.update(sample)
    whole.update(np.concatenate(batches))
    assert (
        F.find_threshold(forward, algo) == F.find_threshold(backward, algo) == F.find_threshold(whole, algo)
    )


@pytest.mark.parametrize("algo", ALGOS)
def test_zeros_give_the_floor(algo: str) -> None:
    statistics = F.TensorStatistics()
    statistics.update(np.zeros((2, 5), np.float32))
    assert F.find_threshold(statistics, algo) == np.float32(1e-8)


def test_messages() -> None:
    statistics = F.TensorStatistics()
    with pytest.raises(ValueError, match="the statistics have seen no data"):
        F.find_threshold(statistics, "KL")
    statistics.update(np.ones(3, np.float32))
    with pytest.raises(
        ValueError, match="algo must be one of abs_max, avg, hist, KL, mse, emd, ptf, min_max, got 'kl'"
    ):
        F.find_threshold(statistics, "kl")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"hist_percent must be in \(0, 1\], got 2"):
        F.find_threshold(statistics, "hist", hist_percent=2)
    with pytest.raises(ValueError, match=r"quant_bits must be in \[2, 16\], got 1"):
        F.find_threshold(statistics, "mse", quant_bits=1)


@pytest.mark.parametrize("quant_axis", [None, 0, 1, 2])
@pytest.mark.parametrize("quant_bits", [2, 4, 8])
def test_least_squares_threshold_is_the_best_of_its_candidates(
    quant_bits: int, quant_axis: int | None
) -> None:
    random = np.random.default_rng(5)
    x = random.standard_normal((6, 5, 7)).astype(np.float32) * random.lognormal(0, 1, (6, 5, 7))
    x = x.astype(np.float32)
    found = F.least_squares_threshold(x, quant_bits, quant_axis=quant_axis)
    channels = [x] if quant_axis is None else np.moveaxis(x, quant_axis, 0)
    qmax = 2 ** (quant_bits - 1) - 1
    for channel, threshold in zip(channels, np.atleast_1d(found)):
        errors = []
        candidates = np.abs(channel).max() * np.linspace(0.2, 1.0, 41, dtype=np.float32)
        for candidate in candidates:
            step = candidate / np.float32(qmax)
            rounded = np.clip(np.rint(channel / step), -qmax, qmax) * step
            errors.append(np.square((rounded - channel).astype(np.float64)).sum())
        assert errors[int(np.argmin(np.abs(candidates - threshold)))] == pytest.approx(min(errors), rel=1e-5)
        assert threshold in candidates


def test_least_squares_threshold_of_what_is_not_finite_and_of_zeros() -> None:
    x = np.float32([[1, 2], [np.nan, 1], [np.inf, 1], [0, 0]])
    found = F.least_squares_threshold(x, 8, quant_axis=0)
    np.testing.assert_array_equal(found[1:3], [np.nan, np.inf])
    assert found[0] == 2.0
    assert 0 < found[3] <= np.float32(1e-8)
