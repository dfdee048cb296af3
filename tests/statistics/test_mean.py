from __future__ import annotations

import math

import numpy as np
import pytest

from luthier.statistics.mean import Mean

TRUE = math.exp(0.5)


def read(values, **options):
    statistic = Mean("x", **options)
    return statistic.read(statistic.observe({"x": np.array(values)}))


def test_mean_and_variance_are_right_where_naive_sums_are_not() -> None:
    values = np.random.default_rng(0).normal(size=5000) + 1e9
    found = read(values)
    assert found["mean"].value == pytest.approx(values.mean(), rel=1e-15)
    assert found["variance"].value == pytest.approx(np.var(values - 1e9, ddof=1), rel=1e-12)
    assert (found["min"].value, found["max"].value) == (values.min(), values.max())


def test_nan_and_infinity_are_missing_and_poison_nothing() -> None:
    found = read([1.0, math.nan, 3.0, math.inf, -math.inf])
    assert (found["mean"].value, found["mean"].n) == (2.0, 2)
    assert (found["missing"].value, found["missing"].n) == (0.6, 5)
    found = read([1e308, 1e308, -1e308])
    assert found["mean"].value == pytest.approx(1e308 / 3)
    assert math.isnan(found["variance"].low)


def test_what_is_not_a_number_is_missing() -> None:
    assert read(np.array([1, None, "2", "two"], dtype=object))["missing"].value == 0.5


def test_zeros_and_ones_have_wilsons_interval() -> None:
    found = read([0.0] * 20)["mean"]
    assert (found.value, found.low) == (0.0, 0.0)
    assert found.high == pytest.approx(0.16113, abs=1e-5)


@pytest.mark.parametrize("metric", ["mean", "variance"])
def test_intervals_cover_as_often_as_they_say(metric: str) -> None:
    rng = np.random.default_rng(5)
    true = {"mean": 2.0, "variance": 1 / 3}[metric]
    found = [read(rng.uniform(1, 3, 200))[metric] for _ in range(1000)]
    covered = sum(one.low <= true <= one.high for one in found)
    assert 930 <= covered <= 970


def test_skewed_values_are_held_as_often_above_as_below() -> None:
    rng = np.random.default_rng(6)
    found = [read(rng.lognormal(0, 1, 50)) for _ in range(1500)]
    above, below = (sum(one["mean"].high < TRUE for one in found), sum(one["mean"].low > TRUE for one in found))
    assert above + below <= 0.08 * len(found)  # Student's: 0.095
    assert above <= 0.065 * len(found)  # Student's: 0.092
    assert below >= 0.007 * len(found)  # Student's: 0.003
    laplace = [read(rng.laplace(size=50))["variance"] for _ in range(1500)]
    assert sum(one.low <= 2 <= one.high for one in laplace) >= 0.935 * len(laplace)  # Bonett's: 0.92


def test_powers_that_rounding_hides_tell_nothing() -> None:
    """Sums of third and fourth powers keep 16 digits: of values far from 0 nothing is left of them about the mean."""
    rows = np.random.default_rng(7).exponential(size=200)
    near, far = read(rows), read(rows + 1e8)
    assert near["variance"].low < 1 < near["variance"].high
    assert far["variance"].value == pytest.approx(near["variance"].value)
    assert math.isnan(far["variance"].low)
    assert math.isnan(far["variance"].high)
    assert far["mean"].low - 1e8 == pytest.approx(rows.mean() - 1.972 * rows.std(ddof=1) / 200**0.5, abs=1e-3)
    for scale in (1e-300, 1e-160, 1e-110):
        small = read(np.arange(1, 9) ** 2 * scale)
        assert math.isnan(small["variance"].low)
        assert not small["mean"].low > 20 * scale


def test_targets_are_awaited() -> None:
    assert [Mean(name).when for name in ("loss", "champion_loss", "target", "confidence")] == ["label"] * 3 + ["answer"]
