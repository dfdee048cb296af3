"""A mean from few labels: intervals that hold what they say, narrower where guesses help, labels alone where not."""

from __future__ import annotations

import math

import numpy as np
import pytest

from luthier.errors import StateError
from luthier.evidence.intervals import wilson
from luthier.fewlabels import Pool, active, chances, combined, error_rates, labels_only, ppi, scaled

RUNS = 1000


def traffic(rng: np.random.Generator, n: int, risk: float, correlation: float) -> tuple[np.ndarray, np.ndarray]:
    """Guesses that are right on average, of this correlation with the 0/1 losses they guess."""
    size = 1 / correlation**2 - 1
    guess = rng.beta(risk * size, (1 - risk) * size, n)
    return guess, (rng.random(n) < guess).astype(float)


def drawn(rng: np.random.Generator, chance: np.ndarray) -> np.ndarray:
    """Rows with these chances, each drawn on its own."""
    return np.flatnonzero(rng.random(len(chance)) < chance)


@pytest.mark.parametrize(
    ("risk", "correlation", "wrong_guess"),
    [(0.088, 0.40, 0.0), (0.158, 0.40, 0.0), (0.10, 0.40, 0.24), (0.035, 0.29, 0.0)],
)
def test_every_interval_holds_the_truth_in_95_of_100_and_guesses_narrow_it(
    risk: float, correlation: float, wrong_guess: float
) -> None:
    """`wrong_guess`: share of rows whose loss is a coin toss that no guess knew of (concept shift)."""
    rng = np.random.default_rng(3)
    truth = risk * (1 - wrong_guess) + 0.5 * wrong_guess
    held: dict[str, list[bool]] = {"labels": [], "ppi": [], "active": [], "combined": []}
    width: dict[str, list[float]] = {name: [] for name in held}
    for _ in range(RUNS):
        guess, loss = traffic(rng, 3000, risk, correlation)
        loss = np.where(rng.random(3000) < wrong_guess, rng.random(3000) < 0.5, loss).astype(float)
        some, pool = rng.choice(3000, 200, replace=False), Pool.of(guess)
        chance = chances(guess, 200)
        picked = drawn(rng, chance)
        for name, said in (
            ("labels", labels_only(loss[some])),
            ("ppi", ppi(loss[some], guess[some], pool)),
            ("active", active(loss[picked], guess[picked], chance[picked], pool)),
            ("combined", combined(loss[some], guess[some], pool).estimate),
        ):
            held[name].append(said.low <= truth <= said.high)
            width[name].append(said.high - said.low)
    coverage = {name: float(np.mean(found)) for name, found in held.items()}
    widths = {name: round(float(np.mean(found)), 4) for name, found in width.items()}
    print(f"\nrisk {truth:.3f}: coverage {coverage}, width {widths}")
    assert all(0.93 <= share <= 0.975 for share in coverage.values()), coverage  # 1.5 points, and 2 s.e. of 1,000 runs
    assert widths["ppi"] < 0.985 * widths["labels"]
    assert widths["combined"] <= 1.005 * widths["labels"]


@pytest.mark.parametrize(("risk", "labels"), [(0.035, 50), (0.02, 100), (0.088, 50)])
def test_intervals_hold_where_labels_have_next_to_no_errors(risk: float, labels: int) -> None:
    """One to four errors among the labels, which tell next to nothing of how much the estimate varies."""
    rng, held = np.random.default_rng(8), np.zeros(3)
    for _ in range(RUNS):
        guess, loss = traffic(rng, 2000, risk, 0.3)
        some, chance, pool = rng.permutation(2000)[:labels], chances(guess, labels), Pool.of(guess)
        picked = drawn(rng, chance)
        for i, said in enumerate((
            labels_only(loss[some]), ppi(loss[some], guess[some], pool),
            active(loss[picked], guess[picked], chance[picked], pool),
        )):  # fmt: skip
            held[i] += said.low <= risk <= said.high
    print(f"\nrisk {risk}, {labels} labels: labels, ppi and active hold in {held / RUNS}")
    assert (held >= 0.94 * RUNS).all()


@pytest.mark.parametrize(("rho", "theory"), [(0.3, 0.954), (0.6, 0.802), (0.8, 0.605), (0.9, 0.445), (0.95, 0.326)])
def test_the_gaussian_width_ratios_of_ppi_are_those_of_theory(rho: float, theory: float) -> None:
    """sqrt(1 - rho² / (1 + n/N)) with n 200, N 20,000: values scaled into [0, 1]."""
    rng = np.random.default_rng(4)
    ratios = []
    for _ in range(60):
        guess = rng.standard_normal(20_200)
        value = rho * guess + math.sqrt(1 - rho**2) * rng.standard_normal(20_200)
        guess, value = (np.clip(0.5 + x / 20, 0, 1) for x in (guess, value))
        alone, both = labels_only(value[:200]), ppi(value[:200], guess[:200], Pool.of(guess))
        ratios.append((both.high - both.low) / (alone.high - alone.low))
    assert np.mean(ratios) == pytest.approx(theory, abs=0.02)


def test_the_value_is_the_published_closed_form() -> None:
    rng = np.random.default_rng(5)
    guess, loss = traffic(rng, 1000, 0.2, 0.6)
    y, f, rest = loss[:100], guess[:100], guess[100:]
    weight = np.cov(y, f)[0, 1] / ((1 + 100 / 900) * np.var(guess, ddof=1))
    said = ppi(y, f, guess)
    assert said.value == pytest.approx(y.mean() + weight * (rest.mean() - f.mean()), abs=2e-3)
    variance = np.var(y - weight * f) / 100 + weight**2 * np.var(rest) / 900
    assert said.high - said.low == pytest.approx(2 * 1.96 * math.sqrt(variance), rel=0.05)


