"""Many monitors under one budget: what pages, what a restart keeps, and what bad input gets."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

import numpy as np
import pytest

import luthier
from luthier.errors import StateError, UsageError
from luthier.evidence import advance, detector
from luthier.fleet import Fleet
from luthier.stages import detect
from luthier.types import Finding, Promise

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
SHIFTS = np.array([0.5, 1.0, 2.0])[:, None]


class Readings:
    """An e-SR detector of a rise of standard normal readings, the bets' rises .5, 1 and 2."""

    name: ClassVar[str] = "readings.v0"
    when: ClassVar[str] = "answer"
    promise: ClassVar[Promise] = Promise("e-detector", 1000)

    def start(self, reference: Any) -> Any:
        return {"stream": detector(3)}

    def step(self, memory: Any, window: Any) -> Any:
        stream, _ = advance(memory["stream"], np.exp(SHIFTS * window["reading"] - SHIFTS**2 / 2))
        m, n = stream["value"], stream["n"]
        return {"stream": stream}, Finding(self.name, 0.0, 0.0, m, self.promise, m >= 1000, n, "readings rose")


def readings(seed: int, monitors: int, days: int, moved: int, size: float) -> np.ndarray:
    """Correlation .3 in groups of 20; the first `moved` move at 40 % of the days."""
    rng = np.random.default_rng(seed)
    common = np.repeat(rng.standard_normal((monitors // 20, days)), 20, axis=0)
    found: np.ndarray = np.sqrt(0.3) * common + np.sqrt(0.7) * rng.standard_normal((monitors, days))
    found[:moved, int(0.4 * days) :] += size
    return found


def losses(n: int, risk: float, seed: int) -> dict[str, np.ndarray]:
    return {"loss": (np.random.default_rng(seed).random(n) < risk).astype(float)}


def shops(number: int, **options: Any) -> Fleet:
    return Fleet(
        {f"shop {i}": luthier.Monitor(losses(2000, 0.1, i), checks=("risk.v1",)) for i in range(number)}, **options
    )


def feed(fleet: Fleet, bad: str, n: int = 500, at: datetime = NOON, seed: int = 100) -> None:
    for i, (name, monitor) in enumerate(fleet.items()):
        monitor.observe("label", losses(n, 0.4 if name == bad else 0.1, seed + i), at=at)


def test_a_fleet_pages_no_more_often_than_set_and_finds_every_shift() -> None:
    false = 0
    for seed in range(2):
        x, called = readings(seed, 200, 100, 4, 1.0), set()
        fleet = Fleet(
            {str(i): luthier.Monitor({}, checks=(Readings(),)) for i in range(len(x))}, false_pages_per_month=0.6
        )
        for day in range(x.shape[1]):
            for i, monitor in enumerate(fleet.values()):
                monitor.observe("answer", {"reading": x[i, day : day + 1]}, at=NOON + timedelta(days=day))
            called |= {one.model for one in fleet.page().calling}
        assert {"0", "1", "2", "3"} <= called
        false += len(called - {"0", "1", "2", "3"})
    assert false <= 9  # twice 100 days at 0.02 a day: 4 expected at most, Poisson upper bound at 99 %


def test_the_one_that_got_worse_pages_and_the_others_stay_quiet() -> None:
    fleet = shops(30)
    feed(fleet, bad="shop 7")
    looked = fleet.page()
    assert [one.subject for one in looked.loud] == ["shop 7"]
    assert [(one.id, one.model) for one in looked.calling] == [("p1", "shop 7")]
    assert {one.subject for one in fleet.findings()} == set(fleet)
    assert [one.id for one in fleet.page().calling] == ["p1"], "looking again opens nothing"
    assert fleet.acknowledge("p1", "on it").acknowledged == "on it"
    assert fleet.page().calling == []
    with pytest.raises(UsageError, match="'p2' is not an open page"):
        fleet.snooze("p2")


def test_the_same_alarm_needs_more_among_many() -> None:
    """Evidence that pages alone is one of many looks in a fleet, and stays quiet but visible."""
    alone, many = shops(1), shops(60)
    for fleet in (alone, many):
        for day in range(3):
            feed(fleet, bad="", n=300, at=NOON + timedelta(days=day), seed=1000 * day)
        monitor = fleet["shop 0"]
        while not any(one.alarm for one in monitor.findings()):
            monitor.observe("label", {"loss": np.ones(1)}, at=NOON + timedelta(days=3))
    needed = [detect.budget(fleet.findings(), 3, 1)[0] for fleet in (alone, many)]
    assert needed[0] == 100_000
    assert needed[1] > 500_000
    assert [len(fleet.page().loud) for fleet in (alone, many)] == [1, 0]
    assert [one.subject for one in many.page().quiet] == ["shop 0"]
    strict = Fleet(alone, false_pages_per_month=0.01)
    assert strict.page().loud == (), "a smaller budget asks one monitor for more, too"
    assert len(strict.page().quiet) == 1


def test_a_restart_keeps_evidence_and_pages() -> None:
    fleet, again = shops(5), shops(5)
    feed(fleet, bad="shop 2")
    fleet.page()
    fleet.acknowledge("p1")
    again.restore(fleet.save())
    assert again.findings() == fleet.findings()
    assert again.pages() == fleet.pages()
    assert again.page().calling == []
    assert again.save() == fleet.save()
    with pytest.raises(StateError, match="has a monitor 'shop 3' that this one lacks"):
        shops(3).restore(fleet.save())
    with pytest.raises(StateError, match="not of version 1"):
        again.restore(fleet["shop 1"].save())


def test_labels_judge_the_pages_in_hindsight() -> None:
    fleet = shops(3)
    feed(fleet, bad="shop 1")
    fleet.page()
    assert fleet.pages()[0].hindsight == "unknown"
    feed(fleet, bad="shop 1", at=NOON + timedelta(hours=3), seed=50)
    judged = fleet.pages()[0]
    assert (judged.hindsight, judged.loss.n) == ("right", 500)
    assert (fleet.precision().value, fleet.precision().n) == (1.0, 1)


def test_a_monitor_that_is_taken_out_closes_its_pages() -> None:
    fleet = shops(3)
    feed(fleet, bad="shop 1")
    assert fleet.page().calling
    del fleet["shop 1"]
    assert fleet.page().calling == []
    assert fleet.pages()[0].closed_because == "its model is not watched any more"
    fleet["shop 1"] = luthier.Monitor(losses(2000, 0.1, 1), checks=("risk.v1",))
    assert len(fleet) == 3


def test_an_empty_fleet_and_one_that_saw_nothing_are_quiet() -> None:
    assert Fleet().page().loud == ()
    assert shops(2).page().calling == []
    for bad in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(UsageError, match="must be positive"):
            Fleet(false_pages_per_month=bad)
