"""Two models that part where the data taught them nothing."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from luthier.checks.disagreement import Disagreement
from luthier.checks.laws import check_check
from luthier.errors import StateError


def agrees(rng: np.random.Generator, n: int, apart: float) -> dict[str, np.ndarray]:
    return {"agrees": (rng.random(n) >= apart).astype(float)}


def test_how_often_it_lies_and_how_soon_it_speaks() -> None:
    rng = np.random.default_rng(1)
    check, wrong, delays, runs = Disagreement(arl=10_000), 0, [], 60
    for _ in range(runs):
        memory = check.start(agrees(rng, 2000, 0.05))
        memory, finding = check.step(memory, agrees(rng, 5000, 0.05))
        wrong += finding.alarm
        if not finding.alarm:
            delays.append((check.step(memory, agrees(rng, 3000, 0.2))[0]["alarm_n"] or np.inf) - 5000)
    print(
        f"\ndisagreement.v1: {wrong / runs:.3f} wrong in 5k answers at arl 10k; .05 -> .20 after {np.median(delays):g}"
    )
    assert wrong <= stats.binom.ppf(0.999, runs, 0.025)
    assert np.median(delays) <= 150


def test_off_support_two_trees_part_and_within_it_they_do_not() -> None:
    """Digits: two models trained apart, then the images moved by two pixels."""
    from sklearn.datasets import load_digits
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import KNeighborsClassifier

    x, y = load_digits(return_X_y=True)
    x = x / 16
    order = np.random.default_rng(2).permutation(len(x))
    x, y = x[order], y[order]
    one = LogisticRegression(max_iter=200).fit(x[:500], y[:500])
    other = KNeighborsClassifier(3).fit(x[500:900], y[500:900])

    def both(rows: np.ndarray) -> dict[str, np.ndarray]:
        return {"agrees": (one.predict(rows) == other.predict(rows)).astype(float)}

    check = Disagreement()
    memory = check.start(both(x[900:1300]))
    assert not check_check(check, both(x[900:1300]), both(x[1300:])).alarm
    moved = np.roll(x[1300:].reshape(-1, 8, 8), 2, axis=2).reshape(-1, 64)
    finding = check.step(memory, both(moved))[1]
    assert finding.alarm
    assert "since about answer" in finding.why
    assert "Label some of those on which the two disagree" in finding.why


def test_what_is_not_there_is_said() -> None:
    rng = np.random.default_rng(3)
    check = Disagreement()
    finding = check.step(check.start({}), agrees(rng, 100, 0.5))[1]
    assert finding.why.startswith("not watched: the reference has 0 rows answered by both models")
    memory = check.start({"agrees": np.ones(200, bool)})
    assert check.step(memory, {"agrees": np.full(9, np.nan)})[1].why == "no answers of both models yet"
    assert check.step(memory, {"agrees": np.zeros(200, bool)})[1].alarm
    with pytest.raises(StateError, match="agrees holds"):
        check.step(memory, {"agrees": [2.0]})
    apart = check.step(check.start({"agrees": np.zeros(200)}), {"agrees": np.zeros(9)})[1]
    assert apart.why.startswith("not watched: the models disagree so often")
