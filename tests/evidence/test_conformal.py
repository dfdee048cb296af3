"""p-values are uniform for any score and independent; bets on them keep their promise; cuts change nothing."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from luthier.errors import StateError
from luthier.evidence import advance, detector
from luthier.evidence.conformal import (
    exceedance_bets,
    learn,
    normal_quantile,
    normal_scores,
    p_values,
    power_bets,
    ranks,
    simple_jumper,
    tilt_bets,
    uniforms,
)

WORLDS = {
    "heavy tails": lambda rng, n: rng.standard_cauchy(n),
    "ties": lambda rng, n: rng.integers(0, 3, n).astype(float),
    "constant": lambda rng, n: np.full(n, 2.5),
    "tiny and huge": lambda rng, n: 10.0 ** rng.uniform(-30, 30, n),
    "infinite": lambda rng, n: np.where(rng.random(n) < 0.2, np.inf, rng.standard_normal(n)),
}


def stream(seed: int, world: str, n: int, calibration: int = 100) -> np.ndarray:
    rng = np.random.default_rng(seed)
    state = learn(ranks(), WORLDS[world](rng, calibration))
    return p_values(state, WORLDS[world](rng, n), uniforms(np.arange(n) + seed * 100_000))[1]


@pytest.mark.parametrize("world", WORLDS)
def test_p_values_are_uniform_and_independent(world: str) -> None:
    p = np.concatenate([stream(seed, world, 400) for seed in range(25)])
    assert stats.kstest(p, "uniform").pvalue > 0.001
    assert abs(np.corrcoef(p[1:], p[:-1])[0, 1]) < 4 / math.sqrt(len(p))
    assert 0 < p.min() < p.max() < 1


@pytest.mark.parametrize("world", ["heavy tails", "ties"])
def test_an_e_detector_on_them_alarms_no_more_often_than_promised(world: str) -> None:
    """A tiny calibration sample, so that its error would show if it were not part of the stream."""
    arl, n, runs = 1000, 500, 120
    wrong = 0
    for seed in range(runs):
        p = stream(seed, world, n, calibration=20)
        bets = np.vstack([power_bets(p), tilt_bets(normal_scores(p), (-1, 0.5, 1)), exceedance_bets(p, ((0.2, 0.05),))])
        wrong += advance(detector(len(bets)), bets)[0]["peak"] >= arl
    print(f"\nconformal e-SR, {world}: {wrong} of {runs} streams of {n} alarm at ARL {arl}")
    assert wrong <= stats.binom.ppf(0.999, runs, 1 - math.exp(-n / arl))


def test_the_jumper_is_ever_wrong_no_more_often_than_promised() -> None:
    alpha, runs = 0.05, 300
    wrong = sum(simple_jumper(stream(seed, "heavy tails", 300))[0].max() >= -math.log(alpha) for seed in range(runs))
    assert wrong <= stats.binom.ppf(0.999, runs, alpha)


def test_the_jumper_sees_a_change_and_goes_on_where_it_was() -> None:
    rng = np.random.default_rng(0)
    scores = np.concatenate([rng.standard_normal(1000), rng.standard_normal(300) + 1.5])
    _, p = p_values(ranks(), scores, uniforms(np.arange(1300)))
    path, _ = simple_jumper(p)
    assert path[:1000].max() < math.log(20) < path.max()
    first, carried = simple_jumper(p[:700])
    again, _ = simple_jumper(p[700:], carried)
    np.testing.assert_allclose(np.concatenate([first, again]), path, rtol=1e-12)


def test_a_shift_of_scores_is_found_soon_however_long_they_were_good() -> None:
    delays = []
    for seed in range(10):
        rng = np.random.default_rng(seed)
        scores = np.concatenate([rng.standard_normal(6000), rng.standard_normal(300) + 1.0])
        _, p = p_values(ranks(), scores, uniforms(np.arange(len(scores))))
        path = advance(detector(3), tilt_bets(normal_scores(p), (0.5, 1, 2)))[1]
        delays.append(int((path[6000:] >= 10_000).argmax()) if (path[6000:] >= 10_000).any() else 999)
    assert np.median(delays) <= 40


@pytest.mark.parametrize("cuts", [(1,), (127, 128, 129), tuple(range(0, 400, 7))])
def test_cuts_change_no_bit(cuts: tuple[int, ...]) -> None:
    scores, u = np.random.default_rng(1).standard_t(2, 400), uniforms(np.arange(400))
    state, whole = p_values(ranks(), scores, u)
    after, parts = ranks(), []
    for a, b in zip((0, *cuts), (*cuts, 400), strict=True):
        after, p = p_values(after, scores[a:b], u[a:b])
        parts.append(p)
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    np.testing.assert_array_equal(after["counts"], state["counts"])


def test_p_values_are_what_the_formula_says() -> None:
    scores, u = np.array([1.0, 3.0, 2.0, 3.0, 5.0]), np.full(5, 0.5)
    _, p = p_values(ranks(), scores, u)
    np.testing.assert_allclose(p, [0.5, 0.5 / 2, 1.5 / 3, 1.0 / 4, 0.5 / 5])


def test_bets_are_fair() -> None:
    p = (np.arange(200_000) + 0.5) / 200_000
    z = normal_scores(p)
    assert exceedance_bets(p, ((0.1, 0.01), (0.5, 0.3))).mean(axis=1) == pytest.approx([1, 1], abs=1e-4)
    assert tilt_bets(z, (-1, 0.5, 2)).mean(axis=1) == pytest.approx([1, 1, 1], abs=2e-3)
    assert tilt_bets(z + 0.2, (1.0, 2.0), slack=0.2).mean(axis=1) == pytest.approx([1, 1], abs=5e-3)
    assert power_bets(p, (0.6, 0.8)).mean(axis=1) == pytest.approx([1, 1], abs=5e-3)


def test_the_normal_quantile_is_scipys() -> None:
    p = np.concatenate([np.logspace(-15, -1, 300), np.linspace(0.1, 0.999999, 1000)])
    np.testing.assert_allclose(normal_quantile(p), stats.norm.ppf(p), rtol=1e-8, atol=2e-9)
    assert np.isfinite(normal_quantile(np.array([0.0, 1.0]))).all()


def test_uniforms_are_the_same_for_the_same_key_and_look_uniform() -> None:
    u = uniforms(np.arange(20_000))
    np.testing.assert_array_equal(u[5:10], uniforms(np.arange(5, 10)))
    assert stats.kstest(u, "uniform").pvalue > 0.001
    assert abs(np.corrcoef(u[1:], u[:-1])[0, 1]) < 0.03


def test_a_nan_has_no_rank() -> None:
    for call in (lambda x: learn(ranks(), x), lambda x: p_values(ranks(), x, np.full(3, 0.5))):
        with pytest.raises(StateError, match="score 1 of 3 is NaN"):
            call(np.array([1.0, np.nan, 2.0]))
    state, p = p_values(ranks(), [], np.zeros(0))
    assert (state["n"], len(p)) == (0, 0)
