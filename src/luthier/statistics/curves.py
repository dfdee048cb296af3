"""ROC and precision–recall curves and the areas under them, from counts in narrow bins of the score's odds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from luthier.names import register
from luthier.statistics.base import State, When, area_interval, by_score, merged_scores, numbers, scored, share
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
    a pair; one threshold). Rows with a score outside [0, 1] or a target that is not 0 or 1 are missing. Reads `roc_auc`
    and `average_precision`, Σ (R_i - R_{i-1}) P_i, with score intervals: of DeLong's variance (1988) beside
    Newcombe's model (2006), and of the influence function's beside the binomial (Boyd, Eng and Page 2013);
    `positive` (their share) and `missing` (Wilson). With one class only there is neither area.
    `roc(state)` and `precision_recall(state)` are the curves.
    """

    name: ClassVar[str]
    when: ClassVar[When] = "label"
    score: str = "score"
    target: str = "target"
    confidence: float = 0.95

    def observe(self, columns: Columns) -> State:
        """{bits, missing, bins: rising int64 (m,), negative, positive: int64 (m,)}, m ≤ 16,384, 2**bits to the octave."""
        score, target = numbers(columns, self.score, self.target)
        state = _bounded(_BITS, scored(score[:_FIRST], target[:_FIRST], _BITS))
        if len(score) > _FIRST:
            rest = scored(score[_FIRST:], target[_FIRST:], state["bits"])
            state = self.merge(state, _bounded(state["bits"], rest))
        return state

    def merge(self, a: State, b: State) -> State:
        bits = min(a["bits"], b["bits"])
        return _bounded(bits, merged_scores(*(_widened(state, state["bits"] - bits) for state in (a, b))))

    def read(self, state: State) -> dict[str, Estimate]:
        positives, n = int(state["positive"].sum()), int(state["positive"].sum() + state["negative"].sum())
        found = {
            "roc_auc": Estimate(),
            "average_precision": Estimate(),
            "positive": share(positives, n, self.confidence),
            "missing": share(state["missing"], n + state["missing"], self.confidence),
        }
        if 0 < positives < n:
            area, spread = _area(state)
            found["roc_auc"] = area_interval(area, spread, positives, n - positives, self.confidence)
            average, spread = _average_precision(state)
            found["average_precision"] = by_score(
                average, spread, lambda ap: ap * (1 - ap) / positives, positives, n, self.confidence
            )
        return found


def _bounded(bits: int, state: State) -> State:
    """The state with the most bits that leave at most _BINS bins: so parts end up with the bins of the whole."""
    doublings = 0
    while np.count_nonzero(np.diff(state["bins"] >> doublings)) >= _BINS:
        doublings += 1
    return {"bits": bits - doublings} | _widened(state, doublings)


def _widened(state: State, doublings: int) -> dict[str, Any]:
    """The counts with bins 2**doublings times as wide."""
    if doublings == 0:
        return {key: state[key] for key in ("missing", "bins", "negative", "positive")}
    wide = state["bins"] >> doublings
    starts = np.flatnonzero(np.diff(wide, prepend=-1))
    sums = {side: np.add.reduceat(state[side], starts) for side in ("negative", "positive")}
    return {"missing": state["missing"], "bins": wide[starts]} | sums


def roc(state: State) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(false positive rate, true positive rate, threshold) from the strictest to the loosest, each (m + 1,).

    A threshold is the lowest score of its bin, the first is inf; a rate whose class was never seen is NaN.
    """
    passed = [np.concatenate(([0], np.cumsum(state[side][::-1]))) for side in ("negative", "positive")]
    false, true = (side / side[-1] if side[-1] else np.full(len(side), np.nan) for side in passed)
    return false, true, np.concatenate(([np.inf], _thresholds(state)[::-1]))


def precision_recall(state: State) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(precision, recall, threshold) from the strictest threshold to the loosest, each (m,); NaN without positives."""
    true, seen = np.cumsum(state["positive"][::-1]), np.cumsum((state["positive"] + state["negative"])[::-1])
    recall = true / true[-1] if len(true) and true[-1] else np.full(len(true), np.nan)
    return true / seen, recall, _thresholds(state)[::-1]


def _thresholds(state: State) -> np.ndarray:
    """The lowest score of every bin, rising, (m,)."""
    odds = ((state["bins"] << (52 - state["bits"])) + ((1023 - 64) << 52)).view(np.float64)
    lowest: np.ndarray = np.where(state["bins"] == 0, 0.0, odds / (1 + odds))
    return lowest


def _area(state: State) -> tuple[float, float]:
    """The area under the ROC curve and its variance, from the placements of either class (DeLong et al. 1988)."""
    negative, positive = state["negative"], state["positive"]
    beaten = (np.cumsum(negative) - negative / 2) / negative.sum()  # share of negatives below a positive of each bin
    beats = 1 - (np.cumsum(positive) - positive / 2) / positive.sum()  # share of positives above a negative
    area = float(positive @ beaten) / int(positive.sum())
    spread = 0.0
    for times, place in ((positive, beaten), (negative, beats)):
        count = int(times.sum())
        spread += float(times @ (place - area) ** 2) / max(count - 1, 1) / count
    return area, spread


def _average_precision(state: State) -> tuple[float, float]:
    """Average precision and its variance.

    AP = E[a / (a + b)] over positives, a and b the shares of rows that are positive or negative and score as high.
    A row enters the mean itself if it is positive, and moves a or b for every positive that scores no higher: the
    variance is that of both together over n.
    """
    positive, negative = state["positive"][::-1], state["negative"][::-1]  # from the highest score
    a, b = np.cumsum(positive), np.cumsum(negative)
    n, positives = int(a[-1] + b[-1]), int(a[-1])
    precision = a / (a + b)
    average = float(positive @ precision) / positives
    weight = positive / (a + b) ** 2  # how much a row here or above weighs on the positives of this bin
    lifts, lowers = (np.cumsum((weight * side)[::-1])[::-1] for side in (b, a))
    moved_by_positive, moved_by_negative = (precision - average + lifts) * n / positives, -lowers * n / positives
    mean = float(positive @ moved_by_positive + negative @ moved_by_negative) / n
    square = float(positive @ moved_by_positive**2 + negative @ moved_by_negative**2) / n
    return average, max(square - mean * mean, 0.0) / max(n - 1, 1)
