"""The area under the ROC curve, from counts of positives and negatives in narrow bins of the odds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from luthier.names import register
from luthier.statistics.base import State, When, area_interval, merged_scores, numbers, scored, share
from luthier.types import Columns, Estimate

__all__ = ["Auroc", "curve"]

_BITS = 7  # a bin is at most 0.0078 wide on the logit


@register("statistic", "auroc.v1")
@dataclass(frozen=True, slots=True)
class Auroc:
    """P(score of a positive > score of a negative), ties half, for a `score` in [0, 1] and `target` 0 or 1.

    Scores are binned by sign-free log-buckets of the odds p / (1 - p), 128 to the octave, so a bin is at most 0.0078
    wide on the logit; scores closer than that count as tied. Rows with a score outside [0, 1] or a target that is not
    0 or 1 are missing. Reads `auroc` (a score interval of DeLong's variance, 1988, beside Newcombe's model, 2006),
    `positive` (their share, Wilson) and `missing` (Wilson).
    """

    name: ClassVar[str]
    when: ClassVar[When] = "label"
    score: str = "score"
    target: str = "target"
    confidence: float = 0.95

    def observe(self, columns: Columns) -> State:
        """{missing, bins: rising int64 (m,), negative, positive: int64 (m,)}, m ≤ 15,106."""
        score, target = numbers(columns, self.score, self.target)
        return scored(score, target, _BITS)

    def merge(self, a: State, b: State) -> State:
        return merged_scores(a, b)

    def read(self, state: State) -> dict[str, Estimate]:
        positives, negatives = int(state["positive"].sum()), int(state["negative"].sum())
        n = positives + negatives
        return {
            "auroc": _area(state, positives, negatives, self.confidence),
            "positive": share(positives, n, self.confidence),
            "missing": share(state["missing"], n + state["missing"], self.confidence),
        }


def curve(state: State) -> tuple[np.ndarray, np.ndarray]:
    """(false positive rate, true positive rate) from the strictest threshold to the loosest, each (m + 1,).

    NaN where a class was never seen.
    """
    rates = []
    for side in ("negative", "positive"):
        passed = np.concatenate(([0], np.cumsum(state[side][::-1])))
        rates.append(passed / passed[-1] if passed[-1] else np.full(len(passed), np.nan))
    return rates[0], rates[1]


def _area(state: State, positives: int, negatives: int, confidence: float) -> Estimate:
    if not (positives and negatives):
        return Estimate()
    negative, positive = state["negative"], state["positive"]
    beaten = (np.cumsum(negative) - negative / 2) / negatives  # placement of a positive in each bin
    beats = (positives - np.cumsum(positive) + positive / 2) / positives  # and of a negative
    area = float(positive @ beaten) / positives
    variance = 0.0
    for times, place in ((positive, beaten), (negative, beats)):
        count = int(times.sum())
        variance += float(times @ (place - area) ** 2) / max(count - 1, 1) / count
    return area_interval(area, variance, positives, negatives, confidence)
