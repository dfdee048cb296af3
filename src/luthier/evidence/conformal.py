"""From any score to evidence: conformal p-values of a stream, and bets against their uniformity.

A score says how strange a row is, in a unit of its own. Its rank among all scores before it, ties broken at random, is
a p-value; if the scores are exchangeable the p-values of a stream are independent and uniform, exactly and for any
score (Vovk, Nouretdinov & Gammerman, "Testing exchangeability on-line", ICML 2003). A bet is a function of p with mean
1, so its value is an e-value, and the e-detectors of `luthier.evidence` take it from there. No distribution is assumed
and no error of a reference sample is left over: calibration scores are simply the beginning of the stream.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from statistics import NormalDist
from typing import Any, TypeAlias

import numpy as np

from luthier.errors import StateError

__all__ = [
    "CELLS",
    "exceedance_bets",
    "learn",
    "normal_quantile",
    "normal_scores",
    "p_values",
    "power_bets",
    "ranks",
    "simple_jumper",
    "tilt_bets",
    "uniforms",
]

Floats: TypeAlias = "np.ndarray[Any, np.dtype[np.float64]]"
State: TypeAlias = Mapping[str, Any]

_LOWEST, _HIGHEST = -10, 12  # sizes from 2**-10 to 2**12 have cells of their own, so scores should be of order 1
_STEPS = 16  # cells an octave: 3 to 6 % wide
_HALF = (_HIGHEST - _LOWEST) * _STEPS
CELLS = 2 * _HALF + 1
_BLOCK = 128  # scores ranked among each other at once
_EARLIER = np.tri(_BLOCK, k=-1, dtype=bool)
_LEAST = 2.0**-53


def ranks() -> dict[str, Any]:
    """The state of `p_values` before the first score: counts in cells about 5 % wide, so bounded (CELLS,)."""
    return {"n": 0, "counts": np.zeros(CELLS, np.int64)}


def _cells(scores: Any) -> np.ndarray:
    """Number of the cell of each score (n,): rising with the score, finest around 0, in logarithmic steps."""
    scores = np.asarray(scores, dtype=np.float64).ravel()
    if np.isnan(scores).any():
        row = int(np.isnan(scores).argmax())
        raise StateError(
            f"score {row} of {len(scores)} is NaN, which has no rank; leave out rows that cannot be scored"
        )
    mantissa, octave = np.frexp(np.clip(np.abs(scores), 2.0**-60, 2.0**60))  # mantissa in [0.5, 1)
    size = (octave - _LOWEST - 1) * _STEPS + ((mantissa - 0.5) * (2 * _STEPS)).astype(np.int64)
    cells: np.ndarray = _HALF + np.sign(scores).astype(np.int64) * np.clip(size + 1, 0, _HALF)
    return cells


def learn(state: State, scores: Any) -> dict[str, Any]:
    """Take calibration scores (n,) in without p-values: they come before the stream, in whatever order.

    Raises StateError when a score is NaN.
    """
    cells = _cells(scores)
    return {"n": state["n"] + len(cells), "counts": state["counts"] + np.bincount(cells, minlength=CELLS)}


def p_values(state: State, scores: Any, u: Floats) -> tuple[dict[str, Any], Floats]:
    """Smoothed conformal p-values (n,) of scores (n,), each ranked among all before it; a large score gives a small p.

    p_t = (#{i < t: s_i > s_t} + u_t (1 + #{i < t: s_i = s_t})) / t, with `u` (n,) uniform on (0, 1) (`uniforms`).
    Uniform and independent if calibration and stream are exchangeable. Scores in one cell of `ranks` count as equal,
    which costs no validity. However the stream is cut, the p-values are the same bit for bit.

    Raises StateError when a score is NaN.
    """
    cells = _cells(scores).astype(np.int16)
    n, counts = state["n"], state["counts"].copy()
    above, same = np.empty(len(cells), np.int64), np.empty(len(cells), np.int64)
    for start in range(0, len(cells), _BLOCK):
        part = slice(start, start + _BLOCK)
        block = cells[part]
        reached = np.cumsum(counts)
        within = _EARLIER[: len(block), : len(block)]
        above[part] = n - reached[block] + _row_sums((block > block[:, None]) & within)
        same[part] = counts[block] + _row_sums((block == block[:, None]) & within)
        counts += np.bincount(block, minlength=CELLS)
        n += len(block)
    p: Floats = (above + u * (1 + same)) / (state["n"] + 1 + np.arange(len(cells)))
    return {"n": n, "counts": counts}, p


def _row_sums(table: np.ndarray) -> np.ndarray:
    """How many are true in each row of (m, m), m <= 128, counted in bytes."""
    sums: np.ndarray = table.view(np.uint8).sum(axis=1, dtype=np.uint8)
    return sums


def uniforms(keys: Any) -> Floats:
    """Numbers in (0, 1) from 64-bit keys (n,), such as hashes of ids or running numbers: the same for the same key.

    Steele, Lea & Flood 2014 (SplitMix64).
    """
    with np.errstate(over="ignore"):
        mixed = np.asarray(keys).astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed ^= mixed >> np.uint64(31)
    u: Floats = ((mixed >> np.uint64(12)).astype(np.float64) + 0.5) * 2.0**-52
    return u


# -- bets: functions of p with mean 1 under the null, one row a bet ----


def power_bets(p: Floats, powers: Any = (0.1, 0.3, 0.6)) -> Floats:
    """(K, n): k p^(k - 1) for each power k in (0, 1); the larger the closer to 0 p is (Vovk & Wang 2021)."""
    k = np.asarray(powers, dtype=np.float64)[:, None]
    bets: Floats = k * np.exp((k - 1) * np.log(np.maximum(p, _LEAST)))
    return bets


def exceedance_bets(p: Floats, stakes: Any, slack: float = 0.0) -> Floats:
    """(K, n): for each (share, level) in `stakes`, 1 - share + share 1{p <= level} / q.

    q is the level, or with `slack` the probability of p <= level when normal scores have a mean of `slack`.
    """
    share, level = np.asarray(stakes, dtype=np.float64).T
    unit = NormalDist()
    q = np.array([a if slack == 0 else unit.cdf(slack + unit.inv_cdf(a)) for a in level])
    bets: Floats = 1 - share[:, None] + (share / q)[:, None] * (p <= level[:, None])
    return bets


def tilt_bets(z: Floats, tilts: Any, slack: float = 0.0) -> Floats:
    """(K, n): exp(d (z - m) - d² / 2) for each tilt d and z standard normal; m is `slack` towards the side of d.

    The likelihood ratio of a shift by d. With slack m, the bet stays fair while the mean of z is within ± m.
    """
    d = np.asarray(tilts, dtype=np.float64)[:, None]
    bets: Floats = np.exp(d * z - np.abs(d) * slack - d * d / 2)
    return bets


def normal_scores(p: Floats) -> Floats:
    """z (n,) with P(Z >= z) = p: standard normal where p is uniform, so textbook charts hold for any score."""
    return -normal_quantile(p)


def normal_quantile(p: Floats) -> Floats:
    """The standard normal quantile of p (n,) in (0, 1), relative error below 2e-9.

    Acklam's rational approximation (2003).
    """
    p = np.clip(p, _LEAST, 1 - _LEAST)
    tail = np.minimum(p, 1 - p)
    q = np.minimum(p, 0.97575) - 0.5
    r = np.clip(q, -0.47575, 0.47575)
    s = r * r
    middle = _polynomial(_A, s) * r / (_polynomial(_B, s) * s + 1)
    q = np.sqrt(-2 * np.log(tail))
    outer = _polynomial(_C, q) / (_polynomial(_D, q) * q + 1)
    z: Floats = np.where(tail < 0.02425, np.where(p < 0.5, outer, -outer), middle)
    return z


_A = (-3.969683028665376e01, 2.209460984245205e02, -2.759285104469687e02, 1.383577518672690e02, -3.066479806614716e01,
      2.506628277459239e00)  # fmt: skip
_B = (-5.447609879822406e01, 1.615858368580409e02, -1.556989798598866e02, 6.680131188771972e01, -1.328068155288572e01)
_C = (-7.784894002430293e-03, -3.223964580411365e-01, -2.400758277161838e00, -2.549732539343734e00,
      4.374664141464968e00, 2.938163982698783e00)  # fmt: skip
_D = (7.784695709041462e-03, 3.224671290700398e-01, 2.445134137142996e00, 3.754408661907416e00)


def _polynomial(coefficients: tuple[float, ...], x: Floats) -> Floats:
    value = np.full_like(x, coefficients[0])
    for coefficient in coefficients[1:]:
        value = value * x + coefficient
    return value


def simple_jumper(p: Floats, carried: Floats | None = None, jump: float = 0.01) -> tuple[Floats, Floats]:
    """The simple jumper martingale as log wealth (n,), and its three capitals (log, (3,)) to carry on from.

    C_e <- [(1 - J) C_e + J mean(C)] (1 + e (p - 1/2)) for e in -1, 0, 1, from 1/3 each; P(wealth ever >= 1/a) <= a
    while p is uniform (Vovk et al., "Retrain or not retrain", COPA 2021). It tells any change of the scores, either way.
    """
    factors = 1 + np.array([-1.0, 0.0, 1.0])[:, None] * (p - 0.5)  # (3, n)
    logs = np.full(3, -math.log(3)) if carried is None else carried
    top = float(logs.max())
    capital = np.exp(logs - top)
    path = np.empty(len(p))
    for t, factor in enumerate(factors.T):
        total = (capital[0] + capital[1]) + capital[2]
        capital = ((1 - jump) * capital + jump * total / 3) * factor
        total = (capital[0] + capital[1]) + capital[2]
        capital, top = capital / total, top + math.log(total)  # stays inside float64 for ever
        path[t] = top
    return path, np.log(np.maximum(capital, 1e-300)) + top
