"""Numbers and categories: quiet while nothing changes, however small the reference; soon heard when something does."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from luthier.checks.column_shift import ColumnShift
from luthier.checks.laws import check_check
from luthier.errors import StateError
from luthier.stages.monitor import Monitor
from luthier.tables.parts import upper, upper_of_rest

LEVELS = np.arange(20, 0, -1.0) / 210
DRAWS = {
    "numbers": lambda rng, n: rng.lognormal(size=n),
    "whole numbers": lambda rng, n: rng.poisson(2, n),
    "two categories": lambda rng, n: rng.integers(0, 2, n).astype(str),
    "categories": lambda rng, n: rng.choice(20, n, p=LEVELS).astype(str),
    "fifty categories": lambda rng, n: rng.integers(0, 50, n).astype(str),
    "many categories": lambda rng, n: np.minimum(rng.zipf(1.3, n), 10**6).astype(str),
}


@pytest.mark.parametrize("shape", DRAWS)
@pytest.mark.parametrize("reference", [100, 1000, 10_000])
def test_it_lies_no_more_often_than_promised(shape: str, reference: int) -> None:
    """References drawn anew, nothing changed and no slack; windows of 100, 1,000 and 10,000 rows in turn."""
    runs, rows, draw = 12, 22_200, DRAWS[shape]
    check, wrong = ColumnShift(slack=0.0, arl=400_000), 0
    for seed in range(runs):
        rng = np.random.default_rng([reference, seed])
        memory = check.start({"x": draw(rng, reference)})
        for n in (100, 1000, 10_000) * 2:
            memory, finding = check.step(memory, {"x": draw(rng, n)})
        assert finding.n == rows
        wrong += finding.alarm
    assert wrong <= stats.binom.ppf(0.999, runs, check.delta + rows / check.arl)


@pytest.mark.parametrize(
    ("shape", "changed", "reference", "most"),
    [
        ("numbers", lambda rng, n: rng.lognormal(0.3, size=n), 1000, 2000),
        ("numbers", lambda rng, n: rng.lognormal(0.3, size=n), 10_000, 800),
        ("numbers", lambda rng, n: np.where(rng.random(n) < 0.1, np.nan, rng.lognormal(size=n)), 1000, 500),
        ("numbers", lambda rng, n: np.full(n, 1.0), 1000, 100),
        ("categories", lambda rng, n: rng.choice(20, n, p=0.7 * LEVELS + 0.3 * LEVELS[::-1]).astype(str), 10_000, 800),
        ("categories", lambda rng, n: np.full(n, "unheard of"), 1000, 100),
        ("many categories", lambda rng, n: rng.integers(10**7, 10**8, n).astype(str), 1000, 200),
    ],
)
def test_it_sees_a_change_soon(shape: str, changed, reference: int, most: int) -> None:
    check, delays = ColumnShift(), []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        memory = check.start({"x": DRAWS[shape](rng, reference)})
        memory, before = check.step(memory, {"x": DRAWS[shape](rng, 5000)})
        memory, after = check.step(memory, {"x": changed(rng, 5000)})
        assert (before.alarm, after.alarm) == (False, True), after.why
        delays.append(memory["alarm_n"] - 5000)
    print(f"\ncolumn_shift.v1 {shape}, reference {reference}: median delay {np.median(delays):,.0f} rows")
    assert np.median(delays) <= most


def test_a_finding_names_the_column_the_part_and_the_distances() -> None:
    rng = np.random.default_rng(3)
    calm = {"age": rng.normal(40, 9, 2000), "plan": rng.choice(["basic", "pro"], 2000)}
    moved = {"age": rng.normal(40, 9, 2000), "plan": rng.choice(["basic", "pro", "trial"], 2000)}
    finding = check_check(ColumnShift(), calm, moved)
    assert finding.alarm
    assert finding.why.startswith("plan: new categories: 3")
    for word in ("Jensen–Shannon 0.", "PSI ", "total variation 0.", "allowed 1.", "reference 0.00%", "shown at row "):
        assert word in finding.why
    assert finding.limit < 0.03 < 0.3 < finding.value
    assert "Kolmogorov–Smirnov" in check_check(ColumnShift(), calm, {**calm, "age": calm["age"] + 5}).why


def test_a_column_that_is_gone_or_of_another_kind_is_missing() -> None:
    rng = np.random.default_rng(4)
    calm = {"age": rng.normal(40, 9, 500), "plan": rng.choice(["basic", "pro"], 500)}
    for bad in ({"age": calm["age"]}, calm | {"plan": [None] * 500}, calm | {"age": np.array(["?"] * 500, object)}):
        finding = ColumnShift().step(ColumnShift().start(calm), {k: np.asarray(v) for k, v in bad.items()})[1]
        assert finding.alarm
        assert "missing" in finding.why
        assert finding.value == 1.0


def test_a_constant_column_stays_quiet_until_it_moves() -> None:
    calm = {"x": np.full(500, 3.0), "y": np.full(500, "same")}
    assert not check_check(ColumnShift(), calm, calm).alarm
    assert check_check(ColumnShift(), calm, calm | {"x": np.full(500, 3.5)}).alarm
    assert check_check(ColumnShift(), calm, calm | {"y": np.full(500, "else")}).alarm


def test_what_cannot_be_watched_is_said() -> None:
    start = ColumnShift(columns=("x",)).start
    finding = ColumnShift().step(start({"x": np.full(500, np.nan)}), {"x": np.ones(9)})[1]
    assert finding.why == "not watched: the reference has 500 rows: 'x' has 0 usable values; 100 are needed"
    assert math.isnan(finding.value)
    with pytest.raises(StateError, match=r"no column 'z'; it has x, y"):
        ColumnShift(columns=("z",)).start({"x": np.ones(200), "y": np.ones(200)})
    with pytest.raises(ValueError, match=r"bins is 1; it must lie in \[2, 100\]"):
        ColumnShift(bins=1)


def test_bounds_of_a_category_hold_for_all_categories_at_once() -> None:
    """Misses over 2,000 categories of very different shares stay within delta, though each bound is near its count."""
    rng, n, delta, wrong, runs = np.random.default_rng(5), 2000, 0.1, 0, 60
    p = np.arange(1, 2001) ** -1.1
    p /= p.sum()
    above = np.array([upper(k, n, delta) for k in range(400)])
    lower = np.array([1 - upper_of_rest(k, n, delta) for k in range(400)])
    for _ in range(runs):
        k = rng.multinomial(n, p)
        wrong += bool((p > above[k]).any() or (p < lower[k]).any())
    assert wrong <= stats.binom.ppf(0.999, runs, 2 * delta)
    assert above[100] < 0.08


def test_a_monitor_watches_a_table() -> None:
    rng = np.random.default_rng(6)
    monitor = Monitor({"age": rng.normal(40, 9, 2000), "loss": np.zeros(2000)}, checks=("column_shift.v1",))
    assert not monitor.observe("answer", {"age": rng.normal(40, 9, 3000)})[0].alarm
    assert monitor.observe("answer", {"age": rng.normal(46, 9, 1000)})[0].alarm


def test_ids_and_times_are_not_watched() -> None:
    reference = {"age": np.random.default_rng(0).normal(size=500), "id": np.arange(500), "at": 60.0 * np.arange(500)}
    check = ColumnShift()
    _, finding = check.step(check.start(reference), {"age": np.random.default_rng(0).normal(size=500)})
    assert not finding.alarm, finding.why
