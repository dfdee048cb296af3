"""fairness.v1: pairs as written out one by one, how often it lies, how soon it speaks, bad input."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from luthier.checks.fairness import Fairness, _pairs
from luthier.checks.laws import check_check
from luthier.errors import StateError
from luthier.evidence import advance, detector, paired_factors
from luthier.options import MonitorOptions


def columns(seed: int, n: int, rates: dict[str, float], shares: tuple[float, ...] = (0.5, 0.5)) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    group = rng.choice(list(rates), n, p=shares)
    hit = rng.random(n) < np.array([rates[name] for name in group.tolist()])
    target = rng.integers(0, 2, n)
    return {"group": group, "loss": hit.astype(float), "target": target, "predicted": hit.astype(int)}


FAIR = {"a": 0.2, "b": 0.2}


@pytest.mark.parametrize("metric", ["loss", "selection_rate", "tpr", "fpr"])
@pytest.mark.parametrize("rates", [FAIR, {"a": 0.1, "b": 0.6}, {"a": 0.1, "b": 0.2, "c": 0.7}])
def test_laws(metric: Any, rates: dict[str, float]) -> None:
    shares = (0.8, 0.2) if len(rates) == 2 else (0.6, 0.3, 0.1)
    check = Fairness(metric=metric, arl=1000)
    finding = check_check(check, columns(1, 400, rates, shares), columns(2, 1500, rates, shares))
    assert finding.alarm is (max(rates.values()) > 0.4)


def test_pairs_and_evidence_are_those_of_a_plain_loop() -> None:
    rng = np.random.default_rng(0)
    for share in (0.5, 0.9, 0.02):
        mine, values = rng.random(500) < share, rng.random(500)
        expected, sums, counts = [], [0.0, 0.0], [0, 0]
        for is_mine, value in zip(mine, values, strict=True):
            sums[not is_mine] += value
            counts[not is_mine] += 1
            if all(counts):
                expected.append(sums[0] / counts[0] - sums[1] / counts[1])
                sums, counts = [0.0, 0.0], [0, 0]
        closes, differences, rest = _pairs(mine, values, [0, 0], [0.0, 0.0])
        assert differences.tolist() == expected
        assert closes.sum() == len(expected)
        assert rest == {"open": counts, "waiting": sums}
    one = columns(3, 300, {"a": 0.1, "b": 0.5})
    check = Fairness()
    _, finding = check.step(check.start(columns(1, 200, FAIR)), one)
    _, differences, _ = _pairs(one["group"] == "a", one["loss"], [0, 0], [0.0, 0.0])
    both = [advance(detector(7), paired_factors(signed, -0.1))[1][-1] for signed in (differences, -differences)]
    assert finding.evidence == pytest.approx(sum(both) / 2)


@pytest.mark.parametrize("shares", [(0.5, 0.5), (0.95, 0.05)])
def test_a_gap_at_the_tolerance_alarms_no_more_often_than_promised(shares: tuple[float, float]) -> None:
    """The rate of both groups swings together; P(alarm within T) <= T / ARL for an e-SR detector. 200 streams."""
    check, alarms, n = Fairness(gap=0.1, arl=20_000), 0, 2000
    for seed in range(200):
        rng = np.random.default_rng(seed)
        group = rng.choice(["a", "b"], n, p=shares)
        swing = 0.2 + 0.15 * np.sin(np.arange(n) / 150)
        loss = (rng.random(n) < swing + 0.1 * (group == "b")).astype(float)
        memory = check.start(columns(seed, 200, FAIR))
        alarms += check.step(memory, {"group": group, "loss": loss})[1].alarm
    assert alarms <= 30  # 200 at T / ARL = .1: binomial upper bound at 98 %


@pytest.mark.parametrize(("shares", "within"), [((0.5, 0.5), 500), ((0.9, 0.1), 1500)])
def test_a_gap_is_found_and_named(shares: tuple[float, float], within: int) -> None:
    delays = []
    for seed in range(30):
        check = Fairness(gap=0.1, arl=100_000)
        rows = columns(seed, 8000, {"a": 0.1, "b": 0.5}, shares)
        _, finding = check.step(check.start(columns(seed, 500, FAIR, shares)), rows)
        assert finding.alarm
        assert f"shown at row {_row(finding.why)}" in finding.why
        delays.append(_row(finding.why))
    assert np.median(delays) <= within
    assert finding.why.startswith("loss of a 0.1")
    assert finding.value == pytest.approx(0.4, abs=0.06)


def _row(why: str) -> int:
    return int(why.split("shown at row ")[1].split(".")[0])


def test_rates_are_counted_over_the_rows_that_they_are_of() -> None:
    """tpr over rows whose target is positive, fpr over the others, selection over all: fairlearn's definitions."""
    table = columns(5, 600, {"a": 0.3, "b": 0.7})
    for metric, rows in (
        ("selection_rate", np.ones(600, bool)),
        ("tpr", table["target"] == 1),
        ("fpr", table["target"] == 0),
    ):
        check = Fairness(metric=metric)  # type: ignore[arg-type]
        _, finding = check.step(check.start(table), table)
        rate = [table["predicted"][rows & (table["group"] == name)].mean() for name in ("a", "b")]
        assert finding.value == pytest.approx(abs(rate[0] - rate[1]), abs=1e-12)
        assert finding.n == rows.sum()


def test_bad_input_is_an_error_or_silence() -> None:
    check = Fairness()
    memory = check.start({"group": np.array(["a"] * 100), "loss": np.zeros(100)})
    assert "has 1 groups of 30 rows in column 'group'" in check.step(memory, columns(1, 50, FAIR))[1].why
    assert "has 0 groups" in check.step(check.start({}), columns(1, 50, FAIR))[1].why
    memory = check.start(columns(1, 400, FAIR))
    assert check.step(memory, {})[1].why == "no labelled answers with a group yet"
    assert (
        check.step(memory, {"group": np.array(["a", "a"]), "loss": np.zeros(2)})[1].why == "only one group was seen yet"
    )
    lost = {"group": np.array(["a", None, float("nan"), ""], object), "loss": np.array([0, 1, 1, 1.0])}
    assert check.step(memory, lost)[1].n == 1
    with pytest.raises(StateError, match="loss holds 2"):
        check.step(memory, {"group": np.array(["a"]), "loss": np.array([2.0])})
    with pytest.raises(StateError, match="has 1 rows, 'loss' has 2"):
        check.step(memory, {"group": np.array(["a"]), "loss": np.zeros(2)})
    with pytest.raises(ValueError, match="metric is 'f1'"):
        Fairness(metric="f1")  # type: ignore[arg-type]


def test_a_group_that_is_a_tag_must_be_a_slice() -> None:
    assert MonitorOptions(group="tag:region", slices=("region",)).group == "tag:region"
    with pytest.raises(ValueError, match="'region' is not one of slices"):
        MonitorOptions(group="tag:region")
