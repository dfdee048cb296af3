"""Intervals for rates and means, fixed-sample and anytime-valid, without scipy. Import them from `luthier.evidence`."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from statistics import NormalDist
from typing import Any, TypeAlias

import numpy as np

from luthier.errors import StateError

__all__ = [
    "bernoulli_sequence",
    "bernoulli_wealth",
    "beta_quantile",
    "beta_uppers",
    "betting_interval",
    "betting_lower",
    "betting_upper",
    "binomial_tail",
    "chernoff",
    "clopper_pearson",
    "clopper_pearson_upper",
    "normal_mixture_bound",
    "normal_mixture_wealth",
    "normal_quantile",
    "poly_stitching_bound",
    "student_quantile",
    "wilson",
]

Floats: TypeAlias = "np.ndarray[Any, np.dtype[np.float64]]"
SHARES = np.array([0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 0.9])  # of the largest safe bet, for intervals


def clopper_pearson(k: float, n: float, alpha: float = 0.05) -> tuple[float, float]:
    """Exact two-sided interval for a rate of which `k` of `n` were seen; P(miss) <= alpha. n 0: (nan, nan).

    Clopper & Pearson 1934. Raises StateError unless 0 <= k <= n and 0 < alpha < 1.

    >>> [round(end, 4) for end in clopper_pearson(5, 50, 0.05)]
    [0.0333, 0.2181]
    """
    _counts(k, n, alpha)
    if n == 0:
        return math.nan, math.nan
    low = 0.0 if k == 0 else beta_quantile(alpha / 2, k, n - k + 1)
    high = 1.0 if k == n else beta_quantile(1 - alpha / 2, k + 1, n - k)
    return low, high


def clopper_pearson_upper(k: float, n: float, alpha: float = 0.05) -> float:
    """Exact one-sided upper bound for a rate; P(rate above it) <= alpha. n 0: nan."""
    _counts(k, n, alpha)
    if n == 0:
        return math.nan
    return 1.0 if k == n else beta_quantile(1 - alpha, k + 1, n - k)


def binomial_tail(k: float, n: float, rate: float) -> float:
    """P(at most k of n) when each happens with probability `rate`."""
    _counts(k, n, 0.5)
    if k >= n or rate <= 0:
        return 1.0
    return 0.0 if rate >= 1 else _beta_cdf(1 - rate, n - k, k + 1)


def wilson(k: float, n: float, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval for a rate (1927), for reports. n 0: (nan, nan).

    >>> [round(end, 4) for end in wilson(5, 50)]
    [0.0435, 0.2136]
    """
    _counts(k, n, 1 - confidence)
    if n == 0:
        return math.nan, math.nan
    k, n = float(k), float(n)
    z = normal_quantile(0.5 + confidence / 2)
    rate, spread = k / n, z * z / n
    centre = rate + spread / 2
    half = z * math.sqrt(max(rate * (1 - rate), 0.0) / n + spread / (4 * n))
    low, high = (centre - half) / (1 + spread), (centre + half) / (1 + spread)
    return (0.0 if k == 0 else max(low, 0.0)), (1.0 if k == n else min(high, 1.0))


def chernoff(total: Any, n: Any, alpha: float) -> tuple[Floats, Floats]:
    """Lower and upper bounds, each wrong with probability at most alpha, for many means of values in [0, 1] at once.

    `total` (m,) are sums of `n` (m,) independent values: {p : n KL(total / n, p) < ln 1/alpha}, Hoeffding 1963. Wider than
    Clopper-Pearson, but from sums alone, and true for losses between 0 and 1 as well. n 0: (0, 1).
    """
    total, n = (np.asarray(part, dtype=np.float64) for part in (total, n))
    mean = np.divide(total, n, out=np.full(np.shape(n), 0.5), where=n > 0)
    level = np.divide(math.log(1 / alpha), n, out=np.full(np.shape(n), np.inf), where=n > 0)
    return 1 - _chernoff_upper(1 - mean, level), _chernoff_upper(mean, level)


def _chernoff_upper(mean: Floats, level: Floats) -> Floats:
    """The largest p with KL(mean, p) <= level, by bisection from above."""
    inner = np.where((mean > 0) & (mean < 1), mean, 0.5)
    entropy = np.where((mean > 0) & (mean < 1), inner * np.log(inner) + (1 - inner) * np.log1p(-inner), 0.0)
    low, high = mean.copy(), np.ones_like(mean)
    with np.errstate(divide="ignore", invalid="ignore"):
        for _ in range(34):
            p = 0.5 * (low + high)
            inside = entropy - mean * np.log(p) - (1 - mean) * np.log1p(-p) <= level
            low, high = np.where(inside, p, low), np.where(inside, high, p)
    return high


