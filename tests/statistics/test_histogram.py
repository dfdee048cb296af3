from __future__ import annotations

import math

import numpy as np
import pytest

from luthier.errors import StateError
from luthier.statistics.histogram import Histogram, buckets, reference_runs

RNG = np.random.default_rng(3)
SHAPES = {
    "lognormal": RNG.lognormal(0, 2, 50_000),
    "normal": RNG.normal(size=50_000),
    "negative": -RNG.exponential(1e-3, 50_000),
    "with zeros": np.where(RNG.random(50_000) < 0.4, 0.0, RNG.gamma(2, 1e6, 50_000)),
}


def state(values, **options):
    return Histogram("x", **options).observe({"x": np.asarray(values, float)})


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("accuracy", [0.05, 0.01, 0.001])
def test_quantiles_are_within_the_accuracy(shape: str, accuracy: float) -> None:
    values = SHAPES[shape]
    statistic = Histogram("x", accuracy=accuracy, quantiles=tuple(np.linspace(0.001, 0.999, 99)))
    found = statistic.read(statistic.observe({"x": values}))
    for q in statistic.quantiles:
        exact = float(np.quantile(values, q, method="lower"))
        assert found[f"p{100 * q:g}"].value == pytest.approx(exact, rel=accuracy, abs=1e-12), q


def test_every_value_lies_in_its_bucket() -> None:
    values = np.concatenate([RNG.normal(size=200) * 10.0 ** RNG.integers(-15, 15, 200), [0.0, 1.0, -1.0, 2.0**39]])
    low, high, counts = buckets(state(values))
    assert counts.sum() == len(values)
    inside = values[np.abs(values) < 2.0**40]
    for value in inside:
        low, high, counts = buckets(state([value]))
        assert low[0] <= value <= high[0]
        assert counts.tolist() == [1]


def test_what_is_beyond_the_buckets_is_counted_and_its_ends_are_exact() -> None:
    statistic = Histogram("x")
    found = statistic.read(state([1e300, -1e300, 5e-324, math.nan, math.inf, -math.inf]))
    assert (found["min"].value, found["max"].value) == (-1e300, 1e300)
    assert found["p50"].value == 0.0
    assert (found["missing"].value, found["missing"].n) == (0.5, 6)


def test_intervals_of_quantiles_cover() -> None:
    statistic = Histogram("x", quantiles=(0.5, 0.95))
    true = {"p50": math.log(2), "p95": math.log(20)}
    found = [statistic.read(state(RNG.exponential(1, 400))) for _ in range(500)]
    for name, value in true.items():
        assert sum(one[name].low <= value <= one[name].high for one in found) >= 0.93 * 500


def test_misuse_is_named() -> None:
    with pytest.raises(StateError, match="bins is 1"):
        reference_runs(state([1.0]), state([1.0]), bins=1)
    with pytest.raises(ValueError, match=r"accuracy is 0; it must lie in \[0\.0005, 0\.2\]"):
        Histogram("x", accuracy=0)
    with pytest.raises(ValueError, match="quantiles"):
        Histogram("x", quantiles=(0.5, 1.0))


def test_values_beyond_the_outermost_bucket_keep_their_interval() -> None:
    found = Histogram("x").read(Histogram("x").observe({"x": np.array([2.4e16, 7.6e222] * 20 + [-3e100] * 20)}))
    for estimate in found.values():
        assert not estimate.low > estimate.value, estimate
        assert not estimate.high < estimate.value, estimate
    assert found["p1"].low == -3e100 or np.isnan(found["p1"].low)
    assert found["p95"].high == 7.6e222 or np.isnan(found["p95"].high)
