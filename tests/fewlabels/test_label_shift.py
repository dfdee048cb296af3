"""Class shares in production without labels: right, with intervals that cover, and silent where nothing can be said."""

from __future__ import annotations

import math

import numpy as np
import pytest

from luthier.errors import StateError
from luthier.fewlabels.label_shift import bbse, em

SOURCE, TRUE = np.array([0.5, 0.3, 0.2]), np.array([0.15, 0.25, 0.6])
MIDDLES = np.array([-1.5, 0.0, 2.0])


def drawn(rng: np.random.Generator, n: int, priors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Targets (n,) and the posteriors (n, 3) of a model that knows the source exactly."""
    y = rng.choice(3, n, p=priors)
    x = rng.normal(MIDDLES[y], 1)
    joint = SOURCE * np.exp(-((x[:, None] - MIDDLES) ** 2) / 2)
    return y, joint / joint.sum(axis=1, keepdims=True)


def test_both_find_the_shares_and_their_intervals_cover() -> None:
    rng, runs = np.random.default_rng(0), 120
    hits, widths = {"bbse": 0, "em": 0}, {"bbse": 0.0, "em": 0.0}
    for _ in range(runs):
        y, p = drawn(rng, 1500, SOURCE)
        _, q = drawn(rng, 800, TRUE)
        found = {"bbse": bbse(y, p.argmax(1), q.argmax(1), 3), "em": em(q, SOURCE)}
        for name, shift in found.items():
            hits[name] += sum(e.low <= t <= e.high for e, t in zip(shift.priors, TRUE, strict=True))
            widths[name] += sum(e.high - e.low for e in shift.priors) / 3 / runs
            assert sum(e.value for e in shift.priors) == pytest.approx(1)
            assert shift.weights[2] == pytest.approx(3, abs=0.75)
    print(f"\ncoverage { ({k: v / runs / 3 for k, v in hits.items()}) }, width {widths}")
    for name, count in hits.items():
        assert 0.92 <= count / (3 * runs) <= 0.98, name
    assert widths["em"] < widths["bbse"] < 0.2


def test_intervals_cover_with_few_rows_few_references_and_rare_classes() -> None:
    rng, runs = np.random.default_rng(5), 200
    source = np.array([0.8, 0.2])
    for n, known, share in ((50, 2000, 0.05), (50, 200, 0.3), (200, 200, 0.3)):
        hits = np.zeros(2)
        for _ in range(runs):
            (y, p), (_, q) = (pair(rng, rows, source, prior) for rows, prior in ((known, 0.2), (n, share)))
            found = (bbse(y, p.argmax(1), q.argmax(1), 2).priors[1], em(q, source).priors[1])
            hits += [one.low <= share <= one.high for one in found]
        print(f"\n{n} rows, {known} of the reference, share {share}: bbse and em hold in {hits / runs}")
        assert (hits >= 0.905 * runs).all(), (n, known, share)  # 0.95 less 3 standard errors
        assert share < 0.1 or (hits <= 0.985 * runs).all(), (n, known, share)  # at the edge of what can be, wider


def pair(rng: np.random.Generator, n: int, source: np.ndarray, share: float) -> tuple[np.ndarray, np.ndarray]:
    """Targets (n,) of two classes, a share of the second, and their posteriors (n, 2) at the `source` shares."""
    y = (rng.random(n) < share).astype(int)
    joint = source * np.exp(-((rng.normal(2.0 * y)[:, None] - [0.0, 2.0]) ** 2) / 2)
    return y, joint / joint.sum(axis=1, keepdims=True)


def test_two_classes_have_mirrored_intervals_and_no_row_is_ever_certain() -> None:
    rng = np.random.default_rng(6)
    y, p = pair(rng, 300, np.array([0.5, 0.5]), 0.5)
    _, q = pair(rng, 40, np.array([0.5, 0.5]), 0.02)
    for shift in (bbse(y, p.argmax(1), q.argmax(1), 2), em(q, [0.5, 0.5]), bbse(y, y, np.zeros(40, int), 2)):
        one, two = shift.priors
        assert (one.low, one.high) == pytest.approx((1 - two.high, 1 - two.low), abs=1e-6)
        assert 0.02 < two.high < 0.5
        assert two.low == 0


def test_classes_with_the_same_probabilities_are_not_told_apart() -> None:
    p = np.random.default_rng(7).dirichlet([1.0, 1.0], 500)
    shift = em(np.column_stack([p[:, 0], p[:, 1] / 2, p[:, 1] / 2]), [0.5, 0.25, 0.25])
    assert shift.priors[0].high - shift.priors[0].low < 0.4
    assert [shift.priors[c].low for c in (1, 2)] == [0, 0]
    assert min(shift.priors[c].high for c in (1, 2)) > 0.5


def test_no_shift_is_no_shift() -> None:
    y, p = drawn(np.random.default_rng(1), 20_000, SOURCE)
    for shift in (bbse(y, p.argmax(1), p.argmax(1), 3), em(p, SOURCE)):
        assert shift.weights == pytest.approx(1, abs=0.05)
        assert all(e.low <= s <= e.high for e, s in zip(shift.priors, SOURCE, strict=True))


def test_a_class_that_is_gone_is_zero() -> None:
    rng = np.random.default_rng(2)
    y, p = drawn(rng, 5000, SOURCE)
    _, q = drawn(rng, 2000, np.array([0.5, 0.5, 0.0]))
    for shift in (bbse(y, p.argmax(1), q.argmax(1), 3), em(q, SOURCE)):
        assert shift.priors[2].low == 0
        assert shift.priors[2].value < 0.02


def test_what_cannot_be_said_is_not_said() -> None:
    y = np.array([0, 1, 0, 1] * 50)
    for shift, why in (
        (bbse(y, y, [], 2), "one of the samples is empty"),
        (bbse(y, y, y, 3), "no row of class 2"),
        (bbse(y, np.zeros(200, int), y, 2), "confuses its classes"),
        (em(np.zeros((0, 2)), [0.5, 0.5]), "no rows"),
        (em(np.full((3, 2), np.nan), [0.5, 0.5]), "no rows"),
    ):
        assert why in shift.why
        assert all(math.isnan(e.value) and e.n == 0 for e in shift.priors)
        assert np.isnan(shift.weights).all()


def test_misuse_is_named() -> None:
    with pytest.raises(
        StateError, match=r"target must hold label indices from 0 to 1, -1 for none; it is int64, 0 to 5"
    ):
        bbse([0, 5], [0, 1], [0], 2)
    with pytest.raises(StateError, match="2 targets for 1 predictions"):
        bbse([0, 1], [0], [0], 2)
    with pytest.raises(StateError, match="classes is 1"):
        bbse([0], [0], [0], 1)
    with pytest.raises(StateError, match=r"row 1 is \[0\.9, 0\.9\]"):
        em([[0.5, 0.5], [0.9, 0.9]], [0.5, 0.5])
    with pytest.raises(StateError, match=r"source shares above 0, not \[1\.0, 0\.0\]"):
        em([[0.5, 0.5]], [1, 0])
