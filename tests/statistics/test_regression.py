from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn import metrics

from luthier.errors import StateError
from luthier.statistics.laws import check_statistic
from luthier.statistics.regression import Regression

NAMES = ("mae", "mse", "rmse", "bias", "r2")


def read(columns, **options):
    statistic = Regression(**options)
    return statistic.read(statistic.observe({name: np.asarray(values) for name, values in columns.items()}))


def drawn(rng, n):
    target = rng.normal(50, 2, n)
    error = 0.3 + rng.standard_t(20, n) * (1 + 0.3 * np.abs(target - 50))
    return {"target": target, "predicted": target + error, "cost": rng.gamma(2, size=n)}


@pytest.mark.parametrize("weight", ["", "cost"])
@pytest.mark.parametrize("seed", range(12))
def test_every_metric_is_scikit_learns(seed: int, weight: str) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 300))
    target = rng.normal(size=n) * 10.0 ** rng.integers(-6, 6) + rng.choice([0, 1, -3])
    predicted = target + rng.normal(size=n) * 10.0 ** rng.integers(-6, 3)
    cost = rng.random(n)
    cost[0] = 0
    weights = {"sample_weight": cost} if weight else {}
    expected = {
        "mae": metrics.mean_absolute_error(target, predicted, **weights),
        "mse": metrics.mean_squared_error(target, predicted, **weights),
        "rmse": metrics.root_mean_squared_error(target, predicted, **weights),
        "bias": np.average(predicted - target, weights=cost if weight else None),
        "r2": metrics.r2_score(target, predicted, **weights),
    }
    found = read({"target": target, "predicted": predicted, "cost": cost}, weight=weight)
    for name, value in expected.items():
        assert found[name].value == pytest.approx(value, rel=1e-9, abs=1e-9), name


def test_a_far_mean_takes_nothing_from_the_variance() -> None:
    rng = np.random.default_rng(0)
    target = 2.0**40 + rng.integers(0, 1000, 500)
    predicted = target + rng.integers(-50, 50, 500)
    near = read({"target": target - 2.0**40, "predicted": predicted - 2.0**40})["r2"]
    far = read({"target": target, "predicted": predicted})["r2"]
    assert far.value == pytest.approx(near.value, abs=1e-14)
    assert math.isnan(far.low)  # fourth powers cannot tell
    assert near.low < near.value < near.high
    ones = read({"target": target, "predicted": predicted, "cost": np.full(500, 0.1)}, weight="cost")["r2"]
    assert ones.value == pytest.approx(near.value, abs=1e-14)


@pytest.mark.parametrize("weight", ["", "cost"])
def test_the_law(weight: str) -> None:
    rng = np.random.default_rng(1)
    columns = drawn(rng, 40_000)
    wild = rng.normal(size=40_000) * 10.0 ** rng.integers(-300, 300, 40_000)
    check_statistic(Regression(weight=weight), columns, 1)
    check_statistic(Regression(weight=weight), columns | {"target": wild}, 2)
    check_statistic(
        Regression(weight=weight), {name: values[:40] for name, values in columns.items()} | {"cost": wild[:40]}, 3
    )


@pytest.mark.parametrize(("n", "weight"), [(300, ""), (1000, "cost")])
def test_intervals_cover(n: int, weight: str) -> None:
    rng = np.random.default_rng(2)
    true = read(drawn(rng, 1_000_000), weight=weight)
    covered = dict.fromkeys(NAMES, 0)
    for _ in range(400):
        found = read(drawn(rng, n), weight=weight)
        for name in NAMES:
            covered[name] += found[name].low <= true[name].value <= found[name].high
    assert min(covered.values()) >= 0.91 * 400, covered
    assert max(covered.values()) <= 0.985 * 400, covered


def test_what_is_undefined_is_absent() -> None:
    found = read({"target": [3.0, 3.0, 3.0], "predicted": [3.0, 2.0, 5.0]})
    assert found["mae"].value == 1.0
    assert (math.isnan(found["r2"].value), found["r2"].n) == (True, 0)
    none = read({"target": [1.0, 2.0], "predicted": [1.0, 1.0], "cost": [0.0, 0.0]}, weight="cost")
    assert all(none[name].n == 0 for name in NAMES)


def test_no_error_is_not_certainty() -> None:
    found = read({"target": [1.0, 2.0, 4.0], "predicted": [1.0, 2.0, 4.0]})
    assert (found["mse"].value, found["r2"].value) == (0.0, 1.0)
    assert math.isnan(found["mse"].high)
    assert math.isnan(found["r2"].low)
    one = read({"target": [1.0], "predicted": [2.0]})
    assert (one["bias"].value, one["r2"].n) == (1.0, 0)
    assert math.isnan(one["bias"].low)


def test_unknown_numbers_are_missing() -> None:
    columns = {"target": [1, math.nan, 3, 4, 5], "predicted": [1, 2, math.inf, 4, 5], "cost": [1, 1, 1, -1, math.nan]}
    assert read(columns)["missing"].value == pytest.approx(2 / 5)
    assert read(columns, weight="cost")["missing"].value == pytest.approx(4 / 5)


def test_misuse_is_named() -> None:
    with pytest.raises(StateError, match="'target' and 'predicted' have 2 and 1 rows"):
        read({"target": [1, 2], "predicted": [1]})
    with pytest.raises(StateError, match="weight '' and 'cost' cannot be merged"):
        Regression().merge(Regression().observe({}), Regression(weight="cost").observe({}))
