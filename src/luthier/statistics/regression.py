"""Errors of a numeric answer: mean absolute, squared, root mean squared, bias and R², from exact sums."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, ClassVar

import numpy as np

from luthier.names import register
from luthier.statistics.base import State, When, normal, numbers, on_log, same_options, share, stretched, t_score
from luthier.sums.exact import Exact, add, exact_squares, exact_sum, fraction, product_parts
from luthier.types import Columns, Estimate

__all__ = ["Regression"]

_LARGEST = 2.0**120  # fourth powers with a squared weight stay in float64
_CHUNK = 1 << 14  # rows whose products stay in the processor's cache
_METRICS = ("mae", "mse", "rmse", "bias", "r2")
_ROUNDED = 1e-13  # of a sum of fourth powers, at most 1 % of what is left of it about the mean


@register("statistic", "regression.v1")
@dataclass(frozen=True, slots=True)
class Regression:
    """Numbers `predicted` against `target`, each row counted once or by a column `weight` ≥ 0.

    Reads `mae`, `mse`, `rmse` (normal on the logarithm), `bias`, the mean of predicted - target (normal), `r2` (normal
    on the logarithm of 1 - R²), all by the delta method with the variance of the rows' own errors, and `missing`
    (Wilson). A row is missing when target, prediction or weight is NaN, infinite or beyond 2**120 in size, or the
    weight negative. R² of a constant target is undefined, hence nothing (NaN, n 0); an end of an interval is NaN where
    the rows do not tell it: one row, no error at all, or a target whose mean is a thousand times its spread (R²).
    """

    name: ClassVar[str]
    when: ClassVar[When] = "label"
    target: str = "target"
    predicted: str = "predicted"
    weight: str = ""
    confidence: float = 0.95

    def observe(self, columns: Columns) -> State:
        """{weight, n, missing, and Exact sums}: w… with the weight, v… with its square (only these if there is none);
        e the error, a its size, t the target, each once a power.
        """
        names = (self.target, self.predicted, *((self.weight,) if self.weight else ()))
        target, predicted, *weights = numbers(columns, *names)
        good = (np.abs(target) <= _LARGEST) & (np.abs(predicted) <= _LARGEST)
        for weight in weights:
            good &= (weight >= 0) & (weight <= _LARGEST)
        t, e = target[good], predicted[good] - target[good]
        w = weights[0][good] if weights else None
        state: dict[str, Any] = {"weight": self.weight, "n": len(t), "missing": len(good) - len(t)}
        for start in range(0, max(len(t), 1), _CHUNK):
            part = slice(start, start + _CHUNK)
            sums = _sums(t[part], e[part], None if w is None else w[part])
            state |= {key: add(state[key], value) if start else value for key, value in sums.items()}
        return state

    def merge(self, a: State, b: State) -> State:
        same_options(a, b, "weight")
        merged: dict[str, Any] = {"weight": a["weight"], "n": a["n"] + b["n"], "missing": a["missing"] + b["missing"]}
        return merged | {key: add(a[key], b[key]) for key in a if key not in merged}

    def read(self, state: State) -> dict[str, Estimate]:
        n = state["n"]
        found = dict.fromkeys(_METRICS, Estimate())
        found["missing"] = share(state["missing"], n + state["missing"], self.confidence)
        if _weighted(state, "") == 0:
            return found
        size, bias, square = (_weighted(state, key) / _weighted(state, "") for key in ("a", "e", "ee"))
        worth = float(_worth(state))
        t = t_score(self.confidence, worth)
        found["mae"] = on_log(float(size), t * _error(state, "a", "ee", size), n)
        found["mse"] = mse = on_log(float(square), t * _error(state, "ee", "eeee", square), n, skewed=True)
        found["rmse"] = Estimate(math.sqrt(mse.value), n, math.sqrt(mse.low), math.sqrt(mse.high))
        found["bias"] = normal(float(bias), _error(state, "e", "ee", bias), n, self.confidence, worth)
        found["r2"] = _r2(state, square, t)
        return found


def _sums(t: np.ndarray, e: np.ndarray, w: np.ndarray | None) -> dict[str, Exact]:
    """Σ of each product of powers, times the weight and its square if there is one."""
    e2, t2 = e * e, t * t
    terms = {
        "a": np.abs(e), "e": e, "ee": e2, "eeee": e2 * e2, "t": t, "tt": t2,
        "ttt": t2 * t, "tttt": t2 * t2, "eet": e2 * t, "eett": e2 * t2,
    }  # fmt: skip
    if w is None:
        sums = {f"v{key}": exact_sum(term) for key, term in terms.items()}
        return sums | {"v": add((len(t), 0), (0, 0)), "vtt": exact_squares(t)}
    sums = {f"v{key}": exact_sum(w * w * term) for key, term in terms.items()}
    sums |= {f"w{key}": exact_sum(w * terms[key]) for key in ("a", "e", "ee")}
    product = product_parts(w, t)
    squares = [part for factor in product for part in product_parts(factor, t)]
    return sums | {"v": exact_squares(w), "w": exact_sum(w), "wt": _total(product), "wtt": _total(squares)}


def _total(parts: Iterable[np.ndarray]) -> Exact:
    total: Exact = (0, 0)
    for part in parts:
        total = add(total, exact_sum(part))
    return total


def _weighted(state: State, key: str) -> Fraction:
    return fraction(state[f"w{key}" if state["weight"] else f"v{key}"])


def _squared(state: State, key: str) -> Fraction:
    return fraction(state[f"v{key}"])


def _error(state: State, key: str, square: str, mean: Fraction) -> float:
    """Standard error of a weighted mean: √(Σ v (x - mean)²) / Σ w, with m / (m - 1) for the mean; NaN of one row."""
    worth = _worth(state)
    if worth <= 1:
        return math.nan
    spread = _squared(state, square) - 2 * mean * _squared(state, key) + mean * mean * _squared(state, "")
    return math.sqrt(max(spread / _weighted(state, "") ** 2 * worth / (worth - 1), Fraction(0)))


def _worth(state: State) -> Fraction:
    """How many rows of equal weight the rows are worth, m = (Σw)² / Σw² (Kish 1965)."""
    squares = _squared(state, "")
    return _weighted(state, "") ** 2 / squares if squares else Fraction(0)  # squares of tiny weights are 0


def _r2(state: State, square: Fraction, t: float) -> Estimate:
    """1 - mean e² / variance of t; a row moves ln (1 - R²) by e² / mean e² - (t - mean)² / variance."""
    n, total = state["n"], _weighted(state, "")
    mean = _weighted(state, "t") / total
    spread = _weighted(state, "tt") / total - mean * mean
    if spread <= 0:
        return Estimate()
    value, rest = float(1 - square / spread), float(square / spread)
    c = Fraction(float(mean))
    e4, t1, t2, t3, t4 = (_squared(state, key) for key in ("eeee", "t", "tt", "ttt", "tttt"))
    fourth = t4 - 4 * c * t3 + 6 * c**2 * t2 - 4 * c**3 * t1 + c**4 * _squared(state, "")
    both = _squared(state, "eett") - 2 * c * _squared(state, "eet") + c**2 * _squared(state, "ee")
    known = fourth > _ROUNDED * t4 and both > _ROUNDED * _squared(state, "eett")
    worth = _worth(state)
    if not square or worth <= 2 or not known:
        return Estimate(value, n)
    moved = (e4 / square**2 - 2 * both / (square * spread) + fourth / spread**2) / total**2
    half = t * math.sqrt(max(moved * worth / (worth - 1), Fraction(0)))
    return Estimate(value, n, 1 - rest * math.exp(min(stretched(half), 700.0)), 1 - rest * math.exp(-half))
