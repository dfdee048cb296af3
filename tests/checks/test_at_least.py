"""Metrics against their requirement: the bounds hold at every look, and what is shown agrees with the bounds."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from luthier.checks.at_least import AtLeast
from luthier.errors import UsageError

LABELS = ("no", "yes", "maybe")


def world(rng: np.random.Generator, n: int) -> dict[str, np.ndarray]:
    """Three classes of .6, .3, .1; right with .95, .85, .7; wrong answers fall on the first other class."""
    target = rng.choice(3, n, p=[0.6, 0.3, 0.1])
    right = rng.random(n) < np.array([0.95, 0.85, 0.7])[target]
    predicted = np.where(right, target, (target + 1) % 3)
    return {"loss": (~right).astype(float), "target": target, "predicted": predicted}


def truth(metric: str) -> float:
    rng = np.random.default_rng(0)
    memory = AtLeast(metric, labels=LABELS).start({})
    memory, _ = AtLeast(metric, labels=LABELS).step(memory, world(rng, 1_000_000))
    return AtLeast(metric, labels=LABELS).bounds(memory)[0]


def test_metrics_are_sklearns() -> None:
    from sklearn import metrics

    columns = world(np.random.default_rng(1), 700)
    target, predicted = columns["target"], columns["predicted"]
    for kind in ("f1", "precision", "recall"):
        score = getattr(metrics, f"{kind}_score")
        each = score(target, predicted, average=None)
        known = {"macro": each.mean(), "smallest": each[2], "yes": each[1]}
        for which, value in known.items():
            check = AtLeast(f"{kind}_{which}", 0.5, labels=LABELS)
            assert check.step(check.start({}), columns)[1].value == pytest.approx(value)
    assert AtLeast().step(AtLeast().start({}), columns)[1].value == pytest.approx((target == predicted).mean())


@pytest.mark.parametrize("metric", ["accuracy", "f1_smallest", "f1_yes", "f1_macro", "precision_yes", "recall_maybe"])
def test_the_lower_bound_is_rarely_above_the_truth_at_any_look(metric: str) -> None:
    rng = np.random.default_rng(2)
    value, misses, runs, widths = truth(metric), 0, 80, []
    check = AtLeast(metric, 0.5, 0.9, LABELS)
    for _ in range(runs):
        memory, lows = check.start({}), []
        for _ in range(6):
            memory, _ = check.step(memory, world(rng, 200))
            lows.append(check.bounds(memory)[1])
        misses += max(lows) > value
        widths.append(value - lows[-1])
    print(f"\n{metric} {value:.3f}: lower bound above it in {misses / runs:.3f} of runs (promised .1),")
    print(f"after 1,200 rows {np.mean(widths):.3f} below it")
    assert misses <= stats.binom.ppf(0.999, runs, 0.1)
    assert np.mean(widths) < 0.2


@pytest.mark.parametrize("metric", ["accuracy", "f1_macro", "f1_smallest"])
@pytest.mark.parametrize("seed", range(6))
def test_shown_means_that_the_lower_bound_reaches_the_limit(metric: str, seed: int) -> None:
    columns = world(np.random.default_rng(seed), 600)
    for limit in np.linspace(0.4, 0.95, 12):
        check = AtLeast(metric, float(limit), 0.95, LABELS)
        memory, finding = check.step(check.start({}), columns)
        _, low, high = check.bounds(memory)
        if abs(low - limit) > 1e-6 and abs(high - limit) > 1e-6:
            assert (finding.evidence * 0.05 >= 1) == (low >= limit)
            assert finding.alarm == (high < limit)


def test_the_smallest_class_is_that_of_the_reference() -> None:
    columns = world(np.random.default_rng(3), 500)
    check = AtLeast("recall_smallest", 0.5)
    by_reference = check.step(check.start({"target": np.array([0, 1, 1, 2, 2])}), columns)[1]
    by_window = check.step(check.start({}), columns)[1]
    assert by_reference.value == pytest.approx(0.95, abs=0.04)
    assert by_window.value == pytest.approx(0.7, abs=0.15)


def test_losses_between_zero_and_one_count_in_part_and_stay_valid() -> None:
    rng = np.random.default_rng(4)
    check, misses = AtLeast("accuracy", 0.5, 0.9), 0
    for _ in range(100):
        memory, _ = check.step(check.start({}), {"loss": rng.beta(1, 4, 500)})
        misses += check.bounds(memory)[1] > 0.8
    assert misses <= stats.binom.ppf(0.999, 100, 0.1)


def test_rows_without_target_and_no_rows_at_all() -> None:
    check = AtLeast("f1_smallest", 0.5)
    window = {"target": np.array([-1, -1]), "predicted": np.array([0, 1])}
    finding = check.step(check.start({}), window)[1]
    assert (finding.n, finding.alarm, finding.why) == (
        0,
        False,
        "f1_smallest not measured: no labelled rows that count",
    )
    unanswered = {"target": np.array([0] * 50), "predicted": np.array([-1] * 50)}
    assert check.step(check.start({}), unanswered)[1].alarm


@pytest.mark.parametrize("metric", ["bleu", "f1", "f1_other", "accuracy_smallest", ""])
def test_unknown_metrics_are_errors_that_name_the_known_ones(metric: str) -> None:
    with pytest.raises(UsageError, match=r"it knows accuracy, and precision.*\['no', 'yes', 'maybe'\]"):
        AtLeast(metric, labels=LABELS)


def test_a_limit_of_one_is_refused() -> None:
    with pytest.raises(UsageError, match="can never be shown"):
        AtLeast("accuracy", 1.0)
