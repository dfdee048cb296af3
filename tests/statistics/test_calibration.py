from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.metrics import brier_score_loss

from luthier.statistics.calibration import Calibration, reliability

RNG = np.random.default_rng(4)


def test_brier_score_is_scikit_learns() -> None:
    score, target = RNG.random(3000), RNG.integers(0, 2, 3000)
    statistic = Calibration(probability="score", outcome="positive")
    found = statistic.read(statistic.observe({"score": score, "target": target}))
    assert found["brier"].value == pytest.approx(brier_score_loss(target, score), abs=1e-9)


def test_ece_and_bins_are_those_of_a_plain_loop() -> None:
    confidence = RNG.beta(5, 2, 4000)
    loss = (RNG.random(4000) > confidence**2).astype(float)
    statistic = Calibration(bins=10)
    state = statistic.observe({"confidence": confidence, "loss": loss})
    place = np.minimum((confidence * 10).astype(int), 9)
    expected = sum(
        (place == b).mean() * abs(confidence[place == b].mean() - (1 - loss[place == b]).mean()) for b in set(place)
    )
    found = statistic.read(state)
    assert found["ece"].value == pytest.approx(expected, abs=1e-12)
    assert found["gap"].low > 0.05  # overconfident, beyond doubt
    bins = reliability(state)
    assert [one["n"] for one in bins] == [int((place == b).sum()) for b in sorted(set(place))]
    top = bins[-1]
    assert top["outcome"].low < top["outcome"].value < top["outcome"].high
    assert top["probability"] == pytest.approx(confidence[place == 9].mean(), abs=1e-12)


def test_a_calibrated_model_has_no_gap() -> None:
    statistic = Calibration()
    covered = 0
    for _ in range(300):
        confidence = RNG.random(400)
        loss = (RNG.random(400) > confidence).astype(float)
        found = statistic.read(statistic.observe({"confidence": confidence, "loss": loss}))["gap"]
        covered += found.low <= 0 <= found.high
    assert covered >= 0.92 * 300


def test_a_probability_outside_its_range_or_without_a_label_is_missing() -> None:
    statistic = Calibration()
    columns = {
        "confidence": np.array([0.5, 1.2, -0.1, math.nan, 1.0]),
        "loss": np.array([0.0, 0.0, 0.0, 0.0, math.nan]),
    }
    found = statistic.read(statistic.observe(columns))
    assert found["brier"].n == 1
    assert found["missing"].value == 0.8


def test_misuse_is_named() -> None:
    with pytest.raises(ValueError, match="bins is 1"):
        Calibration(bins=1)
    with pytest.raises(ValueError, match="outcome is 'left'"):
        Calibration(outcome="left")  # type: ignore[arg-type]
