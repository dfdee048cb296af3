from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn import metrics

from luthier.codec import pack
from luthier.errors import StateError
from luthier.statistics.curves import Curves, precision_recall, roc
from luthier.statistics.laws import check_statistic

STATISTIC = Curves()


def drawn(rng, n, positive, spread, effect):
    target = (rng.random(n) < positive).astype(int)
    return 1 / (1 + np.exp(-spread * (rng.normal(size=n) + effect * target))), target


def state(score, target):
    return STATISTIC.observe({"score": np.asarray(score), "target": np.asarray(target)})


@pytest.mark.parametrize("spread", [0.1, 1.0, 12.0])
@pytest.mark.parametrize("effect", [0.0, 1.0, 3.0])
@pytest.mark.parametrize("positive", [0.5, 0.02])
def test_areas_are_within_5e_4_of_the_exact_ones(spread: float, effect: float, positive: float) -> None:
    rng = np.random.default_rng(6)
    for n in (1000, 60_000):
        score, target = drawn(rng, n, positive, spread, effect)
        found = STATISTIC.read(state(score, target))
        assert found["roc_auc"].value == pytest.approx(metrics.roc_auc_score(target, score), abs=1e-5)
        exact = metrics.average_precision_score(target, score)
        assert found["average_precision"].value == pytest.approx(exact, abs=3e-4)


def test_ties_are_scikit_learns() -> None:
    rng = np.random.default_rng(0)
    for levels in (1, 2, 5, 40):
        score, target = rng.integers(0, levels + 1, 400) / levels, rng.integers(0, 2, 400)
        found = STATISTIC.read(state(score, target))
        assert found["roc_auc"].value == pytest.approx(metrics.roc_auc_score(target, score), abs=1e-12)
        exact = metrics.average_precision_score(target, score)
        assert found["average_precision"].value == pytest.approx(exact, abs=1e-12)


def test_curves_are_scikit_learns() -> None:
    rng = np.random.default_rng(1)
    score, target = rng.integers(0, 20, 500) / 19, rng.integers(0, 2, 500)
    false, true, threshold = roc(state(score, target))
    expected = metrics.roc_curve(target, score, drop_intermediate=False)
    for ours, theirs in zip((false, true), expected, strict=False):
        np.testing.assert_allclose(ours, theirs, atol=1e-12)
    np.testing.assert_allclose(threshold[1:], expected[2][1:], atol=1e-6)
    precision, recall, _ = precision_recall(state(score, target))
    exact = metrics.precision_recall_curve(target, score)
    np.testing.assert_allclose(precision[::-1], exact[0][:-1], atol=1e-12)
    np.testing.assert_allclose(recall[::-1], exact[1][:-1], atol=1e-12)


@pytest.mark.parametrize(("n", "positive", "effect"), [(400, 0.5, 1), (1000, 0.1, 1), (400, 0.3, 2)])
def test_intervals_cover(n: int, positive: float, effect: float) -> None:
    rng = np.random.default_rng(2)
    true = STATISTIC.read(state(*drawn(rng, 1_000_000, positive, 1, effect)))
    covered = dict.fromkeys(("roc_auc", "average_precision"), 0)
    for _ in range(400):
        found = STATISTIC.read(state(*drawn(rng, n, positive, 1, effect)))
        for name in covered:
            covered[name] += found[name].low <= true[name].value <= found[name].high
    assert min(covered.values()) >= 0.91 * 400, covered
    assert max(covered.values()) <= 0.985 * 400, covered


@pytest.mark.parametrize("n", [20_000, 100_000])
def test_parts_with_narrow_bins_and_a_whole_with_wide_ones_agree(n: int) -> None:
    rng = np.random.default_rng(3)
    score, target = drawn(rng, n, 0.3, 3, 1)
    check_statistic(STATISTIC, {"score": score, "target": target}, 4)
    whole = state(score, target)
    assert whole["bits"] < state(score[:100], target[:100])["bits"] == 20
    assert len(whole["bins"]) <= 16_384
    assert len(pack(whole)) < 500_000


def test_perfect_order_is_not_certainty() -> None:
    found = STATISTIC.read(state([0.1, 0.2, 0.8, 0.9], [0, 0, 1, 1]))
    for name in ("roc_auc", "average_precision"):
        assert (found[name].value, found[name].high) == (1.0, 1.0)
        assert found[name].low < 0.4


@pytest.mark.parametrize("target", [[1, 1, 1], [0, 0, 0], [-1, 2, -1]])
def test_one_class_only_has_no_area(target: list[int]) -> None:
    found = STATISTIC.read(state([0.1, 0.5, 0.9], target))
    for name in ("roc_auc", "average_precision"):
        assert math.isnan(found[name].value)
        assert found[name].n == 0


def test_scores_out_of_range_and_other_targets_are_missing() -> None:
    found = STATISTIC.read(state([0.5, 1.5, -1e-9, math.nan, math.inf, 0.5], [0, 1, 1, 1, 1, 2]))
    assert found["missing"].value == pytest.approx(5 / 6)


def test_columns_of_different_length_are_named() -> None:
    with pytest.raises(StateError, match="'score' and 'target' have 3 and 2 rows"):
        state([0.1, 0.2, 0.3], [0, 1])
