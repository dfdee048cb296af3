"""Estimates with their intervals: shares, means, areas under curves; what statistics read their states with."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike

from luthier.evidence.intervals import normal_quantile, student_quantile
from luthier.types import Estimate

__all__ = [
    "area_interval",
    "bounded",
    "by_score",
    "class_scores",
    "normal",
    "on_log",
    "on_logit",
    "share",
    "skewed",
    "stretched",
    "t_score",
    "wilson_bounds",
    "z_score",
]


@lru_cache(maxsize=64)
def z_score(confidence: float) -> float:
    """The two-sided normal quantile: 1.96 for 0.95."""
    return normal_quantile(0.5 + confidence / 2)


def t_score(confidence: float, n: float) -> float:
    """The two-sided quantile of Student's t for the mean of n rows, NaN unless more than one; towards `z_score`."""
    return student_quantile(0.5 + confidence / 2, n - 1) if n > 1 else math.nan


def wilson_bounds(hits: ArrayLike, of: ArrayLike, confidence: float) -> tuple[np.ndarray, np.ndarray]:
    """Wilson's score interval (1927) of all hits of `of` at once, NaN where that is 0.

    Where three at most were hit, or missed, of few rows a fifth of them at most, that end is Poisson's, for Wilson's
    covers only 91 % there (Brown, Cai and DasGupta 2001, section 4.1.1). By chance a rate's coverage jumps with n; over
    all rates it is 95 to 96 %.
    """
    k, n = np.asarray(hits, np.float64), np.asarray(of, np.float64)
    z = z_score(confidence)
    with np.errstate(invalid="ignore", divide="ignore"):
        rate, spread = k / n, z * z / n
        half = z * np.sqrt(np.maximum(rate * (1 - rate), 0) / n + spread / (4 * n))
        low, high = (rate + spread / 2 - half) / (1 + spread), (rate + spread / 2 + half) / (1 + spread)
        most = np.clip(n // 5, 1, _FEW_HITS)
        low = np.where(k <= most, np.minimum(low, _few(k, confidence) / n), low)
        high = np.where(n - k <= most, np.maximum(high, 1 - _few(n - k, confidence) / n), high)
    return np.where(n > 0, np.maximum(low, 0), np.nan), np.where(n > 0, np.minimum(high, 1), np.nan)


_FEW_HITS = 3


def _few(hits: np.ndarray, confidence: float) -> np.ndarray:
    """The Poisson mean of which so many hits are exceeded with probability 1 - confidence; between counts on a line."""
    means: np.ndarray = np.interp(hits, range(_FEW_HITS + 1), _poisson_lows(confidence))
    return means


@lru_cache(maxsize=64)
def _poisson_lows(confidence: float) -> tuple[float, ...]:
    """Lower bounds of a Poisson mean for 0, 1, 2 and 3 events: P(fewer | mean) = confidence, by bisection."""
    lows = [0.0]
    for k in range(1, _FEW_HITS + 1):
        low, high = 0.0, 64.0
        for _ in range(60):
            mean = (low + high) / 2
            fewer = math.exp(-mean) * sum(mean**j / math.factorial(j) for j in range(k))
            low, high = (mean, high) if fewer > confidence else (low, mean)
        lows.append(low)
    return tuple(lows)


def share(k: float, n: float, confidence: float) -> Estimate:
    """k of n, rows or what weighted ones are worth, as an Estimate with Wilson's interval."""
    if n == 0:
        return Estimate()
    low, high = wilson_bounds(k, n, confidence)
    return Estimate(float(k) / float(n), max(round(n), 1), float(low), float(high))


def class_scores(
    right: np.ndarray, support: np.ndarray, predicted: np.ndarray, confidence: float, squares: Sequence[np.ndarray] = ()
) -> dict[str, tuple[np.ndarray, ...]]:
    """precision, recall and f1 of every class from its counts (k,): (value, low, high, n), each (k,); of none, NaN.

    Wilson's intervals; F1's is that of the Jaccard share tp / (tp + fp + fn), of which F1 = 2 J / (1 + J) rises. Of
    rows that were weighted, counts are sums of weights and `squares` those of their squares: n is what they are worth.
    """
    scores: dict[str, tuple[np.ndarray, ...]] = {}
    for metric, signs in _SCORED_OF.items():
        mass = signs @ np.stack((right, support, predicted))
        n = mass
        if squares:
            square = signs @ np.stack(squares)
            n = np.divide(mass * mass, square, out=np.zeros(len(mass)), where=square > 0)
        value = np.divide(right, mass, out=np.full(len(mass), np.nan), where=mass > 0)
        hits = right if not squares else np.nan_to_num(value) * n
        low, high = wilson_bounds(hits, n, confidence)
        if metric == "f1":  # so far the Jaccard share
            value, low, high = (2 * j / (1 + j) for j in (value, low, high))
        scores[metric] = (value, low, high, n)
    return scores


_SCORED_OF = {"precision": np.array([0, 0, 1]), "recall": np.array([0, 1, 0]), "f1": np.array([-1, 1, 1])}
"""How the rows that a score is a share of add up from right, support and predicted."""


def normal(value: float, error: float, n: int, confidence: float, worth: float | None = None) -> Estimate:
    """`value` ± t · `error`, its standard error from n rows, or of weighted ones from as many as they are `worth`.

    An unknown error leaves the interval unknown.
    """
    if n == 0:
        return Estimate()
    half = t_score(confidence, n if worth is None else worth) * error
    return Estimate(value, int(n), value - half, value + half)


def skewed(value: float, error: float, skewness: float, n: int, confidence: float) -> Estimate:
    """`normal` turned by the `skewness` of the n rows: Hall's third transformation, with Student's t.

    A mean of skewed rows is low together with its standard error, so that the ends of Student's interval miss unequally
    often. Hall, "On the removal of skewness by transformation" (1992). An unknown skewness leaves Student's interval,
    an unknown error none.
    """
    bend, t = skewness / 3, t_score(confidence, n)
    if not abs(bend) > 1e-6 or not math.isfinite(error):
        return normal(value, error, n, confidence)
    root = math.sqrt(n)
    ends = (root / bend * (math.cbrt(1 + 3 * bend * (x / root - bend / (2 * n))) - 1) for x in (t, -t))
    low, high = (value - error * end for end in ends)
    return Estimate(value, n, min(low, value), max(high, value))


def on_logit(value: float, error: float, n: int, confidence: float, worth: float | None = None) -> Estimate:
    """A share `value` inside (0, 1) with its standard error, as an interval on the logit (delta method); see `normal`."""
    half = t_score(confidence, n if worth is None else worth) * error / (value * (1 - value))
    centre = math.log(value / (1 - value))
    low, high = ((1 + math.tanh(end / 2)) / 2 for end in (centre - half, centre + half))
    return Estimate(value, int(n), min(low, value), max(high, value))


def on_log(value: float, half: float, n: int, *, skewed: bool = False) -> Estimate:
    """A `value` above 0 with the interval ± `half`, taken on the logarithm; the upper end of 0 is unknown."""
    if value == 0:
        return Estimate(0.0, n, 0.0, math.nan)
    half = half / value
    above = stretched(half) if skewed else half
    return Estimate(value, n, value * math.exp(-half), value * math.exp(min(above, 700.0)))


def stretched(half: float) -> float:
    """A mean of skewed values is low together with its standard error: so its upper end lies further, on the log.

    By half · half / 2, chosen in simulation: for the mean square of 50 normal to Laplace errors 93 to 95 % instead of 90
    to 93 %, for the log loss of 50 rows 95 % instead of 94 %.
    """
    return half + half * half / 2


def by_score(
    value: float,
    spread: float,
    model: Callable[[float], float],
    rarer: float,
    n: int,
    confidence: float,
    prior: float = 2,
) -> Estimate:
    """A score interval of `value` in [0, 1]: all θ with |value - θ| ≤ t √(ratio · model(θ)), Wilson's way.

    `model` is the variance that a textbook gives an estimate whose truth is θ, `spread` the one that was measured over
    `rarer` rows. Their ratio is drawn to 1 as by `prior` rows that agree with the model, the more so the fewer rows could
    tell, few or all alike: where a measured spread is least to be believed. Student's t has twice as many degrees more.
    """
    reach = _reach(value, spread, model(value), rarer, confidence, prior)
    ends = []
    for end in (0.0, 1.0):
        inside, outside = value, end
        for _ in range(40):
            middle = (inside + outside) / 2
            within = (value - middle) ** 2 <= reach * model(middle)
            inside, outside = (middle, outside) if within else (inside, middle)
        ends.append(outside)
    return Estimate(value, n, min(ends[0], value), max(ends[1], value))


def _reach(value: float, spread: float, model: float, rarer: float, confidence: float, prior: float) -> float:
    """t² · ratio of `by_score`, where `model` is the textbook's variance at the value itself."""
    told = max(rarer - 1, 0) * 4 * value * (1 - value)
    ratio = (told * spread / model + prior) / (told + prior) if told else 1.0
    return float(t_score(confidence, max(rarer, 1) + 2 * prior) ** 2 * max(ratio, 0.0))


def area_interval(area: float, spread: float, positives: float, negatives: float, confidence: float) -> Estimate:
    """The area under a ROC curve with its DeLong variance (1988): a score interval beside Newcombe's model.

    Newcombe, "Confidence intervals for an effect size measure based on the Mann–Whitney statistic" (2006), method 5.
    """
    pairs, more = positives * negatives, (positives + negatives) / 2 - 1

    def model(a: float) -> float:
        return a * (1 - a) / pairs * (1 + more * (1 - a) / (2 - a) + more * a / (1 + a))

    return by_score(area, spread, model, min(positives, negatives), round(positives + negatives), confidence, 4)


def bounded(value: float, error: float, n: int, confidence: float, worth: float | None = None) -> Estimate:
    """A mean of n values in [0, 1] with its standard error: Wilson's interval for values that vary less than 0 and 1."""
    if n == 0:
        return Estimate()
    rows_ = float(n if worth is None else worth)
    error = 0.0 if math.isnan(error) else error
    c = _reach(value, error * error, value * (1 - value) / rows_, rows_, confidence, 2) / rows_
    half = math.sqrt(c * c + 4 * c * value * (1 - value))  # (value - θ)² = c θ (1 - θ), solved as Wilson did
    low, high = ((2 * value + c + sign * half) / (2 * (1 + c)) for sign in (-1, 1))
    return Estimate(value, n, max(min(low, value), 0.0), min(max(high, value), 1.0))
