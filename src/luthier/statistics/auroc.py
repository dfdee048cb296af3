"""The area under the ROC curve, from counts of positives and negatives in narrow bins of the odds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from luthier.names import register
from luthier.statistics.base import Side, State, When, merged_scores, numbers, read_scores, same_options, scored
from luthier.types import Columns, Estimate

__all__ = ["Auroc", "curve"]

_BITS = 7  # a bin is at most 0.0078 wide on the logit


@register("statistic", "auroc.v1")
@dataclass(frozen=True, slots=True)
class Auroc:
    """P(score of a positive > score of a negative), ties half, for a `score` in [0, 1] and `target` 0 or 1.

    Scores are binned by sign-free log-buckets of the odds p / (1 - p), 128 to the octave, so a bin is at most 0.0078
    wide on the logit; scores closer than that count as tied. Rows with a score outside [0, 1] or a target that is not
    0 or 1 are missing, with a column `weight` (see `weighing`) also those without a usable one. Reads `auroc` (a score interval of DeLong's variance, 1988, beside Newcombe's model, 2006),
    `positive` (their share, Wilson) and `missing` (Wilson).
    """

    name: ClassVar[str]
    when: ClassVar[When] = "label"
    score: str = "score"
    target: str = "target"
    weight: str = ""
    confidence: float = 0.95

    def observe(self, columns: Columns) -> State:
        """{missing, bins: rising int64 (m,), negative, positive: int64 (m,)}, m ≤ 15,106.

        With a weight also {weight, n}, and the last two are (m, 8), see `weighing`.
        """
        if not self.weight:
            score, target = numbers(columns, self.score, self.target)
            return scored(score, target, _BITS)
        score, target, weight = numbers(columns, self.score, self.target, self.weight)
        found = scored(score, target, _BITS, weight)
        return found | {"weight": self.weight, "n": len(score) - found["missing"]}

    def merge(self, a: State, b: State) -> State:
        same_options({"weight": a.get("weight", "")}, {"weight": b.get("weight", "")}, "weight")
        weight = {"weight": a["weight"], "n": a["n"] + b["n"]} if "weight" in a else {}
        return merged_scores(a, b) | weight

    def read(self, state: State) -> dict[str, Estimate]:
        found = read_scores(state, Side.of(state["positive"]), Side.of(state["negative"]), self.confidence)
        return {"auroc": found.pop("area")} | found


def curve(state: State) -> tuple[np.ndarray, np.ndarray]:
    """(false positive rate, true positive rate) from the strictest threshold to the loosest, each (m + 1,).

    NaN where a class was never seen.
    """
    rates = []
    for side in (Side.of(state["negative"]), Side.of(state["positive"])):
        passed = np.concatenate(([0], np.cumsum(side.mass[::-1])))
        rates.append(passed / passed[-1] if passed[-1] else np.full(len(passed), np.nan))
    return rates[0], rates[1]
