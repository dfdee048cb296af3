"""What a card, a gate and a fit read about a classifier: intervals that hold the truth."""

from __future__ import annotations

import math

import numpy as np
import pytest

from luthier.models.classification import auroc, estimates

RUNS = 500


def answered(rng: np.random.Generator, n: int, share: float) -> dict[str, np.ndarray]:
    """Calibrated answers of two labels; one in twenty is far surer than the rest, which skews the log loss."""
    target = (rng.random(n) < share).astype(int)
    logit = 2.25 * (target - 0.5) + 1.5 * rng.normal(size=n) + math.log(share / (1 - share))
    score = 1 / (1 + np.exp(-logit))
    said = (score > 0.5).astype(int)
    return {
        "target": target, "predicted": said, "loss": (said != target).astype(float), "score": score,
        "target_score": np.where(target == 1, score, 1 - score),
    }  # fmt: skip


def test_intervals_hold_the_truth_with_a_rare_label_and_a_skewed_loss() -> None:
    rng = np.random.default_rng(1)
    truth = estimates(answered(rng, 500_000, 0.1), ("a", "b"))
    for n in (50, 200):
        held: dict[str, int] = dict.fromkeys(truth, 0)
        for _ in range(RUNS):
            for name, one in estimates(answered(rng, n, 0.1), ("a", "b")).items():
                held[name] += not (one.low > truth[name].value or one.high < truth[name].value)
        print(f"\n{n} rows: { ({name: round(hit / RUNS, 3) for name, hit in held.items()}) }")
        assert min(held.values()) >= 0.92 * RUNS, held  # 0.95 less 3 standard errors
        assert held["log_loss"] <= 0.985 * RUNS


def test_a_loss_that_says_nothing_and_an_area_without_overlap() -> None:
    known = {"target": np.zeros(2, int), "predicted": np.zeros(2, int), "loss": np.zeros(2), "score": np.zeros(2)}
    one = estimates({**known, "target_score": np.full(2, 0.5)}, ("a", "b"))["log_loss"]
    assert (one.value, one.low, one.high) == pytest.approx((math.log(2),) * 3)
    single = estimates({**{k: v[:1] for k, v in known.items()}, "target_score": np.full(1, 0.5)}, ("a", "b"))[
        "log_loss"
    ]
    assert (single.low, single.high) == (0, math.inf)
    apart = auroc([0.1, 0.2, 0.8, 0.9], [False, False, True, True], 0.95)
    assert apart.value == apart.high == 1
    assert 0.2 < apart.low < 0.8
    assert math.isnan(auroc([0.1], [True], 0.95).value)
