"""Intervals and e-processes against published constants, scipy and simple recursions."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from luthier import codec, evidence
from luthier.errors import StateError
from luthier.evidence import intervals

BETS = len(evidence.RISE_SHARES)
COUNTS = [(5, 50, 0.05), (0, 10, 0.05), (10, 10, 0.05), (1, 1000, 0.025), (9000, 100_000, 0.05), (30, 600, 1e-6)]


@pytest.mark.parametrize(("k", "n", "alpha"), COUNTS)
def test_clopper_pearson_is_scipys(k: int, n: int, alpha: float) -> None:
    exact = stats.binomtest(k, n).proportion_ci(1 - alpha, method="exact")
    assert evidence.clopper_pearson(k, n, alpha) == pytest.approx((exact.low, exact.high), abs=1e-9)
    upper = stats.beta.ppf(1 - alpha, k + 1, n - k) if k < n else 1.0
    assert evidence.clopper_pearson_upper(k, n, alpha) == pytest.approx(upper, abs=1e-9)
    assert evidence.binomial_tail(k, n, 0.2) == pytest.approx(stats.binom.cdf(k, n, 0.2), abs=1e-12)


@pytest.mark.parametrize(("k", "n"), [(5, 50), (0, 10), (10, 10), (1, 1000)])
def test_wilson_is_scipys(k: int, n: int) -> None:
    known = stats.binomtest(k, n).proportion_ci(0.9, method="wilson")
    assert evidence.wilson(k, n, 0.9) == pytest.approx((known.low, known.high), abs=1e-9)


def test_nothing_seen_is_nan_and_nonsense_is_an_error() -> None:
    assert np.isnan(evidence.clopper_pearson(0, 0)).all()
    assert np.isnan(evidence.wilson(0, 0)).all()
    assert np.isnan(evidence.betting_upper([]))
    with pytest.raises(StateError, match="7 of 3"):
        evidence.clopper_pearson(7, 3)
    with pytest.raises(StateError, match=r"reach from -1 to 0.5.*\[0, 1\]"):
        evidence.betting_lower([0.5, -1.0])


def test_constants_of_confseq() -> None:
    """The unit tests of confseq (Howard et al. 2021)."""
    for k, n, t_opt, known in [
        (700, 1000, 100, (0.651629, 0.745949)), (15, 50, 50, (0.129556, 0.511896)), (5, 50, 50, (0.013021, 0.269264)),
        (1, 50, 50, (0, 0.13489)), (100, 200, 1, (0.328923, 0.671076)), (1, 2, 100, (0, 1)),
    ]:  # fmt: skip
        assert evidence.bernoulli_sequence(k, n, 0.05, t_opt) == pytest.approx(known, abs=1e-5)
    assert intervals.normal_mixture_wealth(10, 100, 100) == pytest.approx(-0.6510052, abs=1e-5)
    assert intervals.normal_mixture_bound(100, 0.05, 100) == pytest.approx(30.35209, abs=1e-5)
    assert intervals.normal_mixture_wealth(10, 100, 100, sides=1) == pytest.approx(-0.06502391, abs=1e-5)
    assert intervals.normal_mixture_bound(100, 0.05, 100, sides=1) == pytest.approx(27.66071, abs=1e-5)
    assert intervals.poly_stitching_bound(100, 0.05, 10, 3) == pytest.approx(64.48755, abs=1e-5)


def test_betting_bounds_hold_at_every_n() -> None:
    rng = np.random.default_rng(1)
    misses = 0
    for _ in range(100):
        x = rng.beta(1, 4, 800)  # mean 0.2
        ends = [evidence.betting_interval(x[:n], 0.1) for n in (20, 50, 100, 200, 400, 800)]
        misses += any(not low <= 0.2 <= high for low, high in ends)
    assert misses <= stats.binom.ppf(0.999, 100, 0.1)
    assert ends[-1][1] - ends[-1][0] < 0.08


@pytest.mark.parametrize("kind", ["sr", "lifetime"])
def test_a_cut_stream_gives_the_same_bits_and_the_plain_recursion(kind: str) -> None:
    rng = np.random.default_rng(2)
    factors = evidence.rise_factors((rng.random(1500) < 0.15).astype(float), 0.12)
    starts = evidence.lifetime_starts(0, 1500) if kind == "lifetime" else np.ones(1500)
    state, path = evidence.advance(evidence.detector(BETS), factors, starts)
    again, parts, at = evidence.detector(BETS), [], 0
    while at < 1500:
        size = int(rng.integers(0, 200))
        again, part = evidence.advance(again, factors[:, at : at + size], starts[at : at + size])
        parts.append(part)
        at += size
    assert np.array_equal(np.concatenate(parts), path)
    assert all(np.array_equal(state[key], again[key]) for key in state)
    _, weighted = evidence.advance(evidence.detector(BETS), factors, starts, evidence.RISE_WEIGHTS)
    m = np.zeros(BETS)
    for t in range(1500):
        m = (m + starts[t]) * factors[:, t]
        assert path[t] == pytest.approx(m.mean(), rel=1e-9)
        assert weighted[t] == pytest.approx(m @ evidence.RISE_WEIGHTS, rel=1e-9)
    assert evidence.RISE_WEIGHTS.sum() == 1


def test_a_huge_detector_stays_finite() -> None:
    factors = evidence.rise_factors(np.ones(20_000), 0.01)
    state, path = evidence.advance(evidence.detector(BETS), factors)
    assert path[-1] == state["value"] == 1e300
    state, path = evidence.advance(state, evidence.rise_factors(np.zeros(200_000), 0.01))
    assert np.isfinite(path).all()


def test_lifetime_weights_sum_below_one() -> None:
    n = 10**6
    rest = 0.9 / np.log(n + 2)  # integral of the tail
    assert 0.9 < evidence.lifetime_starts(0, n).sum() + rest < 1


def test_cusum_and_counts_follow_their_recursions() -> None:
    rng = np.random.default_rng(3)
    x = (rng.random(400) < 0.2).astype(float)
    factors = evidence.rise_factors(x, 0.12)
    whole = evidence.cusum(factors)
    first = evidence.cusum(factors[:, :150])
    assert evidence.cusum(factors[:, 150:], first[:, -1])[:, -1] == pytest.approx(whole[:, -1])
    m, sr, cu = np.zeros(BETS), np.full(BETS, -np.inf), np.full(BETS, -np.inf)
    for t in range(400):
        m = np.maximum(m, 1) * factors[:, t]
        sr = evidence.sr_counts(sr, 1, x[t], 0.12)
        cu = evidence.cusum_counts(cu, 1, x[t], 0.12)
    assert np.exp(whole[:, -1]) == pytest.approx(m)
    assert np.exp(cu) == pytest.approx(m)
    assert np.exp(sr).mean() == pytest.approx(evidence.advance(evidence.detector(BETS), factors)[0]["value"])
    assert evidence.sr_counts(np.zeros((3, BETS)), [10, 20, 30], [1, 2, 3], 0.12).shape == (3, BETS)


def test_p_to_e_has_mean_one_and_conformal_p_counts_ties() -> None:
    p = (np.arange(200_000) + 0.5) / 200_000
    assert np.mean([evidence.p_to_e(q) for q in p]) == pytest.approx(1, abs=0.1)
    assert np.mean([evidence.p_to_e(q) for q in p]) <= 1
    assert evidence.p_to_e(1.0) == 0.5
    assert evidence.p_to_e(1 - 9e-5) == pytest.approx(evidence.p_to_e(1 - 1.1e-4), abs=1e-4)
    null = np.array([1.0, 2.0, 3.0])
    assert [evidence.conformal_p(score, null) for score in (0.0, 2.0, 3.5)] == [1.0, 0.75, 0.25]


def test_e_bh_rejects_what_it_may() -> None:
    assert evidence.e_bh([], 0.05) == []
    assert evidence.e_bh([19.9], 0.05) == []
    assert evidence.e_bh([20.0], 0.05) == [0]
    assert evidence.e_bh([30.0, np.nan, 30.0], 0.05) == [0, 2]
    assert evidence.e_bh([1e300, 1.0, 1.0, 1.0], 0.05) == [0]


def test_paired_wealth_is_the_same_for_any_cut() -> None:
    rng = np.random.default_rng(4)
    factors = evidence.paired_factors(rng.integers(-1, 2, 300).astype(float), 0.02)
    whole = evidence.wealth(np.zeros(7), factors)
    logs = np.zeros(7)
    for part in (factors[:, :7], factors[:, 7:7], factors[:, 7:200], factors[:, 200:]):
        logs = evidence.wealth(logs, part)
    assert np.array_equal(whole, logs)
    assert evidence.mixed(np.array([800.0, 0.0])) == 1e300


def test_a_long_run_is_taken_in_pieces_and_gives_the_same_bits() -> None:
    x = (np.random.default_rng(11).random(3 * evidence.RUN + 77) < 0.12).astype(float)
    for lifetime in (False, True):
        whole, path = evidence.watch_rise(evidence.rise(), x, 0.12, lifetime)
        state, paths = evidence.rise(), []
        for part in np.split(x, [1, 100, evidence.RUN + 3, 2 * evidence.RUN]):
            state, one = evidence.watch_rise(state, part, 0.12, lifetime)
            paths.append(one)
        assert np.array_equal(np.concatenate(paths), path)
        assert codec.pack(whole) == codec.pack(state)