def betting_lower(values: Any, alpha: float = 0.05) -> float:
    """Lower bound for the mean of [0, 1] `values` (n,); P(ever above the mean) <= alpha, at every n. Empty: nan.

    The largest m at which a gambler betting on "more than m" has made 1/alpha (Waudby-Smith & Ramdas 2024): wealth
    mean_k prod_i (1 - f_k + f_k x_i / m) falls with m, so bisection inverts it. Raises StateError out of [0, 1].
    """
    x, counts = _distinct(values)
    if not counts.size:
        return math.nan

    def excess(m: float) -> float:
        logs = counts @ np.log1p(SHARES * (x[:, None] / m - 1))  # (bets,)
        return float(np.logaddexp.reduce(logs)) - math.log(len(SHARES) / alpha)

    mean = float(counts @ x / counts.sum())
    return 0.0 if mean <= 1e-12 or excess(1e-12) < 0 else -_bisect(lambda m: excess(-m), -mean, -1e-12)


def betting_upper(values: Any, alpha: float = 0.05) -> float:
    """Upper bound for the mean of [0, 1] `values`; see `betting_lower`."""
    return 1.0 - betting_lower(1.0 - np.asarray(values, dtype=np.float64), alpha)


def betting_interval(values: Any, alpha: float = 0.05) -> tuple[float, float]:
    """Two-sided confidence sequence, at its present n, for the mean of [0, 1] `values`; alpha/2 a side."""
    return betting_lower(values, alpha / 2), betting_upper(values, alpha / 2)


def bernoulli_wealth(k: float, n: float, p: float, t_opt: float = 100.0, alpha_opt: float = 0.05) -> float:
    """Log of the two-sided beta-binomial mixture martingale against rate `p`, after k of n (Howard et al. 2021)."""
    variance = p * (1 - p)
    r = max(_rho(t_opt * variance, alpha_opt) - variance, 1e-3 * variance)
    a, b = r / (1 - p), r / p
    return _log_beta(a + k, b + n - k) - _log_beta(a, b) - k * math.log(p) - (n - k) * math.log1p(-p)


def bernoulli_sequence(k: float, n: float, alpha: float = 0.05, t_opt: float = 100.0) -> tuple[float, float]:
    """Two-sided confidence sequence for a rate: P(ever outside, looking at every n) <= alpha. n 0: (nan, nan).

    Narrowest around n = `t_opt`. Howard, Ramdas, McAuliffe & Sekhon, Annals of Statistics 2021.
    """
    _counts(k, n, alpha)
    if n == 0:
        return math.nan, math.nan
    rate, tiny, level = k / n, 1e-9, math.log(1 / alpha)

    def excess(p: float) -> float:
        return bernoulli_wealth(k, n, p, t_opt) - level

    middle = min(max(rate, tiny), 1 - tiny)
    low = 0.0 if excess(tiny) < 0 or rate <= tiny else -_bisect(lambda p: excess(-p), -middle, -tiny)
    high = 1.0 if excess(1 - tiny) < 0 or rate >= 1 - tiny else _bisect(excess, middle, 1 - tiny)
    return low, high


def normal_mixture_wealth(s: float, v: float, v_opt: float, alpha_opt: float = 0.05, sides: int = 2) -> float:
    """Log of the normal-mixture supermartingale at sum `s` and intrinsic time `v` (Howard et al. 2021)."""
    r = _rho(v_opt, alpha_opt if sides == 2 else 2 * alpha_opt)
    two = 0.5 * math.log(r / (v + r)) + s * s / (2 * (v + r))
    return two if sides == 2 else two + math.log(2 * _normal_cdf(s / math.sqrt(v + r)))


def normal_mixture_bound(v: float, alpha: float, v_opt: float, alpha_opt: float = 0.05, sides: int = 2) -> float:
    """The sum that the mixture at intrinsic time `v` ever exceeds with probability at most alpha."""
    level = math.log(1 / alpha)
    top = 10 * math.sqrt((v + v_opt) * (level + 10))
    return _bisect(lambda s: normal_mixture_wealth(s, v, v_opt, alpha_opt, sides) - level, 0.0, top)


def poly_stitching_bound(
    v: float, alpha: float, v_min: float, c: float = 0.0, s: float = 1.4, eta: float = 2.0
) -> float:
    """Polynomial stitched boundary of Howard et al. 2021 at intrinsic time `v`."""
    v = max(v, v_min)
    zeta = sum(j**-s for j in range(1, 20_000)) + 20_000 ** (1 - s) / (s - 1) - 0.5 * 20_000**-s + 20_000**-s
    k1, k2 = (eta**0.25 + eta**-0.25) / math.sqrt(2), (math.sqrt(eta) + 1) / 2
    level = s * math.log(math.log(eta * v / v_min)) + math.log(zeta / (alpha * math.log(eta) ** s))
    return math.sqrt(k1 * k1 * v * level + (k2 * c * level) ** 2) + k2 * c * level


def _counts(k: float, n: float, alpha: float) -> None:
    if not (0 <= k <= n and math.isfinite(n)):
        raise StateError(f"{k!r} of {n!r} is not a count: it must hold 0 <= k <= n")
    if not 0 < alpha < 1:
        raise StateError(f"alpha is {alpha!r}; an error probability lies between 0 and 1")


