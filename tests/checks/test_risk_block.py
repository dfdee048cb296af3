"""How often the block detector lies on independent, seasonal and bursty errors, and how soon it speaks (pytest -s).

The full-size table, beside EVIDENCE section 1, is `bench/bench_falsealarm.py`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from luthier.checks.laws import check_check
from luthier.checks.risk import Risk
from luthier.checks.risk_block import RiskBlock
from luthier.errors import StateError


def independent(rng: np.random.Generator, n: int, rate: float) -> np.ndarray:
    return (rng.random(n) < rate).astype(float)


def seasonal(rng: np.random.Generator, n: int, rate: float) -> np.ndarray:
    """The rate cycles 0.05 about its mean in 2,000 rows."""
    return (rng.random(n) < rate + 0.05 * np.sin(np.arange(n) * (2 * np.pi / 2000))).astype(float)


def bursty(rng: np.random.Generator, n: int, rate: float, bad: float = 1.0) -> np.ndarray:
    """Bursts of mean length 50 in which answers are wrong with probability `bad`, and none is wrong between them."""
    share = rate / bad
    count = 2 + 4 * int(n / (50 / share))
    lengths = np.stack([rng.geometric(share / (50 * (1 - share)), count), rng.geometric(1 / 50, count)], axis=1)
    within = np.repeat(np.tile([0.0, bad], count), lengths.ravel())[rng.integers(500) :]
    assert len(within) >= n
    return (rng.random(n) < within[:n]).astype(float)


def spells(rng: np.random.Generator, n: int, rate: float) -> np.ndarray:
    return bursty(rng, n, rate, 2 * rate)


def surges(rng: np.random.Generator, n: int, rate: float) -> np.ndarray:
    """.05, and .35 in bursts of mean length 50: the formula of EVIDENCE section 1 has its figures for bursts here."""
    extra = bursty(rng, n, (rate - 0.05) / 0.95, 0.30 / 0.95)
    return np.maximum(extra, rng.random(n) < 0.05)


def first_alarm(check: RiskBlock | Risk, reference: np.ndarray, losses: np.ndarray, limit: float | None) -> float:
    memory = check.start({"loss": reference})
    if limit:
        memory = {**memory, "reference": {**memory["reference"], "limit": limit}}
    memory, finding = check.step(memory, {"loss": losses})
    return memory["alarm_n"] if finding.alarm else np.inf


Stream = Callable[[np.random.Generator, int, float], np.ndarray]


@pytest.mark.parametrize("stream", [independent, seasonal, bursty, spells, surges], ids=lambda f: f.__name__)
def test_it_is_quiet_where_nothing_changes(stream: Stream) -> None:
    rng = np.random.default_rng(1)
    runs, alarms, plain = 25, 0, 0
    for _ in range(runs):
        reference, losses = stream(rng, 20_000, 0.10), stream(rng, 100_000, 0.10)
        alarms += np.isfinite(first_alarm(RiskBlock(), reference, losses, 0.12))
        plain += np.isfinite(first_alarm(Risk(), reference, losses[:50_000], 0.12))
    print(f"\n{stream.__name__}: risk_block.v1 {alarms / runs:.2f} alarm in 100k labels, risk.v1 {plain / runs:.2f}")
    assert alarms <= 2
    assert plain >= 0.8 * runs or stream is independent


@pytest.mark.parametrize(
    ("stream", "rate", "limit"),
    [
        (independent, 0.15, 1700), (independent, 0.20, 400), (seasonal, 0.15, 2500), (seasonal, 0.20, 1500),
        (spells, 0.15, 8000), (spells, 0.20, 2200), (surges, 0.15, 15_000), (surges, 0.20, 4500),
        (bursty, 0.20, 20_000),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)  # fmt: skip
def test_delay_after_ten_thousand_good_labels(stream: Stream, rate: float, limit: int) -> None:
    rng = np.random.default_rng(2)
    delays = []
    for _ in range(25):
        losses = np.concatenate([stream(rng, 10_000, 0.10), stream(rng, 40_000, rate)])
        delays.append(first_alarm(RiskBlock(), stream(rng, 20_000, 0.10), losses, 0.12) - 10_000)
    print(f"\n{stream.__name__} .10 -> {rate}: median delay {np.median(delays):,.0f} labels")
    assert np.median(delays) <= limit


@pytest.mark.parametrize("stream", [independent, bursty], ids=lambda f: f.__name__)
def test_the_error_of_the_reference_is_part_of_the_promise(stream: Stream) -> None:
    """References drawn at .10, production exactly at tolerance: a burst more or less in the reference is no alarm."""
    rng = np.random.default_rng(3)
    runs, n = 40, 20_000
    wrong = sum(
        np.isfinite(first_alarm(RiskBlock(), stream(rng, 4000, 0.10), stream(rng, n, 0.12), None)) for _ in range(runs)
    )
    print(f"\n{stream.__name__}: {wrong / runs:.3f} of streams at tolerance alarm")
    assert wrong <= 3


def test_average_run_length_at_the_boundary() -> None:
    rng = np.random.default_rng(4)
    arl = 5000
    runs = [
        first_alarm(RiskBlock(arl=arl), independent(rng, 5000, 0.1), independent(rng, 5 * arl, 0.12), 0.12)
        for _ in range(80)
    ]
    lengths = np.minimum(runs, 5 * arl)
    assert lengths.mean() + 2.6 * lengths.std() / np.sqrt(80) >= arl


@pytest.mark.parametrize(
    ("stream", "low", "high", "season"),
    [(independent, 100, 100, 0), (seasonal, 1980, 2020, 2000), (bursty, 800, 2600, 0)],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_the_block_is_chosen_from_bursts_and_season(stream: Stream, low: int, high: int, season: int) -> None:
    check = RiskBlock()
    memory = check.start({"loss": stream(np.random.default_rng(5), 40_000, 0.1)})
    assert low <= memory["reference"]["block"] <= high
    why = check.step(memory, {"loss": np.zeros(high)})[1].why
    assert ("a season of" in why) is bool(season)
    assert f"blocks of {memory['reference']['block']}, for bursts of" in why


def test_a_short_reference_says_so_and_keeps_the_block() -> None:
    rng = np.random.default_rng(6)
    check = RiskBlock()
    memory = check.start({"loss": bursty(rng, 6000, 0.1)})
    block = memory["reference"]["block"]
    why = check.step(memory, {"loss": np.zeros(2 * block)})[1].why
    need = int(why.split("give ")[1].split()[0])
    assert 8 * 2 * block <= need < 8 * 2 * (block + 1)
    assert f"so blocks of {6000 // 8} stand in" in why
    assert check.step(memory, {"loss": np.zeros(10)})[1].why == f"10 of the first block of {block} labels seen"
    given = RiskBlock(block=500)
    memory = given.start({"loss": bursty(rng, 6000, 0.1)})
    assert "blocks of 500, given" in given.step(memory, {"loss": np.zeros(500)})[1].why


def test_losses_between_zero_and_one_in_slow_waves() -> None:
    rng = np.random.default_rng(7)

    def waves(n: int, mean: float) -> np.ndarray:
        noise = np.convolve(rng.standard_normal(n + 99), np.ones(100) / 10, mode="valid")
        return np.clip(mean + 0.05 * noise, 0, 1)

    check = RiskBlock()
    memory = check.start({"loss": waves(30_000, 0.2)})
    assert memory["reference"]["block"] >= 600
    assert memory["reference"]["limit"] < 0.25
    assert not check.step(memory, {"loss": waves(50_000, 0.2)})[1].alarm
    finding = check.step(memory, {"loss": np.concatenate([waves(20_000, 0.2), waves(30_000, 0.4)])})[1]
    assert finding.alarm
    assert 0.38 < finding.value < 0.42
    begun = int(finding.why.split("since about label ")[1].split()[0])
    assert abs(begun - 20_000) <= 2 * memory["reference"]["block"]


def test_any_cut_gives_the_same_finding() -> None:
    rng = np.random.default_rng(8)
    reference = {"loss": rng.beta(1, 9, 3000)}
    assert check_check(RiskBlock(), reference, {"loss": rng.beta(2, 8, 4777)}).alarm


def test_over_a_season_it_looks_four_times_a_block_and_any_cut_gives_the_same() -> None:
    rng = np.random.default_rng(9)
    check = RiskBlock(season=1001)  # steps of 250 and 251 labels
    reference = {"loss": seasonal(rng, 9000, 0.1)}
    memory = check.start(reference)
    assert check.step(memory, {"loss": np.ones(1000)})[1].why == "1000 of the first block of 1001 labels seen"
    after, finding = check.step(memory, {"loss": np.concatenate([np.zeros(4004), np.ones(520)])})
    assert finding.alarm
    values = after["stream"]["values"]
    assert finding.evidence == pytest.approx(1001 * np.mean(values))
    assert len(set(values)) == 4
    assert after["alarm_n"] in {4004 + 250, 4004 + 500}  # not at the end of a season, 5005
    losses = np.concatenate([seasonal(rng, 3333, 0.1), rng.beta(2, 5, 2222)])
    assert check_check(check, reference, {"loss": losses}).alarm
    short = RiskBlock(season=24).start({"loss": independent(rng, 9000, 0.1)})["reference"]
    assert (short["block"], short["shifts"]) == (120, 1)


def test_average_run_length_at_the_boundary_over_a_season() -> None:
    rng = np.random.default_rng(10)
    arl, check = 5000, RiskBlock(arl=5000, season=400)

    def season(n: int, rate: float) -> np.ndarray:
        return (rng.random(n) < rate + 0.08 * np.sin(np.arange(n) * (2 * np.pi / 400))).astype(float)

    runs = [first_alarm(check, season(8000, 0.1), season(5 * arl, 0.12), 0.12) for _ in range(60)]
    lengths = np.minimum(runs, 5 * arl)
    assert lengths.mean() + 2.6 * lengths.std() / np.sqrt(60) >= arl


def test_what_cannot_be_watched_is_said() -> None:
    check = RiskBlock()
    assert check.step(check.start({}), {"loss": np.ones(500)})[1].why.startswith("not watched: the reference has no")
    why = check.step(check.start({"loss": [0.0, 1.0, 1.0]}), {"loss": np.ones(500)})[1].why
    assert why.startswith("not watched: 3 labelled reference rows")
    with pytest.raises(StateError, match=r"reference loss holds 2"):
        check.start({"loss": [0.0, 2.0]})
    memory = check.start({"loss": np.zeros(1000)})
    with pytest.raises(StateError, match="loss holds -1"):
        check.step(memory, {"loss": [-1.0]})
    finding = check.step(memory, {"loss": np.full(300, np.nan)})[1]
    assert np.isnan(finding.value)
    assert check.step(memory, {"loss": np.ones(1000)})[1].alarm
