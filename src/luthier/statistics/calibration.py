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
    normal,
    quotient,
    same_options,
    share,
    t_score,
    wilson_bounds,
)
from luthier.types import Columns, Estimate

__all__ = ["Calibration", "reliability"]

_SUMS = ("probability", "outcome")
_TOTALS = ("gap", "gap_squares", "brier", "brier_squares")


@register("statistic", "calibration.v1")
@dataclass(frozen=True, slots=True)
class Calibration:
    """`probability` against what happened, in `bins` bins of equal width.

    `outcome` "right": 1 - loss, for the confidence of the answer; "positive": whether `target` is class 1, for the
    score of a binary task. A row is missing when its probability or outcome is unknown or outside [0, 1]. Reads `ece`
    (Naeini et al. 2015; chance alone lifts it above zero, which its interval knows: 95 % or more, from 0 when nothing is wrong),
    `brier` (mean squared difference; of the positive class with outcome "positive"), Wilson's for values that vary less), `gap` (mean probability -
    mean outcome, above zero: overconfident; Student's t), and `missing` (Wilson).
    """

    name: ClassVar[str]
    when: ClassVar[When] = "label"
    probability: str = "confidence"
    outcome: Literal["right", "positive"] = "right"
    bins: int = 15
    confidence: float = 0.95

    def __post_init__(self) -> None:
        if not 2 <= self.bins <= 1000:
            raise ValueError(f"bins is {self.bins}; it must lie in [2, 1000]")
        if self.outcome not in ("right", "positive"):
            raise ValueError(f"outcome is {self.outcome!r}; it must be 'right' or 'positive'")

    def observe(self, columns: Columns) -> State:
        """{bins, n, missing, counts (bins,), probability, outcome, outcome_squares: Exact by bin, and Exact totals}."""
        p = column(columns, self.probability)
        y = self._outcomes(columns)
        good = (p >= 0) & (p <= 1) & (y >= 0) & (y <= 1)
        p, y = p[good], y[good]
        place = np.minimum((p * self.bins).astype(np.int64), self.bins - 1)
        order = np.argsort(place, kind="stable")
        ends = np.cumsum(np.bincount(place, minlength=self.bins))[:-1]
        gap = p - y
        totals = zip(_TOTALS, (gap, gap * gap, gap * gap, (gap * gap) ** 2), strict=True)
        state: dict[str, Any] = {"bins": self.bins, "n": len(p), "missing": len(good) - len(p)}
        state["counts"] = np.bincount(place, minlength=self.bins).astype(np.int64)
        for key, values in (("probability", p), ("outcome", y), ("outcome_squares", y * y)):
            state[key] = _by_bin(values[order], ends)
        return state | {key: exact_sum(values) for key, values in totals}

    def _outcomes(self, columns: Columns) -> np.ndarray:
        if self.outcome == "right":
            return 1 - column(columns, "loss")
        target = column(columns, "target")
        return np.where(target >= 0, (target == 1).astype(np.float64), np.nan)

    def merge(self, a: State, b: State) -> State:
        same_options(a, b, "bins")
        merged: dict[str, Any] = {"bins": a["bins"], "n": a["n"] + b["n"], "missing": a["missing"] + b["missing"]}
        merged["counts"] = a["counts"] + b["counts"]
        for key in (*_SUMS, "outcome_squares"):
            merged[key] = [add(x, y) for x, y in zip(a[key], b[key], strict=True)]
        return merged | {key: add(a[key], b[key]) for key in _TOTALS}

    def read(self, state: State) -> dict[str, Estimate]:
        n = state["n"]
        missing = share(state["missing"], n + state["missing"], self.confidence)
        if n == 0:
            return dict.fromkeys(("ece", "brier", "gap"), Estimate()) | {"missing": missing}
        brier = bounded(*_mean(state, "brier"), n, self.confidence)
        gap = normal(*_mean(state, "gap"), n, self.confidence)
        return {"ece": _ece(state, self.confidence), "brier": brier, "gap": gap, "missing": missing}


def _by_bin(values: np.ndarray, ends: np.ndarray) -> list[Exact]:
    """Exact sums of the runs of `values` between `ends`; outcomes that are 0 or 1 are only counted."""
    if ((values == 0) | (values == 1)).all():
        reached = np.concatenate(([0], np.cumsum(values.astype(np.int64))))
        return [add((count, 0), (0, 0)) for count in np.diff(reached[[0, *ends, -1]]).tolist()]
    return [exact_sum(part) for part in np.split(values, ends)]


def reliability(state: State, confidence: float = 0.95) -> list[dict[str, Any]]:
    """The bins that hold something: {low, high, n, probability: mean, outcome: Estimate (Wilson)}."""
    found = []
    for i in np.flatnonzero(state["counts"]).tolist():
        n = int(state["counts"][i])
        mean = quotient(state["outcome"][i], n)
        low, high = wilson_bounds(mean * n, n, confidence)
        found.append(
            {
                "low": i / state["bins"],
                "high": (i + 1) / state["bins"],
                "n": n,
                "probability": quotient(state["probability"][i], n),
                "outcome": Estimate(mean, n, float(low), float(high)),
            }
        )
    return found


def _mean(state: State, key: str) -> tuple[float, float]:
    """A mean and its standard error, NaN of one row."""
    n = state["n"]
    mean, square = quotient(state[key], n), quotient(state[f"{key}_squares"], n)
    return mean, math.sqrt(max(square - mean * mean, 0.0) / (n - 1)) if n > 1 else math.nan


def _ece(state: State, confidence: float) -> Estimate:
    """Σ share of bin · |gap|, with an interval for the ECE of all rows, which chance does not lift.

    A sample's ECE exceeds the true one by Σ share · |error| at most, and falls short of it by a signed sum at most, as
    |·| is convex. Where a bin's gap is beyond √ln n standard errors its sign is known and its error counts signed on
    both sides (Andrews and Soares 2010); the other bins' sizes add up to nearly a normal variable.
    """
    n, there = state["n"], np.flatnonzero(state["counts"])
    counts = state["counts"][there].astype(np.float64)
    sums = {key: np.array([quotient(state[key][i], 1) for i in there]) for key in (*_SUMS, "outcome_squares")}
    size, part = np.abs(sums["probability"] - sums["outcome"]) / counts, counts / n
    mean = (sums["outcome"] + 1) / (counts + 2)  # a bin of ones alone does not vary by chance
    within = np.maximum(sums["outcome_squares"] / counts - (sums["outcome"] / counts) ** 2, mean * (1 - mean))
    error = np.sqrt(np.minimum(within, 0.25) / counts)  # (m,) of the gap
    value = float(part @ size)
    between = max(float(part @ size**2) - value * value, 0.0) / n  # from how many rows fall in each bin
    signed, clear = float(part**2 @ error**2) + between, size > math.sqrt(math.log(n + 1)) * error
    folded = part * error * ~clear
    lift = float(folded.sum()) * math.sqrt(2 / math.pi)
    spread = signed - float(folded @ folded) * 2 / math.pi
    t = t_score(confidence, n)
    return Estimate(
        value, n, min(max(value - lift - t * math.sqrt(spread), 0.0), value), min(value + t * math.sqrt(signed), 1.0)
    )