def _distinct(values: Any) -> tuple[Floats, Floats]:
    x = np.asarray(values, dtype=np.float64).ravel()
    x = x[~np.isnan(x)]
    if x.size and not (x.min() >= 0 and x.max() <= 1):
        raise StateError(f"values reach from {x.min():g} to {x.max():g}; a bounded mean needs them in [0, 1]")
    distinct, counts = np.unique(x, return_counts=True)
    return distinct, counts.astype(np.float64)


def _rho(v_opt: float, alpha: float) -> float:
    level = 2 * math.log(1 / alpha)
    return v_opt / (level + math.log1p(level))


def _normal_cdf(z: float) -> float:
    return 0.5 * math.erfc(-z / math.sqrt(2))


def normal_quantile(q: float) -> float:
    """The standard normal quantile at `q` in (0, 1).

    >>> round(normal_quantile(0.975), 6)
    1.959964
    """
    return NormalDist().inv_cdf(q)


@lru_cache(maxsize=4096)
def student_quantile(q: float, degrees: float) -> float:
    """Student's t quantile at `q` in (0, 1) with `degrees` of freedom > 0, not necessarily whole; within 1e-6 of its size.

    >>> round(student_quantile(0.975, 9), 4)
    2.2622
    """
    z = normal_quantile(q)
    if degrees >= 100:  # Cornish and Fisher's expansion, Abramowitz and Stegun 26.7.5
        c1, c2 = (z**3 + z) / 4, (5 * z**5 + 16 * z**3 + 3 * z) / 96
        c3 = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
        return z + c1 / degrees + c2 / degrees**2 + c3 / degrees**3
    tail = 2 * min(q, 1 - q)
    x = beta_quantile(tail, degrees / 2, 0.5)
    return math.copysign(math.sqrt(degrees * (1 - x) / x), z) if tail < 1 else 0.0


def _bisect(rising: Callable[[float], float], low: float, high: float) -> float:
    """Where a function that rises through zero between `low` and `high` does so; from the side above zero."""
    for _ in range(200):
        middle = 0.5 * (low + high)
        if not low < middle < high:
            break
        low, high = (low, middle) if rising(middle) >= 0 else (middle, high)
    return high


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)


def _beta_cdf(x: float, a: float, b: float) -> float:
    """Regularised incomplete beta function by Lentz's continued fraction (Numerical Recipes 6.4)."""
    if x <= 0 or x >= 1:
        return float(x >= 1)
    front = math.exp(a * math.log(x) + b * math.log1p(-x) - _log_beta(a, b))
    if x < (a + 1) / (a + b + 2):
        return front * _fraction(x, a, b) / a
    return 1 - front * _fraction(1 - x, b, a) / b


def _fraction(x: float, a: float, b: float) -> float:
    tiny = 1e-300
    c, d = 1.0, 1 - (a + b) * x / (a + 1)
    d = 1 / (d or tiny)
    h = d
    for m in range(1, 100_000):
        for top in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1 / ((1 + top * d) or tiny)
            c = (1 + top / c) or tiny
            h *= c * d
        if abs(c * d - 1) < 1e-15:
            break
    return h


@lru_cache(maxsize=4096)
def beta_quantile(q: float, a: float, b: float) -> float:
    """Where the distribution function of Beta(a, b) reaches `q`."""
    return _bisect(lambda x: _beta_cdf(x, a, b) - q, 0.0, 1.0)


def beta_uppers(a: Any, b: Any, delta: float) -> Floats:
    """Upper quantiles of many Beta(a, b) at once, a and b (m,) whole numbers from 1: P(above it) <= delta.

    Newton's method from Chernoff's bound down. The tail is log-concave, so no step passes the quantile, and a bound
    is one wherever the steps end; after 8 it is within 1e-9. Raises StateError unless 0 < delta < 1/2.
    """
    if not 0 < delta < 0.5:
        raise StateError(f"delta is {delta!r}; it must lie in (0, 0.5)")
    a, b = (np.asarray(part, dtype=np.float64) for part in (a, b))
    x = np.minimum(chernoff(a - 1, a + b - 1, delta)[1], 1 - 1e-12)  # P(Bin(a + b - 1, x) <= a - 1) <= delta
    log_beta = np.array([_log_beta(*pair) for pair in zip(a.tolist(), b.tolist(), strict=True)])
    for _ in range(8):
        ratio = x * (1 - x) * _fractions(1 - x, b, a) / b  # tail over density
        log_tail = (a - 1) * np.log(x) + (b - 1) * np.log1p(-x) - log_beta + np.log(ratio)
        x = x + np.minimum(log_tail - math.log(delta), 0.0) * ratio
    return x


def _fractions(x: Floats, a: Floats, b: Floats) -> Floats:
    """`_fraction` of every element, where x is below the mean."""
    c, d = np.ones_like(x), 1 / (1 - (a + b) * x / (a + 1))
    h = d.copy()
    for m in range(1, 10_000):
        for top in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1 / (1 + top * d)
            c = 1 + top / c
            h *= c * d
        if not x.size or np.abs(c * d - 1).max() < 1e-13:
            break
    return h
