from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from luthier.statistics.auroc import Auroc, curve

RNG = np.random.default_rng(6)


def read(score, target):
    statistic = Auroc()
    return statistic.read(statistic.observe({"score": np.asarray(score), "target": np.asarray(target)}))


@pytest.mark.parametrize("spread", [0.1, 1.0, 4.0, 12.0])
@pytest.mark.parametrize("effect", [0.0, 1.0, 3.0])
def test_area_is_within_5e_4_of_the_exact_one(spread: float, effect: float) -> None:
    target = RNG.integers(0, 2, 20_000)
    score = 1 / (1 + np.exp(-spread * (RNG.normal(size=20_000) + effect * target)))
    found = read(score, target)["auroc"]
    exact = roc_auc_score(target, score)
    assert found.value == pytest.approx(exact, abs=5e-4)
    assert found.low < exact < found.high


def test_ties_count_half() -> None:
    target, score = RNG.integers(0, 2, 500), RNG.integers(0, 5, 500) / 4
    assert read(score, target)["auroc"].value == pytest.approx(roc_auc_score(target, score), abs=1e-12)


def test_intervals_cover() -> None:
    true, covered = 0.7602499389065233, 0  # Φ(1 / √2)
    for _ in range(500):
        target = RNG.integers(0, 2, 200)
        found = read(1 / (1 + np.exp(-RNG.normal(size=200) - target)), target)["auroc"]
        covered += found.low <= true <= found.high
    assert 0.92 * 500 <= covered <= 0.98 * 500


def test_perfect_order_is_not_certainty() -> None:
    found = read([0.1, 0.2, 0.8, 0.9], [0, 0, 1, 1])["auroc"]
    assert (found.value, found.high) == (1.0, 1.0)
    assert found.low < 0.4
    assert read([0.9, 0.8, 0.1, 0.2], [0, 0, 1, 1])["auroc"].high > 0.6


def test_one_class_only_has_no_area() -> None:
    found = read([0.1, 0.7], [1, 1])
    assert math.isnan(found["auroc"].value)
    assert found["positive"].value == 1.0


def test_scores_out_of_range_and_other_targets_are_missing() -> None:
    found = read([0.5, 1.5, -1e-9, math.nan, 0.5, 0.5], [0, 1, 1, 1, 2, -1])
    assert found["missing"].value == pytest.approx(5 / 6)


def test_curve_rises_from_corner_to_corner() -> None:
    target = RNG.integers(0, 2, 1000)
    score = np.clip(RNG.normal(0.4 + 0.2 * target, 0.2), 0, 1)
    state = Auroc().observe({"score": score, "target": target})
    false, true = curve(state)
    assert (false[0], true[0], false[-1], true[-1]) == (0, 0, 1, 1)
    assert np.trapezoid(true, false) == pytest.approx(read(score, target)["auroc"].value, abs=1e-12)
