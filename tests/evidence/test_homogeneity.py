"""The e-value of two binned samples: its mean under the null, its power, and what it makes of nothing."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import special, stats

from luthier.errors import StateError
from luthier.evidence.homogeneity import (
    e_value,
    log_e_toward,
    log_e_towards,
    log_e_value,
    log_e_values,
    log_gamma,
    ranks,
    runs,
)


def test_log_gamma_is_scipys() -> None:
    x = np.concatenate([np.logspace(-12, 9, 4000), np.arange(1, 40)])
    exact = special.gammaln(x)
    assert (np.abs(log_gamma(x) - exact) <= 3e-13 * np.maximum(1, np.abs(exact))).all()


@pytest.mark.parametrize(("m", "n"), [((5, 3, 4), 4), ((1, 1, 1, 1, 20), 9), ((30, 2), 20), ((7, 7, 7), 10)])
def test_its_mean_given_the_pooled_counts_is_at_most_one(m: tuple[int, ...], n: int) -> None:
    """Every table with these margins, by its hypergeometric probability: exactly, for any distribution."""
    null, mean = stats.multivariate_hypergeom(m, n), 0.0
    for current in itertools.product(*(range(count + 1) for count in m)):
        if sum(current) == n:
            mean += null.pmf(current) * e_value(np.subtract(m, current), current)
    assert 0.3 < mean <= 1 + 1e-9


@pytest.mark.parametrize("scores", [(0, 1, 2), (2, -1, 0.5), (1, 1, 1), (0, 0, 1000)])
@pytest.mark.parametrize(("m", "n"), [((5, 3, 4), 4), ((9, 1, 20), 9), ((7, 7, 7), 10), ((12, 0, 9), 8)])
def test_its_mean_in_one_direction_is_at_most_one_too(m: tuple[int, ...], n: int, scores: tuple[float, ...]) -> None:
    null, mean = stats.multivariate_hypergeom(m, n), 0.0
    for current in itertools.product(*(range(count + 1) for count in m)):
        if sum(current) == n:
            mean += null.pmf(current) * math.exp(log_e_toward(np.subtract(m, current), current, scores))
    assert 0.02 < mean <= 1 + 1e-9


def test_one_direction_is_stronger_where_it_is_the_right_one() -> None:
    rng, stronger = np.random.default_rng(6), []
    for _ in range(40):
        a, b = rng.normal(size=1000), rng.normal(0.2, 1, 1000)
        cuts = np.quantile(np.concatenate([a, b]), np.arange(1, 32) / 32)
        p, q = (np.bincount(np.searchsorted(cuts, x), minlength=32) for x in (a, b))
        stronger.append(log_e_toward(p, q, ranks(p + q)) - log_e_value(p, q))
        assert log_e_toward(p, q, ranks(p + q)) == pytest.approx(log_e_toward(p, q, -3 * ranks(p + q) + 7))
    assert np.median(stronger) > 3


@pytest.mark.parametrize("reference", [100, 1000, 10_000])
@pytest.mark.parametrize("levels", [2, 20, 50])
def test_unchanged_samples_are_flagged_no_more_often_than_promised(reference: int, levels: int) -> None:
    """Where a chi-square test against the plain reference shares flags 30 to 100 % of unchanged windows."""
    rng, wrong, runs_ = np.random.default_rng(reference + levels), 0, 150
    for n in (100, 1000, 10_000):
        for _ in range(runs_):
            p = rng.dirichlet(np.ones(levels))
            wrong += e_value(rng.multinomial(reference, p), rng.multinomial(n, p)) >= 20
    assert wrong <= stats.binom.ppf(0.999, 3 * runs_, 0.05)


def test_it_sees_what_a_chi_square_test_of_both_samples_sees() -> None:
    rng, p = np.random.default_rng(5), np.full(10, 0.1)
    q = p * np.array([1.4, *[1.0] * 8, 0.6])
    found = [e_value(rng.multinomial(3000, p), rng.multinomial(3000, q)) >= 20 for _ in range(60)]
    assert np.mean(found) > 0.9


def test_order_of_samples_and_of_bins_changes_nothing() -> None:
    a, b = np.array([50, 3, 47, 0]), np.array([10, 30, 9, 2])
    assert log_e_value(a, b) == pytest.approx(log_e_value(b, a))
    assert log_e_value(a, b) == pytest.approx(log_e_value(a[::-1], b[::-1]))


def test_nothing_and_huge() -> None:
    assert e_value([0, 0], [3, 4]) == e_value([], []) == e_value([5], [9]) == 1
    assert e_value([10**9, 1], [1, 10**9]) == pytest.approx(1e300)
    assert math.isfinite(log_e_value([10**9, 1], [1, 10**9]))
    assert e_value([10**9, 10**9], [10**9 + 10, 10**9 - 10]) < 1
    with pytest.raises(StateError, match="as many counts each"):
        e_value([1, 2], [1, 2, 3])
    with pytest.raises(StateError, match="below zero"):
        e_value([1, -2], [1, 2])


def test_runs_cut_equal_pooled_counts_once() -> None:
    pooled = np.ones(100, int)
    assert [np.add.reduceat(pooled, starts).tolist() for starts in runs(pooled, (2, 4))] == [[50, 50], [25] * 4]
    atom = np.array([1, 1000, 1])
    assert [starts.tolist() for starts in runs(atom, (2, 4, 8))] == [[0, 2]]
    assert runs(np.array([7]), (2, 4)) == []


def test_many_in_one_pass_are_each_what_they_are_alone() -> None:
    rng = np.random.default_rng(3)
    sizes = [2, 3, 31, 32, 33, 70, 1, 0]
    pairs = [(rng.poisson(20, k), rng.poisson(rng.uniform(0, 30), k)) for k in sizes]
    pairs += [(np.zeros(4), np.arange(4)), (np.zeros(3), np.zeros(3)), (np.array([0, 5, 0]), np.array([0, 9, 0]))]
    assert log_e_values(pairs) == [log_e_value(*pair) for pair in pairs]
    shifts = [(*pair, ranks(sum(pair))) for pair in pairs]
    assert log_e_towards(shifts) == [log_e_toward(*shift) for shift in shifts]
    assert log_e_values(pairs)[-5:] == log_e_towards(shifts)[-5:] == [0.0] * 5
    assert log_e_values([]) == log_e_towards([]) == []


@pytest.mark.parametrize("bad", [([1, 2], [1]), ([1, -1], [1, 1]), ([1, math.nan], [1, 1]), ([1, math.inf], [1, 1])])
def test_one_pair_that_is_no_counts_is_an_error_in_any_company(bad: tuple[list[float], list[float]]) -> None:
    with pytest.raises(StateError, match="as many counts each"):
        log_e_values([([1, 2], [2, 1]), bad])
    with pytest.raises(StateError, match="as many counts each"):
        log_e_towards([([1, 2], [2, 1], [0, 1]), (*bad, [0] * len(bad[0]))])
