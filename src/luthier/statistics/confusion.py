"""The confusion matrix, sparse, and what is read from it: accuracy, precision, recall, F1 and their averages."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from luthier.errors import StateError
from luthier.names import register
from luthier.statistics.base import State, When, class_scores, hash64, numbers, on_logit, same_options, share
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
    a target or prediction (negative, NaN, no whole number) or with an index from 2**20 on are missing.

    Reads `accuracy`, and per class `precision[c]`, `recall[c]` (Wilson) and `f1[c]` (Wilson on the Jaccard share
    tp / (tp + fp + fn), of which F1 = 2 J / (1 + J) is a rising function) for the `shown` classes with most support;
    `precision_`, `recall_` and `f1_` `macro` and `weighted`, and `balanced_accuracy` (the wider of the delta method on
    the multinomial of cells, Takahashi et al. 2022, on the logit, and MOVER of the classes' own, Zou and Donner 2008); the `micro` ones, which with one label a row all are the accuracy
    (Wilson); `smallest_class_f1`, the F1 of the class with least support. Averages are over the classes seen in either column, and an undefined precision
    or recall is 0 in them, as in scikit-learn; on its own it is nothing (NaN, n 0).
    """

    name: ClassVar[str]
    when: ClassVar[When] = "label"
    target: str = "target"
    predicted: str = "predicted"
    cells: int = 65_536
    shown: int = 50
    confidence: float = 0.95

    def observe(self, columns: Columns) -> State:
        """{cells, n, missing, classes (k,), right, support, predicted (k,), codes (m,), times (m,), other}."""
        target, predicted = numbers(columns, self.target, self.predicted)
        good = (target >= 0) & (target < _CODE) & (predicted >= 0) & (predicted < _CODE)
        good &= (target == np.trunc(target)) & (predicted == np.trunc(predicted))
        codes, times = np.unique(
            target[good].astype(np.int64) * _CODE + predicted[good].astype(np.int64), return_counts=True
        )
        there, said = np.divmod(codes, _CODE)
        classes = np.union1d(there, said)
        state: dict[str, Any] = {"cells": self.cells, "n": int(good.sum()), "missing": int(len(good) - good.sum())}
        state |= {"classes": classes} | {part: np.zeros(len(classes), np.int64) for part in _PARTS}
        same = there == said
        np.add.at(state["right"], np.searchsorted(classes, there[same]), times[same])
        np.add.at(state["support"], np.searchsorted(classes, there), times)
        np.add.at(state["predicted"], np.searchsorted(classes, said), times)
        return state | _kept(codes[~same], times[~same].astype(np.int64), 0, self.cells)

    def merge(self, a: State, b: State) -> State:
        same_options(a, b, "cells")
        merged: dict[str, Any] = {"cells": a["cells"], "n": a["n"] + b["n"], "missing": a["missing"] + b["missing"]}
        merged["classes"] = classes = np.union1d(a["classes"], b["classes"])
        for part in _PARTS:
            merged[part] = np.zeros(len(classes), np.int64)
            for state in (a, b):
                merged[part][np.searchsorted(classes, state["classes"])] += state[part]
        codes, back = np.unique(np.concatenate((a["codes"], b["codes"])), return_inverse=True)
        times = np.zeros(len(codes), np.int64)
        np.add.at(times, back, np.concatenate((a["times"], b["times"])))
        return merged | _kept(codes, times, a["other"] + b["other"], a["cells"])

    def read(self, state: State) -> dict[str, Estimate]:
        n = state["n"]
        missing = share(state["missing"], n + state["missing"], self.confidence)
        right = int(state["right"].sum())
        accuracy = share(right, n, self.confidence)
        found = {"accuracy": accuracy, "missing": missing}
        found |= {f"{metric}_micro": accuracy for metric in ("precision", "recall", "f1")}
        scores = per_class(state, self.confidence)
        support = state["support"]
        for metric in ("precision", "recall", "f1"):
            found[f"{metric}_macro"] = _average(state, metric, scores[metric], np.ones(len(support)), self.confidence)
            found[f"{metric}_weighted"] = _average(state, metric, scores[metric], None, self.confidence)
        found["recall_weighted"] = Estimate(found["recall_weighted"].value, n, accuracy.low, accuracy.high)  # the same
        found["balanced_accuracy"] = _average(state, "recall", scores["recall"], support > 0, self.confidence)
        found["smallest_class_f1"] = _smallest(scores["f1"], support)
        shown = np.argsort(-support, kind="stable")[: self.shown]
        for metric, (value, low, high, seen) in scores.items():
            for i in np.sort(shown).tolist():
                one = Estimate(float(value[i]), int(seen[i]), float(low[i]), float(high[i])) if seen[i] else Estimate()
                found[f"{metric}[{int(state['classes'][i])}]"] = one
        return found


