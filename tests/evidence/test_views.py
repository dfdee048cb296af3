"""The ways to look at a column: the same numbers for one sample and for draws of it, alone and in company; and an e-value."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from scipy import stats

from luthier.evidence.homogeneity import log_e_value, log_e_values
from luthier.evidence.views import NO_VIEWS, Views, as_they_are, category_views, log_e_means, ordered_views

PARTS = (2, 4, 8, 16, 32)


def columns() -> dict[str, Views]:
    rng = np.random.default_rng(2)
    return {
        "numbers": ordered_views(rng.poisson(4, 300), rng.poisson(1, 300), PARTS),
        "few numbers": ordered_views(np.array([3, 0, 2, 9]), np.array([2, 1, 0, 0]), PARTS),
        "categories": category_views(rng.poisson(9, 20), rng.poisson(90, 20), PARTS[:3], 64),
        "many categories": category_views(rng.poisson(3, 90), rng.poisson(1, 90), PARTS[:3], 64),
        "an empty category": category_views(np.array([0, 5, 7]), np.array([0, 9, 4]), PARTS[:3], 64),
        "missing": as_they_are([90, 10], [45, 12]),
    }


@pytest.mark.parametrize("kind", columns())
def test_draws_in_one_pass_are_what_each_is_alone(kind: str) -> None:
    views = columns()[kind]
    pooled, n = views.pooled.astype(np.int64), int(views.sample.sum())
    draws = np.random.default_rng(0).multivariate_hypergeometric(pooled, n, size=30, method="marginals")
    alone = [log_e_means([replace(views, sample=draw.astype(float))])[0] for draw in draws]
    assert views.log_e(draws) == pytest.approx(alone, rel=1e-9, abs=1e-9)


def test_columns_in_one_pass_are_what_each_is_alone() -> None:
    every = [NO_VIEWS, *columns().values(), NO_VIEWS]
    assert log_e_means(every) == [log_e_means([views])[0] for views in every]
    assert log_e_means([]) == []
    assert log_e_means([NO_VIEWS]) == [0.0]


@pytest.mark.parametrize(("m", "n"), [((5, 3, 4), 4), ((1, 1, 1, 1, 20), 9), ((30, 2), 15), ((7, 0, 7), 6)])
@pytest.mark.parametrize(
    "looked",
    [partial(ordered_views, parts=PARTS), partial(category_views, parts=PARTS[:3], single=64), as_they_are],
    ids=["ordered", "categories", "as they are"],
)
def test_the_mean_given_the_pooled_counts_is_at_most_one(
    m: tuple[int, ...], n: int, looked: Callable[..., Views]
) -> None:
    """Every table with these margins, by its hypergeometric probability: exactly, for any distribution."""
    law, mean = stats.multivariate_hypergeom(m, n), 0.0
    for current in itertools.product(*(range(count + 1) for count in m)):
        if sum(current) == n:
            views = looked(np.subtract(m, current), np.array(current))
            mean += law.pmf(current) * math.exp(log_e_means([views])[0])
    assert 0.1 < mean <= 1 + 1e-9


def test_runs_hold_the_rows_that_they_say() -> None:
    p, q = np.array([10, 20, 30, 40, 50, 50]), np.array([5, 5, 0, 0, 9, 1])
    views = ordered_views(p, q, (2, 4))
    runs, along = views.sums(views.sample)
    assert views.sizes == (2, 4)
    assert runs.tolist() == [10, 10, 10, 0, 9, 1]
    assert along.tolist() == [10, 0, 9, 1]


def test_beyond_the_single_categories_the_rest_are_one() -> None:
    p, q = np.array([1, 50, 2, 30, 40]), np.array([2, 1, 1, 1, 1])
    views = category_views(p, q, (), 3)
    runs, along = views.sums(views.pooled)
    assert runs.tolist() == [51, 41, 31, 6]
    assert along.tolist() == [51, 41, 31, 3, 3]
    assert len(category_views(p, q, (2, 4), 3)) == 7  # one by one, two runs each by frequency and by name, along both


def test_nothing_to_look_at_is_no_evidence() -> None:
    empty, bins = np.zeros(4), (np.array([9]), np.array([0]), np.zeros(0))
    assert [len(ordered_views(one, one, PARTS)) for one in bins] == [0, 0, 0]
    assert [len(category_views(one, one, PARTS, 64)) for one in (*bins, empty, np.array([0, 8, 0]))] == [0] * 5
    one_side = [ordered_views(empty, np.arange(4), PARTS), category_views(empty, np.arange(4), PARTS, 64)]
    assert log_e_means(one_side) == [0.0, 0.0]


def test_one_view_is_the_e_value_itself() -> None:
    assert log_e_means([as_they_are([90, 10], [45, 12])]) == [log_e_value([90, 10], [45, 12])]
    pairs = [([30, 9, 1], [8, 9, 9]), ([5, 5, 0], [50, 1, 4])]
    assert log_e_means([as_they_are(*pair) for pair in pairs]) == log_e_values(pairs)
