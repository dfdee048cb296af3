"""Metrics over time: quiet within the promise on seasonal, autocorrelated, heavy-tailed series; quick on shifts."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from luthier.checks.laws import check_check
from luthier.checks.series import Metric, Series, Spike
from luthier.stages.monitor import Monitor

HOUR = 3600.0
WEEKS = 8 * 168
LATENCY = Metric("latency")


def series(seed: int, hours: int, phi: float = 0.5) -> np.ndarray:
    """Hourly: seasons of day and week, and AR(1) noise with sd 1 and Student tails (4 degrees of freedom)."""
    rng = np.random.default_rng(seed)
    noise = rng.standard_t(4, hours) * np.sqrt((1 - phi**2) / 2)
    for t in range(1, hours):
        noise[t] += phi * noise[t - 1]
    t = np.arange(hours)
    season = 3 * np.sin(2 * np.pi * (t - 6) / 24) + np.sin(4 * np.pi * t / 24) - 2 * (t // 24 % 7 >= 5)
    return 50 + season + noise


def columns(values: np.ndarray, begin: int = 0) -> dict[str, np.ndarray]:
    return {"at": 1.7e9 + (begin + np.arange(len(values))) * HOUR, "latency": values}


def watch(check: Series | Spike, seed: int, change: np.ndarray) -> tuple[dict, object]:
    """Memory and finding after a good reference of 8 weeks and a stream of len(change) hours with `change` added."""
    y = series(seed, WEEKS + len(change))
    y[WEEKS:] += change
    return check.step(check.start(columns(y[:WEEKS])), columns(y[WEEKS:], WEEKS))


def test_false_alarms_stay_within_the_promise() -> None:
    check, hours, runs = Series((LATENCY,), points=2000), 1000, 40
    wrong = sum(watch(check, seed, np.zeros(hours))[1].alarm for seed in range(runs))
    print(
        f"\nseries.v1: {wrong} of {runs} unchanged series of {hours} points alarm; promised: one in {check.points:,.0f}"
    )
    assert wrong <= runs * (1 - np.exp(-hours / check.points))  # measured: half of it


@pytest.mark.parametrize(("size", "hours"), [(1.0, 80), (-1.0, 80), (2.0, 25), (3.0, 12)])
def test_a_shift_is_found_soon(size: float, hours: int) -> None:
    check, delays = Series((LATENCY,)), []
    for seed in range(9):
        memory, finding = watch(check, seed, np.where(np.arange(450) >= 300, size, 0.0))
        found = memory["streams"][LATENCY.label]["alarm_n"]
        delays.append(found - 300 if finding.alarm and found > 300 else np.inf)
    print(f"\nseries.v1: shift by {size:+g} sd found after a median of {np.median(delays):.0f} points")
    assert np.median(delays) <= hours
    assert finding.value * size > 0
    assert "since 2024" in finding.why


def test_a_doubled_variance_is_found() -> None:
    rng = np.random.default_rng(1)
    assert watch(Series((LATENCY,)), 1, 2 * rng.standard_normal(300))[1].alarm


def test_spikes_are_named_and_pass() -> None:
    quiet = [watch(Spike((LATENCY,)), seed, np.zeros(500))[0]["streams"][LATENCY.label]["spikes"] for seed in range(20)]
    assert sum(quiet) <= 20  # of 10,000 points; the limit aims at one in 2,000
    hit = np.where(np.arange(400) == 390, 12.0, 0.0)
    memory, finding = watch(Spike((LATENCY,)), 3, hit)
    assert finding.alarm
    assert finding.value > finding.limit >= 4.5
    assert "is usual" in finding.why
    _, later = Spike((LATENCY,)).step(memory, columns(series(9, 60), WEEKS + 400))
    assert not later.alarm


@pytest.mark.parametrize("check", [Series((LATENCY, Metric(of="count"))), Spike((LATENCY,))], ids=["series", "spike"])
@pytest.mark.parametrize("change", [0.0, 2.0])
def test_laws(check: Series | Spike, change: float) -> None:
    """With missing hours, several rows an hour, and disorder within an hour."""
    rng = np.random.default_rng(4)
    y = series(4, WEEKS + 400)
    window = columns(y[WEEKS:] + change, WEEKS)
    kept = np.sort(rng.choice(400, 700))
    kept = kept[kept % 50 > 3]
    window = {name: values[kept] for name, values in window.items()}
    window["at"] = window["at"] + rng.uniform(0, 300, len(kept))
    finding = check_check(check, columns(y[:WEEKS]), window)
    assert isinstance(check, Spike) or finding.alarm is (change > 0)


def test_rows_in_any_order_within_the_lateness_give_the_same() -> None:
    y = series(5, WEEKS + 200)
    check = Series((Metric("latency", lateness=180),))
    memory = check.start(columns(y[:WEEKS]))
    window, rng = columns(y[WEEKS:], WEEKS), np.random.default_rng(0)
    order = np.argsort(np.arange(200) + rng.uniform(0, 2.5, 200))
    assert (order != np.arange(200)).any()
    _, straight = check.step(memory, window)
    _, mixed = check.step(memory, {name: values[order] for name, values in window.items()})
    assert straight == mixed


def test_late_and_wrong_clocks_are_counted_and_left_out() -> None:
    y = series(6, WEEKS + 100)
    check = Series((LATENCY,))
    memory = check.start(columns(y[:WEEKS]))
    window = columns(y[WEEKS:], WEEKS)
    clean = check.step(memory, window)[1]
    dirty = {name: np.concatenate([v[:50], v[:1], v[:1], v[:1], v[50:]]) for name, v in window.items()}
    dirty["at"][50:53] = [window["at"][3], 9e9, np.nan]
    finding = check.step(memory, dirty)[1]
    assert (finding.evidence, finding.n) == (clean.evidence, clean.n)
    assert "1 too late, 1 more than 28 days ahead, 1 no time" in finding.why
    assert "clocks and time zones" in finding.why


@pytest.mark.parametrize("zone", ["+00:00", "Z", "+05:30", "naive", "datetime64"])
def test_times_are_read_as_people_write_them(zone: str) -> None:
    y = series(7, WEEKS)
    check, plain = Series((LATENCY,)), columns(y)
    moments = plain["at"].astype("datetime64[s]")
    if zone == "datetime64":
        at = moments
    else:
        shift = np.timedelta64(330 if zone == "+05:30" else 0, "m")
        suffix = "" if zone == "naive" else zone
        at = np.array([f"{moment}{suffix}" for moment in (moments + shift).astype(str)])
    known = check.start({"at": at, "latency": y})["reference"][LATENCY.label]
    np.testing.assert_array_equal(known["held"], check.start(plain)["reference"][LATENCY.label]["held"])


def test_a_feed_that_stops_is_a_count_of_nothing() -> None:
    rng = np.random.default_rng(8)
    t = np.arange(WEEKS)
    counts = rng.poisson(30 + 20 * np.sin(2 * np.pi * t / 24))
    at = np.repeat(1.7e9 + t * HOUR, counts) + 60
    check = Series((Metric(of="count", scale="root"),))
    memory = check.start({"at": at})
    good = at[-5000:] + WEEKS * HOUR
    memory, finding = check.step(memory, {"at": good})
    assert not finding.alarm
    memory, finding = check.step(memory, {"at": good[-1:] + 12 * HOUR})
    assert finding.alarm
    assert finding.value < -1
    assert "newest 0 " in finding.why


BAD = {
    "no times": ({"latency": np.ones(500)}, "0 of 500 rows with an event time"),
    "no column": ({"at": np.arange(500) * HOUR}, "0 points of mean latency"),
    "empty": ({}, "0 points"),
    "one row": (columns(np.ones(1)), "0 points"),
    "constant": (columns(np.full(500, 7.0)), "never changes: mean latency per 60 min is 7"),
    "all missing": (columns(np.full(500, np.nan)), "0 points"),
    "infinite": (columns(np.full(500, np.inf)), "0 points"),
    "text for times": ({"at": np.array(["soon"] * 500), "latency": np.ones(500)}, "0 of 500 rows"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_reference_that_cannot_be_learnt_from_says_so(name: str) -> None:
    reference, why = BAD[name]
    for check in (Series((LATENCY,)), Spike((LATENCY,))):
        finding = check_check(check, reference, columns(series(1, 300)))
        assert finding.why.startswith("not watched")
        assert why in finding.why
        assert np.isnan(finding.value)


def test_hostile_streams_neither_raise_nor_alarm_on_nothing() -> None:
    y = series(2, WEEKS)
    memory = Series((LATENCY,)).start(columns(y))
    good = columns(series(3, 50), WEEKS)
    for at, value in itertools.product((0.0, -1e12, 1e300, np.nan, np.inf), (np.nan, np.inf, -np.inf)):
        window = {"at": np.append(good["at"], at), "latency": np.append(good["latency"], value)}
        assert not Series((LATENCY,)).step(memory, window)[1].alarm


def test_options_that_make_no_sense_are_refused() -> None:
    for wrong, message in (
        (lambda: Metric(minutes=0), "minutes is 0"),
        (lambda: Metric(lateness=-1), "lateness is -1"),
        (lambda: Metric(of="sum"), "mean or count"),  # type: ignore[arg-type]
        (lambda: Series(()), "at least one"),
        (lambda: Series((LATENCY, LATENCY)), "each once"),
        (lambda: Series((LATENCY, Metric("loss"))), "a check of its own"),
    ):
        with pytest.raises(ValueError, match=message):
            wrong()


def test_a_monitor_hands_event_times_on() -> None:
    y = series(11, WEEKS + 300)
    y[WEEKS + 200 :] += 3
    monitor = Monitor(columns(y[:WEEKS]), checks=(Series((LATENCY,)),))
    window = columns(y[WEEKS:], WEEKS)
    finding = monitor.observe("answer", {"latency": window["latency"]}, at=window["at"])[0]
    assert finding.alarm
    assert finding.n == 299
