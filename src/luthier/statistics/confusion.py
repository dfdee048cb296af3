"""The confusion matrix, sparse, and what is read from it: accuracy, precision, recall, F1 and their averages."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from luthier.errors import StateError
from luthier.names import register
from luthier.statistics.base import State, When, bounded, class_scores, hash64, numbers, same_options, share
from luthier.sums.weighing import DIGITS, carried, usable, weighed, worth
from luthier.types import Columns, Estimate

__all__ = ["Confusion", "f1", "matrix", "per_class"]

_CODE = 1 << 20  # a cell's code is target · 2**20 + predicted
_PARTS = ("right", "support", "predicted")


def f1(precision: float, recall: float) -> float:
    """The harmonic mean of precision and recall; 0 when both are 0.

    >>> round(f1(0.9, 0.8), 3)
    0.847
    """
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


@register("statistic", "confusion.v1")
@dataclass(frozen=True, slots=True)
class Confusion:
    """Counts of (`target`, `predicted`) class indices, up to 2**20 classes.

    Per class, what is right, supported and predicted is always exact, so every metric below is too. Of the cells off
    the diagonal, those with the smallest hash are kept, `cells` at most; the others are one exact count. Rows without
    a target or prediction (negative, NaN, no whole number) or with an index from 2**20 on are missing. With a column
    `weight`, rows count by it (scikit-learn's sample_weight), n is what they are worth, and a row whose weight is
    negative, NaN or neither 0 nor within 2**-30 and 2**31 is missing.

    Reads `accuracy`, and per class `precision[c]`, `recall[c]` (Wilson) and `f1[c]` (Wilson on the Jaccard share
    tp / (tp + fp + fn), of which F1 = 2 J / (1 + J) is a rising function) for the `shown` classes with most support;
    `precision_`, `recall_` and `f1_` `macro` and `weighted`, and `balanced_accuracy` (a score interval of the delta
    method's variance on the multinomial of cells, Takahashi et al. 2022, beside the binomial's); the `micro` ones, which with one label a row all are the accuracy
    (Wilson); `smallest_class_f1`, the F1 of the class with least support. Averages are over the classes seen in either column, and an undefined precision
    or recall is 0 in them, as in scikit-learn; on its own it is nothing (NaN, n 0).
    """

    name: ClassVar[str]
    when: ClassVar[When] = "label"
    target: str = "target"
    predicted: str = "predicted"
    weight: str = ""
    cells: int = 65_536
    shown: int = 50
    confidence: float = 0.95

    def observe(self, columns: Columns) -> State:
        """{cells, n, missing, classes (k,), right, support, predicted (k,), codes (m,), times (m,), other}.

        With a weight also {weight}, and all counts but n and missing are sums (…, 8), see `weighing`; other (1, 8).
        """
        target, predicted, *weights = numbers(
            columns, self.target, self.predicted, *([self.weight] if self.weight else ())
        )
        good = (target >= 0) & (target < _CODE) & (predicted >= 0) & (predicted < _CODE)
        good &= (target == np.trunc(target)) & (predicted == np.trunc(predicted))
        for weight in weights:
            good &= usable(weight)
        codes, at, times = np.unique(
            target[good].astype(np.int64) * _CODE + predicted[good].astype(np.int64),
            return_inverse=True, return_counts=True,
        )  # fmt: skip
        if weights:
            times = weighed(at, weights[0][good], len(codes))
        there, said = np.divmod(codes, _CODE)
        classes = np.union1d(there, said)
        state: dict[str, Any] = {"cells": self.cells, "n": int(good.sum()), "missing": int(len(good) - good.sum())}
        state |= {"weight": self.weight} if weights else {}
        state |= {"classes": classes} | {part: np.zeros((len(classes), *times.shape[1:]), np.int64) for part in _PARTS}
        same = there == said
        np.add.at(state["right"], np.searchsorted(classes, there[same]), times[same])
        np.add.at(state["support"], np.searchsorted(classes, there), times)
        np.add.at(state["predicted"], np.searchsorted(classes, said), times)
        none: Any = np.zeros((1, DIGITS), np.int64) if weights else 0
        return _tidy(state | _kept(codes[~same], times[~same].astype(np.int64), none, self.cells))

    def merge(self, a: State, b: State) -> State:
        for name in ("cells", "weight"):
            same_options({name: a.get(name, "")}, {name: b.get(name, "")}, name)
        merged: dict[str, Any] = {"cells": a["cells"], "n": a["n"] + b["n"], "missing": a["missing"] + b["missing"]}
        merged |= {"weight": a["weight"]} if "weight" in a else {}
        merged["classes"] = classes = np.union1d(a["classes"], b["classes"])
        for part in _PARTS:
            merged[part] = np.zeros((len(classes), *a[part].shape[1:]), np.int64)
            for state in (a, b):
                merged[part][np.searchsorted(classes, state["classes"])] += state[part]
        codes, back = np.unique(np.concatenate((a["codes"], b["codes"])), return_inverse=True)
        times = np.zeros((len(codes), *a["times"].shape[1:]), np.int64)
        np.add.at(times, back, np.concatenate((a["times"], b["times"])))
        return _tidy(merged | _kept(codes, times, a["other"] + b["other"], a["cells"]))

    def read(self, state: State) -> dict[str, Estimate]:
        missing = share(state["missing"], state["n"] + state["missing"], self.confidence)
        counts = _Counts.of(state)
        accuracy = share(float(counts.right.sum()) * counts.rate, counts.n, self.confidence)
        found = {"accuracy": accuracy, "missing": missing}
        found |= {f"{metric}_micro": accuracy for metric in ("precision", "recall", "f1")}
        scores = per_class(state, self.confidence)
        every = np.ones(len(counts.support))
        for metric in ("precision", "recall", "f1"):
            found[f"{metric}_macro"] = _average(counts, metric, scores[metric][0], every, self.confidence)
            found[f"{metric}_weighted"] = _average(counts, metric, scores[metric][0], None, self.confidence)
        found["recall_weighted"] = Estimate(
            found["recall_weighted"].value, accuracy.n, accuracy.low, accuracy.high
        )  # the same
        found["balanced_accuracy"] = _average(
            counts, "recall", scores["recall"][0], (counts.support > 0).astype(float), self.confidence
        )
        found["smallest_class_f1"] = _smallest(scores["f1"], counts.support)
        shown = np.argsort(-counts.support, kind="stable")[: self.shown]
        for metric, (value, low, high, seen) in scores.items():
            for i in np.sort(shown).tolist():
                one = Estimate(float(value[i]), max(round(float(seen[i])), 1), float(low[i]), float(high[i]))
                found[f"{metric}[{int(state['classes'][i])}]"] = one if seen[i] else Estimate()
        return found


@dataclass(frozen=True, slots=True)
class _Counts:
    """Rows by class (k,) and off the diagonal by cell (m,): weights, and `…2` the weights' squares; the same if all are 1."""

    right: np.ndarray
    support: np.ndarray
    predicted: np.ndarray
    times: np.ndarray
    right2: np.ndarray
    support2: np.ndarray
    predicted2: np.ndarray
    times2: np.ndarray
    there: np.ndarray
    said: np.ndarray
    other2: float

    @classmethod
    def of(cls, state: State) -> _Counts:
        sums = (worth(state[part]) for part in (*_PARTS, "times"))
        (right, right2), (support, support2), (predicted, predicted2), (times, times2) = sums
        there, said = (np.asarray(np.searchsorted(state["classes"], part)) for part in np.divmod(state["codes"], _CODE))
        dropped = float(worth(np.atleast_1d(state["other"]))[1][0])
        return cls(
            right, support, predicted, times, right2, support2, predicted2, times2, there, said, dropped
        )  # fmt: skip

    @property
    def n(self) -> float:
        """How many rows of equal weight all rows are worth."""
        return float(self.support.sum()) * self.rate

    @property
    def rate(self) -> float:
        """Rows that a unit of weight is worth."""
        return float(self.support.sum()) / float(self.support2.sum()) if self.support2.any() else 0.0


def _tidy(state: dict[str, Any]) -> dict[str, Any]:
    if "weight" not in state:
        return state
    return state | {part: carried(state[part]) for part in (*_PARTS, "times", "other")}


def per_class(state: State, confidence: float = 0.95) -> dict[str, tuple[np.ndarray, ...]]:
    """precision, recall and f1 of all of state["classes"] at once: (value, low, high, n), each (classes,)."""
    sums = [worth(state[part]) for part in _PARTS]
    squares = [v for _, v in sums] if "weight" in state else ()
    right, support, predicted = (w for w, _ in sums) if squares else (state[part] for part in _PARTS)
    return class_scores(right, support, predicted, confidence, squares)


def matrix(state: State) -> tuple[np.ndarray, np.ndarray]:
    """(classes (k,), counts (k, k) int64, or weights float64), targets down and predictions across.

    Raises StateError when cells were dropped, or above 2,000 classes: use the sparse `codes` and `times` then.
    """
    classes = state["classes"]
    if np.any(state["other"]) or len(classes) > 2000:
        raise StateError(
            f"a matrix of {len(classes)} classes with {state['other']} rows in dropped cells is not shown whole; "
            f"raise `cells`, or read the state's sparse `codes` and `times`"
        )
    right, times = ((worth(state[part])[0] if "weight" in state else state[part]) for part in ("right", "times"))
    counts = np.diag(right)
    there, said = np.divmod(state["codes"], _CODE)
    counts[np.searchsorted(classes, there), np.searchsorted(classes, said)] += times
    return classes, counts


def _kept(codes: np.ndarray, times: np.ndarray, other: Any, cells: int) -> dict[str, Any]:
    """At most `cells` cells, those with the smallest hash: what is dropped in a part is dropped in the whole."""
    if len(codes) > cells:
        order = np.lexsort((codes, hash64(codes)))
        kept = np.sort(order[:cells])
        dropped = times.sum(axis=0) - times[kept].sum(axis=0)
        other = other + (dropped if times.ndim > 1 else int(dropped))
        codes, times = codes[kept], times[kept]
    return {"codes": codes, "times": times, "other": other}


def _average(
    counts: _Counts, metric: str, score: np.ndarray, weights: np.ndarray | None, confidence: float
) -> Estimate:
    """Σ w · score / Σ w over classes, an undefined score counting as 0; weights None: by support, itself random.

    A score interval of the delta method's variance, which knows how classes depend on each other, beside that of as
    many rows as the classes are worth together, 1 / Σ (w² / rows of the class): few where a rare class weighs much.
    """
    n = counts.n
    if n == 0:
        return Estimate()
    share_of = (counts.support if weights is None else weights) / (counts.support if weights is None else weights).sum()
    value = np.nan_to_num(score)
    mean = min(float(share_of @ value), 1.0)  # shares may sum to a little more than 1
    of_support, of_predicted = _BELOW[metric]
    below = np.maximum((of_support * counts.support + of_predicted * counts.predicted) * counts.rate, 1.0)
    rows = n if weights is None else 1 / float(share_of**2 @ (1 / below))
    smooth = (value * below + _SMOOTH) / (below + 2 * _SMOOTH)  # a class that is all right does vary
    unseen = float(share_of**2 @ (np.maximum(smooth * (1 - smooth) - value * (1 - value), 0.0) / below))
    unseen = 0.0 if weights is None else unseen  # a rare class weighs little then
    error = _delta_error(counts, *_gradient(counts, metric, share_of, value, random=weights is None))
    return bounded(mean, math.sqrt(error**2 + unseen), max(round(n), 1), confidence, rows)


_SMOOTH = 0.5
"""Rows that a class is taken to have had right, and wrong, beside its own (Jeffreys)."""

_BELOW = {"precision": (0.0, 1.0), "recall": (1.0, 0.0), "f1": (0.5, 0.5)}
"""What of support and predicted a score is a share of."""


def _gradient(
    counts: _Counts, metric: str, weights: np.ndarray, value: np.ndarray, *, random: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Derivative of Σ w · score by the share of cell (i, j): row[i] + across[j], and + diagonal[i] where i is j."""
    total = counts.support.sum()
    support, predicted = counts.support / total, counts.predicted / total
    none = np.zeros(len(support))
    below = {"precision": predicted, "recall": support, "f1": support + predicted}[metric]
    each = np.divide(weights, below, out=none.copy(), where=below > 0)
    row = value if random else none
    row = row - each * value if metric != "precision" else row
    across = -each * value if metric != "recall" else none
    return row, across, each * (2 if metric == "f1" else 1)


def _delta_error(counts: _Counts, row: np.ndarray, across: np.ndarray, diagonal: np.ndarray) -> float:
    """√ Σ w² (derivative - its mean)² / Σ w over rows; cells that were dropped are taken to be like those kept."""
    total, both = float(counts.support.sum()), row + across + diagonal
    missed, wrong = counts.support - counts.right, counts.predicted - counts.right
    mean = float(counts.right @ both + missed @ row + wrong @ across) / total
    missed, wrong = counts.support2 - counts.right2, counts.predicted2 - counts.right2
    kept = float(counts.times2.sum())
    cross = float((counts.times2 * row[counts.there]) @ across[counts.said]) * (
        (kept + counts.other2) / kept if kept else 0
    )
    square = float(counts.right2 @ both**2 + missed @ row**2 + wrong @ across**2) + 2 * cross
    first = float(counts.right2 @ both + missed @ row + wrong @ across)
    return math.sqrt(max(square - 2 * mean * first + mean * mean * float(counts.support2.sum()), 0.0)) / total


def _smallest(score: tuple[np.ndarray, ...], support: np.ndarray) -> Estimate:
    there = np.flatnonzero(support)
    if not len(there):
        return Estimate()
    i = there[np.argmin(support[there])]
    return Estimate(float(score[0][i]), max(round(float(score[3][i])), 1), float(score[1][i]), float(score[2][i]))
