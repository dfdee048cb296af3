"""Silence: noticed when the usual waits are exceeded, quiet in nights and batches, deaf to nothing after one outage."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from luthier import codec
from luthier.series.arrivals import Arrivals, duration

BEGIN, HOUR, DAY = 1.7e9, 3600.0, 86_400.0


def read(arrivals: Arrivals, times: np.ndarray, looks: np.ndarray) -> tuple[Arrivals, list[float]]:
    """Fold rows at the first look at or after their time, as a loop does; the looks that alarmed."""
    alarms, place = [], np.searchsorted(times, looks, side="right")
    for before, after, now in zip(np.concatenate([[0], place[:-1]]), place, looks, strict=True):
        arrivals = arrivals.after(times[before:after], float(now))
        found = arrivals.silence(float(now))
        alarms += [float(now)] if found and found.alarm else []
        arrivals = replace(arrivals, seen=float(now))
    return arrivals, alarms


def office(seed: int, days: int) -> np.ndarray:
    """A row every two minutes on average from 8 to 18 o'clock, Monday to Friday."""
    rng = np.random.default_rng(seed)
    times = BEGIN + np.cumsum(rng.exponential(120, days * 720))
    hour, day = (times - BEGIN) % DAY / HOUR, (times - BEGIN) // DAY
    return times[(hour >= 8) & (hour < 18) & (day % 7 < 5) & (times < BEGIN + days * DAY)]


def test_a_stop_is_noticed_after_three_usual_waits() -> None:
    rng = np.random.default_rng(0)
    times = BEGIN + np.cumsum(rng.exponential(300, 4000))
    looks = np.arange(BEGIN, times[-1] + 20 * HOUR, 60)
    arrivals, alarms = read(Arrivals(), times, looks)
    usual = np.sort(np.diff(times))[-2]
    assert alarms[0] - times[-1] == pytest.approx(3 * usual, abs=60)
    assert min(alarms) > times[-1], "no alarm while rows came"
    found = arrivals.silence(times[-1] + 3 * HOUR)
    assert found is not None
    assert found.why.startswith("nothing has come for 3 hours, allowed ")
    assert found.why.endswith("See whether the source still sends")
    assert found.promise.level == pytest.approx(2 / 4000)


def test_nights_and_weekends_are_learned_before_silence_pages() -> None:
    for seed in range(5):
        arrivals, alarms = read(Arrivals(), office(seed, 70), np.arange(BEGIN, BEGIN + 67 * DAY, 1800))
        assert not any(arrivals.settled(moment) for moment in alarms)
        assert arrivals.settled(BEGIN + 67 * DAY)
        assert not arrivals.settled(BEGIN + 10 * DAY)
        assert arrivals.longest[1] / HOUR == pytest.approx(62, abs=1), "from Friday evening to Monday morning"


@pytest.mark.parametrize(("heavy", "most"), [(False, 1), (True, 46)])
def test_random_gaps_hardly_ever_alarm(heavy: bool, most: int) -> None:
    """In the 30 days after two weeks: exponential gaps never, and gaps with a tail so heavy that they have no mean
    2 ln(44 / 14) / 3 = 0.76 times at most (30 of 40 runs; Poisson upper bound at 99.5 %)."""
    false = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        gaps = 120 / rng.random(20_000) if heavy else rng.exponential(1200, 20_000)
        times = BEGIN + np.cumsum(gaps)
        history = times < BEGIN + 14 * DAY
        longest = np.sort(gaps[history])[-2:]
        for gap in gaps[~history & (times < BEGIN + 44 * DAY)]:
            false += gap > max(3 * longest[0], 600)
            longest = np.sort([*longest, gap])[-2:] if gap > longest[0] else longest
    assert false <= most


def test_one_outage_does_not_make_the_watch_deaf() -> None:
    steady = BEGIN + np.arange(0, 20 * DAY, 60)
    out = np.concatenate([steady, steady + 21 * DAY])
    arrivals, alarms = read(Arrivals(), out, np.arange(BEGIN, out[-1] + HOUR, 600))
    assert alarms
    assert arrivals.longest[0] > DAY
    assert arrivals.limit == 600


def test_rows_that_come_in_batches_are_learned_and_rows_that_lag_are_no_silence() -> None:
    times = BEGIN + np.arange(0, 12 * DAY, 60)
    arrivals, alarms = Arrivals(), []
    for look in np.arange(BEGIN, BEGIN + 12 * DAY, HOUR):
        if round((look - BEGIN) / HOUR) % 24 == 0:  # a batch at midnight, of all until then
            arrivals = arrivals.after(
                times[(times > arrivals.newest) & (times <= look)] if arrivals.rows else times[:1], look
            )
        found = arrivals.silence(look)
        alarms += [(look - BEGIN) / DAY] if found and found.alarm else []
        arrivals = replace(arrivals, seen=look)
    assert alarms
    assert max(alarms) < 4
    late = Arrivals(follows=True).after(BEGIN + np.arange(0.0, 100 * 60, 60), BEGIN + 100 * 60)
    late = replace(late, seen=BEGIN + DAY).after([BEGIN + 101 * 60], BEGIN + DAY + 10)
    found = late.silence(BEGIN + DAY + 10)
    assert found is not None
    assert not found.alarm, "a row came since the last look"


def test_history_and_simulated_time_say_nothing() -> None:
    for ahead in (-30 * DAY, -HOUR):
        arrivals = Arrivals().after(BEGIN + np.arange(200) * 36.0, BEGIN + 7200 - ahead)
        assert arrivals.silence(BEGIN + 10 * DAY) is None
    assert Arrivals().silence(BEGIN) is None
    few = Arrivals().after(BEGIN + np.arange(20.0), BEGIN + 20)
    assert few.silence(BEGIN + DAY) is None
    assert Arrivals().after([], BEGIN) == Arrivals()
    assert Arrivals().after([np.nan], BEGIN) == Arrivals()
    future = Arrivals().after([BEGIN + 10 * DAY, *(BEGIN - np.arange(100.0))], BEGIN)
    assert future.newest == BEGIN, "a clock that is ahead does not hide a silence"


def test_it_survives_being_written_and_durations_read_well() -> None:
    arrivals = replace(Arrivals(came=BEGIN), seen=BEGIN).after(BEGIN + np.arange(50.0), BEGIN + 50)
    assert Arrivals.read(codec.unpack(codec.pack(arrivals.plain()))) == arrivals
    assert [duration(one) for one in (5, 300, 7200, 3 * DAY)] == ["5 seconds", "5 minutes", "2 hours", "3 days"]
