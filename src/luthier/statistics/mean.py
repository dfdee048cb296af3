"""Mean, variance, smallest and largest value and the missing share of one column, from exact sums."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from luthier.names import register
from luthier.statistics.base import (
    Exact,
    State,
    When,
    add,
    bounded,
    column,
    exact_squares,
    exact_sum,
    known_when,
    mean_of,
    mean_with_error,
    moments,
    numbers,
    quotient,
    same_options,
    share,
    skewed,
    stretched,
    t_score,
    variance,
)
from luthier.sums.exact import fraction
from luthier.sums.weighing import usable
from luthier.types import Columns, Estimate

__all__ = ["Mean"]

_POWERS = ("sum", "squares", "cubes", "fourths")
_HUGE = 2.0**250  # above it a fourth power is beyond float64
_TINY = 2.0**-500  # below it a squared variance, or a fourth power, is beyond float64
_KNOWN = 1e13  # mean fourth power beside the squared variance: rounding, 1e-15 of it, is 1 % of what is told
_LARGEST = 2.0**460  # of a weighted value: larger ones have no square with the largest weight


@register("statistic", "mean.v1")
@dataclass(frozen=True, slots=True)
class Mean:
    """Mean and variance of `column`; NaN and infinities are missing.

    Reads `mean` (Wilson's interval when every value is 0 or 1, else Student's t turned for skewness by Hall, 1992),
    `variance` (unbiased; Bonett's interval, 2006, with the fourth moment), `min`, `max` (exact) and `missing` (Wilson). With a column
    `weight` (see `weighing`; a row without a usable one is missing) `mean` is Σwx / Σw, with Student's t for as many
    rows as they are worth, Wilson's if all lie within [0, 1], and there is no `variance`.
    """

    name: ClassVar[str]
    column: str = "loss"
    weight: str = ""
    confidence: float = 0.95

    @property
    def when(self) -> When:
        return known_when(self.column)

    def observe(self, columns: Columns) -> State:
        """{n, missing, other: neither 0 nor 1, huge, sum, squares, cubes, fourths: Exact, min, max: float or None}."""
        if self.weight:
            return self._weighted(columns)
        values = column(columns, self.column)
        seen = values[np.isfinite(values)]
        state: dict[str, Any] = {"n": len(seen), "missing": len(values) - len(seen), "other": 0, "huge": 0}
        state |= {"min": None, "max": None} | dict.fromkeys(_POWERS, (0, 0))
        if not len(seen):
            return state
        state |= {"min": float(seen.min()) + 0.0, "max": float(seen.max()) + 0.0}  # -0.0 reads as 0.0
        ones = int(np.count_nonzero(seen == 1))
        state["other"] = len(seen) - ones - int(np.count_nonzero(seen == 0))
        if state["other"] == 0:
            return state | dict.fromkeys(_POWERS, add((ones, 0), (0, 0)))
        tame = seen if max(state["max"], -state["min"]) < _HUGE else seen[np.abs(seen) < _HUGE]
        state["huge"] = len(seen) - len(tame)
        return state | {
            "sum": exact_sum(seen), "squares": exact_squares(seen),
            "cubes": exact_sum(tame, 3), "fourths": exact_sum(tame, 4),
        }  # fmt: skip

    def _weighted(self, columns: Columns) -> State:
        """{weight, n, missing, min, max, and the `moments`}."""
        values, weights = numbers(columns, self.column, self.weight)
        good = (np.abs(values) <= _LARGEST) & usable(weights)
        seen = values[good]
        state: dict[str, Any] = {"weight": self.weight, "n": len(seen), "missing": len(values) - len(seen)}
        ends = (float(seen.min()) + 0.0, float(seen.max()) + 0.0) if len(seen) else (None, None)
        return state | {"min": ends[0], "max": ends[1], "moments": moments(seen, weights[good])}

    def merge(self, a: State, b: State) -> State:
        same_options({"weight": a.get("weight", "")}, {"weight": b.get("weight", "")}, "weight")
        merged: dict[str, Any] = {key: a[key] + b[key] for key in ("n", "missing", "other", "huge") if key in a}
        for key, pick in (("min", min), ("max", max)):
            known = [state[key] for state in (a, b) if state[key] is not None]
            merged[key] = pick(known) if known else None
        if "weight" in a:
            both = zip(a["moments"], b["moments"], strict=True)
            return merged | {"weight": a["weight"], "moments": [add(x, y) for x, y in both]}
        return merged | {key: add(a[key], b[key]) for key in _POWERS}

    def read(self, state: State) -> dict[str, Estimate]:
        n = state["n"]
        missing = share(state["missing"], n + state["missing"], self.confidence)
        if n == 0:
            return dict.fromkeys(("mean", "variance", "min", "max"), Estimate()) | {"missing": missing}
        ends = {end: Estimate(state[end], n, state[end], state[end]) for end in ("min", "max")}
        if "weight" in state:
            within = state["min"] >= 0 and state["max"] <= 1
            return {
                "mean": _weighted_mean(state, within, self.confidence),
                "variance": Estimate(),
                **ends,
                "missing": missing,
            }
        square = variance(state["sum"], state["squares"], n)
        if state["other"] == 0:
            ones = _whole(state["sum"])
            mean, spread = share(ones, n, self.confidence), _of_share(square, ones, n, self.confidence)
        else:
            skewness, kurtosis = _shape(square, state)
            error = math.sqrt(square / n) if square or state["min"] == state["max"] else math.nan  # beyond float64
            mean = skewed(quotient(state["sum"], n), error, skewness, n, self.confidence)
            spread = _spread(square, kurtosis, n, self.confidence)
        return {"mean": mean, "variance": spread, **ends, "missing": missing}


def _weighted_mean(state: State, within: bool, confidence: float) -> Estimate:
    """Student's t; of values within [0, 1] Wilson's interval for as many rows as they are worth."""
    n, (total, squares) = state["n"], (fraction(part) for part in state["moments"][:2])
    if not (within and total):
        return mean_of(state["moments"], n, confidence)
    return bounded(*mean_with_error(state["moments"]), n, confidence, float(total * total / squares))


def _whole(a: Exact) -> int:
    return a[0] << a[1]


def _times(a: Exact, b: Exact, by: int = 1) -> Exact:
    return add((a[0] * b[0] * by, a[1] + b[1]), (0, 0))


def _shape(square: float, state: State) -> tuple[float, float]:
    """Skewness and kurtosis of the rows; NaN where few tell them, or rounding hides them.

    Third and fourth powers are rounded before they are summed: of rows whose mean is thousands of times their spread
    what is left about the mean is noise.
    """
    n, first, second = state["n"], state["sum"], state["squares"]
    if n < 4 or state["huge"] or not _TINY < square < math.inf:
        return math.nan, math.nan
    spread, both = square * (n - 1) / n, _times(first, first)
    third = add(_times(state["cubes"], (1, 0), n**2), _times(first, second, -3 * n))
    third = add(third, _times(both, first, 2))
    fourth = add(_times(state["fourths"], (1, 0), n**3), _times(first, state["cubes"], -4 * n**2))
    fourth = add(add(fourth, _times(both, second, 6 * n)), _times(both, both, -3))
    raw = quotient(state["fourths"], n) / spread**2
    return (
        quotient(third, n**3) / spread**1.5 if raw**0.75 < _KNOWN else math.nan,
        quotient(fourth, n**4) / spread**2 if raw < _KNOWN else math.nan,
    )


def _spread(square: float, kurtosis: float, n: int, confidence: float) -> Estimate:
    """The variance with Bonett's interval on its logarithm (2006), longer above, see `stretched`."""
    if n < 2:
        return Estimate()
    if math.isnan(kurtosis):
        return Estimate(square, n)
    t = t_score(confidence, n)
    scale = n / (n - t) if n > 2 * t else 2.0
    half = t * scale * math.sqrt(max(kurtosis - (n - 3) / n, 0.0) / (n - 1))
    low, high = scale * math.exp(-half), scale * math.exp(min(stretched(half), 700.0))
    return Estimate(square, n, square * min(low, 1.0), square * high)


def _of_share(square: float, ones: int, n: int, confidence: float) -> Estimate:
    """p (1 - p) n / (n - 1) for every p in the interval of the share of ones."""
    if n < 2:
        return Estimate()
    ends = share(ones, n, confidence)
    low, high = (end * (1 - end) * n / (n - 1) for end in (ends.low, ends.high))
    middle = 0.25 * n / (n - 1) if ends.low <= 0.5 <= ends.high else 0.0
    return Estimate(square, n, min(low, high, square), max(low, high, middle, square))
