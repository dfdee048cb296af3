"""Pages as rows: hysteresis, acknowledgement, snooze, hindsight; and the budget of many monitors, simulated."""

from __future__ import annotations

import dataclasses
import math
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from luthier import figures, story
from luthier.errors import UsageError
from luthier.evidence import advance, detector
from luthier.stages import chronicle, detect, pages, report
from luthier.stores.memory import MemoryStore
from luthier.types import Finding, Promise

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def finding(
    evidence: float, *, check: str = "risk.v1", slice_: str = "", n: int = 500, level: float = 1e5, limit: float = 0.1
) -> Finding:
    promise = Promise("e-detector", level)
    return Finding(
        check, 0.2, limit, evidence, promise, evidence >= level, n, "mean loss is high", "mood v1", slice_, NOON
    )


def follow(store: Any, *findings: Finding, model: str = "v1", hours: float = 0) -> list[pages.Called]:
    moment = NOON + timedelta(hours=hours)
    fresh = [dataclasses.replace(one, at=moment) for one in findings]
    return pages.follow(store, {model: fresh}, {model: detect.page(fresh).loud}, moment, f"{model} answers now")


def test_a_page_opens_and_closes_at_different_levels() -> None:
    store = MemoryStore()
    assert follow(store, finding(9e4)) == []
    opened = follow(store, finding(1e9))
    assert [(one.id, one.check, one.closed, one.limit) for one in opened] == [("p1", "risk.v1", None, 0.1)]
    for evidence in (1e8, 2e5, 9e4, 400.0):
        assert follow(store, finding(evidence))[0].closed is None
    assert store.count("page") == 1, "what does not change writes nothing"
    closed = follow(store, finding(300.0), hours=5)[0]
    assert closed.closed == NOON + timedelta(hours=5)
    assert closed.closed_because == "its evidence is down to 300"
    assert [one.id for one in follow(store, finding(1e9), hours=6)] == ["p1", "p2"]


def test_what_has_paged_goes_on_until_its_page_closes() -> None:
    store = MemoryStore()
    follow(store, finding(1e9))
    weaker = detect.page([finding(2e5)], needed=[1e6])  # an alarm, below what a growing budget asks for by now
    assert [one.check for one in weaker.quiet] == ["risk.v1"]
    held = weaker.holding(pages.open_of(store, "v1"))
    assert [one.check for one in held.loud] == ["risk.v1"]
    assert held.quiet == ()
    assert weaker.holding(pages.open_of(store, "v2")) == weaker


def test_pages_are_events_of_the_story() -> None:
    store = MemoryStore()
    follow(store, finding(1e9))
    pages.acknowledge(store, "p1", "on it", NOON + timedelta(hours=1))
    follow(store, finding(1.0), hours=2)
    told = chronicle.tell(store, project="mood", width_minutes=60, targets=lambda ids: {}, estimator=lambda name: None)
    seen = [(one.kind, one.title, one.why) for one in story.events(told)]
    assert seen == [
        ("page", "page p1: risk.v1", "mean loss is high"),
        ("ack", "page p1 seen", "on it"),
        ("close", "page p1 closed", "its evidence is down to 1"),
    ]
    assert "page p1: risk.v1" in report.markdown(told)
    point = {"at": NOON.isoformat(), "model": "v1", "n": 9, "true": None}
    drawn = figures.accuracy(told | {"timeline": [point, point | {"at": (NOON + timedelta(hours=3)).isoformat()}]})
    assert any("page p1" in str(note.text) for note in drawn.layout.annotations)


def test_a_new_champion_closes_the_pages_of_the_old_one() -> None:
    store = MemoryStore()
    follow(store, finding(1e9), finding(1e9, slice_="shop=q"))
    after = follow(store, finding(1.0), model="v2")
    assert [one.closed_because for one in after] == ["v2 answers now"] * 2


def test_what_is_seen_or_snoozed_calls_nobody() -> None:
    store = MemoryStore()
    opened = follow(store, finding(1e9), finding(1e9, check="quality.v1"))
    assert len(pages.calling(opened, NOON)) == 2
    pages.acknowledge(store, "p1", "on it", NOON)
    snoozed = pages.snooze(store, "p2", 8, "vendor is asleep", NOON)
    assert snoozed.snoozed_until == NOON + timedelta(hours=8)
    assert pages.calling(pages.called(store), NOON + timedelta(hours=7)) == []
    assert [one.id for one in pages.calling(pages.called(store), NOON + timedelta(hours=8))] == ["p2"]
    assert pages.called(store)[0].acknowledged == "on it"
    assert [row.body["action"] for row in store.scan("page")] == ["open", "open", "ack", "snooze"]
    pages.acknowledge(store, "p1", "again", NOON)
    assert pages.called(store)[0].acknowledged == "again"
    with pytest.raises(UsageError, match="'p9' is not an open page: open are p1, p2"):
        pages.acknowledge(store, "p9", "", NOON)
    with pytest.raises(UsageError, match="snooze for 0 hours"):
        pages.snooze(store, "p1", 0, "", NOON)
    with pytest.raises(UsageError, match="snooze for nan hours"):
        pages.snooze(store, "p1", math.nan, "", NOON)


