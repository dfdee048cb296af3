"""What a metric should be at this hour of this weekday: robust harmonic regression, then whitening.

A series is one value a bucket of event time (`buckets`, numbered floor(t / width)). `fit` explains it by sines and
cosines of the day and the week (Huber's M-estimator, so outages in the reference do not bend it) and what is left by
AR(1); `innovations` are what neither explains, in robust standard deviations.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np

__all__ = ["design", "expected", "fit", "innovations"]

Floats: TypeAlias = "np.ndarray[Any, np.dtype[np.float64]]"
Model: TypeAlias = Mapping[str, Any]

DAY, WEEK = 86_400.0, 604_800.0
_WAVES = {DAY: 4, WEEK: 6}  # harmonics of each period
_CYCLES = 2.0  # periods that must have been seen before they are fitted
_CLIP = 4.5  # standard deviations beyond which a residual is not carried into the next expectation
_HUBER = 1.345  # 95 % efficient under normal noise


def design(buckets: np.ndarray, width: float, periods: Any) -> Floats:
    """Constant, and sine and cosine of each harmonic of each period (n, 1 + 2 waves); `width` in seconds.

    Harmonics shorter than two buckets are left out; those of the week that are harmonics of the day come once.
    """
    parts = [np.ones((len(buckets), 1))]
    for frequency in _frequencies(width, periods):
        phase = 2 * math.pi * np.mod(buckets * (width * frequency), 1.0)
        parts += [np.sin(phase)[:, None], np.cos(phase)[:, None]]
    return np.hstack(parts)


def _frequencies(width: float, periods: Any) -> list[float]:
    """Cycles a second."""
    per_week = {int(WEEK / period) * wave for period in periods for wave in range(1, _WAVES[period] + 1)}
    return [cycles / WEEK for cycles in sorted(per_week) if cycles * 2 * width < WEEK]


def fit(buckets: np.ndarray, values: Floats, width: float) -> dict[str, Any]:
    """A model of values (n,) in rising `buckets` (n,), some of which may be missing; `width` in seconds.

    {width, periods, weights: (1 + 2 waves,), level: residual sd, phi, scale: innovation sd}. A period is fitted where
    the series covers two of it and has at least three values for each weight; scale 0 says that nothing varies.
    """
    span = (buckets[-1] - buckets[0] + 1) * width
    periods = [period for period in _WAVES if span >= _CYCLES * period and 2 * width <= period]
    while periods and len(values) < 3 * design(buckets[:1], width, periods).shape[1]:
        periods.pop()
    weights = _huber(design(buckets, width, periods), values)
    model: dict[str, Any] = {
        "width": float(width),
        "periods": periods,
        "weights": weights,
        "level": 0.0,
        "phi": 0.0,
        "scale": 0.0,
    }
    rest = values - expected(model, buckets)
    model["level"] = _spread(rest)
    if model["level"] > 1e-12 * float(np.abs(values).max()):
        model["phi"] = _autocorrelation(buckets, np.clip(rest / model["level"], -3, 3))
        model["scale"] = model["level"] * math.sqrt(1 - model["phi"] ** 2)
        model["scale"] *= _spread(innovations(model, buckets, values)[0][1:]) or 1.0
    return model


def expected(model: Model, buckets: np.ndarray) -> Floats:
    """What the season alone says (n,), in the unit of the series; summed wave by wave, so any cut gives the same bits."""
    x, total = design(buckets, model["width"], model["periods"]), np.zeros(len(buckets))
    for wave, weight in zip(x.T, model["weights"], strict=True):
        total += wave * weight
    return total


def innovations(
    model: Model, buckets: np.ndarray, values: Floats, carried: tuple[int, float] = (0, math.nan)
) -> tuple[Floats, tuple[int, float]]:
    """(values - what season and the last value say) / sd, (n,), and what to carry into the next part.

    `carried`: bucket and residual of the last value (NaN: none). After a gap of g buckets the last value counts
    phi^g, and the sd grows accordingly. A residual beyond 4.5 sd is carried as 4.5 sd: one spike is one spike.
    """
    if not len(values):
        return np.zeros(0), carried
    rest = values - expected(model, buckets)
    kept = np.clip(rest, -_CLIP * model["level"], _CLIP * model["level"])
    before = np.concatenate([[carried[1]], kept[:-1]])
    gap = np.diff(buckets, prepend=carried[0])
    reach = np.where(np.isnan(before), 0.0, model["phi"] ** np.maximum(gap, 1))
    widening = np.sqrt((1 - reach**2) / (1 - model["phi"] ** 2))
    z = (rest - reach * np.nan_to_num(before)) / (model["scale"] * widening)
    return z, (int(buckets[-1]), float(kept[-1]))


def _huber(x: Floats, y: Floats) -> Floats:
    """Weights (k,) of y (n,) on x (n, k) by iteratively reweighted least squares (Huber 1964), from the median."""
    weights, importance = np.zeros(x.shape[1]), np.ones(len(y))
    rest = y - np.median(y)
    for _ in range(30):
        size = _spread(rest)
        importance = np.minimum(1.0, _HUBER * size / np.maximum(np.abs(rest), 1e-300)) if size else importance
        root = np.sqrt(importance)[:, None]
        after = np.linalg.lstsq(x * root, y * root[:, 0], rcond=None)[0]
        rest = y - x @ after
        if np.allclose(after, weights, rtol=1e-8, atol=1e-12 * (size or 1.0)):
            break
        weights = after
    return np.asarray(after, dtype=np.float64)


def _spread(values: Floats) -> float:
    """Median absolute deviation as a standard deviation; the plain one where more than half are equal."""
    middle = float(np.median(np.abs(values - np.median(values)))) * 1.4826
    return middle or float(values.std())


def _autocorrelation(buckets: np.ndarray, clipped: Floats) -> float:
    """Lag-1 autocorrelation over neighbouring buckets, within ± 0.95; 0 from fewer than 20 pairs."""
    next_to = np.diff(buckets) == 1
    if next_to.sum() < 20:
        return 0.0
    a, b = clipped[:-1][next_to], clipped[1:][next_to]
    return float(np.clip((a * b).sum() / max(float((a * a).sum()), 1e-300), -0.95, 0.95))
