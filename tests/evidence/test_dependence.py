"""Correlation times, bursts and seasons of series whose own are known."""

from __future__ import annotations

import numpy as np
import pytest

from luthier.evidence.dependence import blocks, burst_length, correlation_time, season_length


def autoregressive(rng: np.random.Generator, n: int, rho: float) -> np.ndarray:
    noise, x = rng.standard_normal(n), np.zeros(n)
    for i in range(1, n):
        x[i] = rho * x[i - 1] + noise[i]
    return x


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9, 0.98])
def test_the_correlation_time_of_an_autoregression(rho: float) -> None:
    rng = np.random.default_rng(1)
    found = np.median([correlation_time(autoregressive(rng, 20_000, rho)) for _ in range(5)], axis=0)
    assert found[0] == pytest.approx((1 + rho) / (1 - rho), rel=0.2)
    assert found[1] == pytest.approx(1 / (1 - rho), rel=0.2)


def test_bursts_of_zeros_and_ones() -> None:
    rng = np.random.default_rng(2)
    for length, share in ((1.0, 0.1), (20.0, 0.1), (20.0, 0.4)):
        runs = np.stack([rng.geometric(share / (length * (1 - share)), 4000), rng.geometric(1 / length, 4000)], axis=1)
        x = np.repeat(np.tile([0.0, 1.0], 4000), runs.ravel())[:60_000]
        assert burst_length(x, x) == pytest.approx(length, rel=0.35)
    assert burst_length(np.zeros(100), np.zeros(100)) == 1


@pytest.mark.parametrize("period", [0, 24, 168, 500, 1777])
def test_the_season_is_found_and_none_is_invented(period: int) -> None:
    rng = np.random.default_rng(3)
    wave = 0.08 * np.sin(np.arange(20_000) * 2 * np.pi / period) if period else 0.0
    found = [season_length((rng.random(20_000) < 0.1 + wave).astype(float)) for _ in range(20)]
    assert np.median(found) == pytest.approx(period, rel=0.01)
    assert np.mean([one > 0 for one in found]) == (1 if period else 0)


def test_slow_wandering_is_no_season() -> None:
    rng = np.random.default_rng(4)
    found = [season_length(autoregressive(rng, 5000, 0.99)) for _ in range(20)]
    assert sum(one > 0 for one in found) <= 2


def test_block_means_are_nearly_independent_and_as_wide_as_said() -> None:
    rng = np.random.default_rng(5)
    x = np.clip(0.3 + 0.02 * autoregressive(rng, 100_000, 0.99), 0, 1)
    cut = blocks(x)
    means = x[: len(x) // cut.length * cut.length].reshape(-1, cut.length).mean(axis=1)
    assert abs(np.corrcoef(means[1:], means[:-1])[0, 1]) < 0.35
    assert means.var() == pytest.approx(x.var() * cut.clumping / cut.length, rel=0.6)
    whole = blocks(x, season=1700)
    assert whole.length % 1700 == 0
    assert whole.length >= 1700


@pytest.mark.parametrize("x", [np.zeros(0), np.zeros(1), np.ones(5), np.zeros(1000)])
def test_short_and_constant_series(x: np.ndarray) -> None:
    assert blocks(x) == (100, 1.0, 1.0, 0, max(min(100, len(x) // 8), 1), 100)
