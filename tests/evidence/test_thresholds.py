"""Limits that nobody gave: chosen on the reference, and said."""

from __future__ import annotations

import math

import numpy as np
import pytest

from luthier.checks.risk import Risk, RiskLifetime
from luthier.checks.risk_block import RiskBlock
from luthier.evidence import source_bound
from luthier.evidence.thresholds import held_out_floor, limit
from luthier.options import MonitorOptions
from luthier.stages.monitor import Monitor


def draw(rng: np.random.Generator, rate: float, n: int) -> np.ndarray:
    return (rng.random(n) < rate).astype(float)


def bound(losses: np.ndarray) -> float:
    return source_bound(losses, 0.025)


def test_a_tolerance_is_absolute_or_a_share_of_the_bound() -> None:
    losses = draw(np.random.default_rng(0), 0.05, 2000)
    upper = bound(losses)
    assert limit(losses, 0.02, None, bound) == (upper + 0.02, 0.02, "the tolerance")
    relative = limit(losses, 0.02, 0.2, bound)
    assert relative.value == pytest.approx(1.2 * upper)
    assert relative.how == "the relative tolerance of 0.2"


@pytest.mark.parametrize("check", [Risk, RiskLifetime, RiskBlock])
@pytest.mark.parametrize("rate", [0.004, 0.05, 0.2])
def test_a_relative_tolerance_means_the_same_at_every_level(check: type, rate: float) -> None:
    losses = draw(np.random.default_rng(1), rate, 50_000)
    known = check(relative_tolerance=0.5).start({"loss": losses})["reference"]
    assert 1.5 * rate < known["limit"] < 2 * rate
    assert "relative tolerance" in known["how"]


def test_the_chosen_tolerance_covers_what_the_reference_itself_does() -> None:
    rng = np.random.default_rng(2)
    steady = limit(draw(rng, 0.1, 20_000), None, None, bound)
    restless = limit(np.concatenate([draw(rng, 0.05 + 0.1 * (i % 2), 2000) for i in range(10)]), None, None, bound)
    assert "10-fold cross-validation" in steady.how
    assert f"a tolerance of {steady.tolerance:g}" in steady.how
    assert 0 <= steady.tolerance < 0.02
    assert 0.03 < restless.tolerance < 0.08
    few = limit(draw(rng, 0.1, 60), None, None, bound)
    assert few.tolerance == 0.02
    assert "60 reference rows are too few" in few.how


def test_false_alarms_with_a_chosen_tolerance() -> None:
    rng = np.random.default_rng(3)
    check, alarms = Risk(tolerance=None, arl=10_000), 0
    for _ in range(60):
        memory = check.start({"loss": draw(rng, 0.1, 2000)})
        alarms += check.step(memory, {"loss": draw(rng, 0.1, 10_000)})[1].alarm
    print(f"\nrisk.v1, tolerance chosen: {alarms} of 60 streams of 10k labels alarm, arl 10k")
    assert alarms <= 4


def test_the_default_says_what_it_always_said() -> None:
    losses = draw(np.random.default_rng(4), 0.1, 1000)
    why = Risk().step(Risk().start({"loss": losses}), {"loss": losses})[1].why
    assert why.endswith("(reference 0.092 of 1000, its error and the tolerance)")


def test_the_monitor_hands_the_choice_to_the_checks_that_know_it() -> None:
    rng = np.random.default_rng(5)
    reference = {"loss": draw(rng, 0.1, 1000), "confidence": rng.beta(8, 2, 1000)}
    for options, said in (
        (MonitorOptions(tolerance=None, checks=("risk.v1",)), "chosen by 10-fold cross-validation"),
        (MonitorOptions(relative_tolerance=0.3, checks=("risk.v1",)), "the relative tolerance of 0.3"),
    ):
        assert said in Monitor(reference, options=options).observe("label", {"loss": draw(rng, 0.1, 100)})[0].why
    options = MonitorOptions(tolerance=None, checks=("confidence_shift.v1",))
    finding = Monitor(reference, options=options).observe("answer", {"confidence": rng.beta(8, 2, 100)})[0]
    assert not finding.alarm
    assert math.isfinite(finding.limit)
    with pytest.raises(ValueError, match="relative_tolerance is -1"):
        MonitorOptions(relative_tolerance=-1)


def test_a_floor_is_kept_by_every_held_out_tenth() -> None:
    rows = np.repeat(np.arange(10) / 10, 50)
    floor, how = held_out_floor(rows, lambda fold: float(np.mean(fold)) + 0.05)
    assert floor == pytest.approx(0.05)
    assert "10-fold cross-validation" in how
    assert math.isnan(held_out_floor(rows[:99], lambda fold: 1.0)[0])
    assert math.isnan(held_out_floor(rows, lambda fold: math.nan)[0])
