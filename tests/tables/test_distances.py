"""Distances agree with SciPy's on raw values where bins lose nothing, and with their definitions where they do."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats
from scipy.spatial import distance

from luthier.errors import StateError
from luthier.statistics.counts import Counts
from luthier.statistics.histogram import Histogram
from luthier.tables.distances import (
    category_counts,
    category_distances,
    chi_square,
    hellinger,
    jensen_shannon,
    kolmogorov_smirnov,
    numeric_distances,
    psi,
    total_variation,
    wasserstein,
)

RNG = np.random.default_rng(3)


def state(values):
    return Histogram("x").observe({"x": np.asarray(values, float)})


def categories(values, **options):
    return Counts("x", **options).observe({"x": np.asarray(values)})


@pytest.mark.parametrize(("n", "m", "levels"), [(1000, 700, 12), (50, 3000, 40), (7, 5, 3)])
def test_they_are_scipys_where_every_value_has_its_bin(n: int, m: int, levels: int) -> None:
    a, b = RNG.integers(0, levels, n), RNG.binomial(levels - 1, 0.4, m)
    p, q = (np.bincount(x, minlength=levels) for x in (a, b))
    assert kolmogorov_smirnov(p, q) == pytest.approx(stats.ks_2samp(a, b).statistic, abs=1e-12)
    assert wasserstein(p, q, np.arange(levels)) == pytest.approx(stats.wasserstein_distance(a, b), abs=1e-12)
    assert jensen_shannon(p, q) == pytest.approx(distance.jensenshannon(p, q, base=2), abs=1e-12)
    seen = (p + q) > 0
    table = stats.chi2_contingency([p[seen], q[seen]], correction=False)
    assert chi_square(p, q) == pytest.approx(table.statistic, rel=1e-12)
    assert total_variation(p, q) == pytest.approx(distance.cityblock(p / n, q / m) / 2, abs=1e-12)
    assert hellinger(p, q) == pytest.approx(distance.euclidean(np.sqrt(p / n), np.sqrt(q / m)) / math.sqrt(2))
    near = [(x + 0.5) / (x.sum() + levels / 2) for x in (p, q)]
    assert psi(p, q) == pytest.approx(stats.entropy(*near) + stats.entropy(*near[::-1]), abs=1e-12)


def test_log_buckets_are_near_the_raw_values() -> None:
    a, b = RNG.normal(size=100_000), RNG.normal(0.2, 1.3, size=100_000)
    found = numeric_distances(state(a), state(b))
    assert found["kolmogorov_smirnov"] == pytest.approx(stats.ks_2samp(a, b).statistic, abs=5e-4)
    assert found["wasserstein"] == pytest.approx(stats.wasserstein_distance(a, b), abs=5e-3)
    for bins, names in ((10, ("psi", "chi_square")), (30, ("jensen_shannon", "hellinger", "total_variation"))):
        edges = np.quantile(a, np.arange(1, bins) / bins)
        p, q = (np.bincount(np.searchsorted(edges, x), minlength=bins) for x in (a, b))
        for name in names:
            exact = globals()[name](p, q)
            assert found[name] == pytest.approx(exact, rel=0.02, abs=3e-3), name


def test_of_equal_of_far_and_of_no_samples() -> None:
    values = state(RNG.normal(size=1000))
    assert set(numeric_distances(values, values).values()) == {0.0}
    far = numeric_distances(state([1.0, 2.0]), state([100.0, 200.0]))
    assert far["kolmogorov_smirnov"] == far["jensen_shannon"] == far["hellinger"] == far["total_variation"] == 1.0
    assert math.isfinite(far["psi"])
    assert numeric_distances(state([0.0]), state([-10.0]))["wasserstein"] == pytest.approx(10, rel=0.01)
    for pair in ((values, state([])), (state([]), values), (state([]), state([])), (values, state([math.nan]))):
        assert all(math.isnan(value) for value in numeric_distances(*pair).values())
    one = numeric_distances(state([0.7] * 50), state([0.7] * 90))
    assert one["psi"] == one["jensen_shannon"] == one["chi_square"] == 0
    assert all(math.isnan(value) for value in category_distances(categories([]), categories(["a"])).values())


def test_categories_are_compared_by_name() -> None:
    found = category_distances(categories(["a"] * 60 + ["b"] * 40), categories(["b"] * 30 + ["c"] * 70))
    assert found["total_variation"] == pytest.approx(0.7)
    assert found["jensen_shannon"] == pytest.approx(distance.jensenshannon([0.6, 0.4, 0], [0, 0.3, 0.7], base=2))


def test_what_was_dropped_on_one_side_is_other_on_both() -> None:
    wide, narrow = RNG.integers(0, 200, 5000), RNG.integers(0, 5, 5000)
    p, q = category_counts(categories(wide, limit=16), categories(narrow, limit=16))
    assert p.sum() == q.sum() == 5000
    assert len(p) == len(q) == 17
    assert p[-1] > 4000
    with pytest.raises(StateError, match="cannot be merged"):
        category_counts(categories(wide, limit=16), categories(narrow, limit=32))


def test_bins_that_differ_are_named() -> None:
    with pytest.raises(StateError, match=r"shapes \(2,\) and \(3,\)"):
        psi([1, 2], [1, 2, 3])
