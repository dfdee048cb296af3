"""Columns that go by the hour: quiet while each hour is as it was, soon heard when one is not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import stats

from luthier.checks.column_shift import ColumnShift
from luthier.checks.column_shift_by_hour import ColumnShiftByHour
from luthier.checks.laws import check_check
from luthier.errors import StateError
from luthier.evidence.intervals import beta_uppers
from luthier.series.hours import DAY, WEEK, WORKDAY, hour_in, hours_of_week, season_of

MONDAY = 1_767_571_200  # 2026-01-05, midnight UTC
HOURLY = 60


def days(rng: np.random.Generator, count: int, first: int = 0, moved: float = 0.0) -> dict[str, Any]:
    """A sine of the day around which numbers lie, and two plans whose mix goes by it, in order of time."""
    hours = np.repeat(np.arange(count * 24) + 24 * first, HOURLY)
    at = MONDAY + 3600.0 * hours + np.sort(rng.uniform(0, 3600, (count * 24, HOURLY)), axis=1).ravel()
    cycle = np.sin(2 * np.pi * hours / 24)
    plan = np.where(rng.random(len(hours)) < 0.5 + 0.3 * cycle, "pro", "free")
    return {"at": at, "load": rng.normal(size=len(hours)) + cycle + moved, "plan": plan}


def found(seed: int, moved: float = 0.0, check: Any = None) -> Any:
    rng = np.random.default_rng(seed)
    check = check or ColumnShiftByHour()
    memory = check.start(days(rng, 14))
    return check.step(memory, days(rng, 3, 14, moved))[1]


def test_unchanged_days_are_quiet_where_the_hours_are_not_told_apart_they_are_not() -> None:
    assert not any(found(seed).alarm for seed in range(20))
    assert all(found(seed, check=ColumnShift()).alarm for seed in range(3))


def test_a_change_is_seen_and_named_with_its_column() -> None:
    rows = []
    for seed in range(8):
        finding = found(seed, 1.0)
        assert finding.alarm
        assert finding.parts[0][0] == "load"
        assert "at the same hours of the day" in finding.why
        rows.append(int(finding.why.split("shown at row ")[1].split(".")[0].split(";")[0].replace(",", "")))
    assert np.median(rows) <= 200


@pytest.mark.parametrize("moved", [0.0, 0.5])
def test_the_laws_hold_by_the_hour(moved: float) -> None:
    rng = np.random.default_rng(1)
    check_check(ColumnShiftByHour(), days(rng, 10), days(rng, 1, 10, moved))
    check_check(ColumnShiftByHour(season="hour_of_day"), days(rng, 5), days(rng, 1, 5, moved))


def test_the_order_of_hours_does_not_matter() -> None:
    rng = np.random.default_rng(2)
    check, now = ColumnShiftByHour(), days(rng, 3, 14)
    memory = check.start(days(rng, 14))
    shuffled = rng.permutation(len(now["at"]))
    assert not check.step(memory, {name: values[shuffled] for name, values in now.items()})[1].alarm


def test_rows_without_a_time_or_at_unknown_hours_are_counted_and_not_bet_on() -> None:
    rng = np.random.default_rng(3)
    reference = days(rng, 14)
    night = (reference["at"] // 3600) % 24 < 6
    check = ColumnShiftByHour(season="hour_of_day")
    memory = check.start({name: values[~night] for name, values in reference.items()})
    now = days(rng, 1, 14, moved=5.0)
    known = (now["at"] // 3600) % 24 >= 6
    _, finding = check.step(memory, {name: values[~known] for name, values in now.items()})
    assert not finding.alarm
    assert "360 rows came without a time or at hours that the reference says too little of" in finding.why
    _, finding = check.step(memory, now | {"at": np.full(len(now["at"]), np.nan)})
    assert not finding.alarm
    assert f"{len(now['at']):,} rows came without a time" in finding.why


def test_without_times_it_is_as_without_a_season_and_a_season_asked_for_says_what_it_needs() -> None:
    rng = np.random.default_rng(4)
    check, reference = ColumnShiftByHour(), {"x": rng.normal(size=2000)}
    assert not check.step(check.start(reference), {"x": rng.normal(size=2000)})[1].alarm
    assert check.step(check.start(reference), {"x": rng.normal(1, size=2000)})[1].alarm
    asked = ColumnShiftByHour(season="hour_of_week")
    assert "none of 2000 reference rows has an event time" in asked.step(asked.start(reference), reference)[1].why
    with pytest.raises(StateError, match="the reference has no column 'y'"):
        ColumnShiftByHour(columns=("y",)).start(reference)
    for options in ({"season": "moon"}, {"bins": 1}, {"slack": 0.9}):
        with pytest.raises(ValueError, match=r"must (be|lie)"):
            ColumnShiftByHour(**options)  # type: ignore[arg-type]
    with pytest.raises(StateError, match="'Mars' is no time zone"):
        ColumnShiftByHour(zone="Mars")


def test_hours_of_a_week_and_what_goes_by_them() -> None:
    at = MONDAY + 3600.0 * np.array([0, 25, 5 * 24, 7 * 24])
    assert hours_of_week(at).tolist() == [0, 25, 120, 0]
    assert hours_of_week(at, "Asia/Kolkata").tolist() == [5, 30, 125, 5]
    assert hours_of_week(np.array([np.nan, np.inf])).tolist() == [-1, -1]
    hours = np.tile(np.arange(WEEK), 200)
    assert hour_in(hours[:WEEK], WORKDAY)[[0, 24, 120, 144]].tolist() == [0, 0, 24, 24]
    rng = np.random.default_rng(5)
    noise = rng.integers(0, 5, len(hours))
    among = (DAY, WORKDAY, WEEK)
    assert season_of(noise, hours, among) == 1
    assert season_of(noise + (hours % 24 > 12), hours, among) == DAY
    assert season_of(noise + (hours >= 120), hours, among) == WORKDAY
    assert season_of(noise + (hours // 24 == 1), hours, among) == WEEK


def test_beta_bounds_of_many_at_once() -> None:
    rng = np.random.default_rng(6)
    a, b = rng.integers(1, 400, 300).astype(float), rng.integers(1, 4000, 300).astype(float)
    assert np.allclose(beta_uppers(a, b, 1e-6), stats.beta.isf(1e-6, a, b), rtol=1e-9)
