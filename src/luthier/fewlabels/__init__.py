"""A mean loss from few labels and many predictions: PPI++, active inference, and labels alone where those do better.

A *guess* is what somebody expected a row's loss to be before its label came, such as P(wrong | confidence). A *pool* is
every row that might have been labelled, the labelled ones included; the mean that is estimated is that of the traffic
the pool was drawn from.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np

from luthier.errors import StateError
from luthier.evidence import Floats, floats, unit_interval
from luthier.evidence.estimates import by_score, share, t_score, wilson_bounds, z_score
from luthier.types import Estimate

__all__ = ["Combined", "ErrorRates", "Pool", "active", "chances", "combined", "error_rates", "labels_only", "ppi"]

FEWEST = 10  # losses, and losses short of 1, below which no normal approximation is trusted
CELLS = 20  # of confidence, in `error_rates`
_LEAST = 1e-12  # chance of a row that was labelled


class Pool(NamedTuple):
    """What an estimate needs to know of the guesses of all rows that might have been labelled."""

    n: int
    mean: float
    variance: float

    @classmethod
    def of(cls, guesses: Any) -> Pool:
        """From the guesses (N,) themselves. Raises StateError when one is missing or outside [0, 1]."""
        values = _whole(guesses, "guess")
        return cls(len(values), float(values.mean()), float(values.var())) if len(values) else cls(0, math.nan, 0.0)


@dataclass(frozen=True, slots=True)
class Combined:
    """The mean loss, and how it came about.

    `weight` is how far the guesses were believed (0: not at all), `correlation` that of guesses and losses, `worth`
    the number of labels that would have given as narrow an interval alone.
    """

    estimate: Estimate
    method: Literal["none", "labels", "combined"]
    weight: float
    correlation: float
    worth: float
    why: str


class _Fit(NamedTuple):
    value: float
    variance: float
    weight: float
    correlation: float
    n: float  # labels of equal chance that vary as much
    model: float  # 0/1 labels alone that would vary as much if losses spread as the guesses say; NaN: losses between


def labels_only(losses: Any, chance: Any = None, *, confidence: float = 0.95) -> Estimate:
    """The mean of `losses` (n,) in [0, 1], labelled with probability `chance` (n,) each, or all alike (None).

    Wilson's interval; for weighted labels or losses between 0 and 1 with the number of 0/1 labels that would vary as
    much (Kish 1965; Korn & Graubard 1998). NaN is a label that never came. Raises StateError for what is out of range.
    """
    y, _, w = _rows(losses, None, chance)
    if not len(y):
        return Estimate()
    return _alone(y, w, confidence)


def ppi(losses: Any, guess: Any, pool: Pool | Any, *, confidence: float = 0.95) -> Estimate:
    """PPI++: mean Y + l (mean F - mean f) with l = cov(Y, f) / ((1 + n/N) var f), which has the least variance. (l is
    estimated as `active` does, which for equal chances differs from the published form by a share of 1/n.)

    `losses` and `guess` (n,) of the labelled rows, drawn with equal chances; `pool`: guesses of all rows. Angelopoulos,
    Duchi & Zrnic 2023 (arXiv 2311.01453). It assumes enough labels: see `combined`.
    """
    return active(losses, guess, None, pool, confidence=confidence)


def active(losses: Any, guess: Any, chance: Any, pool: Pool | Any, *, confidence: float = 0.95) -> Estimate:
    """The same for labels drawn with known probabilities `chance` (n,), each counting 1 / chance.

    Zrnic & Candès, "Active statistical inference" (ICML 2024), with the weights normalised (Hájek 1971), so that
    neither the number of labels that came nor a guess that is wrong everywhere alike widens the interval.
    """
    y, f, w = _rows(losses, guess, chance)
    if len(y) < 2:
        return Estimate()
    fit = _fit(y, f, w, pool if isinstance(pool, Pool) else Pool.of(pool))
    return _interval(fit, len(y), confidence)


def combined(
    losses: Any, guess: Any, pool: Pool | Any, chance: Any = None, *, confidence: float = 0.95
) -> Combined:  # fmt: skip
    """Labels and guesses together where that helps, else labels alone; say which, and why.

    Alone when fewer than 10 losses (or 10 rights) are among the labels, where no normal approximation holds, and when
    the correlation of guesses and losses is not above 1/sqrt(n - 2), where guesses cost more than they bring (Mani,
    Xu, Lipton & Oberst, "No free lunch", 2025).
    """
    y, f, w = _rows(losses, guess, chance)
    if not len(y):
        return Combined(Estimate(), "none", 0.0, math.nan, 0.0, "no labels yet")
    alone = _alone(y, w, confidence)
    n = float(w.sum() ** 2 / (w @ w))
    fit = _fit(y, f, w, pool if isinstance(pool, Pool) else Pool.of(pool)) if len(y) > 2 else None
    if reason := _no_help(alone, n, fit):
        return Combined(alone, "labels", 0.0, fit.correlation if fit else math.nan, n, f"from labels alone: {reason}")
    assert fit is not None
    estimate = _interval(fit, len(y), confidence)
    spread = float(w @ (y - float(w @ y) / w.sum()) ** 2) / float(w.sum())
    worth = spread / fit.variance if fit.variance else n
    why = f"{len(y)} labels and the confidence of {_pool_n(pool):,} answers, worth {worth:.0f} labels alone"
    return Combined(estimate, "combined", fit.weight, fit.correlation, worth, why)


def chances(guess: Any, budget: int, mix: float = 0.5) -> Floats:
    """Probability (N,) with which each row is to be labelled so that `budget` are: active inference's rule.

    Proportional to sqrt(f (1 - f)), the standard deviation of a 0/1 loss that is 1 with probability f, mixed with
    equal chances in the share `mix`, so that a guess that is wrong cannot hide a row. Never above 1.
    """
    if not (budget >= 0 and 0 <= mix <= 1):
        raise StateError(f"budget is {budget!r} and mix {mix!r}: give 0 labels or more, and a share")
    f = _whole(guess, "guess")
    spread = np.sqrt(f * (1 - f))
    total = float(spread.sum())
    tilt = spread / total if total > 0 else np.full(len(f), 1 / max(len(f), 1))
    return scaled(mix / max(len(f), 1) + (1 - mix) * tilt, budget)


def scaled(measure: Floats, budget: int) -> Floats:
    """Chances (N,) proportional to `measure` (N,) >= 0, none above 1, that add up to `budget` (or to what there is)."""
    possible = measure > 0
    budget = min(budget, int(possible.sum()))
    certain = np.zeros(len(measure), bool)
    while True:
        rest = possible & ~certain
        scale = (budget - int(certain.sum())) / float(measure[rest].sum()) if rest.any() else 0.0
        over = rest & (measure * scale >= 1 - 1e-12)
        if not over.any():
            return np.where(certain, 1.0, measure * scale)
        certain |= over


class ErrorRates(NamedTuple):
    """How often answers of each confidence were wrong on the reference: `edges` (G - 1,) and `rates` (G,)."""

    edges: Floats
    rates: Floats

    def guess(self, confidence: Any) -> Floats:
        """Expected loss (n,) of answers of this `confidence` (n,); the mean rate where it is missing."""
        values = floats(confidence, "confidence")
        known = self.rates[np.searchsorted(self.edges, np.nan_to_num(values), side="right")]
        return np.where(np.isfinite(values), known, float(self.rates.mean()))


def error_rates(loss: Any, confidence: Any) -> ErrorRates:
    """From the reference's `loss` and `confidence` (n,): mean loss in 20 cells of equal count, each with one row of the
    overall mean added. Without reference rows, 1 - confidence is taken at its word."""
    y, sure = floats(loss, "reference loss"), floats(confidence, "reference confidence")
    if y.shape != sure.shape:
        raise StateError(f"{y.shape} losses and {sure.shape} confidences of the reference: give one of each a row")
    whole = np.isfinite(y) & np.isfinite(sure)
    y, sure = unit_interval(y[whole], "reference loss"), sure[whole]
    if not len(y):
        edges = np.arange(1, CELLS) / CELLS
        return ErrorRates(edges, 1 - (np.arange(CELLS) + 0.5) / CELLS)
    edges = np.unique(np.quantile(sure, np.arange(1, CELLS) / CELLS))
    cell = np.searchsorted(edges, sure, side="right")
    n = np.bincount(cell, minlength=len(edges) + 1)
    return ErrorRates(edges, (np.bincount(cell, y, len(edges) + 1) + y.mean()) / (n + 1))


def _rows(losses: Any, guess: Any, chance: Any) -> tuple[Floats, Floats, Floats]:
    """Losses, guesses and weights 1/chance of the rows whose label came."""
    y = floats(losses, "loss").ravel()
    f = np.zeros(len(y)) if guess is None else _whole(guess, "guess")
    p = np.ones(len(y)) if chance is None else _whole(chance, "chance")
    if not len(y) == len(f) == len(p):
        raise StateError(f"{len(y)} losses, {len(f)} guesses and {len(p)} chances: give one of each a label")
    if len(p) and not p.min() > 0:
        raise StateError("a chance is 0: a row that could not be chosen cannot have been labelled")
    if len(p) and p.min() < _LEAST:
        raise StateError(
            f"a chance is {p.min():g}: no label can stand for more than {1 / _LEAST:g} rows. Draw with larger chances"
        )
    came = ~np.isnan(y)
    return unit_interval(y, "loss"), f[came], 1 / p[came]


def _whole(values: Any, name: str) -> Floats:
    array = floats(values, name).ravel()
    if missing := int((~np.isfinite(array)).sum()):
        raise StateError(f"{missing} of {len(array)} values of {name} are missing or infinite: give such rows its mean")
    return unit_interval(array, name)


def _fit(y: Floats, f: Floats, w: Floats, pool: Pool) -> _Fit:
    """The estimate of least variance, linearised around the weighted means.

    One pool row i adds a_i = F_i - mean F, known for all, and, labelled, s_i (y_i - mean y) with s_i its share of the
    weights; the estimate's error is the mean over the pool of s y - l (s f - a), least at l = <s y, s f - a> / |s f - a|².
    """
    n, total = float(w.sum() ** 2 / (w @ w)), float(w.sum())
    mean_y, mean_f = float(w @ y) / total, float(w @ f) / total
    yc, fc = y - mean_y, f - mean_f
    left = 1 - np.minimum(w / total, 0.5)  # each row judged by the means of the others
    spread = math.sqrt(float(w @ yc**2) * float(w @ fc**2))
    correlation = float(w @ (yc * fc)) / spread if spread > 1e-12 * total else 0.0
    model = _modelled(f, w) if np.isin(y, (0.0, 1.0)).all() else math.nan
    if not pool.n or not correlation:
        error = w * yc / left
        return _Fit(mean_y, float(error @ error) / total**2, 0.0, correlation, n, model)
    s, a = w * (pool.n / total), f - pool.mean
    rest = max(pool.n * pool.variance - float(a @ a), 0.0)  # sum of a² over the unlabelled
    d = s * fc - a
    square = float(d @ d) + rest
    weight = float((s * yc) @ d) / square if square > 0 else 0.0
    error = s * (yc - weight * fc) / left + weight * a
    variance = (float(error @ error) + weight**2 * rest) / pool.n**2
    return _Fit(mean_y + weight * (pool.mean - mean_f), variance, weight, correlation, n, model)


def _modelled(f: Floats, w: Floats) -> float:
    """Equal labels that would vary as much as these of weights `w` if 0/1 losses spread half as the guesses say, half alike.

    It stands in for the measured variance where few errors could tell it.
    """
    spread = f * (1 - f)
    mean = float(w @ spread) / float(w.sum())
    spread = 0.5 + 0.5 * spread / mean if mean > 0 else np.ones(len(f))
    return float(w.sum() * (w @ spread) / (w**2 @ spread))


def _no_help(alone: Estimate, n: float, fit: _Fit | None) -> str:
    """Why guesses are left out; empty when they help."""
    few = n * min(alone.value, 1 - alone.value)
    if few < FEWEST:
        return f"{few:.0f} of the rarer outcome are among them, {FEWEST} are needed to use confidence"
    least = 1 / math.sqrt(max(n - 2, 1))
    if fit is None or abs(fit.correlation) <= least:
        return f"confidence says too little about errors (correlation {fit.correlation if fit else 0:.2f}, least {least:.2f})"
    return ""


def _alone(y: Floats, w: Floats, confidence: float) -> Estimate:
    if w.min() == w.max() and np.isin(y, (0.0, 1.0)).all():
        return share(float(y.sum()), len(y), confidence)
    return _interval(_fit(y, np.zeros(len(y)), w, Pool(0, 0.0, 0.0)), len(y), confidence)


def _interval(fit: _Fit, labels: int, confidence: float) -> Estimate:
    """A score interval of 0/1 losses, whose variance few errors tell badly; else Wilson's for as many labels as vary so."""
    value = min(max(fit.value, 0.0), 1.0)
    inside = 0 < value < 1
    if inside and not math.isnan(fit.model):
        return by_score(value, fit.variance, lambda rate: rate * (1 - rate) / fit.model, fit.n, labels, confidence)
    worth = value * (1 - value) / fit.variance if inside and fit.variance > 0 else fit.n
    worth *= (z_score(confidence) / t_score(confidence, max(fit.n, 2))) ** 2
    low, high = wilson_bounds(value * worth, worth, confidence)
    return Estimate(value, labels, float(low), float(high))


def _pool_n(pool: Pool | Any) -> int:
    return pool.n if isinstance(pool, Pool) else len(pool)
