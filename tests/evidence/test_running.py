"""A mean watched against a limit: rows one by one and batches of counts say what windows of rows say."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest

from luthier import codec
from luthier.checks.below import Below
from luthier.checks.disagreement import Disagreement
from luthier.checks.risk import Risk, RiskLifetime
from luthier.errors import StateError
from luthier.evidence import lifetime_starts
from luthier.evidence.intervals import clopper_pearson_upper
from luthier.evidence.running import _starts, watched

CHECKS = [Risk(), RiskLifetime(), Below(threshold=0.88), Disagreement()]


def column_of(check: Any) -> str:
    return "agrees" if check.name == "disagreement.v1" else "loss"


def stream(check: Any, rate: float, n: int, seed: int = 0, *, whole: bool = True) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    bad = (rng.random(n) < rate).astype(float) if whole else rng.beta(2 * rate, 2 - 2 * rate, n)
    return {column_of(check): 1 - bad if check.name == "disagreement.v1" else bad}


def batches(check: Any, window: dict[str, np.ndarray], sizes: np.ndarray) -> dict[str, np.ndarray]:
    column = column_of(check)
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    return {f"{column}_sum": np.add.reduceat(window[column], starts), f"{column}_n": sizes.astype(float)}


# -- a row a call ----


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.name)
@pytest.mark.parametrize("whole", [True, False])
def test_a_row_a_call_sees_the_alarm_at_its_very_row(check: Any, whole: bool) -> None:
    for seed in range(5):
        memory, _ = check.step(
            check.start(stream(check, 0.1, 2000)), stream(check, 0.1, 100 + 37 * seed, seed, whole=whole)
        )
        window = stream(check, 0.2, 3000, 100 + seed, whole=whole)
        online = check.online(memory)
        after, finding = check.step(memory, window)
        assert finding.alarm
        seen = [online.add(value) for value in window[column_of(check)]]
        assert memory["stream"]["detector"]["n"] + seen.index(True) + 1 == after["alarm_n"]
        assert all(seen[seen.index(True) :])


def test_a_row_a_call_stays_with_the_window_for_good() -> None:
    check = RiskLifetime(alpha=1e-9)
    memory = check.start(stream(check, 0.1, 2000))
    online = check.online(memory)
    rows = stream(check, 0.13, 5000, 3)["loss"]
    for value in rows:
        online.add(value)
    memory, _ = check.step(memory, {"loss": rows})
    engine = memory["stream"]["detector"]
    assert engine["product"].tolist() == online._product
    assert engine["sum"].tolist() == online._sum
    assert engine["base"].tolist() == online._base


def test_a_row_a_call_leaves_out_what_is_missing_and_refuses_what_is_no_loss() -> None:
    check = Risk()
    memory = check.start(stream(check, 0.1, 2000))
    online = check.online(memory)
    assert not online.add(math.nan)
    with pytest.raises(StateError, match=r"loss holds 1.5; it must lie in \[0, 1\]"):
        online.add(1.5)
    fresh = check.online(memory)
    for value in (0.0, 1.0, True, np.float32(0.25)):
        assert online.add(value) == fresh.add(float(value))
    assert online._product == fresh._product


def test_what_is_not_watched_has_no_row_a_call() -> None:
    for check in (Risk(), RiskLifetime(), Below(), Disagreement()):
        assert check.online(check.start({})) is None
    assert Below(metric="f1", threshold=0.9).online(Below(metric="f1", threshold=0.9).start({})) is None


# -- counts ----


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.name)
def test_counts_cut_into_windows_are_the_same_to_the_bit(check: Any) -> None:
    start = check.start(stream(check, 0.1, 2000))
    rows = stream(check, 0.12, 6000, 1)
    sizes = np.random.default_rng(2).multinomial(6000, np.full(70, 1 / 70))
    window = batches(check, rows, sizes)
    memory, finding = check.step(start, window)
    for cuts in ([0, 35, 70], [0, 1, 2, 2, 50, 70], list(range(71))):
        part = start
        for low, high in itertools.pairwise(cuts):
            part, again = check.step(part, {name: values[low:high] for name, values in window.items()})
            part = {
                **codec.unpack(codec.pack({k: part[k] for k in ("stream", "alarm_n")})),
                "reference": part["reference"],
            }
        assert again == finding
        assert codec.pack(part) == codec.pack(memory)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.name)
def test_batches_of_one_row_are_rows(check: Any) -> None:
    start = check.start(stream(check, 0.1, 2000))
    rows = stream(check, 0.14, 900, 1)
    one, finding = check.step(start, rows)
    other, counted = check.step(start, batches(check, rows, np.ones(900, int)))
    slower = 0.5 if check.name == "risk_lifetime.v1" else 1 - 1e-9  # its starts are bounded from below by an integral
    assert slower <= counted.evidence / finding.evidence <= 1 + 1e-9
    assert counted.value == finding.value
    assert counted.n == finding.n
    assert (one["stream"]["low_n"], one["stream"]["total"]) == (other["stream"]["low_n"], other["stream"]["total"])


def test_rows_and_counts_may_follow_each_other() -> None:
    check = Risk()
    start = check.start(stream(check, 0.1, 2000))
    rows = stream(check, 0.13, 777, 1)
    memory, _ = check.step(start, {"loss": rows["loss"][:130]})
    memory, _ = check.step(memory, batches(check, {"loss": rows["loss"][130:333]}, np.array([203])))
    whole, finding = check.step(memory, {"loss": rows["loss"][333:]})
    for value in rows["loss"][333:].reshape(-1, 12):
        memory, again = check.step(memory, {"loss": value})
    assert again == finding
    assert finding.n == 777
    assert codec.pack(whole) == codec.pack(memory)


def test_counts_alarm_no_more_often_than_promised_and_nearly_as_soon() -> None:
    check, alarms = Risk(arl=2000, tolerance=0.0), 0
    start = check.start({"loss": np.zeros(0)} | stream(check, 0.1, 200_000))
    limit = start["reference"]["limit"]
    rng = np.random.default_rng(5)
    for _ in range(200):  # at the limit itself: at most one alarm in 2,000 rows on average
        sizes = rng.integers(1, 40, 30)
        _, finding = check.step(start, {"loss_n": sizes, "loss_sum": rng.binomial(sizes, limit)})
        alarms += finding.alarm
    assert alarms <= 200 * 0.35  # P(alarm within 600 rows) is about 1 - exp(-600 / 2000) = .26

    def shown_at(size: int) -> float:
        found = []
        for seed in range(30):
            rows = stream(Risk(), 0.2, 3000, seed)
            memory, _ = Risk().step(
                Risk().start(stream(check, 0.1, 20_000)), batches(check, rows, np.full(3000 // size, size))
            )
            found.append(memory["alarm_n"] or math.inf)
        return float(np.median(found))

    assert shown_at(100) <= math.ceil(shown_at(1) / 100 + 1) * 100  # at the end of the batch, or of the next
    assert shown_at(10) <= shown_at(1) + 15


def test_sums_of_losses_between_zero_and_one_tell_less_than_rows_and_never_more() -> None:
    check = Risk()
    start = check.start(stream(check, 0.1, 2000))
    rows = stream(check, 0.16, 2000, 1, whole=False)
    _, finding = check.step(start, rows)
    _, counted = check.step(start, batches(check, rows, np.ones(2000, int)))
    assert counted.evidence <= finding.evidence


def test_a_life_of_batches_is_started_no_more_than_one_of_rows() -> None:
    sizes = np.full(400, 25.0)
    starts = _starts(0, sizes)
    rows = lifetime_starts(0, 10_000).reshape(400, 25).sum(axis=1)
    assert (starts <= rows).all()
    assert starts[1:] == pytest.approx(rows[1:], rel=0.1)
    assert np.allclose(_starts(250, sizes[10:]), starts[10:])


def test_huge_batches_neither_overflow_nor_vanish() -> None:
    check = Risk()
    start = check.start(stream(check, 0.1, 2000))
    memory, finding = check.step(start, {"loss_n": [1e9], "loss_sum": [9e8]})
    assert finding.alarm
    assert finding.evidence == pytest.approx(1e300)
    memory, finding = check.step(start, {"loss_n": [1e9, 2000], "loss_sum": [0, 1000]})
    assert finding.alarm
    assert memory["alarm_n"] == 1_000_002_000
    assert finding.value == 0.5


def test_bad_counts_are_refused_by_name() -> None:
    check = Risk()
    start = check.start(stream(check, 0.1, 2000))
    for window, said in (
        ({"loss_n": [10], "loss_sum": [11]}, "loss_sum is 11 of loss_n 10 rows"),
        ({"loss_n": [10.5], "loss_sum": [1]}, "n must be a whole number"),
        ({"loss_n": [-1], "loss_sum": [0]}, "loss_n -1 rows"),
        ({"loss_n": [math.inf], "loss_sum": [0]}, "whole number"),
        ({"loss_n": [10, 10], "loss_sum": [1]}, "loss_sum has 1 batches and loss_n 2"),
        ({"loss_sum": [1]}, "give loss of every row, or both loss_sum and loss_n"),
        ({"loss": [1.0], "loss_sum": [1], "loss_n": [3]}, "a window holds loss and loss_sum and loss_n"),
    ):
        with pytest.raises(StateError, match=said):
            check.step(start, {name: np.array(values, float) for name, values in window.items()})
    _, finding = check.step(start, {"loss_n": np.array([0.0, np.nan, 5]), "loss_sum": np.array([0.0, 1, np.nan])})
    assert finding.n == 0
    assert not finding.alarm


def test_a_window_of_rows_is_read_as_before() -> None:
    check = Risk()
    memory = check.start(stream(check, 0.1, 2000))
    after = watched(memory, {"loss": np.array([1.0, math.nan, 0.0])}, "loss", 0.12, 1e5)
    assert after["stream"]["detector"]["n"] == 2
    assert clopper_pearson_upper(200, 2000, 0.025) < memory["reference"]["limit"]
