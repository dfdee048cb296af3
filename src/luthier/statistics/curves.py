"""ROC and precision–recall curves and the areas under them, from counts in narrow bins of the score's odds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from luthier.names import register
from luthier.statistics.base import (
    Side,
    State,
    When,
    by_score,
    merged_scores,
    numbers,
    read_scores,
    same_options,
    scored,
)
from luthier.sums.weighing import carried
from luthier.types import Columns, Estimate

__all__ = ["Curves", "precision_recall", "roc"]

_BITS = 20  # at first a bin is 1e-6 wide on the logit
_BINS = 16_384  # beyond so many, neighbouring bins become one
_FIRST = 1 << 15  # rows that show how wide the bins must be


@register("statistic", "curves.v1")
@dataclass(frozen=True, slots=True)
class Curves:
    """ROC AUC and average precision for a `score` in [0, 1] and `target` 0 or 1.

    Scores are binned by their odds, in at most 16,384 bins, as narrow as that allows: 1e-6 on the logit for few rows,
    0.001 for a million of common spread. Within a bin scores tie, and both areas treat ties as scikit-learn does (half
    a pair; one threshold). Rows with a score outside [0, 1] or a target that is not 0 or 1 are missing; with a column
    `weight` (see `weighing`) also those without a usable one. Reads `roc_auc`
    and `average_precision`, Σ (R_i - R_{i-1}) P_i, with score intervals: of DeLong's variance (1988) beside
    Newcombe's model (2006), and of the influence function's beside the binomial (Boyd, Eng and Page 2013);
    `positive` (their share) and `missing` (Wilson). With one class only there is neither area.
    `roc(state)` and `precision_recall(state)` are the curves.
    """

    name: ClassVar[str]
    when: ClassVar[When] = "label"
    score: str = "score"
    target: str = "target"
    weight: str = ""
    confidence: float = 0.95

    def observe(self, columns: Columns) -> State:
        """{bits, missing, bins: rising int64 (m,), negative, positive: int64 (m,)}, m ≤ 16,384, 2**bits to the octave.

        With a weight also {weight, n}, and the last two are (m, 8), see `weighing`.
        """
        parts = numbers(columns, self.score, self.target, *([self.weight] if self.weight else ()))
        score, target, w = (*parts, None) if len(parts) == 2 else parts
        state: State = self._part(_BITS, score[:_FIRST], target[:_FIRST], w if w is None else w[:_FIRST])
        if len(score) > _FIRST:
            rest = self._part(state["bits"], score[_FIRST:], target[_FIRST:], w if w is None else w[_FIRST:])
            state = self.merge(state, rest)
        return state

    def _part(self, bits: int, score: np.ndarray, target: np.ndarray, w: np.ndarray | None) -> State:
        found = scored(score, target, bits, w)
        if w is not None:
            found |= {"weight": self.weight, "n": len(score) - found["missing"]}
        return _bounded(bits, found)

    def merge(self, a: State, b: State) -> State:
        same_options({"weight": a.get("weight", "")}, {"weight": b.get("weight", "")}, "weight")
        weight = {"weight": a["weight"], "n": a["n"] + b["n"]} if "weight" in a else {}
        bits = min(a["bits"], b["bits"])
        return _bounded(bits, merged_scores(*(_widened(state, state["bits"] - bits) for state in (a, b))) | weight)

    def read(self, state: State) -> dict[str, Estimate]:
        positive, negative = Side.of(state["positive"]), Side.of(state["negative"])
        found = read_scores(state, positive, negative, self.confidence)
        curves = {"roc_auc": found.pop("area"), "average_precision": Estimate()}
        if positive.total and negative.total:
            average, spread = _average_precision(positive, negative)
            curves["average_precision"] = by_score(
                average, spread, lambda ap: ap * (1 - ap) / positive.worth, positive.worth,
                max(round(positive.worth + negative.worth), 1), self.confidence,
            )  # fmt: skip
        return curves | found


def _bounded(bits: int, state: State) -> State:
    """The state with the most bits that leave at most _BINS bins: so parts end up with the bins of the whole."""
    doublings = 0
    while np.count_nonzero(np.diff(state["bins"] >> doublings)) >= _BINS:
        doublings += 1
    return {"bits": bits - doublings} | _widened(state, doublings)


def _widened(state: State, doublings: int) -> dict[str, Any]:
    """The counts with bins 2**doublings times as wide."""
    kept = {key: state[key] for key in ("missing", "bins", "negative", "positive", "weight", "n") if key in state}
    if doublings == 0:
        return kept
    wide = state["bins"] >> doublings
    starts = np.flatnonzero(np.diff(wide, prepend=-1))
    sums = {side: np.add.reduceat(state[side], starts) for side in ("negative", "positive")}
    if "weight" in state:
        sums = {side: carried(values) for side, values in sums.items()}
    return kept | {"bins": wide[starts]} | sums


def roc(state: State) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(false positive rate, true positive rate, threshold) from the strictest to the loosest, each (m + 1,).

    A threshold is the lowest score of its bin, the first is inf; a rate whose class was never seen is NaN.
    """
    passed = [np.concatenate(([0], np.cumsum(Side.of(state[side]).mass[::-1]))) for side in ("negative", "positive")]
    false, true = (side / side[-1] if side[-1] else np.full(len(side), np.nan) for side in passed)
    return false, true, np.concatenate(([np.inf], _thresholds(state)[::-1]))


def precision_recall(state: State) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(precision, recall, threshold) from the strictest threshold to the loosest, each (m,); NaN without positives."""
    positive, negative = (Side.of(state[side]).mass[::-1] for side in ("positive", "negative"))
    true, seen = np.cumsum(positive), np.cumsum(positive + negative)
    recall = true / true[-1] if len(true) and true[-1] else np.full(len(true), np.nan)
    return true / seen, recall, _thresholds(state)[::-1]


def _thresholds(state: State) -> np.ndarray:
    """The lowest score of every bin, rising, (m,)."""
    odds = ((state["bins"] << (52 - state["bits"])) + ((1023 - 64) << 52)).view(np.float64)
    lowest: np.ndarray = np.where(state["bins"] == 0, 0.0, odds / (1 + odds))
    return lowest


def _average_precision(positive: Side, negative: Side) -> tuple[float, float]:
    """Average precision and its variance.

    AP = E[a / (a + b)] over positives, a and b the shares of rows that are positive or negative and score as high.
    A row enters the mean itself if it is positive, and moves a or b for every positive that scores no higher: the
    variance is that of both together, over what the rows are worth.
    """
    above, below = positive.mass[::-1], negative.mass[::-1]  # from the highest score
    a, b = np.cumsum(above), np.cumsum(below)
    total, positives = float(a[-1] + b[-1]), positive.total
    precision = np.divide(a, a + b, out=np.zeros(len(a)), where=a + b > 0)
    average = float(above @ precision) / positives
    weight = np.divide(
        above, (a + b) ** 2, out=np.zeros(len(a)), where=a + b > 0
    )  # how much a row here or above weighs on the positives of this bin
    lifts, lowers = (np.cumsum((weight * side)[::-1])[::-1] for side in (b, a))
    moves = ((precision - average + lifts) * total / positives, -lowers * total / positives)
    mean = sum(float(mass @ moved) for mass, moved in zip((above, below), moves, strict=True)) / total
    squares = (positive.squares[::-1], negative.squares[::-1])
    square = sum(float(part @ (moved - mean) ** 2) for part, moved in zip(squares, moves, strict=True))
    rows = total * total / float(squares[0].sum() + squares[1].sum())
    return average, square / total**2 * rows / max(rows - 1, 1)
