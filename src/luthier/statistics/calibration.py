"""Whether a probability means what it says: reliability bins, expected calibration error and Brier score."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from luthier.names import register
from luthier.statistics.base import (
    Exact,
    State,
    When,
    add,
    bounded,
    column,
    exact_sum,
    mean_with_error,
    moments,
    normal,
    quotient,
    same_options,
    share,
    t_score,
    wilson_bounds,
)
from luthier.sums.weighing import usable
from luthier.types import Columns, Estimate

__all__ = ["Calibration", "reliability"]

_BINNED = ("probability", "outcome", "outcome_squares")
_TOTALS = ("gap", "gap_squares", "brier", "brier_squares")


@register("statistic", "calibration.v1")
@dataclass(frozen=True, slots=True)
class Calibration:
    """`probability` against what happened, in `bins` bins of equal width.

    `outcome` "right": 1 - loss, for the confidence of the answer; "positive": whether `target` is class 1, for the
    score of a binary task. A row counts once or by a column `weight` (see `weighing`); it is missing when its probability
    or outcome is unknown or outside [0, 1], or its weight not usable. Reads `ece`
    (Naeini et al. 2015; chance alone lifts it above zero, which its interval knows: 95 % or more, from 0 when nothing is wrong),
    `brier` (mean squared difference; of the positive class with outcome "positive"), Wilson's for values that vary less), `gap` (mean probability -
    mean outcome, above zero: overconfident; Student's t), and `missing` (Wilson).
    """

    name: ClassVar[str]
    when: ClassVar[When] = "label"
    probability: str = "confidence"
    outcome: Literal["right", "positive"] = "right"
    bins: int = 15
    weight: str = ""
    confidence: float = 0.95

    def __post_init__(self) -> None:
        if not 2 <= self.bins <= 1000:
            raise ValueError(f"bins is {self.bins}; it must lie in [2, 1000]")
        if self.outcome not in ("right", "positive"):
            raise ValueError(f"outcome is {self.outcome!r}; it must be 'right' or 'positive'")

    def observe(self, columns: Columns) -> State:
        """{bins, n, missing, counts (bins,), probability, outcome, outcome_squares: Exact by bin, and Exact totals}."""
        p, y = column(columns, self.probability), self._outcomes(columns)
        good = (p >= 0) & (p <= 1) & (y >= 0) & (y <= 1)
        w = column(columns, self.weight) if self.weight else None
        if w is not None:
            good &= usable(w)
            w = w[good]
        p, y = p[good], y[good]
        place = np.minimum((p * self.bins).astype(np.int64), self.bins - 1)
        order = np.argsort(place.astype(np.int16), kind="stable")  # short whole numbers are sorted by their digits
        ends = np.cumsum(np.bincount(place, minlength=self.bins))[:-1]
        gap = p - y
        totals = zip(_TOTALS, (gap, gap * gap, gap * gap, (gap * gap) ** 2), strict=True)
        state: dict[str, Any] = {"bins": self.bins, "n": len(p), "missing": len(good) - len(p)}
        state["counts"] = np.bincount(place, minlength=self.bins).astype(np.int64)
        terms = {"probability": p, "outcome": y, "outcome_squares": y * y}
        if w is not None:
            state |= {"weight": self.weight, "gap": moments(gap, w), "brier": moments(gap * gap, w)}
            terms = {key: w * values for key, values in terms.items()} | {"mass": w, "mass_squares": w * w}
        else:
            state |= {key: exact_sum(values) for key, values in totals}
        return state | {key: _by_bin(values[order], ends) for key, values in terms.items()}

    def _outcomes(self, columns: Columns) -> np.ndarray:
        if self.outcome == "right":
            return 1 - column(columns, "loss")
        target = column(columns, "target")
        return np.where(target >= 0, (target == 1).astype(np.float64), np.nan)

    def merge(self, a: State, b: State) -> State:
        same_options(a, b, "bins")
        same_options({"weight": a.get("weight", "")}, {"weight": b.get("weight", "")}, "weight")
        merged: dict[str, Any] = {"bins": a["bins"], "n": a["n"] + b["n"], "missing": a["missing"] + b["missing"]}
        merged["counts"] = a["counts"] + b["counts"]
        lists = (*_BINNED, "mass", "mass_squares", "gap", "brier") if "weight" in a else _BINNED
        merged |= {key: [add(x, y) for x, y in zip(a[key], b[key], strict=True)] for key in lists}
        if "weight" in a:
            return merged | {"weight": a["weight"]}
        return merged | {key: add(a[key], b[key]) for key in _TOTALS}

    def read(self, state: State) -> dict[str, Estimate]:
        n, found = state["n"], dict.fromkeys(("ece", "brier", "gap"), Estimate())
        found["missing"] = share(state["missing"], n + state["missing"], self.confidence)
        bins = _Bins.of(state)
        if bins.worth > 0:
            worth = None if "weight" not in state else bins.worth
            brier, gap = (_mean(state, key) for key in ("brier", "gap"))
            found |= {"ece": _ece(bins, n, self.confidence), "brier": bounded(*brier, n, self.confidence, worth)}
            found["gap"] = normal(*gap, n, self.confidence, worth)
        return found


@dataclass(frozen=True, slots=True)
class _Bins:
    """The bins that weigh something (m,): their mass Σw, how many rows that is worth, means of both and of outcome²."""

    place: np.ndarray
    mass: np.ndarray
    rows: np.ndarray
    probability: np.ndarray
    outcome: np.ndarray
    square: np.ndarray

    @classmethod
    def of(cls, state: State) -> _Bins:
        mass = squares = state["counts"].astype(np.float64)
        if "weight" in state:
            mass, squares = (np.array([quotient(part, 1) for part in state[key]]) for key in ("mass", "mass_squares"))
        there = np.flatnonzero(mass > 0)
        mass = mass[there]
        sums = (np.array([quotient(state[key][i], 1) for i in there]) for key in _BINNED)
        return cls(there, mass, mass * mass / squares[there], *(part / mass for part in sums))

    @property
    def worth(self) -> float:
        """How many rows of equal weight all rows are worth."""
        return float(self.mass.sum() ** 2 / (self.mass**2 / self.rows).sum()) if len(self.mass) else 0.0


def _by_bin(values: np.ndarray, ends: np.ndarray) -> list[Exact]:
    """Exact sums of the runs of `values` between `ends`; outcomes that are 0 or 1 are only counted."""
    if ((values == 0) | (values == 1)).all():
        reached = np.concatenate(([0], np.cumsum(values.astype(np.int64))))
        return [add((count, 0), (0, 0)) for count in np.diff(reached[[0, *ends, -1]]).tolist()]
    return [exact_sum(part) for part in np.split(values, ends)]


def reliability(state: State, confidence: float = 0.95) -> list[dict[str, Any]]:
    """The bins that hold something: {low, high, n, probability: mean, outcome: Estimate (Wilson)}."""
    bins, found = _Bins.of(state), []
    low, high = wilson_bounds(bins.outcome * bins.rows, bins.rows, confidence)
    for at, i in enumerate(bins.place.tolist()):
        n = int(state["counts"][i])
        found.append(
            {
                "low": i / state["bins"],
                "high": (i + 1) / state["bins"],
                "n": n,
                "probability": float(bins.probability[at]),
                "outcome": Estimate(float(bins.outcome[at]), n, float(low[at]), float(high[at])),
            }
        )
    return found


def _mean(state: State, key: str) -> tuple[float, float]:
    """A mean and its standard error, NaN of one row."""
    n = state["n"]
    if "weight" in state:
        return mean_with_error(state[key])
    mean, square = quotient(state[key], n), quotient(state[f"{key}_squares"], n)
    return mean, math.sqrt(max(square - mean * mean, 0.0) / (n - 1)) if n > 1 else math.nan


def _ece(bins: _Bins, n: int, confidence: float) -> Estimate:
    """Σ share of bin · |gap|, with an interval for the ECE of all rows, which chance does not lift.

    A sample's ECE exceeds the true one by Σ share · |error| at most, and falls short of it by a signed sum at most, as
    |·| is convex. Where a bin's gap is beyond √ln n standard errors its sign is known and its error counts signed on
    both sides (Andrews and Soares 2010); the other bins' sizes add up to nearly a normal variable.
    """
    worth = bins.worth
    size, part = np.abs(bins.probability - bins.outcome), bins.mass / bins.mass.sum()
    mean = (bins.outcome * bins.rows + 1) / (bins.rows + 2)  # a bin of ones alone does not vary by chance
    within = np.maximum(bins.square - bins.outcome**2, mean * (1 - mean))
    error = np.sqrt(np.minimum(within, 0.25) / bins.rows)  # (m,) of the gap
    value = float(part @ size)
    between = max(float(part @ size**2) - value * value, 0.0) / worth  # from how many rows fall in each bin
    signed, clear = float(part**2 @ error**2) + between, size > math.sqrt(math.log(worth + 1)) * error
    folded = part * error * ~clear
    lift = float(folded.sum()) * math.sqrt(2 / math.pi)
    spread = signed - float(folded @ folded) * 2 / math.pi
    t = t_score(confidence, worth)
    return Estimate(
        value, n, min(max(value - lift - t * math.sqrt(spread), 0.0), value), min(value + t * math.sqrt(signed), 1.0)
    )