def test_one_estimate_is_unbiased_whatever_the_guesses_say() -> None:
    rng = np.random.default_rng(6)
    guess, loss = traffic(rng, 2000, 0.3, 0.5)
    backwards = 1 - guess
    chance = chances(backwards, 150)
    values = []
    for _ in range(400):
        picked = drawn(rng, chance)
        values.append(active(loss[picked], backwards[picked], chance[picked], backwards).value)
    assert np.mean(values) == pytest.approx(loss.mean(), abs=4 * np.std(values) / 20)


def test_labels_alone_when_errors_are_few_or_guesses_say_nothing() -> None:
    rng = np.random.default_rng(7)
    guess, loss = traffic(rng, 2000, 0.02, 0.3)
    rare = combined(loss[:200], guess[:200], guess)
    assert (rare.method, rare.weight) == ("labels", 0.0)
    assert (rare.estimate.low, rare.estimate.high) == wilson(float(loss[:200].sum()), 200)
    assert "10 are needed" in rare.why
    guess, loss = rng.random(2000), (rng.random(2000) < 0.3).astype(float)
    blind = [combined(loss[i : i + 200], guess[i : i + 200], guess).method for i in range(0, 2000, 200)]
    assert blind.count("labels") >= 6, "a correlation of 0 is above 1/sqrt(198) in a third of samples"
    helped = combined(*(traffic(rng, 400, 0.3, 0.6)[::-1]), Pool(10_000, 0.3, 0.07))
    assert helped.method == "combined"
    assert helped.worth > 400
    assert "worth" in helped.why


def test_nothing_one_and_all_the_same() -> None:
    assert combined([], [], []).method == "none"
    assert math.isnan(labels_only([]).value)
    assert labels_only([]).n == 0
    assert math.isnan(ppi([], [], []).value)
    assert labels_only([math.nan, math.nan]).n == 0
    one = combined([0.3], [0.2], [0.2, 0.4]).estimate
    assert (one.value, one.n) == (0.3, 1)
    assert 0 <= one.low < 0.3 < one.high <= 1
    for same in (0.0, 1.0, 0.25):
        said = combined([same] * 50, [0.1] * 50, [0.1] * 500).estimate
        assert (said.value, said.n) == (same, 50)
        assert said.low <= same <= said.high
        assert 0 < said.high - said.low < 0.3
    everything = combined([0.0, 1.0] * 50, [0.2, 0.7] * 50, [0.2, 0.7] * 50).estimate
    assert everything.value == 0.5, "every row of the pool is labelled: there is nothing to guess"


def test_a_label_that_never_came_is_left_out() -> None:
    guess, loss = traffic(np.random.default_rng(8), 300, 0.3, 0.5)
    holed = np.concatenate([loss, np.full(40, np.nan)])
    assert combined(holed, np.concatenate([guess, guess[:40]]), guess) == combined(loss, guess, guess)


@pytest.mark.parametrize(
    ("losses", "guess", "chance", "why"),
    [
        ([0.1, 1.2], [0.1, 0.1], None, "loss holds 1.2"),
        ([0.1, math.inf], [0.1, 0.1], None, "loss holds inf"),
        ([0.1, 0.2], [0.1, math.nan], None, "1 of 2 values of guess are missing"),
        ([0.1, 0.2], [0.1, -0.5], None, "guess holds -0.5"),
        ([0.1, 0.2], [0.1, 0.1], [0.5, 0.0], "a chance is 0"),
        ([0.1, 0.2], [0.1, 0.1], [0.5, 1.5], "chance holds 1.5"),
        ([0.1, 0.2], [0.1], None, "2 losses, 1 guesses"),
    ],
)
def test_bad_input_is_named(losses: list[float], guess: list[float], chance: list[float] | None, why: str) -> None:
    with pytest.raises(StateError, match=why):
        combined(losses, guess, [0.1, 0.2, 0.3], chance)


def test_chances_add_up_to_the_budget_and_never_exceed_one() -> None:
    guess = np.concatenate([np.zeros(900), np.full(100, 0.5)])
    chance = chances(guess, 80)
    assert chance.sum() == pytest.approx(80)
    assert chance.max() <= 1
    assert chance[-1] / chance[0] == pytest.approx((0.0005 + 0.005) / 0.0005), "half uniform, half by uncertainty"
    assert chances(guess, 10_000).tolist() == [1.0] * 1000
    assert chances(np.zeros(10), 5) == pytest.approx(0.5)
    assert scaled(np.array([1e-9, 1.0, 0.0]), 2).tolist() == [1.0, 1.0, 0.0]
    assert scaled(np.array([100.0, 1.0, 1.0]), 2) == pytest.approx([1.0, 0.5, 0.5])
    assert len(chances([], 5)) == 0


def test_error_rates_say_how_often_a_confidence_is_wrong() -> None:
    rng = np.random.default_rng(9)
    sure = rng.uniform(0.5, 1, 20_000)
    loss = (rng.random(20_000) < 1.5 * (1 - sure)).astype(float)
    rates = error_rates(loss, sure)
    asked = np.array([0.55, 0.75, 0.95])
    assert rates.guess(asked) == pytest.approx(1.5 * (1 - asked), abs=0.05)
    assert rates.guess([math.nan])[0] == pytest.approx(loss.mean(), abs=0.02)
    assert error_rates([], []).guess([0.91])[0] == pytest.approx(0.075), "taken at its word without a reference"
    assert np.isfinite(error_rates([1.0, 0.0], [0.7, 0.7]).guess([0.1, 0.7, 2.0, -math.inf])).all()
