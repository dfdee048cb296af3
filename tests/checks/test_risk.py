"""How often risk alarms lie, and how soon they speak, beside the table of EVIDENCE section 1 (pytest -s)."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from luthier.checks.risk import Risk, RiskLifetime
from luthier.errors import StateError

ARL, ALPHA = 100_000, 0.05


def first_alarm(check: Risk | RiskLifetime, losses: np.ndarray, limit: float = 0.12) -> float:
    """Label at which `check` alarms on `losses` against exactly `limit`; inf for never."""
    memory = check.start({"loss": np.zeros(100)})
    memory = {**memory, "reference": {**memory["reference"], "limit": limit}}
    memory, finding = check.step(memory, {"loss": losses})
    return memory["alarm_n"] if finding.alarm else np.inf


def draw(rng: np.random.Generator, rate: float, n: int) -> np.ndarray:
    return (rng.random(n) < rate).astype(float)


@pytest.mark.parametrize("arl", [1000, 10_000])
def test_risk_keeps_its_average_run_length_at_the_boundary(arl: int) -> None:
    rng = np.random.default_rng(1)
    runs = np.array([first_alarm(Risk(arl=arl), draw(rng, 0.12, 5 * arl)) for _ in range(100)])
    lengths = np.minimum(runs, 5 * arl)
    mean, error = lengths.mean(), lengths.std() / 10
    print(
        f"\nrisk.v1 at the boundary: mean run {mean:,.0f} ± {error:,.0f} labels (cut at {5 * arl:,}), promised {arl:,}"
    )
    assert mean + 2.6 * error >= arl
    assert (runs <= arl / 5).sum() <= stats.binom.ppf(0.999, 100, 1 / 5)  # P(alarm within T) <= T / ARL


def test_risk_is_quiet_when_nothing_changes() -> None:
    rng = np.random.default_rng(2)
    runs = [first_alarm(Risk(arl=ARL), draw(rng, 0.10, 100_000)) for _ in range(40)]
    print(f"\nrisk.v1, 100k labels at .10: {np.isfinite(runs).sum()} of 40 runs alarm (table .01)")
    assert np.isfinite(runs).sum() <= 3


@pytest.mark.parametrize("rate", [0.10, 0.12])
def test_risk_lifetime_lies_in_at_most_alpha_of_all_lives(rate: float) -> None:
    rng = np.random.default_rng(3)
    lives = 120
    runs = [first_alarm(RiskLifetime(alpha=ALPHA), draw(rng, rate, 50_000)) for _ in range(lives)]
    wrong = int(np.isfinite(runs).sum())
    print(f"\nrisk_lifetime.v1, 50k labels at {rate}: {wrong / lives:.3f} alarm (table 0 / .025), promised {ALPHA}")
    assert wrong <= stats.binom.ppf(0.999, lives, ALPHA)


@pytest.mark.parametrize("check", [Risk(arl=ARL), RiskLifetime(alpha=0.1)])
def test_the_error_of_the_reference_is_part_of_the_promise(check: Risk | RiskLifetime) -> None:
    """References of 1,000 drawn at .10, production exactly at tolerance: against the plain mean 30 % would alarm."""
    rng = np.random.default_rng(4)
    wrong, runs, n = 0, 120, 20_000
    for _ in range(runs):
        memory = check.start({"loss": draw(rng, 0.10, 1000)})
        wrong += check.step(memory, {"loss": draw(rng, 0.12, n)})[1].alarm
    plain = sum(
        np.isfinite(first_alarm(check, draw(rng, 0.12, n), rng.binomial(1000, 0.1) / 1000 + 0.02)) for _ in range(runs)
    )
    print(
        f"\n{check.name}: {wrong / runs:.3f} of streams at tolerance alarm; against the plain mean {plain / runs:.3f}"
    )
    assert wrong / runs <= 0.1
    assert plain > 2 * wrong


@pytest.mark.parametrize(
    ("check", "rate", "table", "limit"),
    [
        (Risk(arl=ARL), 0.15, 1398, 1500), (Risk(arl=ARL), 0.20, 292, 310),
        (RiskLifetime(alpha=ALPHA), 0.15, 2828, 3000), (RiskLifetime(alpha=ALPHA), 0.20, 524, 550),
    ],
)  # fmt: skip
def test_delay_after_ten_thousand_good_labels(check: Risk | RiskLifetime, rate: float, table: int, limit: int) -> None:
    rng = np.random.default_rng(5)
    delays = []
    for _ in range(60):
        losses = np.concatenate([draw(rng, 0.10, 10_000), draw(rng, rate, 12_000)])
        delays.append(first_alarm(check, losses) - 10_000)
    median = float(np.median(delays))
    print(f"\n{check.name} .10 -> {rate}: median delay {median:,.0f} labels (table {table:,})")
    assert median <= limit


def test_it_says_where_the_rise_began_and_how_high_it_is() -> None:
    rng = np.random.default_rng(6)
    check = Risk()
    memory = check.start({"loss": draw(rng, 0.1, 2000)})
    memory, finding = check.step(memory, {"loss": draw(rng, 0.1, 5000)})
    assert not finding.alarm
    assert finding.value == pytest.approx(0.1, abs=0.02)
    memory, finding = check.step(memory, {"loss": draw(rng, 0.3, 1000)})
    assert finding.alarm
    assert finding.value == pytest.approx(0.3, abs=0.05)
    assert finding.n == 6000
    assert 4900 < int(finding.why.split("since about label ")[1].split()[0]) < 5100


def test_losses_between_zero_and_one_have_a_betting_bound() -> None:
    rng = np.random.default_rng(7)
    check = Risk(tolerance=0.02)
    memory = check.start({"loss": rng.beta(1, 9, 2000)})
    assert 0.12 < memory["reference"]["limit"] < 0.14
    assert not check.step(memory, {"loss": rng.beta(1, 9, 5000)})[1].alarm
    assert check.step(memory, {"loss": rng.beta(2, 8, 1000)})[1].alarm


def test_a_loss_out_of_range_is_an_error_that_names_it() -> None:
    check = Risk()
    with pytest.raises(StateError, match=r"reference loss holds 1\.5"):
        check.start({"loss": [0.0, 1.5]})
    memory = check.start({"loss": np.zeros(100)})
    with pytest.raises(StateError, match="loss holds -1"):
        check.step(memory, {"loss": [0.0, -1.0]})


def test_a_reference_without_wrong_answers_and_no_tolerance_still_works() -> None:
    check = Risk(tolerance=0.0)
    memory = check.start({"loss": np.zeros(100_000)})
    memory, finding = check.step(memory, {"loss": np.ones(1000)})
    assert finding.alarm
    assert finding.evidence == 1e300