def test_hindsight_judges_by_labels_and_says_when_it_cannot() -> None:
    store = MemoryStore()
    opened = follow(store, *(finding(1e9, slice_=f"shop={name}") for name in "abcde"))
    rng = np.random.default_rng(0)
    losses = {
        "a": rng.random(500) < 0.3,
        "b": rng.random(500) < 0.02,
        "c": rng.random(500) < 0.1,
        "d": np.ones(20),
        "e": [],
    }
    judged = pages.in_hindsight(opened, lambda one: np.asarray(losses[one.slice[-1]], float))
    assert [one.hindsight for one in judged] == ["right", "wrong", "unknown", "unknown", "unknown"]
    assert judged[0].loss.n == 500
    share = pages.precision(judged)
    assert (share.value, share.n) == (0.5, 2)
    assert pages.precision([]).n == 0
    no_limit = follow(MemoryStore(), finding(1e9, check="quality.v1"))
    assert math.isnan(no_limit[0].limit)
    assert pages.in_hindsight(no_limit, lambda _: np.ones(100))[0].hindsight == "unknown"


def test_the_budget_gives_every_monitor_an_equal_share() -> None:
    many = [finding(1.0, n=3000, level=10) for _ in range(10)] + [
        finding(1.0, n=300, level=10),
        finding(1.0, n=300, level=1e9),
    ]
    proof = dataclasses.replace(many[0], promise=Promise("e-value", 0.01))
    needed = detect.budget([*many, proof], days=3, pages_per_month=1)
    assert needed == [pytest.approx(12 * 1000 * 30)] * 10 + [pytest.approx(12 * 100 * 30), 1e9, 0.0]
    rates = [1000] * 10 + [100]
    assert sum(30 * rate / level for rate, level in zip(rates, needed, strict=False)) <= 1
    assert detect.budget(many, days=0.01, pages_per_month=1) == detect.budget(many, days=1, pages_per_month=1)
    loud = finding(3e5, n=1000, level=10)
    assert detect.page([loud]).loud
    assert not detect.page([loud], needed=[4e5]).loud
    assert detect.page([loud], needed=[4e5]).quiet == (loud,)


def fleet(seed: int, monitors: int, days: int, drifting: int, size: float) -> np.ndarray:
    """Daily readings (monitors, days), standard normal, correlation .3 in groups of 20; the first `drifting` move at day 40%."""
    rng = np.random.default_rng(seed)
    common = np.repeat(rng.standard_normal((monitors // 20, days)), 20, axis=0)
    readings = math.sqrt(0.3) * common + math.sqrt(0.7) * rng.standard_normal((monitors, days))
    readings[:drifting, int(0.4 * days) :] += size
    return readings


def run(readings: np.ndarray, pages_per_month: float) -> tuple[set[int], int]:
    """Which monitors were paged at all, and how many pages there were on monitors in all."""
    store, shifts = MemoryStore(), np.array([0.5, 1.0, 2.0])[:, None]
    paths = np.array([advance(detector(3), np.exp(shifts * row - shifts**2 / 2))[1] for row in readings])
    for day in range(readings.shape[1]):
        found = [finding(float(m), slice_=f"m={i}", n=day + 1, level=1000) for i, m in enumerate(paths[:, day])]
        needed = detect.budget(found, days=day + 1, pages_per_month=pages_per_month)
        pages.follow(store, {"v1": found}, {"v1": detect.page(found, needed=needed).loud}, NOON + timedelta(days=day))
    called = [int(one.slice[2:]) for one in pages.called(store)]
    return set(called), len(called)


def test_a_fleet_pages_no_more_often_than_set_and_finds_every_shift() -> None:
    false = 0
    for seed in range(3):
        paged, _ = run(fleet(seed, 200, 100, 4, 1.0), pages_per_month=0.6)
        assert {0, 1, 2, 3} <= paged
        false += len(paged - {0, 1, 2, 3})
    assert false <= 12  # three times 100 days at 0.02 a day: 6 expected at most, Poisson upper bound at 99 %
