"""Expected metrics, against scikit-learn's where every answer is known."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.isotonic import IsotonicRegression
from sklearn.metrics import f1_score, precision_score, recall_score, roc_auc_score

from luthier.fewlabels import calibrated


def test_isotonic_is_scikit_learns() -> None:
    rng = np.random.default_rng(1)
    count = rng.integers(50, 200, 40).astype(float)
    right = rng.binomial(count.astype(int), np.linspace(0.3, 0.9, 40)).astype(float)
    peer = IsotonicRegression().fit(np.arange(40), right / count, sample_weight=count).predict(np.arange(40))
    assert calibrated.isotonic(right, count) == pytest.approx(peer, abs=2e-3)


@pytest.mark.parametrize("classes", [2, 5])
def test_known_answers_give_the_metrics_themselves(classes: int) -> None:
    rng = np.random.default_rng(2)
    n, ranges = 4000, 30
    said, place = rng.integers(0, classes, n), rng.integers(0, ranges, n)
    target = np.where(rng.random(n) < 0.3 + 0.02 * place, said, rng.integers(0, classes, n))
    counts, right, table = np.zeros((classes, ranges)), np.zeros((classes, ranges)), np.zeros((classes, classes))
    np.add.at(counts, (said, place), 1)
    np.add.at(right, (said, place), said == target)
    np.add.at(table, (said, target), said != target)
    found = calibrated.metrics(right, counts, table / table.sum(axis=1, keepdims=True))
    assert found["accuracy"] == pytest.approx((said == target).mean())
    for name, peer in (("precision", precision_score), ("recall", recall_score), ("f1", f1_score)):
        assert found[f"{name}_macro"] == pytest.approx(peer(target, said, average="macro"))
        assert [found[f"{name}[{c}]"] for c in range(classes)] == pytest.approx(peer(target, said, average=None))
    assert found["confusion[0,1]"] == pytest.approx(((said == 0) & (target == 1)).sum())
    if classes == 2:
        score = np.where(said == 1, 1 + place, -1 - place)
        assert found["auroc"] == pytest.approx(roc_auc_score(target, score), abs=1e-12)


def test_where_mistakes_go_is_drawn_as_often_as_a_multinomial_would() -> None:
    rng = np.random.default_rng(3)
    mistakes = np.array([[0, 0.2, 0.8], [0.5, 0, 0.5], [1, 0, 0]])
    drawn = calibrated.slips(mistakes, np.full(3, 50.0), np.full(3, 1e9), rng.standard_normal((20_000, 3, 3)))
    assert drawn.sum(axis=-1) == pytest.approx(1)
    assert drawn.std(axis=0) == pytest.approx(np.sqrt(mistakes * (1 - mistakes) / 50), abs=2e-3)


def test_the_error_of_a_curve_is_that_of_its_steps() -> None:
    right, count = np.array([[2.0, 3.0, 90.0]]), np.array([[10.0, 10.0, 100.0]])
    curve = np.array([[0.25, 0.25, 0.9]])
    error, step = calibrated.spread(curve, right, count, count)
    assert step.tolist() == [[0, 0, 1]]
    assert error[0, 0] == error[0, 1] == pytest.approx(np.sqrt(5.5 / 21 * 15.5 / 21 / 20))
    sure, _ = calibrated.spread(np.ones((1, 2)), np.zeros((1, 2)), np.zeros((1, 2)), np.zeros((1, 2)))
    assert sure[0, 0] == pytest.approx(np.sqrt(0.5))