def per_class(state: State, confidence: float = 0.95) -> dict[str, tuple[np.ndarray, ...]]:
    """precision, recall and f1 of all of state["classes"] at once: (value, low, high, n), each (classes,)."""
    return class_scores(state["right"], state["support"], state["predicted"], confidence)


def matrix(state: State) -> tuple[np.ndarray, np.ndarray]:
    """(classes (k,), counts (k, k) int64), targets down and predictions across.

    Raises StateError when cells were dropped, or above 2,000 classes: use the sparse `codes` and `times` then.
    """
    classes = state["classes"]
    if state["other"] or len(classes) > 2000:
        raise StateError(
            f"a matrix of {len(classes)} classes with {state['other']} rows in dropped cells is not shown whole; "
            f"raise `cells`, or read the state's sparse `codes` and `times`"
        )
    counts = np.diag(state["right"])
    there, said = np.divmod(state["codes"], _CODE)
    counts[np.searchsorted(classes, there), np.searchsorted(classes, said)] += state["times"]
    return classes, counts


def _kept(codes: np.ndarray, times: np.ndarray, other: int, cells: int) -> dict[str, Any]:
    """At most `cells` cells, those with the smallest hash: what is dropped in a part is dropped in the whole."""
    if len(codes) > cells:
        order = np.lexsort((codes, hash64(codes)))
        kept = np.sort(order[:cells])
        other += int(times.sum() - times[kept].sum())
        codes, times = codes[kept], times[kept]
    return {"codes": codes, "times": times, "other": other}


def _average(
    state: State, metric: str, scores: tuple[np.ndarray, ...], weights: np.ndarray | None, confidence: float
) -> Estimate:
    """Σ w · score / Σ w over classes, an undefined score counting as 0; weights None: by support, itself random.

    The wider of two intervals: the delta method's on the logit, which knows how classes depend on each other, and
    MOVER of each class's own, which knows how little a class of few rows tells (all of them right, say).
    """
    n = state["n"]
    if n == 0:
        return Estimate()
    share_of = state["support"] / n if weights is None else weights / weights.sum()
    value, low, high = (np.where(np.isnan(part), end, part) for part, end in zip(scores, (0.0, 0.0, 1.0), strict=False))
    mean = float(share_of @ value)
    below, above = (float(np.sqrt((share_of**2) @ (end - value) ** 2)) for end in (low, high))
    ends = [max(mean - below, 0.0), min(mean + above, 1.0)]
    if 0 < mean < 1:
        error = _delta_error(state, *_gradient(state, metric, share_of, value, random=weights is None))
        delta = on_logit(mean, error, n, confidence)
        ends = [min(ends[0], delta.low), max(ends[1], delta.high)] if error > 0 else ends
    return Estimate(mean, n, *ends)


def _gradient(
    state: State, metric: str, weights: np.ndarray, value: np.ndarray, *, random: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Derivative of Σ w · score by the share of cell (i, j): row[i] + across[j], and + diagonal[i] where i is j."""
    support, predicted = state["support"] / state["n"], state["predicted"] / state["n"]
    none = np.zeros(len(support))
    below = {"precision": predicted, "recall": support, "f1": support + predicted}[metric]
    each = np.divide(weights, below, out=none.copy(), where=below > 0)
    row = value if random else none
    row = row - each * value if metric != "precision" else row
    across = -each * value if metric != "recall" else none
    return row, across, each * (2 if metric == "f1" else 1)


def _delta_error(state: State, row: np.ndarray, across: np.ndarray, diagonal: np.ndarray) -> float:
    """√(Var of the derivative over rows / n); cells that were dropped are taken to be like those kept."""
    n, right = state["n"], state["right"]
    missed, wrong = state["support"] - right, state["predicted"] - right
    there, said = (np.searchsorted(state["classes"], part) for part in np.divmod(state["codes"], _CODE))
    kept = int(state["times"].sum())
    cross = float((state["times"] * row[there]) @ across[said]) * ((kept + state["other"]) / kept if kept else 0.0)
    mean = (right @ (row + across + diagonal) + missed @ row + wrong @ across) / n
    square = (right @ (row + across + diagonal) ** 2 + missed @ row**2 + wrong @ across**2 + 2 * cross) / n
    return math.sqrt(max(float(square - mean * mean), 0.0) / n)


def _smallest(score: tuple[np.ndarray, ...], support: np.ndarray) -> Estimate:
    there = np.flatnonzero(support)
    if not len(there):
        return Estimate()
    i = there[np.argmin(support[there])]
    return Estimate(float(score[0][i]), int(score[3][i]), float(score[1][i]), float(score[2][i]))
