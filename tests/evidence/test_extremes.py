"""Evidence for rows where the reference has none: mean at most 1 on unchanged rows, large when something is wrong."""

from __future__ import annotations

import numpy as np
import pytest

from luthier.errors import StateError
from luthier.evidence.extremes import all_in_one, beyond, novel


@pytest.mark.parametrize(("n", "of"), [(1, 1), (5, 200), (100, 100), (300, 40)])
def test_on_unchanged_rows_the_mean_is_at_most_one(n: int, of: int) -> None:
    rng = np.random.default_rng(n)
    found = {"beyond": [], "novel": [], "all_in_one": []}
    for _ in range(3000):
        reference, current = rng.normal(size=of).round(1), rng.normal(size=n).round(1)  # with ties
        above, below = int((current > reference.max()).sum()), int((current < reference.min()).sum())
        found["beyond"].append(beyond(above, below, n, of))
        a, b = rng.geometric(0.3, of), rng.geometric(0.3, n)
        new = np.array([np.sum(b == name) for name in np.setdiff1d(b, a)])
        found["novel"].append(novel(new, n, of, len(np.union1d(a, b))))
        one = int(np.sum(a == b[0])) + n if (b == b[0]).all() else 0
        found["all_in_one"].append(all_in_one(one, n, of))
    for name, values in found.items():
        error = np.std(values) / np.sqrt(len(values))
        assert np.mean(values) <= 1 + 4 * error + 0.02, (name, np.mean(values))


def test_what_is_wrong_is_evident() -> None:
    assert beyond(20, 0, 500, 500) > 1000
    assert beyond(0, 20, 500, 500) == beyond(20, 0, 500, 500)
    assert novel(np.array([30]), 500, 500, 4) > 1e6
    assert all_in_one(220, 200, 2000) > 1e100
    assert beyond(1, 0, 500, 500) < 2


def test_exact_on_a_case_by_hand() -> None:
    assert beyond(1, 0, 1, 1) == pytest.approx(1.0)  # one step, two ends: 2 / 2
    assert novel(np.array([1]), 1, 1, 2) == pytest.approx(1.0)
    assert all_in_one(2, 1, 1) == pytest.approx(1.0)


def test_nothing_seen_is_no_evidence_and_impossible_counts_are_refused() -> None:
    assert beyond(0, 0, 0, 100) == novel(np.array([]), 0, 5, 1) == all_in_one(5, 0, 5) == all_in_one(5, 5, 0) == 1.0
    with pytest.raises(StateError, match="no more than the whole"):
        beyond(6, 5, 10, 10)
