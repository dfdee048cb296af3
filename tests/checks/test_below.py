"""A fixed threshold, read after every label: how often it lies, how soon it speaks, and what F1 is."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import f1_score, precision_score, recall_score

from luthier.checks.below import Below
from luthier.checks.laws import check_check
from luthier.errors import StateError, UsageError


def answers(rng: np.random.Generator, n: int, missed: float, over: float = 0.05) -> dict[str, np.ndarray]:
    """A third of the rows are of class 1; `missed` of them are not found, and `over` of the others are taken for it."""
    target = (rng.random(n) < 1 / 3).astype(int)
    flip = rng.random(n) < np.where(target == 1, missed, over)
    predicted = np.where(flip, 1 - target, target)
    return {"predicted": predicted, "target": target, "loss": (predicted != target).astype(float)}


@pytest.mark.parametrize("metric", ["accuracy", "precision", "recall", "f1"])
def test_the_value_is_the_metric(metric: str) -> None:
    data = answers(np.random.default_rng(1), 3000, 0.3)
    check = Below(metric, threshold=0.2)
    finding = check_check(check, {}, data)
    expected = {
        "accuracy": lambda y, p: (y == p).mean(), "precision": precision_score, "recall": recall_score, "f1": f1_score
    }[metric](data["target"], data["predicted"])  # fmt: skip
    assert finding.value == pytest.approx(expected, abs=1e-12)
    assert not finding.alarm
    assert f"{metric} {finding.value:.4g}" in finding.why


@pytest.mark.parametrize("metric", ["accuracy", "precision", "recall", "f1"])
def test_at_the_threshold_alarms_are_as_rare_as_promised_and_below_it_they_come(metric: str) -> None:
    rng = np.random.default_rng(2)
    big = answers(rng, 400_000, 0.2)
    exact = Below(metric, threshold=0.5).step(Below(metric, threshold=0.5).start({}), big)[1].value
    check = Below(metric, threshold=round(exact, 3), arl=2000)
    alarms, delays = 0, []
    for _ in range(60):
        alarms += check.step(check.start({}), answers(rng, 400, 0.2))[1].alarm
        after = check.step(check.start({}), answers(rng, 6000, 0.45, 0.15))[0]
        delays.append(after["alarm_n"] or np.inf)
    print(
        f"\nbelow.v1 {metric}: {alarms / 60:.3f} of runs of 400 at arl 2,000 alarm; found after {np.median(delays):g}"
    )
    assert alarms <= stats.binom.ppf(0.999, 60, 0.2)
    assert np.median(delays) <= 300


def test_a_threshold_not_given_is_what_the_reference_keeps() -> None:
    rng = np.random.default_rng(3)
    check = Below("f1")
    memory = check.start(answers(rng, 5000, 0.2))
    assert 0.70 < memory["reference"]["threshold"] < 0.85
    memory, finding = check.step(memory, answers(rng, 4000, 0.2))
    assert "chosen by 10-fold cross-validation: every held-out tenth of the reference keeps it" in finding.why
    assert not finding.alarm
    finding = check.step(memory, answers(rng, 2000, 0.6))[1]
    assert finding.alarm
    assert finding.value < finding.limit
    assert "since about label" in finding.why


def test_a_perfect_or_a_missing_reference() -> None:
    check = Below()
    memory = check.start({"loss": np.zeros(500)})
    assert memory["reference"]["threshold"] == pytest.approx(0.9999)
    assert check.step(memory, {"loss": np.ones(100)})[1].alarm
    for reference, why in (
        ({}, "0 labelled reference rows are too few"), ({"loss": np.ones(500)}, "has accuracy 0, and nothing"),
    ):  # fmt: skip
        finding = check.step(check.start(reference), {"loss": np.ones(100)})[1]
        assert why in finding.why
        assert np.isnan(finding.value)
        assert not finding.alarm


def test_bad_options_and_bad_losses_are_named() -> None:
    with pytest.raises(UsageError, match="cannot measure 'auroc'; it knows accuracy"):
        Below("auroc")
    with pytest.raises(UsageError, match=r"accuracy below 1\.0 says nothing"):
        Below(threshold=1.0)
    check = Below(threshold=0.9)
    with pytest.raises(StateError, match="loss holds 3"):
        check.step(check.start({}), {"loss": [3.0]})
    assert check.step(check.start({}), {"loss": [np.nan] * 5})[1].why == "no labelled rows that count yet"
    nothing = {"predicted": np.array([0, 1]), "target": np.array([-1, -1])}
    assert Below("f1", threshold=0.9).step(Below("f1", threshold=0.9).start({}), nothing)[1].n == 0
