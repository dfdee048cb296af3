"""P-values from all samples there are, or from draws of them, and what they are worth among many hypotheses."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats

from luthier.evidence import e_bh
from luthier.evidence.permutation import FINEST, by_level, by_to_e, margins_p


@pytest.mark.parametrize(("m", "n"), [((5, 3, 4), 4), ((1, 1, 1, 1, 20), 9), ((30, 2), 20), ((7, 0, 7), 6)])
def test_few_possible_samples_are_weighed_exactly(m: tuple[int, ...], n: int) -> None:
    law, score = stats.multivariate_hypergeom(m, n), np.arange(1.0, 1 + len(m)) ** 2
    samples = [x for x in itertools.product(*(range(count + 1) for count in m)) if sum(x) == n]
    chance = {x: float(law.pmf(x)) for x in samples}
    for x in samples:
        exact = sum(chance[other] for other in samples if np.dot(other, score) >= np.dot(x, score))
        assert margins_p(m, x, lambda t: t @ score, 0.01) == pytest.approx(exact, abs=1e-12)


def test_two_cells_are_fishers_exact_test() -> None:
    a, b = np.array([700, 300]), np.array([60, 40])
    fisher = stats.fisher_exact(np.array([b[::-1], a[::-1]]), alternative="greater").pvalue
    assert margins_p(a + b, b, lambda t: t[:, 1], 0.01) == pytest.approx(fisher, rel=1e-9)


@pytest.mark.parametrize("sizes", [(100, 1000), (1000, 100)])
def test_drawn_p_values_of_unchanged_data_keep_their_promise(sizes: tuple[int, int]) -> None:
    """At every level at once: as many at or below u as u says (a binomial's 99.9 %), and not far fewer."""
    rng, found = np.random.default_rng(sizes), []
    for _ in range(400):
        a, b = (rng.multinomial(size, np.full(12, 1 / 12)) for size in sizes)
        m = a + b
        x, expected = min(a, b, key=np.sum), m / m.sum() * min(sizes)
        found.append(margins_p(m, x, lambda t, e=expected: ((t - e) ** 2 / e).sum(axis=1), 0.02))
    for level in (0.01, 0.05, 0.2, 0.5):
        low, high = stats.binom.ppf([0.001, 0.999], len(found), level)
        assert low <= sum(p <= level for p in found) <= high, level


def test_draws_repeat_and_tell_what_is_rare() -> None:
    m, x = np.full(20, 100), np.array([60] * 10 + [40] * 10)
    first = [margins_p(m, x, lambda t: t[:, :10].sum(axis=1), finest) for finest in (0.05, FINEST)]
    assert first == [margins_p(m, x, lambda t: t[:, :10].sum(axis=1), finest) for finest in (0.05, FINEST)]
    assert first == [1 / 500, 1 / 10_000]


def test_what_cannot_be_drawn_is_no_evidence() -> None:
    assert margins_p([5], [2], lambda t: t[:, 0], 0.05) == 1
    assert margins_p([10**9, 10], [10, 10], lambda t: t[:, 0], 0.05) == 1


@pytest.mark.parametrize("hypotheses", [1, 3, 50])
def test_as_e_values_they_are_the_test_of_benjamini_and_yekutieli(hypotheses: int) -> None:
    grid = (np.arange(200_000) + 0.5) / 200_000
    worth = np.mean([by_to_e(p, hypotheses, 0.05) for p in grid[grid < 0.06]]) * np.mean(grid < 0.06)
    assert worth == pytest.approx(1, abs=0.02), "the mean under the null"
    rng = np.random.default_rng(hypotheses)
    for _ in range(50):
        p = rng.uniform(size=hypotheses) ** rng.choice([1, 4])
        steps = np.sort(p) <= by_level(hypotheses, 0.05) * np.arange(1, hypotheses + 1)
        rejected = int(np.flatnonzero(steps)[-1]) + 1 if steps.any() else 0
        assert len(e_bh([by_to_e(one, hypotheses, 0.05) for one in p], 0.05)) == rejected
